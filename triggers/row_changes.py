"""Captured changes as they come out of the outbox, and the events that are made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from hark.triggers.by_connection import addressed, where
from hark.triggers.row_config import Granularity
from hark.triggers.table_name import TableName
from hark.workflows.catalogue import NewEvent
from hark.workflows.ids import ExecutionId, TenantId, WorkflowId

_DEPTH = re.compile(r"\d{1,4}", re.ASCII)
Row = Mapping[str, Any]
REMEMBERED = timedelta(days=30)
"""So long a backfill knows which rows it has run."""


@dataclass(frozen=True, slots=True, order=True)
class Interest:
    """Who gets an event of what happens to a table, and of how much at a time."""

    tenant_id: TenantId
    per: Granularity
    operations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RowChange:
    """One record of the outbox: the rows that one statement changed, or a part of them.

    `old` and `new` pair by position; the one that the operation does not have is empty. `part` counts the parts of a
    large statement from 0; `statement_rows` tells in part 0 how many rows the whole statement changed.
    """

    id: int
    table: TableName
    interests: tuple[Interest, ...]
    operation: str
    old: Sequence[Row | None]
    new: Sequence[Row | None]
    transaction_id: int
    occurred_at: datetime
    row_count: int
    part: int = 0
    statement_rows: int = 0
    actor: str | None = None
    reason: str | None = None
    depth: str | None = None
    execution_id: str | None = None
    partition: str | None = None
    left_out: Sequence[str] = field(default=())
    error: str | None = None


def route_of(table: str, per: Granularity, connection: str = "") -> str:
    """Return the key under which events of a table are offered to triggers."""
    return addressed("row" if per == "row" else "rows", connection, table)


def backfill_route_of(workflow_id: WorkflowId, trigger_id: str) -> str:
    """Return the route of rows that were there before: they are for one trigger, and not for others on the table."""
    return f"backfill:{workflow_id}/{trigger_id}"


def backfilled(event: NewEvent, workflow_id: WorkflowId, trigger_id: str, name: str, identity: str) -> NewEvent:
    """Make the event of a row's insertion one of a backfill: for one trigger, and once for a name."""
    return replace(
        event,
        route=backfill_route_of(workflow_id, trigger_id),
        data={**event.data, "transaction_id": None, "backfill": name},
        dedupe_key=f"backfill:{workflow_id}/{trigger_id}/{name}/{identity}",
        dedupe_ttl=REMEMBERED,
        # The row may have changed since it was run: it is the same one all the same.
        fingerprint=identity.encode(),
    )


def events_of(change: RowChange, connection: str = "") -> Iterator[NewEvent]:
    """Make the events of a change: for every tenant that is interested, one per row, one per statement, or both.

    `connection` is the name of the database, where it is not the home database.
    """
    named = where(connection)
    for interest in change.interests:
        if change.operation not in interest.operations:
            continue
        if interest.per == "statement":
            datas = [_statement_data(change)] if change.part == 0 else []
        else:
            datas = _row_datas(change)
        for data in datas:
            yield _event(change, interest, {**named, **data}, connection)


def _event(change: RowChange, interest: Interest, data: Mapping[str, Any], connection: str) -> NewEvent:
    table = str(change.table)
    return NewEvent(
        tenant_id=interest.tenant_id,
        kind="row",
        type=f"row.{change.operation}",
        source=addressed("table", connection, table),
        route=route_of(table, interest.per, connection),
        data=data,
        occurred_at=change.occurred_at,
        depth=int(change.depth) if change.depth and _DEPTH.fullmatch(change.depth) else 0,
        caused_by=_execution(change.execution_id),
    )


def _execution(text: str | None) -> ExecutionId | None:
    """Read the execution that made the change; whoever sets hark.execution_id to nonsense is not one."""
    try:
        return ExecutionId(UUID(text)) if text else None
    except ValueError:
        return None


def _origin(change: RowChange) -> dict[str, Any]:
    origin: dict[str, Any] = {"schema": change.table.schema, "table": change.table.name, "operation": change.operation}
    if change.partition is not None:
        origin["partition"] = change.partition
    if change.error is not None:
        origin["error"] = change.error
    return origin


def _annotations(change: RowChange) -> dict[str, Any]:
    return {"transaction_id": change.transaction_id, "actor": change.actor, "reason": change.reason}


def _row_datas(change: RowChange) -> list[dict[str, Any]]:
    return [{**_origin(change), **row, **_annotations(change)} for row in _rows(change) or [_row(change, None, None)]]


def _statement_data(change: RowChange) -> dict[str, Any]:
    rows = _rows(change)
    return {**_origin(change), "rows": rows, "count": change.statement_rows or len(rows), **_annotations(change)}


def _rows(change: RowChange) -> list[dict[str, Any]]:
    count = max(len(change.old), len(change.new))
    olds = change.old or (None,) * count
    news = change.new or (None,) * count
    return [_row(change, old, new) for old, new in zip(olds, news, strict=True)]


def _row(change: RowChange, old: Row | None, new: Row | None) -> dict[str, Any]:
    row: dict[str, Any] = {"old": old, "new": new, "changed": changed_columns(old, new)}
    missing = [name for name in dict.fromkeys(change.left_out) if name not in (new if new is not None else old or {})]
    return {**row, "left_out": missing} if missing else row


def changed_columns(old: Row | None, new: Row | None) -> list[str]:
    """Name the columns that an update changed; a column that is only on one side counts as changed."""
    if old is None or new is None:
        return []
    changed = [
        name
        for name, value in new.items()
        if name not in old or old[name] != value or (type(value) is not str and not _alike(old[name], value))
    ]
    return changed + [name for name in old if name not in new]


def _alike(one: Any, other: Any) -> bool:
    """Tell whether values that Python takes for equal are so as JSON, where 1 is 1.0 and not true, at any depth."""
    if not isinstance(one, dict | list):
        return isinstance(one, bool) is isinstance(other, bool)
    with suppress(orjson.JSONEncodeError):  # nested too deeply for that
        if orjson.dumps(one) == orjson.dumps(other):
            return True
    pairs = [(one, other)]
    while pairs:
        a, b = pairs.pop()
        if isinstance(a, bool) is not isinstance(b, bool):
            return False
        if isinstance(a, dict):
            pairs += [(value, b[name]) for name, value in a.items()]
        elif isinstance(a, list):
            pairs += zip(a, b, strict=True)
    return True
