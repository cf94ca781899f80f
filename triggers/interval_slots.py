"""Slots without a cron expression: at equal distances, and at moments that are named. Pure arithmetic, no clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hark.triggers.slot import Slot
from hark.triggers.wall_clock import exists, first_moment, is_double

MONDAY = datetime(2001, 1, 1)  # noqa: DTZ001 - a reading of the wall clock; a Monday, so that weeks begin with one
SHORTEST = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class IntervalSlots:
    """Slots at equal distances of elapsed time: clock changes make no difference."""

    period: timedelta
    zone: ZoneInfo
    anchor: datetime | None
    """The first slot, a moment or a reading of the wall clock; None: counted from a Monday's midnight, both ways."""

    def after(self, moment: datetime) -> Iterator[Slot]:
        """Yield the slots after a moment."""
        start = _moment_of(self.anchor or MONDAY, self.zone).astimezone(UTC)
        number = (moment - start) // self.period + 1
        if self.anchor is not None:
            number = max(number, 0)
        utc = start + number * self.period
        while True:
            yield Slot(utc, utc.astimezone(self.zone))
            utc += self.period


@dataclass(frozen=True, slots=True)
class MomentSlots:
    """Slots at moments, or readings of the wall clock, that are named."""

    moments: tuple[datetime, ...]
    zone: ZoneInfo

    def after(self, moment: datetime) -> Iterator[Slot]:
        """Yield the slots after a moment; they end."""
        found = [Slot(_moment_of(one, self.zone).astimezone(UTC), _moment_of(one, self.zone), self._note(one))
                 for one in self.moments]  # fmt: skip
        yield from sorted((slot for slot in found if slot.utc > moment), key=lambda slot: slot.utc)

    def _note(self, moment: datetime) -> str:
        if moment.tzinfo is not None:
            return ""
        local = moment.replace(tzinfo=self.zone)
        if not exists(local):
            later = first_moment(moment, self.zone)
            return f"{moment:%H:%M} is skipped, it does not exist that day; runs at {later:%H:%M}"
        return f"{moment:%H:%M} comes twice that day; runs the first time" if is_double(local) else ""


def parse_moment(text: str) -> datetime:
    """Read `2026-12-24T18:00`, a reading of the wall clock, or with an offset a moment. Raises ValueError."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no time: write 2026-12-24T18:00 for the trigger's time zone, or 2026-12-24T17:00Z"
        ) from None


def _moment_of(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone) if moment.tzinfo is not None else first_moment(moment, zone)
