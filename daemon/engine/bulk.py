"""The same thing with many executions: retries, replays and cancellations by filter, in bounded batches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from hark.daemon.engine.repeats import Repeats, Replay
from hark.daemon.store.bulk import Batch, Done, Which
from hark.daemon.store.database import Database, Record
from hark.workflows.errors import ConflictError, NotFoundError, UnprocessableError
from hark.workflows.ids import TenantId

_AT_ONCE = 8


One = Callable[[UUID, datetime | None], Awaitable[UUID | str]]


class Bulk:
    """Does one thing with every execution that a filter fits.

    Doing it again goes on where it ended: what has been repeated since, or has ended, does not fit any more. Two that
    do it at the same time repeat nothing twice, because each takes the one ordinal that follows.
    """

    def __init__(
        self,
        database: Database,
        repeats: Repeats,
        cancel: Callable[..., Awaitable[str]],
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._repeats = repeats
        self._cancel = cancel
        self._now = now

    async def retry(
        self, tenant_id: TenantId, which: Which, *, from_start: bool, spread: timedelta, dry_run: bool
    ) -> Batch:
        """Retry the executions, with their starts evenly over a time."""

        async def one(identifier: UUID, due_at: datetime | None) -> UUID:
            return await self._repeats.retry(tenant_id, identifier, from_start=from_start, due_at=due_at, first=True)

        return await self._each(tenant_id, which, one, spread=spread, dry_run=dry_run, unrepeated=True)

    async def replay(
        self, tenant_id: TenantId, which: Which, wanted: Replay, *, spread: timedelta, dry_run: bool
    ) -> Batch:
        """Replay the executions, with their starts evenly over a time."""

        async def one(identifier: UUID, due_at: datetime | None) -> UUID:
            return await self._repeats.replay(tenant_id, identifier, wanted, due_at=due_at, first=True)

        return await self._each(tenant_id, which, one, spread=spread, dry_run=dry_run, unrepeated=True)

    async def cancel(self, tenant_id: TenantId, which: Which, *, reason: str, dry_run: bool) -> Batch:
        """Cancel the executions."""

        async def one(identifier: UUID, _due_at: datetime | None) -> str:
            return await self._cancel(tenant_id, identifier, reason=reason)

        return await self._each(tenant_id, which, one, spread=timedelta(0), dry_run=dry_run, unrepeated=False)

    async def _each(
        self, tenant_id: TenantId, which: Which, one: One, *, spread: timedelta, dry_run: bool, unrepeated: bool
    ) -> Batch:
        rows = await self._database.fetch(
            "find_executions_for_bulk", tenant_id, which.workflow_id, list(which.statuses), which.since, which.before,
            which.error_class, unrepeated, which.limit + 1,
        )  # fmt: skip
        batch = Batch(more=len(rows) > which.limit)
        rows = rows[: which.limit]
        begin, turn = self._now(), asyncio.Semaphore(_AT_ONCE)

        async def turned(number: int, row: Record) -> Done:
            due_at = begin + spread * (number / len(rows)) if spread and number else None
            done = Done(row["id"], row["workflow"], due_at=due_at)
            if dry_run:
                return done
            async with turn:
                return await _carried_out(done, one)

        batch.items = list(await asyncio.gather(*(turned(number, row) for number, row in enumerate(rows))))
        return batch


async def _carried_out(done: Done, one: One) -> Done:
    """Do it; what one of them refuses keeps none of the others from it."""
    try:
        result: Any = await one(done.execution_id, done.due_at)
    except (ConflictError, NotFoundError, UnprocessableError) as error:
        done.refused = str(error)
        return done
    if isinstance(result, UUID):
        done.new_id = result
    else:
        done.status = result
    return done
