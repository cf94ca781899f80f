"""Functions on timestamps and durations, exact to the microsecond.

More lenient than CEL's standard where JSON from PostgreSQL needs it: `timestamp()` also reads a date alone and a time
without an offset (both count as UTC); `duration()` also knows `d` and `w`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from hark.workflows.cel.registry import overload
from hark.workflows.errors import ExpressionError

_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\d([Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?\s?([Zz]|[+-]\d\d(:?\d\d)?)?)?",
    re.ASCII,
)
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h|d|w)", re.ASCII)
_DURATION = re.compile(rf"[+-]?(0|({_PART.pattern})+)", re.ASCII)
_OFFSET = re.compile(r"([+-]?)(\d{1,2}):(\d\d)", re.ASCII)
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _in_range(compute: Callable[[], Any]) -> Any:
    try:
        return compute()
    except OverflowError as error:
        raise ExpressionError("the time is out of range") from error


@overload("timestamp", datetime)
@overload("duration", timedelta)
def _same(value: Any) -> Any:
    return value


@overload("timestamp", str)
def _timestamp(text: str) -> datetime:
    if not _MOMENT.fullmatch(text):
        raise ExpressionError("the text is not a timestamp", hint="write it like 2026-01-31T09:00:00Z")
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise ExpressionError("the text is not a timestamp: no such day or time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@overload("timestamp", int)
def _timestamp_of_seconds(seconds: int) -> datetime:
    return _in_range(lambda: _EPOCH + timedelta(seconds=seconds))  # type: ignore[no-any-return]


@overload("duration", str)
def _duration(text: str) -> timedelta:
    if not _DURATION.fullmatch(text):
        raise ExpressionError("the text is not a duration", hint="write it like 90s, 1h30m or 2d")
    size = _in_range(lambda: sum((_part(*part) for part in _PART.findall(text)), timedelta(0)))
    return -size if text.startswith("-") else size  # type: ignore[no-any-return]


def _part(number: str, unit: str) -> timedelta:
    whole = int(number) if number.isdigit() else float(number)
    return timedelta(seconds=whole * _SECONDS[unit])


@overload("duration", int)
def _duration_of_seconds(seconds: int) -> timedelta:
    return _in_range(lambda: timedelta(seconds=seconds))  # type: ignore[no-any-return]


@overload("_+_", datetime, timedelta)
@overload("_+_", timedelta, timedelta)
@overload("_+_", timedelta, datetime)
def _add(a: Any, b: Any) -> Any:
    return _in_range(lambda: a + b)


@overload("_-_", datetime, timedelta)
@overload("_-_", timedelta, timedelta)
@overload("_-_", datetime, datetime)
def _subtract(a: Any, b: Any) -> Any:
    return _in_range(lambda: a - b)


overload("-_", timedelta)(lambda duration: -duration)


@lru_cache(maxsize=128)
def _zone(name: str) -> tzinfo:
    offset = _OFFSET.fullmatch(name)
    try:
        if offset is None:
            return ZoneInfo(name)
        minutes = int(offset[2]) * 60 + int(offset[3])
        return timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
    except (ValueError, OSError, LookupError) as error:
        raise ExpressionError("unknown time zone", hint="write it like Europe/Berlin or +02:00") from error


_FIELDS: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda moment: moment.year,
    "getMonth": lambda moment: moment.month - 1,
    "getDate": lambda moment: moment.day,
    "getDayOfMonth": lambda moment: moment.day - 1,
    "getDayOfWeek": lambda moment: moment.isoweekday() % 7,
    "getDayOfYear": lambda moment: moment.timetuple().tm_yday - 1,
    "getHours": lambda moment: moment.hour,
    "getMinutes": lambda moment: moment.minute,
    "getSeconds": lambda moment: moment.second,
    "getMilliseconds": lambda moment: moment.microsecond // 1000,
}


def _register_fields() -> None:
    for name, read in _FIELDS.items():
        overload(name, datetime)(lambda moment, read=read: read(moment.astimezone(UTC)))
        overload(name, datetime, str)(
            lambda moment, zone, read=read: read(_in_range(lambda: moment.astimezone(_zone(zone)))),
        )
    for name, unit in (("getHours", 3600), ("getMinutes", 60), ("getSeconds", 1)):
        overload(name, timedelta)(lambda duration, unit=unit: int(duration / timedelta(seconds=unit)))
    overload("getMilliseconds", timedelta)(_milliseconds)


def _milliseconds(duration: timedelta) -> int:
    """Return the milliseconds within the second, with the sign of the duration."""
    milliseconds = abs(duration) // timedelta(milliseconds=1) % 1000
    return -milliseconds if duration < timedelta(0) else milliseconds


_register_fields()
