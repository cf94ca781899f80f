"""The outbox of row capture: what writers' transactions left there, taken out in bounded batches."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
import orjson

from hark.daemon.store.capture_site import HOME_SCHEMA, sql_in
from hark.daemon.store.database import Connection, sql
from hark.triggers.row_changes import Interest, RowChange
from hark.triggers.table_name import TableName
from hark.workflows.ids import TenantId

MOST_BYTES = 4 * 1024 * 1024
MOST_ROWS = 500
MOST_PEEKED_BYTES = 64 * 1024
_SURROGATES = re.compile("[\ud800-\udfff\x00]")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_LONGEST_INTEGER = 19


class TakenChanges(NamedTuple):
    """What was taken out of the outbox, if there is more, and when: after whatever was taken before, by anybody."""

    changes: list[RowChange]
    more: bool
    at: datetime | None


async def take_row_changes(connection: Connection, after: int, limit: int, schema: str = HOME_SCHEMA) -> TakenChanges:
    """Take up to `limit` of the oldest changes after an id, in the caller's transaction; meanwhile nobody else can.

    Raises ValueError when one of them cannot be read at all; the transaction is of no more use then.
    """
    try:
        rows = await connection.fetch(sql_in(schema, "take_row_changes"), after, limit, MOST_BYTES, MOST_ROWS)
    except asyncpg.DataError as error:
        # In a database without an encoding, for example, there may be bytes that are no text.
        raise ValueError(f"a change cannot be read: {error}") from error
    if not rows:
        return TakenChanges([], more=False, at=None)
    found = rows[0]["found"]
    return TakenChanges([change_of(row) for row in rows], found == limit or found > len(rows), rows[0]["now"])


async def peek_row_changes(connection: Connection, after: int, limit: int) -> TakenChanges:
    """Read the oldest changes after an id and leave them there; none but `more` when they are too many, or large."""
    rows = await connection.fetch(sql("peek_row_changes"), after, limit, MOST_PEEKED_BYTES)
    if rows[0]["id"] is None:
        return TakenChanges([], rows[0]["found"] != 0, rows[0]["now"])
    return TakenChanges([change_of(row) for row in rows], more=False, at=rows[0]["now"])


def change_of(row: asyncpg.Record) -> RowChange:
    """Make a change of a record. Rows that cannot be read are left out, and the change says why."""
    note = orjson.loads(row["note"] or "{}")
    old: list[Any] = []
    new: list[Any] = []
    unseen: Sequence[str] = ()
    try:
        old, new = rows_of(row["old_rows"]), rows_of(row["new_rows"])
        unseen = _take_out(row["unseen"] or (), (*old, *new))
    except (ValueError, RecursionError) as wrong:
        old, new = [], []
        note["error"] = f"the rows cannot be read: {wrong}"
    return RowChange(
        id=row["id"],
        table=TableName(row["schema_name"] or "", row["table_name"] or ""),
        interests=tuple(interests_of(row["subscriptions"] or "[]")),
        operation=row["operation"],
        old=old,
        new=new,
        transaction_id=row["transaction_id"],
        occurred_at=row["occurred_at"],
        row_count=row["row_count"],
        part=note.get("part", 0),
        statement_rows=note.get("statement_rows", row["row_count"]),
        actor=note.get("actor"),
        reason=note.get("reason"),
        depth=note.get("depth"),
        execution_id=note.get("execution_id"),
        partition=note.get("partition"),
        left_out=(*note.get("left_out", ()), *unseen),
        error=note.get("error"),
    )


def _take_out(columns: Sequence[str], rows: Iterable[Any]) -> Sequence[str]:
    """Take columns out of rows that were captured; return them."""
    for row in rows if columns else ():
        for column in columns:
            if row is not None:
                row.pop(column, None)
    return columns


def interests_of(subscriptions: str) -> Iterable[Interest]:
    """Read hark.watches.subscriptions."""
    for each in orjson.loads(subscriptions):
        yield Interest(TenantId(UUID(each["tenant"])), each["per"], tuple(each["operations"]))


def subscriptions_of(interests: Iterable[Interest]) -> list[dict[str, Any]]:
    """Write hark.watches.subscriptions."""
    return [
        {"tenant": str(interest.tenant_id), "per": interest.per, "operations": list(interest.operations)}
        for interest in interests
    ]


def rows_of(text: str | None) -> list[Any]:
    """Read an array of rows. What PostgreSQL's json may hold and jsonb may not becomes U+FFFD. Raises ValueError."""
    if text is None:
        return []
    try:
        rows: list[Any] = orjson.loads(text)
    except orjson.JSONDecodeError:
        return [_clean(row) for row in json.loads(text, parse_int=_integer)]
    return [_clean(row) for row in rows] if "\\u0000" in text else rows


def _integer(digits: str) -> float:
    """Read a number that may be longer than any integer here; as a double, like the JSON of other sources."""
    return int(digits) if len(digits) < _LONGEST_INTEGER else float(digits)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATES.sub(_REPLACEMENT, value)
    if isinstance(value, dict):
        return {_clean(key): _clean(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_clean(part) for part in value]
    return value
