"""Durations as people write them: `50ms`, `10s`, `1h30m`, `7d`, ISO 8601 (`PT10M`), or a number of milliseconds."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_SHORT = re.compile(rf"(?:{_PART.pattern})+")
_ISO = re.compile(
    r"P(?:(?P<w>\d+)W|(?:(?P<d>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<h>\d+(?:\.\d+)?)H)?(?:(?P<m>\d+(?:\.\d+)?)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?)",
)
_LONGEST = timedelta(days=36525)
EXPECTED = "write a duration such as 50ms, 10s, 10m, 2h, 7d or PT10M"


def parse_duration(value: object) -> timedelta:
    """Read a duration, to the millisecond; a bare number is milliseconds. Raises ValueError with a hint."""
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
    elif isinstance(value, bool):
        raise ValueError(EXPECTED)
    elif isinstance(value, int | float):
        seconds = value / 1000
    elif isinstance(value, str):
        seconds = _seconds(value.strip())
    else:
        raise ValueError(EXPECTED)
    if not 0 <= seconds <= _LONGEST.total_seconds():
        raise ValueError("a duration is not negative and at most 100 years")
    return timedelta(milliseconds=round(seconds * 1000))


def _seconds(text: str) -> float:
    if _SHORT.fullmatch(text):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    iso = _ISO.fullmatch(text)
    if iso and any(iso.groupdict().values()):
        return sum(float(number) * _UNITS[unit] for unit, number in iso.groupdict().items() if number)
    if text.isdigit():
        return int(text) / 1000
    raise ValueError(EXPECTED)


def format_duration(duration: timedelta) -> str:
    """Write a duration in the short form that `parse_duration` reads back unchanged."""
    rest = round(duration / timedelta(milliseconds=1))
    if rest == 0:
        return "0s"
    text = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text


def _plain(duration: Any) -> Any:
    return format_duration(duration) if isinstance(duration, timedelta) else duration


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(_plain, when_used="json"),
    WithJsonSchema(
        {
            "type": ["string", "number"],
            "description": "A duration: 50ms, 10s, 10m, 2h, 7d, PT10M, or a number of milliseconds.",
            "examples": ["50ms", "10s", "10m", "2h", "7d", "PT10M"],
        }
    ),
]
"""A pydantic field that holds a timedelta and reads and writes the short form."""
