"""The slots of a cron expression in a zone. Pure arithmetic, no clock.

Daylight saving follows Debian cron. A schedule whose minute and hour are fixed (neither begins with `*`) keeps to the
wall clock: a time that the spring gap swallows runs right after the gap, a time that autumn brings twice runs the first
time; a jump by three hours or more (a country that crosses the date line) leaves out what it swallows. Every other
schedule runs whenever the local time matches, so `*/15 * * * *` never pauses and never repeats.

cronsim does the calendar. What it does not do is done here: the Debian rules also for six fields, going on inside the
repeated hour, and changes of half an hour or at midnight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import product
from zoneinfo import ZoneInfo

from cronsim import CronSim

from hark.triggers.calendar_days import Calendar
from hark.triggers.cron_expression import is_fixed
from hark.triggers.slot import Slot
from hark.triggers.wall_clock import end_of_gap, exists, gap_at, is_double, next_change, offset_at

_SECOND = timedelta(seconds=1)
_DAY = timedelta(days=1)
_FORGOTTEN = timedelta(hours=3)
"""Debian cron takes a longer jump for a clock that was set, and runs nothing of what lies in between."""


@dataclass(frozen=True, slots=True)
class CronSlots:
    """The slots of one plain expression."""

    expression: str
    zone: ZoneInfo
    fixed: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fixed", is_fixed(self.expression))

    def after(self, moment: datetime) -> Iterator[Slot]:
        """Yield the slots after a moment, in order; perhaps some before it too."""
        return self._by_wall_clock(moment) if self.fixed else self._by_elapsed_time(moment)

    def moved(self, moment: datetime, calendar: Calendar) -> Iterator[Slot]:
        """Yield the slots with those of closed days moved to the open day that the calendar names."""
        here = moment.astimezone(self.zone).replace(tzinfo=None)
        begin = calendar.last_open(here.date() - _DAY) or here.date()
        cron = CronSim(self.expression, datetime.combine(begin, time()))
        times = sorted(map(time, *zip(*product(cron.hours, cron.minutes, cron.seconds), strict=True)))
        for origin, day in self._moves(begin, calendar):
            for at in times:
                reading = datetime.combine(day, at)
                if reading >= here - _FORGOTTEN:  # what a gap swallows runs later, by less than this
                    yield from self._on_wall(reading, _moved_from(origin, day))

    def _moves(self, begin: date, calendar: Calendar) -> Iterator[tuple[date, date]]:
        """Yield the open days that get slots, each with the day from which they come.

        The times are the same on each day. So of all the days that go to one open day, which follow on one another,
        only the first counts, or the open day itself; the calendar is asked once for them all.
        """
        while (origin := self._first_day(begin)) is not None:
            day = calendar.moved(origin)
            if day is None:
                return
            yield (day if self._first_day(day) == day else origin), day
            following = day + _DAY if calendar.otherwise == "next" else calendar.next_open(day + _DAY)
            if following is None:
                return
            begin = following

    def _first_day(self, begin: date) -> date | None:
        """Return the first day from one on that the expression names."""
        days = " ".join(["0", "0", *self.expression.split()[-3:]])
        reading = next(CronSim(days, datetime.combine(begin, time()) - _SECOND), None)
        return None if reading is None else reading.date()

    def _by_wall_clock(self, moment: datetime) -> Iterator[Slot]:
        """Yield one slot for each reading of the wall clock that matches."""
        for reading in CronSim(self.expression, moment.astimezone(self.zone).replace(tzinfo=None)):
            yield from self._on_wall(reading)

    def _on_wall(self, reading: datetime, moved: str = "") -> Iterator[Slot]:
        first = reading.replace(tzinfo=self.zone)
        if exists(first):
            note = f"{reading:%H:%M} comes twice that day; runs the first time" if is_double(first) else ""
            yield Slot(first.astimezone(UTC), first, "; ".join(filter(None, (moved, note))))
        elif gap_at(first) < _FORGOTTEN:
            local = end_of_gap(first, self.zone)
            note = f"{reading:%H:%M} is skipped, it does not exist that day; runs at {local:%H:%M}"
            yield Slot(local.astimezone(UTC), local, "; ".join(filter(None, (moved, note))))

    def _by_elapsed_time(self, moment: datetime) -> Iterator[Slot]:
        """Yield one slot for each moment at which the local time matches.

        Walks the wall clock of one UTC offset at a time. (cronsim can walk through a change itself, but goes astray
        where the clock changes by half an hour or at midnight: Lord Howe, Cairo, Beirut, Havana.)
        """
        moment = moment.astimezone(UTC)
        known, start, offset, left_out = moment, moment, offset_at(self.zone, moment), ""
        while True:
            for reading in CronSim(self.expression, (start + offset).replace(tzinfo=None)):
                utc = reading.replace(tzinfo=UTC) - offset
                change = next_change(self.zone, known, utc)
                if change is not None:
                    left_out = self._left_out(change, offset)
                    known, start, offset = change, change - _SECOND, offset_at(self.zone, change)
                    break
                known = utc
                local = utc.astimezone(self.zone)
                yield Slot(utc, local, left_out or _which_of_two(local))
                left_out = ""
            else:
                return

    def _left_out(self, change: datetime, offset: timedelta) -> str:
        """Tell of a reading that a change jumps over, for a schedule that names its hours; of others it is no loss."""
        if self.expression.split()[-4].startswith("*"):
            return ""
        jump = (change + offset).replace(tzinfo=None)
        swallowed = next(CronSim(self.expression, jump - _SECOND))
        if swallowed >= jump + offset_at(self.zone, change) - offset:
            return ""
        return f"{swallowed:%H:%M} was skipped before, it does not exist on {swallowed:%Y-%m-%d}"


def _which_of_two(local: datetime) -> str:
    if not is_double(local):
        return ""
    return f"runs twice: the {'second' if local.fold else 'first'} {local:%H:%M} that day"


def _moved_from(origin: date, day: date) -> str:
    return "" if origin == day else f"moved from {origin:%a %Y-%m-%d}"
