"""Housekeeping that no execution waits for: partitions ahead of time, and what has outlived its policy."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from hark.daemon.engine.background import Background
from hark.daemon.store.database import Database, Record, lock_was_refused
from hark.workflows.errors import UnavailableError
from hark.workflows.ids import floor_of

log = structlog.get_logger(__name__)

INTERVAL_S = 600.0
BATCH = 1000
LOCK_TRIES = 20
LOCK_PAUSE_S = 0.5
HISTORY = (
    "events",
    "event_decisions",
    "workflow_executions",
    "workflow_steps",
    "workflow_timeline",
    "workflow_logs",
    "workflow_context",
    "waits",
    "execution_events",
)


class Maintenance:
    """Runs at start and every ten minutes. Every statement is safe when several instances run it at once."""

    def __init__(
        self,
        database: Database,
        *,
        now: Callable[[], datetime],
        retention: timedelta,
        failed_retention: timedelta,
        unmatched_retention: timedelta,
    ) -> None:
        self._database = database
        self._now = now
        self._kept = retention, failed_retention
        self._unmatched_kept = unmatched_retention
        self._task = Background("maintenance", self._run)
        self.start = self._task.start
        self.stop = self._task.stop

    async def _run(self) -> None:
        while True:
            try:
                await self.once()
            except UnavailableError as error:
                log.warning("maintenance.postponed", error=str(error))
            except Exception:
                log.exception("maintenance.broken")
            await asyncio.sleep(INTERVAL_S)

    async def once(self) -> None:
        """Do all of it once."""
        made = sum([await self._database.fetchval("create_partitions", table) for table in HISTORY])
        events = await self._in_batches("prune_unmatched_events", floor_of(self._now() - self._unmatched_kept), BATCH)
        keys = await self._in_batches("prune_event_keys", BATCH)
        keys += await self._in_batches("prune_limits", BATCH)
        swept = await self._database.fetchval("sweep_lanes")
        if swept:
            log.warning("limits.swept", lanes=swept)
        await self._database.execute("prune_wait_shapes")
        await self._database.execute("prune_event_hits")
        if made or events or keys:
            log.info("maintenance.done", partitions=made, events_pruned=events, keys_pruned=keys)
        await self.retire()

    async def retire(self) -> None:
        """Drop the weeks that are past, then delete what does not go with its week."""
        while week := await self._retire_week():
            log.info("maintenance.week_retired", week=week["week"], executions_moved=week["moved"])
        erased = await self._in_batches("erase_past_executions", *self._kept, BATCH)
        if erased:
            log.info("maintenance.executions_erased", executions=erased)

    async def _retire_week(self) -> Record | None:
        """Drop one week; None when none is past, or while others use the tables all the time."""
        for _ in range(LOCK_TRIES):
            try:
                row = await self._database.fetchrow("retire_week", *self._kept)
            except UnavailableError as error:
                if not lock_was_refused(error):
                    raise
                # Whoever waits behind a lock that is asked for waits as well: ask briefly, and let them go first.
                log.info("maintenance.week_put_off", error=str(error))
                await asyncio.sleep(LOCK_PAUSE_S)
            else:
                return row if row and row["week"] else None
        log.warning("maintenance.retention_behind", tries=LOCK_TRIES)
        return None

    async def _in_batches(self, query: str, *args: object) -> int:
        total = 0
        while count := await self._database.fetchval(query, *args):
            total += count
            await asyncio.sleep(0)
        return total
