"""Slots: the due times of a cron schedule in a time zone. Pure arithmetic, no clock.

Daylight saving follows Debian cron. A schedule whose minute and hour are fixed (neither begins with `*`) keeps to the
wall clock: a time that the spring gap swallows runs right after the gap, a time that autumn brings twice runs the first
time. Every other schedule runs whenever the local time matches, so `*/15 * * * *` never pauses and never repeats.

cronsim does the calendar. What it does not do is done here: macros, lists, the Debian rules also for six fields, going
on inside the repeated hour, and changes of half an hour or at midnight.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from hark.workflows.catalogue import suggestion

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = ("second", "minute", "hour", "day of month", "month", "day of week")
_RANGES = ("0-59", "0-59", "0-23", "1-31 or L", "1-12 or jan-dec", "0-7 or sun-sat (0 and 7 are Sunday)")
_LONGEST = 500
_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall clock reading, only to try whether a schedule ever fires
_MINUTE = timedelta(minutes=1)
_SECOND = timedelta(seconds=1)
_SHORTEST_SEASON = timedelta(days=7)
"""No clock change has been kept for less: the shortest are those of Ramadan in Egypt and Morocco, of about a month."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One due time; `note` says what daylight saving did to it, if anything."""

    utc: datetime
    local: datetime
    note: str = ""


@dataclass(frozen=True, slots=True)
class Schedule:
    """One or several cron expressions in one time zone; a moment that several of them name is one slot."""

    expressions: tuple[str, ...]
    zone: ZoneInfo

    def after(self, moment: datetime) -> Iterator[Slot]:
        """Yield the slots later than `moment`, in order, without end.

        Raises ValueError where the calendar of Python begins and ends, with the years 1 and 9999.
        """
        try:
            yield from self._after(moment)
        except (OverflowError, ValueError) as error:
            # The expressions and the zone are good: all that can fail is a date out of range.
            raise ValueError("due times are known within the years 1 to 9999 only, in UTC and in the zone") from error

    def _after(self, moment: datetime) -> Iterator[Slot]:
        streams = [_stream(expression, self.zone, moment) for expression in self.expressions]
        last = moment
        for slot in heapq.merge(*streams, key=lambda slot: slot.utc):
            if slot.utc > last:
                last = slot.utc
                yield slot

    def between(self, after: datetime, until: datetime, limit: int) -> list[Slot]:
        """Return the slots with `after < slot <= until`; of more than `limit` the latest, in order.

        Looks back through windows that double, so the cost follows `limit` and not the length of the time.
        """
        window = _MINUTE
        while True:
            start = max(after, until - window)
            found = deque((slot for slot in _until(self.after(start), until)), maxlen=limit)
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


def build(schedule: str | Sequence[str], timezone: str) -> Schedule:
    """Check and build a schedule. Raises ValueError that says what would be right."""
    texts = [schedule] if isinstance(schedule, str) else schedule
    return Schedule(tuple(normalised(text) for text in texts), zone(timezone))


def normalised(expression: str) -> str:
    """Return an expression as five or six fields in upper case. Raises ValueError when it is wrong or never fires."""
    if len(expression) > _LONGEST:
        raise ValueError(f"a schedule has at most {_LONGEST} characters")
    text = expression.strip().lower()
    if text.startswith("@"):
        return _macro(text)
    fields = text.replace("-sun", "-7").upper().split()
    if len(fields) not in (5, 6):
        raise ValueError(_wrong_count(expression, len(fields)))
    _check_fields(expression, fields)
    plain = " ".join(fields)
    if not _ever_fires(plain):
        raise ValueError(f"schedule {expression!r} never fires: no date has that day, month and weekday")
    return plain


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo:
    """Return an IANA time zone. Raises ValueError with a suggestion."""
    if name not in _zone_names():
        folded = {known.lower(): known for known in _zone_names()}
        near = folded.get(name.strip().lower().replace(" ", "_"))
        hint = f"did you mean {near}?" if near else suggestion(name, _zone_names())
        raise ValueError(f"unknown time zone {name!r}: {hint}")
    return ZoneInfo(name)


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones()) - {"localtime", "Factory"}


def _macro(text: str) -> str:
    if text == "@reboot":
        raise ValueError("@reboot is no time: subscribe to an event or use one of " + ", ".join(MACROS))
    if text not in MACROS:
        raise ValueError(f"unknown schedule {text!r}: {suggestion(text, MACROS)}")
    return MACROS[text]


def _wrong_count(expression: str, count: int) -> str:
    hint = "write minute hour day-of-month month day-of-week, such as 0 9 * * mon-fri, with seconds first if wanted"
    if count == 7:
        hint += "; a year field is not supported"
    return f"schedule {expression!r} has {count} field{'s' * (count != 1)}, not 5 or 6: {hint}"


