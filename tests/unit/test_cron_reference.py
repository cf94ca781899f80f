"""Schedules against two others: the main loop of Debian's cron, written down here, and cronsim where it is right.

The quick form looks at the clock changes of four years; `HARK_TEST_CRON_YEARS=1975-2037` at those of all these.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from random import Random
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from hark.triggers.slots import build

ZONES = [
    "Africa/Cairo", "Africa/Casablanca", "Africa/El_Aaiun", "Africa/Juba", "America/Asuncion", "America/Caracas",
    "America/Havana", "America/Los_Angeles", "America/Mexico_City", "America/New_York", "America/Nuuk",
    "America/Port-au-Prince", "America/Santiago", "America/Sao_Paulo", "America/St_Johns", "Antarctica/Casey",
    "Antarctica/Troll", "Asia/Amman", "Asia/Beirut", "Asia/Gaza", "Asia/Kolkata", "Asia/Pyongyang", "Asia/Tehran",
    "Australia/Adelaide", "Australia/Lord_Howe", "Europe/Berlin", "Europe/Chisinau", "Europe/Dublin",
    "Europe/Istanbul", "Europe/Lisbon", "Europe/London", "Europe/Moscow", "Pacific/Apia", "Pacific/Auckland",
    "Pacific/Chatham",
]  # fmt: skip
"""Among them: changes by half an hour, two and three hours, at midnight, a day left out, a negative summer time."""
PLAIN = [
    "America/New_York",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/London",
    "Pacific/Auckland",
    "Australia/Adelaide",
]
EXPRESSIONS = [
    "30 2 * * *", "0 0 * * *", "15 0-3 * * *", "59 23,1 * * 0-6/2", "0,30 2,3 1-15 * 5-7",
    "*/15 * * * *", "30 * * * *", "*/30 2 * * *", "* 0 * * *", "5 */2 * * *",
]  # fmt: skip
YEARS = os.environ.get("HARK_TEST_CRON_YEARS", "2011,2015,2018,2023")
AROUND = timedelta(hours=4)
MINUTE = timedelta(minutes=1)
FIRST = datetime(1970, 1, 1)  # noqa: DTZ001 - a reading of the wall clock


def years() -> list[int]:
    first, _, last = YEARS.partition("-")
    return list(range(int(first), int(last) + 1)) if last else [int(year) for year in YEARS.split(",")]


def changes(name: str) -> Iterator[datetime]:
    """Yield the moments at which a zone's clock changes, found by looking every hour, then every minute."""
    here, hour = ZoneInfo(name), timedelta(hours=1)
    for year in years():
        moment, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
        while moment < end:
            day = moment + timedelta(days=1)
            if moment.astimezone(here).utcoffset() != day.astimezone(here).utcoffset():
                hours = (moment + hour * n for n in range(25))
                before = max(h for h in hours if h.astimezone(here).utcoffset() == moment.astimezone(here).utcoffset())
                minutes = (before + MINUTE * n for n in range(1, 61))
                yield next(m for m in minutes if m.astimezone(here).utcoffset() != before.astimezone(here).utcoffset())
            moment = day


@dataclass
class Job:
    """A line of a crontab, as cron reads it: one set of numbers per field, and which fields begin with a star."""

    fields: list[set[int]]
    wildcard: bool
    either_day: bool

    @classmethod
    def read(cls, line: str) -> Job:
        texts = line.split()
        bounds = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 7)]
        fields = [numbers(text, low, high) for text, (low, high) in zip(texts, bounds, strict=True)]
        fields[4] = {number % 7 for number in fields[4]}
        wildcard = texts[0].startswith("*") or texts[1].startswith("*")
        return cls(fields, wildcard, not texts[2].startswith("*") and not texts[4].startswith("*"))

    def matches(self, minute: int) -> bool:
        """Match a minute of the wall clock, counted from 1970."""
        minutes, hours, days, months, weekdays = self.fields
        if minute % 60 not in minutes or minute // 60 % 24 not in hours:
            return False
        there = FIRST + MINUTE * minute
        if there.month not in months:
            return False
        day, weekday = there.day in days, there.isoweekday() % 7 in weekdays
        return (day or weekday) if self.either_day else (day and weekday)


