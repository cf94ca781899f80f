"""Public holidays by country or market, from the library `holidays`.

It is loaded when the first calendar names a place: it takes about 0.3 s and 20 MiB, which a daemon without such a
calendar does not spend.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from functools import lru_cache
from typing import TYPE_CHECKING

from hark.workflows.catalogue import suggestion

if TYPE_CHECKING:
    from holidays import HolidayBase


@dataclass(frozen=True, slots=True)
class HolidayYear:
    """A year at one place."""

    closed: frozenset[date]
    worked: frozenset[date]
    """Days of the weekend on which people work, in exchange for others."""


def place(text: str) -> str:
    """Return a place as it is kept: `DE`, `DE-BY`, `NYSE`. Raises ValueError that says what would be right."""
    code, _, part = text.strip().partition("-")
    parts = _places().get(code.upper())
    if parts is None:
        raise ValueError(f"there are no holidays of {text!r}: {_hint(text)}")
    if not part:
        return code.upper()
    known = {name.upper(): name for name in parts}
    if part.upper() not in known:
        hint = suggestion(part.upper(), parts) if parts else f"{code.upper()} has no parts with holidays of their own"
        raise ValueError(f"{code.upper()} has no part {part!r}: {hint}")
    return f"{code.upper()}-{known[part.upper()]}"


@lru_cache(maxsize=512)
def year_at(name: str, year: int) -> HolidayYear:
    """Return the holidays of a year at a place that `place` has named."""
    # A holiday that is kept on another day may be kept in the year before or after its own.
    entity = _entity(name, year - 1, year, year + 1)
    worked = getattr(entity, "weekend_workdays", ())
    return HolidayYear(
        frozenset(day for day in entity if day.year == year), frozenset(day for day in worked if day.year == year)
    )


@lru_cache(maxsize=64)
def weekend_at(name: str) -> frozenset[int]:
    """Return the weekend at a place: Monday is 0."""
    return frozenset(_entity(name).weekend)


@lru_cache(maxsize=1)
def _places() -> dict[str, list[str]]:
    import holidays  # noqa: PLC0415 - see above

    return {**holidays.list_supported_financial(), **holidays.list_supported_countries()}


def _hint(text: str) -> str:
    """Say which code was probably meant; people write the names of countries."""
    from holidays.registry import COUNTRIES  # noqa: PLC0415 - see above

    names = {name.replace("_", " "): codes[1] for name, codes in COUNTRIES.items()}
    near = get_close_matches(text.strip().lower(), names, n=1)
    if near:
        return f"did you mean {names[near[0]]}?"
    codes = get_close_matches(text.strip().upper(), _places(), n=2)
    return f"write a country such as DE, a part such as DE-BY{f'; did you mean {codes[0]}?' if codes else ''}"


def _entity(name: str, *years: int) -> HolidayBase:
    import holidays  # noqa: PLC0415 - see above

    code, _, part = name.partition("-")
    if code in holidays.list_supported_countries():
        return holidays.country_holidays(code, subdiv=part or None, years=years or None, expand=False)
    return holidays.financial_holidays(code, subdiv=part or None, years=years or None, expand=False)
