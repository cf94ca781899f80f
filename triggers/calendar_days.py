"""Calendars: on which days a schedule runs. Pure arithmetic on dates."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import islice
from typing import Literal

from hark.triggers.holiday_dates import weekend_at, year_at

_MONTHS = 60
"""How far is looked for the next open day. Whoever has none in five years has none."""
_DAY = timedelta(days=1)
Otherwise = Literal["skip", "next", "previous"]


@dataclass(frozen=True, slots=True)
class DayList:
    """Dates, and days of every year."""

    dates: frozenset[date] = frozenset()
    yearly: frozenset[tuple[int, int]] = frozenset()
    """Month and day."""

    def __contains__(self, day: date) -> bool:
        return day in self.dates or (day.month, day.day) in self.yearly


@dataclass(frozen=True, slots=True)
class Calendar:
    """Says which days are open: business days, or holidays; all of a month, or the first, the last … of it."""

    places: tuple[str, ...] = ()
    closed: DayList = field(default_factory=DayList)
    worked: DayList = field(default_factory=DayList)
    """Business days whatever else says otherwise."""
    weekend: frozenset[int] | None = None
    """Monday is 0; None: that of the first place, or Saturday and Sunday."""
    holidays: bool = False
    """Open are the holidays, and not the business days."""
    nth: tuple[int, ...] = ()
    """Only these of a month's open days: 1 the first, -1 the last. Empty: all."""
    otherwise: Otherwise = "skip"
    _months: dict[tuple[int, int], tuple[date, ...]] = field(default_factory=dict, compare=False, repr=False)

    def open_days(self, year: int, month: int) -> tuple[date, ...]:
        """Return the open days of a month."""
        found = self._months.get((year, month))
        if found is None:
            found = self._months[year, month] = tuple(self._pick(year, month))
        return found

    def next_open(self, day: date) -> date | None:
        """Return the first open day that is not before a day; None when there is none in five years."""
        months = islice(_months_from(day), _MONTHS)
        return next((one for month in months for one in self.open_days(*month) if one >= day), None)

    def last_open(self, day: date) -> date | None:
        """Return the last open day that is not after a day; None when there was none in five years."""
        months = islice(_months_to(day), _MONTHS)
        return next((one for month in months for one in reversed(self.open_days(*month)) if one <= day), None)

    def moved(self, day: date) -> date | None:
        """Return the open day on which runs what falls on a day."""
        return self.last_open(day) if self.otherwise == "previous" else self.next_open(day)

    def _pick(self, year: int, month: int) -> Iterator[date]:
        days = [date(year, month, number) for number in range(1, monthrange(year, month)[1] + 1)]
        is_open = self._is_holiday if self.holidays else self._is_business
        days = [day for day in days if is_open(day)]
        if not self.nth:
            return iter(days)
        wanted = {number - 1 if number > 0 else len(days) + number for number in self.nth}
        return (day for index, day in enumerate(days) if index in wanted)

    def _is_holiday(self, day: date) -> bool:
        if day in self.worked:
            return False
        return day in self.closed or any(day in year_at(name, day.year).closed for name in self.places)

    def _is_business(self, day: date) -> bool:
        if day in self.worked:
            return True
        if self._is_holiday(day):
            return False
        return day.weekday() not in self._weekend or any(day in year_at(name, day.year).worked for name in self.places)

    @property
    def _weekend(self) -> frozenset[int]:
        if self.weekend is not None:
            return self.weekend
        return weekend_at(self.places[0]) if self.places else frozenset({5, 6})


def _months_from(day: date) -> Iterator[tuple[int, int]]:
    year, month = day.year, day.month
    while year <= date.max.year:
        yield year, month
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)


def _months_to(day: date) -> Iterator[tuple[int, int]]:
    year, month = day.year, day.month
    while year >= date.min.year:
        yield year, month
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
