"""Hark's side: a whole engine on a database, given events and waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.work import Work, catalogue
from hark.daemon.engine.engine import Engine
from hark.daemon.garbage import settle_garbage
from hark.daemon.settings import Settings
from hark.daemon.store.database import Database
from hark.daemon.store.schema import ensure_schema
from hark.workflows.ids import DEFAULT_TENANT
from hark.workflows.loading import load_all

SENDERS = 500


class HarkSide:
    """An engine that runs the benchmark's work."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    async def prepare(self, work: Work) -> None:
        """Publish the workflow of some work, and run it once so that nothing is done for the first time later."""
        await self.engine.publisher.apply(DEFAULT_TENANT, load_all(work.text, self.engine.catalogue))
        await self.drain(SENDERS, work)

    async def drain(self, count: int, work: Work) -> None:
        """Take in events, each acknowledged after its commit, and run their executions to the end."""
        goal = self.ended + count

        async def sender(start: int) -> None:
            for number in range(start, count, SENDERS):
                await self.engine.emit(work.event(number))

        await asyncio.gather(*(sender(start) for start in range(min(SENDERS, count))))
        while self.ended < goal:
            await asyncio.sleep(0.005)

    @property
    def ended(self) -> int:
        """How many executions have come to their end here."""
        return sum(self.engine.executor.ended.values())


@asynccontextmanager
async def hark_side(url: str, *, places: int = 1000) -> AsyncIterator[HarkSide]:
    """Run an engine on a database until the block ends; the schema is made when it is not there."""
    await ensure_schema(url)
    database = Database(url)
    await database.start()
    engine = Engine(Settings(max_running=places), database, catalogue(), secrets={})
    try:
        await engine.start()
        settle_garbage()
        yield HarkSide(engine)
    finally:
        await engine.stop()
        await database.stop()
