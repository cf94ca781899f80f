"""Slots: the due times of a schedule in a time zone. Pure arithmetic, no clock."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from hark.triggers.calendar_days import Calendar
from hark.triggers.cron_expression import normalised
from hark.triggers.cron_slots import CronSlots
from hark.triggers.slot import Slot, Slots
from hark.triggers.wall_clock import first_moment
from hark.triggers.zones import zone

_MINUTE = timedelta(minutes=1)
_INSTANT = timedelta(microseconds=1)
_LONGEST_WAIT = timedelta(days=5 * 366)
"""A schedule and a calendar that do not meet in this time (Sundays, and business days) never do."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What yields slots in one time zone, and on which days; a moment that several of them name is one slot."""

    sources: tuple[Slots, ...]
    zone: ZoneInfo
    calendar: Calendar | None = None

    def after(self, moment: datetime) -> Iterator[Slot]:
        """Yield the slots later than `moment`, in order.

        Raises ValueError where the calendar of Python begins and ends, with the years 1 and 9999.
        """
        try:
            yield from self._after(moment)
        except (OverflowError, ValueError) as error:
            # The expressions and the zone are good: all that can fail is a date out of range.
            raise ValueError("due times are known within the years 1 to 9999 only, in UTC and in the zone") from error

    def _after(self, moment: datetime) -> Iterator[Slot]:
        streams = [self._stream(source, moment) for source in self.sources]
        last = moment
        for slot in heapq.merge(*streams, key=lambda slot: slot.utc):
            if slot.utc > last:
                last = slot.utc
                yield slot

    def _stream(self, source: Slots, moment: datetime) -> Iterator[Slot]:
        if self.calendar is None:
            return source.after(moment)
        if self.calendar.otherwise == "skip":
            return self._on_open_days(source, self.calendar, moment)
        if isinstance(source, CronSlots) and source.fixed:
            return source.moved(moment, self.calendar)
        raise TypeError("only slots that keep to the wall clock can be moved to another day")

    def _on_open_days(self, source: Slots, calendar: Calendar, moment: datetime) -> Iterator[Slot]:
        """Leave out what falls on other days; from there it goes on at the next open day, whatever lies between."""
        last = moment
        while True:
            found = next((slot for slot in source.after(moment) if slot.utc > moment), None)
            if found is None or found.utc - last > _LONGEST_WAIT:
                return
            day = found.local.date()
            opens = calendar.next_open(day)
            if opens is None:
                return
            if opens > day:
                midnight = first_moment(datetime.combine(opens, time()), self.zone)
                moment = max(found.utc, midnight - _INSTANT)
                continue
            for slot in source.after(moment):
                if slot.utc <= moment:
                    continue
                if slot.local.date() != day:
                    break
                last = moment = slot.utc
                yield slot

    def within(self, after: datetime, until: datetime) -> Iterator[Slot]:
        """Yield the slots with `after < slot <= until`, in order."""
        for slot in self.after(after):
            if slot.utc > until:
                return
            yield slot

    def between(self, after: datetime, until: datetime, limit: int) -> list[Slot]:
        """Return the slots with `after < slot <= until`; of more than `limit` the latest, in order.

        Looks back through windows that double, so the cost follows `limit` and not the length of the time.
        """
        window = _MINUTE
        while True:
            start = max(after, until - window)
            found = deque(self.within(start, until), maxlen=limit)
            if start == after or len(found) == limit:
                return list(found)
            window *= 2


def slots_after(schedule: str | Sequence[str], timezone: str, after: datetime, count: int) -> list[Slot]:
    """Return the next `count` slots later than `after`. Raises ValueError for a bad schedule, zone or moment."""
    return list(islice(build(schedule, timezone).after(after), count))


def slots_between(
    schedule: str | Sequence[str], timezone: str, after: datetime, until: datetime, limit: int
) -> list[Slot]:
    """Return the slots with `after < slot <= until`, at most the latest `limit`. Raises like `slots_after`."""
    return build(schedule, timezone).between(after, until, limit)


def build(schedule: str | Sequence[str], timezone: str, calendar: Calendar | None = None) -> Schedule:
    """Check and build a schedule of cron expressions. Raises ValueError that says what would be right."""
    here = zone(timezone)
    texts = [schedule] if isinstance(schedule, str) else schedule
    return Schedule(tuple(CronSlots(normalised(text), here) for text in texts), here, calendar)
