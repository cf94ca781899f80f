"""What a trigger says about the days on which its schedule runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from hark.triggers import holiday_dates
from hark.triggers.calendar_days import Calendar, DayList, Otherwise
from hark.workflows.catalogue import Config

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_YEARLY = re.compile(r"(\d\d)-(\d\d)")
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | int) else value


def _day(text: str) -> str:
    """Check `2026-12-24`, or `12-24` for every year."""
    yearly = _YEARLY.fullmatch(text)
    try:
        date.fromisoformat(f"2000-{text}" if yearly else text)
    except ValueError:
        raise ValueError(f"{text!r} is no day: write 2026-12-24, or 12-24 for every year") from None
    return text


def _nth(number: int) -> int:
    if not number:
        raise ValueError("days are counted from 1, and from -1 for the last")
    return number


Place = Annotated[str, AfterValidator(holiday_dates.place)]
Day = Annotated[str, Field(max_length=10), AfterValidator(_day)]
Nth = Annotated[int, Field(ge=-31, le=31), AfterValidator(_nth)]


class CalendarConfig(Config):
    """Days on which a schedule runs: business days unless told otherwise."""

    holidays: Annotated[list[Place], BeforeValidator(_as_list)] = Field(default_factory=list, max_length=10)
    """Whose public holidays: a country `DE`, a part of it `DE-BY`, a market `NYSE`; or a list, each of them counts."""
    closed: Annotated[list[Day], BeforeValidator(_as_list)] = Field(default_factory=list, max_length=1000)
    """Holidays of one's own: `2026-12-24`, or `12-24` for every year."""
    open: Annotated[list[Day], BeforeValidator(_as_list)] = Field(default_factory=list, max_length=1000)
    """Days that are business days in spite of weekend and holidays."""
    weekend: list[Weekday] | None = None
    """That of the country if absent, else Saturday and Sunday; `[]`: none."""
    days: Literal["business", "holidays"] = "business"
    """Run on business days, or on holidays instead (a Sunday is none)."""
    nth: Annotated[list[Nth], BeforeValidator(_as_list)] = Field(default_factory=list, max_length=31)
    """Only these of the month's days: 1 is the first business day, -1 the last."""
    otherwise: Otherwise = "skip"
    """What becomes of a slot on another day: none, or it moves to the `next` or `previous` day that counts."""

    def built(self) -> Calendar:
        """Return the calendar, ready to reckon with."""
        weekend = None if self.weekend is None else frozenset(map(_WEEKDAYS.index, self.weekend))
        return Calendar(
            tuple(self.holidays), _listed(self.closed), _listed(self.open), weekend, self.days == "holidays",
            tuple(self.nth), self.otherwise,
        )  # fmt: skip


def in_short(value: Any) -> Any:
    """Take `calendar: DE-BY` for `calendar: {holidays: DE-BY}`."""
    return {"holidays": value} if isinstance(value, str) and "${{" not in value else value


def _listed(texts: Sequence[str]) -> DayList:
    yearly = frozenset((int(found[1]), int(found[2])) for found in map(_YEARLY.fullmatch, texts) if found)
    dates = frozenset(date.fromisoformat(text) for text in texts if not _YEARLY.fullmatch(text))
    return DayList(dates, yearly)
