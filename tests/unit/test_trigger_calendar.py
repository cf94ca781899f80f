"""Slots that are no plain cron: on business days and holidays, at intervals, at moments."""

from __future__ import annotations

import subprocess
import sys
from datetime import date, datetime, timedelta
from itertools import islice, pairwise, takewhile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.triggers import at

from hark.triggers.builtin import builtin_triggers
from hark.triggers.calendar_days import Calendar
from hark.triggers.cron import CronTrigger
from hark.triggers.cron_config import CronConfig
from hark.triggers.slot import Slot
from hark.workflows.catalogue import Catalogue
from hark.workflows.loading import load_all


def slots(after: str, count: int, **config: Any) -> list[Slot]:
    return list(islice(CronConfig(**config).built().after(at(after)), count))


def days(after: str, count: int, **config: Any) -> list[str]:
    return [slot.local.strftime("%a %m-%d") for slot in slots(after, count, **config)]


@pytest.mark.parametrize(
    "calendar, after, expected",
    [
        ({}, "2026-01-01T12:00:00", ["Fri 01-02", "Mon 01-05", "Tue 01-06"]),
        ("DE-BY", "2026-01-01", ["Fri 01-02", "Mon 01-05", "Wed 01-07"]),
        ("de-by", "2026-01-05T12:00:00", ["Wed 01-07", "Thu 01-08", "Fri 01-09"]),
        ({"holidays": ["DE", "US"]}, "2026-07-02T12:00:00", ["Mon 07-06", "Tue 07-07", "Wed 07-08"]),
        ("NYSE", "2026-04-02T12:00:00", ["Mon 04-06", "Tue 04-07", "Wed 04-08"]),
        ("SA", "2026-01-01T12:00:00", ["Sun 01-04", "Mon 01-05", "Tue 01-06"]),
        ({"closed": ["2026-01-05", "01-06"]}, "2026-01-03", ["Wed 01-07", "Thu 01-08", "Fri 01-09"]),
        ({"holidays": "DE", "open": ["2026-01-01", "2026-01-03"]}, "2025-12-31T12:00:00",
         ["Thu 01-01", "Fri 01-02", "Sat 01-03"]),
        ({"weekend": []}, "2026-01-02T12:00:00", ["Sat 01-03", "Sun 01-04", "Mon 01-05"]),
        ({"holidays": "DE", "days": "holidays"}, "2026-03-01", ["Fri 04-03", "Mon 04-06", "Fri 05-01"]),
        ({"nth": 1}, "2026-07-15", ["Mon 08-03", "Tue 09-01", "Thu 10-01"]),
        ({"holidays": "DE", "nth": [-1]}, "2026-03-01", ["Tue 03-31", "Thu 04-30", "Fri 05-29"]),
        ({"holidays": "DE", "nth": [1, -1]}, "2026-04-15", ["Thu 04-30", "Mon 05-04", "Fri 05-29"]),
    ],
)  # fmt: skip
def test_a_calendar_says_on_which_days(calendar: Any, after: str, expected: list[str]) -> None:
    assert days(after, 3, schedule="0 9 * * *", calendar=calendar) == expected


@pytest.mark.parametrize(
    "otherwise, expected", [("skip", "Sun 03-15"), ("next", "Tue 02-17"), ("previous", "Fri 02-13")]
)
def test_a_slot_on_another_day_is_left_out_or_moves(otherwise: str, expected: str) -> None:
    """The 15th of February 2026 is a Sunday, and the Monday after it a holiday in the United States."""
    weekend: Any = {} if otherwise != "skip" else {"weekend": ["sat"]}
    calendar = {"holidays": "US", "otherwise": otherwise, "closed": ["2026-02-15"], **weekend}
    (slot,) = slots("2026-02-01", 1, schedule="0 9 15 * *", calendar=calendar)
    assert slot.local.strftime("%a %m-%d") == expected
    assert slot.note == ("" if otherwise == "skip" else "moved from Sun 2026-02-15")


def test_a_calendar_holds_for_intervals_too() -> None:
    found = slots("2026-01-02T11:00:00", 3, every="12h", calendar={}, timezone="UTC")
    assert [slot.local.strftime("%a %H") for slot in found] == ["Fri 12", "Mon 00", "Mon 12"]


def test_slots_that_move_to_one_moment_are_one() -> None:
    calendar = {"otherwise": "next"}
    found = slots("2026-01-02T12:00:00", 3, schedule=["0 9 * * *", "0 12 * * sat"], calendar=calendar)
    assert [slot.local.strftime("%a %H") for slot in found] == ["Mon 09", "Mon 12", "Tue 09"]