def _check_fields(expression: str, fields: Sequence[str]) -> None:
    """Try each field alone among stars, so that the message can name the one that is wrong."""
    offset = 6 - len(fields)
    for index, field in enumerate(fields, start=offset):
        alone = ["*"] * 6
        alone[index] = field
        try:
            CronSim(" ".join(alone), _EPOCH)
        except (CronSimError, ValueError) as error:
            raise ValueError(_bad_field(expression, index, field)) from error


def _bad_field(expression: str, index: int, field: str) -> str:
    hint = f"allowed: {_RANGES[index]}, lists (1,2), ranges (1-5), steps (*/5)"
    if index == 5:
        hint += ", nth (mon#1), last (5L)"
    if field == "?":
        hint = "write * instead of ?"
    return f"schedule {expression!r}: {field.lower()!r} is no {_FIELDS[index]}; {hint}; a range goes upward"


@lru_cache(maxsize=1024)
def _ever_fires(expression: str) -> bool:
    try:
        return next(CronSim(expression, _EPOCH), None) is not None
    except CronSimError:
        return False


def _stream(expression: str, zone: ZoneInfo, moment: datetime) -> Iterator[Slot]:
    minute, hour = expression.split()[-5:-3]
    fixed = not minute.startswith("*") and not hour.startswith("*")
    return (_by_wall_clock if fixed else _by_elapsed_time)(expression, zone, moment.astimezone(UTC))


def _until(slots: Iterable[Slot], until: datetime) -> Iterator[Slot]:
    for slot in slots:
        if slot.utc > until:
            return
        yield slot


def _by_wall_clock(expression: str, zone: ZoneInfo, moment: datetime) -> Iterator[Slot]:
    """Yield one slot for each reading of the wall clock that matches; may begin with slots before `moment`."""
    wall = moment.astimezone(zone).replace(tzinfo=None)
    for reading in CronSim(expression, wall):
        yield _on_wall(reading, zone)


def _on_wall(reading: datetime, zone: ZoneInfo) -> Slot:
    first = reading.replace(tzinfo=zone)
    if _exists(first):
        note = f"{reading:%H:%M} comes twice that day; runs the first time" if _is_double(first) else ""
        return Slot(first.astimezone(UTC), first, note)
    later = reading.replace(second=0)
    while not _exists(later.replace(tzinfo=zone)):
        later += _MINUTE
    local = later.replace(tzinfo=zone)
    return Slot(local.astimezone(UTC), local, f"{reading:%H:%M} does not exist that day; runs right after the change")


def _by_elapsed_time(expression: str, zone: ZoneInfo, moment: datetime) -> Iterator[Slot]:
    """Yield one slot for each moment at which the local time matches.

    Walks the wall clock of one UTC offset at a time. (cronsim can walk through a change itself, but goes astray where
    the clock changes by half an hour or at midnight: Lord Howe, Cairo, Beirut, Havana.)
    """
    known, start, offset = moment, moment, _offset(zone, moment)
    while True:
        for reading in CronSim(expression, (start + offset).replace(tzinfo=None)):
            utc = reading.replace(tzinfo=UTC) - offset
            change = _next_change(zone, known, utc)
            if change is not None:
                known, start, offset = change, change - _SECOND, _offset(zone, change)
                break
            known = utc
            local = utc.astimezone(zone)
            yield Slot(utc, local, _which_of_two(local))
        else:
            return


def _next_change(zone: ZoneInfo, after: datetime, until: datetime) -> datetime | None:
    """Return the first moment in (after, until] with another UTC offset than at `after`, to the second."""
    offset = _offset(zone, after)
    same = after
    while same < until:
        other = min(until, same + _SHORTEST_SEASON)
        if _offset(zone, other) != offset:
            return _bisect(zone, same, other, offset)
        same = other
    return None


def _bisect(zone: ZoneInfo, same: datetime, other: datetime, offset: timedelta) -> datetime:
    """Return the first moment in (same, other] whose offset differs from that at `same`."""
    low, high = int(same.timestamp()), int(other.timestamp())
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(zone, datetime.fromtimestamp(middle, UTC)) == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def _which_of_two(local: datetime) -> str:
    if not _is_double(local):
        return ""
    return f"the {'second' if local.fold else 'first'} {local:%H:%M} of two that day"


def _exists(local: datetime) -> bool:
    return local.astimezone(UTC).astimezone(local.tzinfo).replace(tzinfo=None) == local.replace(tzinfo=None)


def _is_double(local: datetime) -> bool:
    before, after = local.replace(fold=0).utcoffset(), local.replace(fold=1).utcoffset()
    return before is not None and after is not None and before > after
