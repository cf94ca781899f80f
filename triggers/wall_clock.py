"""The wall clock of a zone: what it reads when, which readings it leaves out, and which it shows twice. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

_SHORTEST_SEASON = timedelta(days=7)
"""No clock change has been kept for less: the shortest are those of Ramadan in Egypt and Morocco, of about a month."""


def offset_at(zone: ZoneInfo, moment: datetime) -> timedelta:
    """Return how far the wall clock is ahead of UTC."""
    return moment.astimezone(zone).utcoffset() or timedelta()


def next_change(zone: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """Return the first moment in (after, until] with another UTC offset than at `after`, to the second."""
    offset = offset_at(zone, after)
    same = after
    while same < until:
        other = min(until, same + _SHORTEST_SEASON)
        if offset_at(zone, other) != offset:
            return _bisect(zone, same, other, offset)
        same = other
    return None


def _bisect(zone: ZoneInfo, same: datetime, other: datetime, offset: timedelta) -> datetime:
    """Return the first moment in (same, other] whose offset differs from that at `same`."""
    low, high = int(same.timestamp()), int(other.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if offset_at(zone, datetime.fromtimestamp(middle, UTC)) == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def exists(local: datetime) -> bool:
    """Tell whether the wall clock ever shows a local time."""
    return local.astimezone(UTC).astimezone(local.tzinfo).replace(tzinfo=None) == local.replace(tzinfo=None)


def is_double(local: datetime) -> bool:
    """Tell whether the wall clock shows a local time twice."""
    before, after = _around(local)
    return before > after


def gap_at(local: datetime) -> timedelta:
    """Return by how much the wall clock jumps over a local time that does not exist."""
    before, after = _around(local)
    return after - before


def end_of_gap(local: datetime, zone: ZoneInfo) -> datetime:
    """Return the first local time after the jump over one that does not exist."""
    before, after = _around(local)
    reading = local.replace(tzinfo=UTC)
    change = next_change(zone, reading - after, reading - before)
    return (change or reading - before).astimezone(zone)


def first_moment(reading: datetime, zone: ZoneInfo) -> datetime:
    """Return when the wall clock first shows a reading, or, when it jumps over it, when it has jumped."""
    local = reading.replace(tzinfo=zone)
    return local if exists(local) else end_of_gap(local, zone)


def _around(local: datetime) -> tuple[timedelta, timedelta]:
    """Return the offsets before and after a change that is near a local time; equal when none is."""
    before, after = local.replace(fold=0).utcoffset(), local.replace(fold=1).utcoffset()
    return before or timedelta(), after or timedelta()
