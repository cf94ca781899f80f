"""Cron expressions as people write them, checked and made plain. What they mean is in `cron_slots`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache

from cronsim import CronSim, CronSimError

from hark.workflows.catalogue import suggestion
from hark.workflows.counting import counted

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
_SOME_DAY = datetime(2000, 1, 1)  # noqa: DTZ001 - a wall clock reading, only to try whether a schedule ever fires


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


def is_fixed(plain: str) -> bool:
    """Tell whether a plain expression keeps to the wall clock, as Debian cron has it: no star in minute and hour."""
    minute, hour = plain.split()[-5:-3]
    return not minute.startswith("*") and not hour.startswith("*")


def times_a_day(plain: str) -> int:
    """Return how often a plain expression fires on a day on which it does."""
    cron = CronSim(plain, _SOME_DAY)
    return len(cron.seconds) * len(cron.minutes) * len(cron.hours)


def _macro(text: str) -> str:
    if text == "@reboot":
        raise ValueError("@reboot is no time: subscribe to an event or use one of " + ", ".join(MACROS))
    if text.startswith("@every"):
        raise ValueError(f"write every: {text[6:].strip() or '15m'} instead of schedule: {text}")
    if text not in MACROS:
        raise ValueError(f"unknown schedule {text!r}: {suggestion(text, MACROS)}")
    return MACROS[text]


def _wrong_count(expression: str, count: int) -> str:
    hint = "write minute hour day-of-month month day-of-week, such as 0 9 * * mon-fri, with seconds first if wanted"
    if count == 7:
        hint += "; a year field is not supported"
    return f"schedule {expression!r} has {counted(count, 'field')}, not 5 or 6: {hint}"


def _check_fields(expression: str, fields: Sequence[str]) -> None:
    """Try each field alone among stars, so that the message can name the one that is wrong."""
    offset = 6 - len(fields)
    for index, field in enumerate(fields, start=offset):
        alone = ["*"] * 6
        alone[index] = field
        try:
            CronSim(" ".join(alone), _SOME_DAY)
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
        return next(CronSim(expression, _SOME_DAY), None) is not None
    except CronSimError:
        return False
