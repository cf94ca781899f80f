"""Looking for what steps wait for: all looks of a moment are one statement, however many executions look."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple
from uuid import UUID

from hark.daemon.engine.group_commit import GroupCommit
from hark.daemon.store.database import ENGINE_PLANNER, Database, Record
from hark.daemon.store.lane import Lane
from hark.workflows.errors import UnavailableError

PATIENCE_S = 1.0
BATCH = 200
"""Events that one look returns at the most."""


class AwaitedEvent(NamedTuple):
    """A look for events, as a `hark.awaited_event`: of a route, from an id on, with a key at a place in their data."""

    tenant_id: UUID
    route: str
    first: UUID
    key_path: list[str]
    key: str


class Looks:
    """Collects looks while one statement is under way. They wait while the database is away."""

    def __init__(self, database: Database) -> None:
        self._lane = Lane(database, "look", ENGINE_PLANNER)
        self._events: GroupCommit[AwaitedEvent, list[Record]] = GroupCommit("look for events", self._scan)
        self._hits: GroupCommit[tuple[UUID, UUID, str], list[Record]] = GroupCommit("look for hits", self._load)
        self._ends: GroupCommit[tuple[UUID, UUID], Record | None] = GroupCommit("look for ends", self._end)

    def start(self) -> None:
        """Start to look."""
        self._events.start()
        self._hits.start()
        self._ends.start()

    async def stop(self) -> None:
        """Look no more; idempotent."""
        await self._events.stop()
        await self._hits.stop()
        await self._ends.stop()
        await self._lane.stop()

    async def events(self, awaited: AwaitedEvent) -> list[Record]:
        """Return stored events, oldest first."""
        while True:
            try:
                return await self._events.submit(awaited)
            except UnavailableError:
                await asyncio.sleep(PATIENCE_S)

    async def hits(self, tenant_id: UUID, execution_id: UUID, path: str) -> list[Record]:
        """Return the events that were found to have the key of a wait, oldest first."""
        while True:
            try:
                return await self._hits.submit((tenant_id, execution_id, path))
            except UnavailableError:
                await asyncio.sleep(PATIENCE_S)

    async def end(self, tenant_id: UUID, execution_id: UUID) -> Record | None:
        """Return the state of an execution; None when it is gone."""
        while True:
            try:
                return await self._ends.submit((tenant_id, execution_id))
            except UnavailableError:
                await asyncio.sleep(PATIENCE_S)

    async def _scan(self, awaited: Sequence[AwaitedEvent]) -> Sequence[list[Record]]:
        return _by_number(awaited, await self._lane.fetch("scan_events", [tuple(one) for one in awaited], BATCH))

    async def _load(self, waits: Sequence[tuple[UUID, UUID, str]]) -> Sequence[list[Record]]:
        return _by_number(waits, await self._lane.fetch("load_event_hits", *zip(*waits, strict=True), BATCH))

    async def _end(self, wanted: Sequence[tuple[UUID, UUID]]) -> Sequence[Record | None]:
        tenants, executions = zip(*wanted, strict=True)
        rows: dict[Any, Record] = {row["id"]: row for row in await self._lane.fetch("get_ends", tenants, executions)}
        return [rows.get(execution) for execution in executions]


def _by_number(asked: Sequence[object], rows: Sequence[Record]) -> list[list[Record]]:
    """Sort rows by the question that they answer, counted from 1."""
    found: list[list[Record]] = [[] for _ in asked]
    for row in rows:
        found[row["number"] - 1].append(row)
    return found