def numbers(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if span == "*":
            first, last = str(low), str(high)
        found.update(range(int(first), int(last or first) + 1, int(step or 1)))
    return found


def debian(job: Job, day: list[tuple[datetime, int]]) -> set[datetime]:
    """Run cron's main loop from minute to minute, with its virtual time, and return when the job was started.

    A jump ahead by at most 5 minutes is made up for; by less than 3 hours, jobs with a star run for the time that it is
    now, others for every minute that was jumped over; a jump back by less than 3 hours lets the others wait until the
    clock has caught up. Anything else is a clock that was set.
    """
    runs = set()

    def find(at: int, moment: datetime, *, star: bool, fixed: bool) -> None:
        if (star if job.wildcard else fixed) and job.matches(at):
            runs.add(moment)

    virtual = day[0][1]
    for moment, clock in day[1:]:
        ahead = clock - virtual
        if ahead == 1 or ahead > 180 or ahead <= -180:
            virtual = clock
            find(clock, moment, star=True, fixed=True)
            continue
        if ahead > 5 or ahead <= 0:
            find(clock, moment, star=True, fixed=False)
        while virtual < clock:
            virtual += 1
            find(virtual, moment, star=ahead <= 5, fixed=True)
    return runs


def minutes(name: str, start: datetime, end: datetime) -> list[tuple[datetime, int]]:
    """Return every minute with what the wall clock shows, as a count of minutes from 1970."""
    here, count = ZoneInfo(name), int((end - start) / MINUTE)
    moments = (start + MINUTE * number for number in range(count + 1))
    return [(moment, int((moment.astimezone(here).replace(tzinfo=None) - FIRST) / MINUTE)) for moment in moments]


def slots(expression: str, name: str, start: datetime, end: datetime) -> list[datetime]:
    found = (slot.utc for slot in build(expression, name).after(start))
    return list(takewhile(end.__ge__, found))


def some_expression(random: Random) -> str:
    """Make up a line, with and without stars in its minute and hour."""
    minute = random.choice(
        ["*", "*/10", f"{random.randrange(60)}", f"{random.randrange(30)}-{random.randrange(30, 60)}/9"]
    )
    hour = random.choice(["*", "*/2", "0-3", f"{random.randrange(24)}", f"{random.randrange(3)},23"])
    day = random.choice(["*", "*/2", "1-31/3", f"{random.randrange(1, 29)}"])
    return f"{minute} {hour} {day} * {random.choice(['*', '0-5', '0,3,6'])}"


@pytest.mark.parametrize("name", ZONES)
def test_schedules_run_when_debian_cron_runs_them(name: str) -> None:
    """Jobs that it starts several times in one minute, for times that were swallowed, are one slot here."""
    random = Random(name)
    for change in changes(name):
        start, end = change - AROUND, change + AROUND
        day = minutes(name, start, end)
        for expression in [*EXPRESSIONS, some_expression(random), some_expression(random)]:
            assert set(slots(expression, name, start, end)) == debian(Job.read(expression), day), (expression, change)


@pytest.mark.parametrize("name", PLAIN)
def test_schedules_are_those_of_cronsim_where_clocks_change_by_an_hour_at_night(name: str) -> None:
    for change in islice(changes(name), None if "HARK_TEST_CRON_YEARS" in os.environ else 3):
        start, end = change - 3 * AROUND, change + 3 * AROUND
        for expression in [*EXPRESSIONS, "0 12 L * *", "0 6 * * 5#2", "45 1 * * 7L", "*/20 3 LW * *"]:
            theirs = (moment.astimezone(UTC) for moment in CronSim(expression, start.astimezone(ZoneInfo(name))))
            expected = sorted(set(takewhile(end.__ge__, theirs)))
            assert slots(expression, name, start, end) == expected, (expression, change)


def test_the_reference_sees_changes_of_every_kind() -> None:
    """Without them the comparison would say nothing."""
    sizes = set()
    for name in ("Europe/Berlin", "Australia/Lord_Howe", "Antarctica/Troll", "Pacific/Apia", "Asia/Pyongyang"):
        here = ZoneInfo(name)
        for change in changes(name):
            before, after = (change - MINUTE).astimezone(here).utcoffset(), change.astimezone(here).utcoffset()
            assert before is not None
            assert after is not None
            sizes.add((after - before) / timedelta(hours=1))
    assert {-2, -1, -0.5, 0.5, 1, 2, 24} <= sizes
