"""Housekeeping that no execution waits for: partitions ahead of time, and what has outlived its policy."""

from __future__ import annotations

import asyncio

import structlog

from hark.daemon.archive.place import ArchiveError
from hark.daemon.engine.background import Background
from hark.daemon.engine.erasure import Eraser
from hark.daemon.engine.retention import Retention
from hark.daemon.store.database import Database
from hark.daemon.store.hooks import HookRecords
from hark.workflows.errors import UnavailableError

log = structlog.get_logger(__name__)

INTERVAL_S = 600.0
BATCH = 1000


class Maintenance:
    """Runs at start and every ten minutes. Every statement is safe when several instances run it at once."""

    def __init__(self, database: Database, retention: Retention, eraser: Eraser) -> None:
        self._database = database
        self._retention = retention
        self._eraser = eraser
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
        tables = await self._database.fetch("list_history_tables")
        made = sum([await self._database.fetchval("create_partitions", table["name"]) for table in tables])
        keys = await self._in_batches("prune_event_keys", BATCH)
        keys += await self._in_batches("prune_limits", BATCH)
        swept = await self._database.fetchval("sweep_lanes")
        if swept:
            log.warning("limits.swept", lanes=swept)
        await self._database.execute("prune_wait_shapes")
        await self._database.execute("prune_event_hits")
        await self._database.execute("prune_joins")
        await HookRecords(self._database).prune()
        if made or keys:
            log.info("maintenance.done", partitions=made, keys_pruned=keys)
        try:
            await self._eraser.finish_leftovers()
        except ArchiveError as error:  # the next pass tries again
            log.warning("maintenance.erasure_postponed", error=str(error))
        await self._retention.run()

    async def _in_batches(self, query: str, *args: object) -> int:
        total = 0
        while count := await self._database.fetchval(query, *args):
            total += count
            await asyncio.sleep(0)
        return total
