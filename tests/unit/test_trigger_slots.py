"""Slots: what cron expressions mean, over clock changes too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.triggers import at

from hark.triggers.cron_expression import normalised
from hark.triggers.slots import build, slots_after, slots_between
from hark.triggers.zones import zone


def local_times(schedule: str | list[str], timezone: str, after: str, count: int) -> list[str]:
    return [slot.local.strftime("%a %m-%d %H:%M") for slot in slots_after(schedule, timezone, at(after), count)]


@pytest.mark.parametrize(
    "expression, expected",
    [
        ("0 9 * * mon-fri", ["Thu 01-01 09:00", "Fri 01-02 09:00", "Mon 01-05 09:00"]),
        ("0 9 * * MON,Wed", ["Mon 01-05 09:00", "Wed 01-07 09:00", "Mon 01-12 09:00"]),
        ("0 9 * * 0", ["Sun 01-04 09:00", "Sun 01-11 09:00", "Sun 01-18 09:00"]),
        ("0 9 * * 7", ["Sun 01-04 09:00", "Sun 01-11 09:00", "Sun 01-18 09:00"]),
        ("0 9 * * sat-sun", ["Sat 01-03 09:00", "Sun 01-04 09:00", "Sat 01-10 09:00"]),
        ("0 9 13 * fri", ["Fri 01-02 09:00", "Fri 01-09 09:00", "Tue 01-13 09:00"]),
        ("0 9 */13 * fri", ["Fri 02-27 09:00", "Fri 03-27 09:00", "Fri 05-01 09:00"]),
        ("0 9 L * *", ["Sat 01-31 09:00", "Sat 02-28 09:00", "Tue 03-31 09:00"]),
        ("0 9 * * fri#2", ["Fri 01-09 09:00", "Fri 02-13 09:00", "Fri 03-13 09:00"]),
        ("0 9 * * 5L", ["Fri 01-30 09:00", "Fri 02-27 09:00", "Fri 03-27 09:00"]),
        ("*/20 0 1 jan-feb *", ["Thu 01-01 00:20", "Thu 01-01 00:40", "Sun 02-01 00:00"]),
        ("@weekly", ["Sun 01-04 00:00", "Sun 01-11 00:00", "Sun 01-18 00:00"]),
        ("@yearly", ["Fri 01-01 00:00", "Sat 01-01 00:00", "Mon 01-01 00:00"]),
    ],
)
def test_fields_mean_what_they_mean_to_cron(expression: str, expected: list[str]) -> None:
    assert local_times(expression, "UTC", "2026-01-01T00:00:00", 3) == expected


def test_every_macro_is_its_five_fields() -> None:
    assert [normalised(name) for name in ("@daily", "@midnight", "@Hourly", "@monthly", "@annually")] == [
        "0 0 * * *",
        "0 0 * * *",
        "0 * * * *",
        "0 0 1 * *",
        "0 0 1 1 *",
    ]


def test_six_fields_begin_with_seconds() -> None:
    slots = slots_after("*/20 30 9 * * *", "UTC", at("2026-01-01T09:30:00"), 3)
    assert [slot.utc.time().isoformat() for slot in slots] == ["09:30:20", "09:30:40", "09:30:00"]


def test_the_moment_itself_is_not_after_itself() -> None:
    assert slots_after("0 9 * * *", "UTC", at("2026-01-01T09:00:00"), 1)[0].utc == at("2026-01-02T09:00:00")
    assert slots_after("0 9 * * *", "UTC", at("2026-01-01T08:59:59.999"), 1)[0].utc == at("2026-01-01T09:00:00")


def test_several_expressions_make_one_row_of_slots() -> None:
    assert local_times(["0 9 * * *", "0 9,18 * * thu"], "UTC", "2026-01-01T00:00:00", 3) == [
        "Thu 01-01 09:00",
        "Thu 01-01 18:00",
        "Fri 01-02 09:00",
    ]


@pytest.mark.parametrize("expression", ["30 2 * * *", "0 30 2 * * *"])
@pytest.mark.parametrize(
    "name, before, moved_to",
    [
        ("Europe/Berlin", "2026-03-28T12:00:00", "2026-03-29T01:00:00"),
        ("America/New_York", "2026-03-07T12:00:00", "2026-03-08T07:00:00"),
        ("Australia/Lord_Howe", "2026-10-03T00:00:00", "2026-10-03T15:30:00"),
    ],
)
def test_a_time_that_spring_swallows_runs_right_after_the_change(
    expression: str, name: str, before: str, moved_to: str
) -> None:
    if name == "Australia/Lord_Howe":
        expression = expression.replace("30 2", "15 2")
    first, second = slots_after(expression, name, at(before), 2)
    assert first.utc == at(moved_to)
    assert "does not exist that day" in first.note
    assert second.utc - first.utc < timedelta(days=1)
    assert second.note == ""


def test_several_swallowed_times_run_once() -> None:
    slots = slots_after("0,15,30 2,3 * * *", "Europe/Berlin", at("2026-03-28T12:00:00"), 3)
    assert [slot.local.strftime("%d %H:%M") for slot in slots] == ["29 03:00", "29 03:15", "29 03:30"]


@pytest.mark.parametrize(
    "name, before, once",
    [
        ("Europe/Berlin", "2026-10-24T12:00:00", "2026-10-25T00:30:00"),
        ("America/New_York", "2026-10-31T12:00:00", "2026-11-01T05:30:00"),
    ],
)
def test_a_time_that_autumn_brings_twice_runs_the_first_time_only(name: str, before: str, once: str) -> None:
    hour = 2 if name == "Europe/Berlin" else 1
    first, second = slots_after(f"30 {hour} * * *", name, at(before), 2)
    assert first.utc == at(once)
    assert "comes twice" in first.note
    assert second.utc == first.utc + timedelta(hours=25)


def test_going_on_inside_the_repeated_hour_repeats_nothing() -> None:
    """cronsim, asked from the second 02:15, would name the first 02:30, which is past."""
    inside = at("2026-10-25T01:15:00")
    assert slots_after("30 2 * * *", "Europe/Berlin", inside, 1)[0].utc == at("2026-10-26T01:30:00")


def test_a_schedule_by_elapsed_time_neither_pauses_nor_repeats() -> None:
    slots = slots_after("*/30 * * * *", "Europe/Berlin", at("2026-10-24T23:45:00"), 6)
    assert {b.utc - a.utc for a, b in pairwise(slots)} == {timedelta(minutes=30)}
    assert [slot.note for slot in slots] == [
        "runs twice: the first 02:00 that day",
        "runs twice: the first 02:30 that day",
        "runs twice: the second 02:00 that day",
        "runs twice: the second 02:30 that day",
        "",
        "",
    ]


def test_hours_that_a_change_leaves_out_are_told_with_the_slot_that_follows() -> None:
    first, second = slots_after("*/30 2 * * *", "Europe/Berlin", at("2026-03-28T12:00:00"), 2)
    assert first.utc == at("2026-03-30T00:00:00")
    assert (first.note, second.note) == ("02:00 was skipped before, it does not exist on 2026-03-29", "")
    assert slots_after("*/30 * * * *", "Europe/Berlin", at("2026-03-29T00:55:00"), 1)[0].note == ""


@pytest.mark.parametrize(
    "expression, says",
    [
        ("0 0 30 2 *", "never fires"),
        ("0 0 31 4,6 *", "never fires"),
        ("61 * * * *", "'61' is no minute; allowed: 0-59"),
        ("0 9 * * fri-mon", "'fri-mon' is no day of week"),
        ("0 9 ? * *", "write * instead of ?"),
        ("0 9 * *", "4 fields, not 5 or 6"),
        ("0 0 9 * * * 2026", "a year field is not supported"),
        ("", "0 fields"),
        ("@dialy", "did you mean @daily"),
        ("@reboot", "subscribe to an event"),
        ("*/0 * * * *", "is no minute"),
        ("* * * * *" * 100, "at most 500 characters"),
    ],
)
def test_a_bad_expression_is_refused_with_what_would_be_right(expression: str, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace("*", r"\*").replace("?", r"\?")):
        normalised(expression)


@pytest.mark.parametrize("name, says", [("europe/berlin", "did you mean Europe/Berlin"), ("Europe/Berln", "Berlin")])
def test_an_unknown_zone_is_refused_with_a_suggestion(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        zone(name)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "localtime", "/etc/localtime"])
def test_only_names_of_the_tz_database_are_zones(name: str) -> None:
    with pytest.raises(ValueError, match="unknown time zone"):
        zone(name)


def test_between_takes_the_latest_and_costs_no_more_for_a_long_time() -> None:
    slots = slots_between("* * * * * *", "Europe/Berlin", at("1990-01-01"), at("2026-01-01"), 3)
    assert [slot.utc.strftime("%H:%M:%S") for slot in slots] == ["23:59:58", "23:59:59", "00:00:00"]


def test_between_is_open_at_its_start_and_closed_at_its_end() -> None:
    slots = slots_between("0 * * * *", "UTC", at("2026-01-01T01:00:00"), at("2026-01-01T03:00:00"), 9)
    assert [slot.utc.hour for slot in slots] == [2, 3]
    assert slots_between("0 * * * *", "UTC", at("2026-01-01T03:00:00"), at("2026-01-01T01:00:00"), 9) == []


ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "Asia/Beirut", "America/Havana",
    "America/Sao_Paulo", "America/Santiago", "Asia/Kathmandu", "Africa/Casablanca", "America/St_Johns",
    "Pacific/Chatham",
]  # fmt: skip


def steps(low: int, high: int) -> st.SearchStrategy[str]:
    """Draw a field: a star, a step, a value, a range."""
    value = st.integers(low, high)
    return st.one_of(
        st.sampled_from(["*", "*/7", "*/15"]),
        value.map(str),
        st.tuples(value, value).map(lambda pair: f"{min(pair)}-{max(pair)}"),
    )


@st.composite
def days_of_change(draw: st.DrawFn) -> tuple[str, datetime]:
    """Draw a zone and a day on which its clock changes (or any, where it never does)."""
    name = draw(st.sampled_from(ZONES))
    year = datetime(draw(st.integers(2010, 2037)), 1, 1, tzinfo=UTC)
    here = ZoneInfo(name)
    days = [year + timedelta(days=day) for day in range(365)]
    changes = [
        day
        for day in days
        if day.astimezone(here).utcoffset() != (day + timedelta(days=1)).astimezone(here).utcoffset()
    ]
    return name, draw(st.sampled_from(changes or days))


def by_looking_at_every_minute(expression: str, name: str, start: datetime, end: datetime) -> list[datetime]:
    """Match the local time of every minute: what a schedule by elapsed time means."""
    probe, here = CronSim(expression, start), ZoneInfo(name)
    minutes = (start + timedelta(minutes=index) for index in range(1, int((end - start) / timedelta(minutes=1)) + 1))
    return [moment for moment in minutes if matches(probe, moment.astimezone(here))]


def by_looking_at_every_reading(expression: str, name: str, start: datetime, end: datetime) -> list[datetime]:
    """Match every reading of the wall clock and find when it comes first: what a schedule with fixed times means."""
    probe, here = CronSim(expression, start), ZoneInfo(name)
    reading = start.astimezone(here).replace(tzinfo=None) - timedelta(hours=3)
    found = set()
    for index in range(int((end - start) / timedelta(minutes=1)) + 360):
        wall = reading + timedelta(minutes=index)
        if matches(probe, wall):
            found.add(first_moment_not_before(wall, here))
    return sorted(moment for moment in found if start < moment <= end)


def first_moment_not_before(wall: datetime, here: ZoneInfo) -> datetime:
    moment = wall.replace(tzinfo=here).astimezone(UTC) - timedelta(hours=2)
    while moment.astimezone(here).replace(tzinfo=None) < wall:
        moment += timedelta(minutes=1)
    return moment


def matches(probe: CronSim, local: datetime) -> bool:
    return bool(
        local.minute in probe.minutes
        and local.hour in probe.hours
        and local.month in probe.months
        and probe.match_day(local.date())
    )


@settings(max_examples=15, deadline=None)
@given(days_of_change(), steps(0, 59), steps(0, 23), st.sampled_from(["*", "*/2"]), st.sampled_from(["*", "0", "1-5"]))
@example(("Australia/Lord_Howe", at("2018-10-06")), "33", "*", "*", "0")
@example(("America/Sao_Paulo", at("2018-11-03")), "*", "0", "4", "1-5")
@example(("Europe/Berlin", at("2026-10-24")), "*/15", "2", "25", "*")
def test_slots_around_clock_changes_are_those_found_by_looking(
    where: tuple[str, datetime], minute: str, hour: str, day: str, weekday: str
) -> None:
    """The first two examples are where cronsim, left to walk through the change, goes astray."""
    name, start = where
    end = start + timedelta(days=2)
    expression = f"{minute} {hour} {day} * {weekday}"
    fixed = "*" not in minute + hour
    look = by_looking_at_every_reading if fixed else by_looking_at_every_minute
    assert [slot.utc for slot in slots_between(expression, name, start, end, 3000)] == look(
        expression, name, start, end
    )


@settings(max_examples=10, deadline=None)
@given(days_of_change(), steps(0, 59), steps(0, 23), st.integers(0, 2880), st.integers(1, 20))
def test_going_on_from_any_moment_gives_the_same_slots(
    where: tuple[str, datetime], minute: str, hour: str, offset: int, count: int
) -> None:
    name, start = where
    schedule = build(f"{minute} {hour} * * *", name)
    end = start + timedelta(days=3)
    moment = start + timedelta(minutes=offset)
    rest = [slot for slot in takewhile(lambda slot: slot.utc <= end, schedule.after(start)) if slot.utc > moment]
    assert list(islice(schedule.after(moment), min(count, len(rest)))) == rest[:count]


@pytest.mark.parametrize("expression", ["0 9 * * *", "*/5 * * * *", "0 0 1 1 *"])
@pytest.mark.parametrize(
    "after, timezone",
    [
        ("9999-12-31T23:59:59+00:00", "UTC"),
        ("9999-12-31T23:59:59-14:00", "UTC"),
        ("0001-01-01T00:00:00+14:00", "UTC"),
        ("0001-01-01T00:00:00+00:00", "America/New_York"),
        ("9999-12-31T23:59:59+00:00", "Asia/Tokyo"),
    ],
)
def test_where_the_calendar_ends_is_said(expression: str, after: str, timezone: str) -> None:
    with pytest.raises(ValueError, match="years 1 to 9999"):
        slots_after(expression, timezone, datetime.fromisoformat(after), 10)