schedules = st.sampled_from(["0 9 * * *", "30 6,18 1,15,31 * *", "*/45 * * * *", "0 0 * * sun,mon", "5 5 13 * fri"])
calendars = st.sampled_from([
    {}, {"holidays": "DE-BY"}, {"closed": ["12-24", "12-31"], "weekend": ["sun"]}, {"nth": [1, 3, -1]},
    {"holidays": "FR", "days": "holidays"},
])  # fmt: skip
moments = st.integers(0, 3650 * 1440).map(lambda minutes: at("2019-01-01") + timedelta(minutes=minutes))


@settings(max_examples=15, deadline=None)
@given(schedules, calendars, moments)
def test_with_a_calendar_come_the_slots_of_its_days_and_no_others(
    schedule: str, calendar: dict[str, Any], moment: datetime
) -> None:
    start, end = moment, moment + timedelta(days=60)
    config = CronConfig(schedule=schedule, timezone="Europe/Berlin", calendar=calendar)
    is_open = config.built().calendar
    assert is_open is not None
    plain = CronConfig(schedule=schedule, timezone="Europe/Berlin").built().between(start, end, 9000)
    wanted = [slot for slot in plain if slot.local.date() in is_open.open_days(slot.local.year, slot.local.month)]
    assert list(takewhile(lambda slot: slot.utc <= end, config.built().after(start))) == wanted


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(["0 9 * * *", "30 6,18 1,15,31 * *", "30 2 * * sun"]), calendars,
       st.sampled_from(["next", "previous"]), moments)  # fmt: skip
def test_moved_slots_are_those_found_by_moving_each_reading(
    schedule: str, calendar: dict[str, Any], otherwise: str, moment: datetime
) -> None:
    start, end = moment, moment + timedelta(days=45)
    config = CronConfig(schedule=schedule, timezone="UTC", calendar={**calendar, "otherwise": otherwise})
    built = config.built()
    assert built.calendar is not None
    around = CronConfig(schedule=schedule).built().between(start - timedelta(days=120), end + timedelta(days=120), 9000)
    moved = set()
    for slot in around:
        day = nearest(built.calendar, slot.local.date(), 1 if otherwise == "next" else -1)
        moved.add(datetime.combine(day, slot.local.timetz()))
    wanted = sorted(one for one in moved if start < one <= end)
    assert [slot.utc for slot in takewhile(lambda slot: slot.utc <= end, built.after(start))] == wanted


