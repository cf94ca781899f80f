"""Starting parts of distributed steps: all that begin at a moment are one statement, of whatever executions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple
from uuid import UUID

from hark.daemon.engine.group_commit import GroupCommit, Memory
from hark.daemon.store.database import ENGINE_PLANNER, Database
from hark.daemon.store.lane import Lane
from hark.workflows.errors import UnavailableError

PATIENCE_S = 1.0
MOST_WAITING_BYTES = 64 * 1024**2
"""What all parts together may hold that wait to be stored; one more is let in below that."""
MOST_AT_ONCE_BYTES = 8 * 1024**2
"""What the parts of one statement hold together, unless it is one alone."""


class StartedPart(NamedTuple):
    """A part to be stored, as a `hark.started_part`."""

    licence: UUID
    """That under which its whole is held: under another one it is not stored."""
    tenant_id: UUID
    parent_id: UUID
    parent_path: str
    id: UUID
    part: str
    sealed: bytes | None
    """The secrets of its whole, sealed for it."""

    @property
    def size(self) -> int:
        """What it takes in memory and in a statement, about."""
        return len(self.part) + len(self.sealed or b"")


class PartStarts:
    """Stores parts for any instance to take. They wait while the database is away, or others hold much memory."""

    def __init__(self, database: Database, *, on_queued: Callable[[], None]) -> None:
        self._lane = Lane(database, "parts", ENGINE_PLANNER)
        self._on_queued = on_queued
        self._group: GroupCommit[StartedPart, None] = GroupCommit(
            "start parts",
            self._write,
            limit=1_000_000,
            memory=Memory(lambda part: part.size, MOST_WAITING_BYTES, MOST_AT_ONCE_BYTES),
        )

    def start(self) -> None:
        """Start to store."""
        self._group.start()

    async def stop(self) -> None:
        """Store what was submitted, then stop; idempotent."""
        await self._group.stop()
        await self._lane.stop()

    @property
    def backend_pid(self) -> int | None:
        """The server process behind the connection."""
        return self._lane.backend_pid

    @property
    def flushes(self) -> int:
        """Statements so far."""
        return self._group.flushes

    async def store(self, part: StartedPart) -> None:
        """Store a part; returns after the commit. Again is nothing."""
        while True:
            try:
                return await self._group.submit(part)
            except UnavailableError:
                await asyncio.sleep(PATIENCE_S)

    async def _write(self, parts: Sequence[StartedPart]) -> Sequence[None]:
        await self._lane.fetch("start_parts", [tuple(part) for part in parts])
        self._on_queued()
        return [None] * len(parts)
