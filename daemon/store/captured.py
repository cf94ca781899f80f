"""Captured row changes as a live tail shows them: with what each has started, and why it started nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from hark.daemon.store.database import Database
from hark.daemon.store.listing import Row, rows_of
from hark.triggers.row_changes import route_of
from hark.triggers.table_name import TableName
from hark.workflows.ids import TenantId, same_millisecond

MOST_BYTES = 65_536
"""The data of larger events comes without the rows: whoever wants them asks for the event."""
MOST_OUTCOMES = 10_000
"""How many starts, and how many reasons, one statement returns."""


class CapturedChanges:
    """The events of one table, each change once per granularity that somebody watches it in."""

    def __init__(self, database: Database, tenant_id: TenantId, table: TableName, connection: str = "") -> None:
        self._database = database
        self._tenant_id = tenant_id
        self._routes = route_of(str(table), "row", connection), route_of(str(table), "statement", connection)

    async def list_ids(self, after: UUID, until: UUID, limit: int) -> list[UUID]:
        """Return the ids of what was stored in a stretch of time, oldest first: `after < id <= until`."""
        rows = await self._database.fetch("list_captured_ids", self._tenant_id, *self._routes, after, until, limit)
        return [row["id"] for row in rows]

    async def load(self, ids: Sequence[UUID]) -> list[Row]:
        """Return changes with what became of them, oldest first."""
        if not ids:
            return []
        span = same_millisecond(min(ids))[0], same_millisecond(max(ids))[1]
        starts = await self._database.fetch("list_started_of_events", self._tenant_id, ids, *span, MOST_OUTCOMES)
        refusals = await self._database.fetch("list_decisions_of_events", self._tenant_id, ids, MOST_OUTCOMES)
        if len(ids) > 1 and MOST_OUTCOMES in (len(starts), len(refusals)):
            half = len(ids) // 2  # some may be missing, and what nobody tells about looks as if nobody had listened
            return [*await self.load(ids[:half]), *await self.load(ids[half:])]
        started, refused = _by_event(starts), _by_event(refusals)
        events = rows_of(await self._database.fetch("load_captured", self._tenant_id, ids, MOST_BYTES), "data")
        return [
            {**event, "started": started[event["event_id"]], "refused": refused[event["event_id"]]} for event in events
        ]


def _by_event(rows: Iterable[Any]) -> defaultdict[UUID, list[Row]]:
    found: defaultdict[UUID, list[Row]] = defaultdict(list)
    for row in map(dict, rows):
        found[row.pop("event_id")].append(row)
    return found
