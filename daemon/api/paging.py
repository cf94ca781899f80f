"""Parameters of lists: limits, cursors that callers need not understand, and moments as people write them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter

from hark.daemon.store.listing import FIRST_ID, LAST_ID, Span
from hark.workflows.documented import Documented
from hark.workflows.durations import parse_duration
from hark.workflows.errors import UnprocessableError
from hark.workflows.ids import floor_of

_DATETIME: TypeAdapter[datetime] = TypeAdapter(datetime)
_EARLIEST = datetime(1970, 1, 2, tzinfo=UTC)
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


def _moment(value: Any) -> Any:
    """Read `2026-01-31T09:00:00Z`, a time without zone as UTC, or a duration such as `1h` as so long ago."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    try:
        return datetime.now(UTC) - parse_duration(text)
    except (ValueError, OverflowError):
        pass
    try:
        # A plus sign in an address that was not escaped arrives as a space.
        moment = _DATETIME.validate_python(text.replace(" ", "T", 1) if "T" not in text else text.replace(" ", "+"))
    except ValueError:
        raise ValueError(
            f"{text[:80]!r} is no time: write one such as 2026-01-31T09:00:00Z, or a duration such as 1h for so long "
            "ago"
        ) from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


Moment = Annotated[datetime, BeforeValidator(_moment)]
Words = Annotated[list[str], BeforeValidator(_split)]
"""A list, written `a,b`."""
Limit = Annotated[int, Field(ge=1, le=1000)]


class Query(Documented):
    """Base of the parameters of a request; unknown ones are refused, so that a slip of the pen is noticed."""

    model_config = ConfigDict(extra="forbid")


class HistoryQuery(Query):
    """Parameters of every list of history: newest first, paged by cursor."""

    limit: Limit = 50
    cursor: str | None = None
    """`next_cursor` of the page before."""
    since: Moment | None = None
    """From this time on: `2026-01-31T09:00:00Z`, or `1h` for an hour ago."""
    until: Moment | None = None
    """Before this time."""

    def span(self) -> Span:
        """Return the stretch of history that is asked for, one row longer than shown, to know whether more follows."""
        since, before = ids_between(self.since, self.until)
        if self.cursor is not None:
            before = min(before, _id_of(self.cursor))
        return Span(before, since, self.limit + 1)


def ids_between(since: datetime | None, until: datetime | None) -> tuple[UUID, UUID]:
    """Return the ids between which lies what was made from one moment on and before another."""
    return (
        FIRST_ID if since is None else floor_of(_bounded(since)),
        LAST_ID if until is None else floor_of(_bounded(until)),
    )


def page(rows: Sequence[dict[str, Any]], limit: int, *, key: str = "id") -> dict[str, Any]:
    """Make a page of rows that were asked for with one more than `limit`."""
    items = list(rows[:limit])
    return {"items": items, "next_cursor": cursor_of(items[-1][key]) if len(rows) > limit else None}


def cursor_of(value: object) -> str:
    """Write a cursor."""
    return base64.urlsafe_b64encode(str(value).encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> str:
    """Read a cursor. Raises UnprocessableError."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _bad_cursor() from error


def number_of(cursor: str) -> int:
    """Read a cursor that holds a number. Raises UnprocessableError."""
    text = read_cursor(cursor)
    if not text.isdecimal() or len(text) > 9:
        raise _bad_cursor()
    return int(text)


def _id_of(cursor: str) -> UUID:
    try:
        return UUID(read_cursor(cursor))
    except ValueError as error:
        raise _bad_cursor() from error


def _bad_cursor() -> UnprocessableError:
    return UnprocessableError("cursor: it must be the next_cursor of the page before, unchanged")


def recorded(moment: datetime, name: str) -> datetime:
    """Return a moment that may be looked up. Raises UnprocessableError where it is too far away for that."""
    if not _EARLIEST <= moment < _LATEST:
        raise UnprocessableError(f"{name}: write a time from {_EARLIEST:%Y-%m-%d} on and before {_LATEST:%Y}")
    return moment


def _bounded(moment: datetime) -> datetime:
    """Keep a moment within what an id can hold."""
    return min(max(moment, _EARLIEST), _LATEST)