@pytest.mark.parametrize("otherwise", ["next", "previous"])
@pytest.mark.parametrize("rare", [{"holidays": "DE", "nth": [-1]}, {"days": "holidays", "closed": ["12-25"]}])
def test_a_calendar_is_asked_once_for_all_that_moves_to_one_day(
    otherwise: str, rare: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not for each of the hundred thousand times that a year has: the event loop waits for it."""
    asked: list[date] = []
    open_days = Calendar.open_days

    def counted(calendar: Calendar, year: int, month: int) -> tuple[date, ...]:
        asked.append(date(year, month, 1))
        return open_days(calendar, year, month)

    monkeypatch.setattr(Calendar, "open_days", counted)
    often = "0,5,10,15,20,25,30,35,40,45,50,55 0-23 * * *"
    built = CronConfig(schedule=often, calendar={**rare, "otherwise": otherwise}).built()
    now = at("2026-01-30T08:00:00")
    assert next(built.after(now)).utc > now
    assert len(asked) < 100
    assert len(built.between(now - timedelta(days=400), now, 5)) == 5
    assert len(asked) < 1500


def nearest(calendar: Any, day: date, direction: int) -> date:
    while day not in calendar.open_days(day.year, day.month):
        day += timedelta(days=direction)
    return day


def test_the_library_of_holidays_is_loaded_when_a_place_is_named() -> None:
    """It takes 0.3 s and 20 MiB, which most daemons need not spend."""
    code = (
        "import sys; from hark.triggers.cron_config import CronConfig\n"
        "CronConfig(schedule='0 9 * * *', calendar={}).built()\n"
        "assert 'holidays' not in sys.modules\n"
        "CronConfig(schedule='0 9 * * *', calendar='DE')\n"
        "assert 'holidays' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_intervals_are_counted_from_midnight_and_ignore_the_wall_clock() -> None:
    found = slots("2026-10-24T23:50:00", 8, every="15m", timezone="Europe/Berlin")
    assert found[0].utc == at("2026-10-25T00:00:00")
    assert {later.utc - earlier.utc for earlier, later in pairwise(found)} == {timedelta(minutes=15)}
    assert slots("2026-06-01T12:00:00", 1, every="7d", timezone="Europe/Berlin")[0].local.strftime("%a %H") == "Mon 01"


def test_an_interval_may_be_written_as_a_kind_of_its_own() -> None:
    text = "id: w\nname: W\ntriggers: [{type: INTERVAL, config: {interval: 15m}}]\nsteps: [{id: a, set: {x: 1}}]"
    (loaded,) = load_all(text, Catalogue([], builtin_triggers()))
    assert loaded.raw["triggers"] == [{"id": "cron", "type": "cron", "every": "15m"}]


@pytest.mark.parametrize(
    "anchor, after, expected",
    [
        ("2026-01-01T00:07", "2026-01-01T12:00:00", "2026-01-01T12:07:00"),
        ("2026-07-01T10:00", "2026-01-01T12:00:00", "2026-07-01T08:00:00"),
        ("2026-07-01T10:00:00Z", "2026-07-01T10:00:00", "2026-07-01T11:00:00"),
    ],
)
def test_an_anchor_is_the_first_slot(anchor: str, after: str, expected: str) -> None:
    assert slots(after, 1, every="1h", anchor=anchor, timezone="Europe/Berlin")[0].utc == at(expected)


def test_moments_come_once_and_end() -> None:
    config = {"at": ["2026-12-24T18:00", "2026-03-29T02:30", "2026-10-25T02:30", "2026-05-01T10:00:00+09:00"]}
    found = slots("2026-01-01", 9, **config, timezone="Europe/Berlin")
    assert [slot.utc.isoformat()[:16] for slot in found] == [
        "2026-03-29T01:00", "2026-05-01T01:00", "2026-10-25T00:30", "2026-12-24T17:00",
    ]  # fmt: skip
    assert [slot.note for slot in found] == [
        "02:30 is skipped, it does not exist that day; runs at 03:00",
        "",
        "02:30 comes twice that day; runs the first time",
        "",
    ]


@pytest.mark.parametrize(
    "config, says",
    [
        ({}, "one of `schedule`, `every`, `at`; found none"),
        ({"schedule": "@daily", "every": "1h"}, "found `schedule` and `every`"),
        ({"every": "100ms"}, "at least a second"),
        ({"schedule": "@every 5m"}, "write every: 5m"),
        ({"schedule": "@daily", "anchor": "2026-01-01"}, "without `every` it means nothing"),
        ({"at": "tomorrow"}, "is no time: write 2026-12-24T18:00"),
        ({"at": []}, "at least 1 item"),
        ({"at": "2026-12-24", "calendar": {}}, "names its days itself"),
        ({"every": "1h", "calendar": {"otherwise": "next"}}, "cannot move"),
        ({"schedule": "*/5 * * * *", "calendar": {"otherwise": "next"}}, "fires all day"),
        ({"schedule": "0-59 0-23 * * *", "calendar": {"otherwise": "next"}}, "more than 288 times"),
        ({"schedule": "@daily", "calendar": "Germany"}, "did you mean DE"),
        ({"schedule": "@daily", "calendar": "QQQ"}, "write a country such as DE"),
        ({"schedule": "@daily", "calendar": "DE-XX"}, "DE has no part 'XX'"),
        ({"schedule": "@daily", "calendar": {"closed": "24.12."}}, "write 2026-12-24, or 12-24"),
        ({"schedule": "@daily", "calendar": {"closed": "2026-02-30"}}, "is no day"),
        ({"schedule": "@daily", "calendar": {"nth": 0}}, "counted from 1"),
        ({"schedule": "@daily", "calendar": {"weekends": ["sat"]}}, "Extra inputs"),
    ],
)
def test_what_cannot_be_meant_is_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says.replace("*", r"\*")):
        CronConfig(**config)


def test_it_is_said_when_nothing_will_come() -> None:
    assert "none of its times" in CronTrigger().warnings(CronConfig(at="2020-01-01"))[0]
    never = {"weekend": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]}
    assert CronTrigger().warnings(CronConfig(schedule="@daily", calendar=never))
    assert CronTrigger().warnings(CronConfig(schedule="* * * * * sun", calendar={}))
    assert not CronTrigger().warnings(CronConfig(schedule="@daily"))


def test_another_calendar_is_another_schedule() -> None:
    """What was settled by the old one says nothing about the new one's days."""
    texts = {
        CronConfig(schedule="@daily", calendar=calendar).text for calendar in (None, {}, "DE", {"closed": "12-24"})
    }
    assert len(texts) == 4
