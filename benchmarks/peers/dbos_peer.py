"""DBOS: an execution is a workflow of so many steps, started through a queue."""

from __future__ import annotations

import asyncio
import importlib.metadata
import time
from collections.abc import Awaitable, Callable

import sqlalchemy
from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions

from benchmarks.peers.contract import Answer, Counter, Moments, database_url, pace, serve, until

POLL_S = 0.05
QUEUE = "bench"
CONCURRENCY = 100
SETTINGS = (
    f"asynchronous workflows and steps, worker_concurrency={CONCURRENCY}, polling_interval_sec={POLL_S} (default 1.0), "
    "system database on PostgreSQL, pool of 20, stored in one transaction by enqueue_in_transaction"
)

counter = Counter()
moments = Moments()


@DBOS.step()
async def touch(number: int, step: int) -> int:
    """Do nothing, on record."""
    if step == 0:
        moments.first[number] = time.perf_counter()
    return step


@DBOS.workflow()
async def chain(number: int, steps: int) -> int:
    """Run the steps one after the other."""
    for step in range(steps):
        await touch(number, step)
    moments.done[number] = time.perf_counter()
    counter.end()
    return steps


class Dbos:
    """A queue with its worker, which polls as long as the process lives."""

    def __init__(self) -> None:
        self.url = database_url().replace("postgresql://", "postgresql+psycopg://", 1)
        self.stored = 0
        self.transaction: sqlalchemy.Connection | None = None

    async def open(self) -> Answer:
        """Make the tables, and declare the queue."""
        config: DBOSConfig = {
            "name": "bench",
            "system_database_url": self.url,
            "sys_db_pool_size": 20,
            "application_version": "1",
            "log_level": "ERROR",
        }
        DBOS(config=config)
        await asyncio.to_thread(self._launch)
        self.engine = sqlalchemy.create_engine(self.url)
        return {"version": importlib.metadata.version("dbos"), "settings": SETTINGS}

    def _launch(self) -> None:
        DBOS.launch()
        DBOS.register_queue(QUEUE, worker_concurrency=CONCURRENCY, polling_interval_sec=POLL_S)
        self.client = DBOSClient(system_database_url=self.url)

    async def store(self, count: int, steps: int) -> Answer:
        """Enqueue so many executions in a transaction that is committed when they are to run."""
        await asyncio.to_thread(self._store, count, steps)
        self.stored = count
        return {}

    def _store(self, count: int, steps: int) -> None:
        self.transaction = self.engine.connect()
        for number in range(count):
            self.client.enqueue_in_transaction(self.transaction, self._options(), number, steps)

    @staticmethod
    def _options() -> EnqueueOptions:
        return {"workflow_name": chain.__qualname__, "queue_name": QUEUE, "app_version": "1"}

    async def drain(self, limit_s: float) -> Answer:
        """Run what is stored."""
        assert self.transaction is not None
        counter.expect(self.stored)
        began = time.perf_counter()
        await asyncio.to_thread(self.transaction.commit)
        missing = await counter.wait(limit_s)
        seconds = time.perf_counter() - began
        await asyncio.to_thread(self.transaction.close)
        return {"count": self.stored - missing, "seconds": seconds}

    async def paced(self, rate: float, seconds: float, steps: int) -> Answer:
        """Enqueue at a steady rate, and note when the first and the last step ran."""
        for kept in (moments.sent, moments.acknowledged, moments.first, moments.done):
            kept.clear()
        send: Callable[[int], Awaitable[object]] = lambda n: DBOS.enqueue_workflow_async(QUEUE, chain, n, steps)  # noqa: E731
        await pace(moments, rate, seconds, send)
        await until(lambda: len(moments.done) == len(moments.sent), 15)
        return moments.answer()


async def main() -> None:
    """Serve."""
    peer = Dbos()
    await serve({"open": peer.open, "store": peer.store, "drain": peer.drain, "paced": peer.paced})
    await asyncio.to_thread(DBOS.destroy)


if __name__ == "__main__":
    asyncio.run(main())
