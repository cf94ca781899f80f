"""pgqueuer: an execution is a chain of jobs; each enqueues the next one when it is done."""

from __future__ import annotations

import asyncio
import importlib.metadata
import json
import time
from datetime import timedelta
from typing import Any

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.peers.contract import Answer, Counter, Moments, database_url, pace, serve, until

BATCH = 100
POLL_S = 0.1
SETTINGS = (
    f"asyncpg pool, uvloop, batch_size={BATCH} (default 10), dequeue_timeout={POLL_S} s (default 30), "
    "default durability (all tables logged), jobs logged in pgqueuer_log, stored by batch enqueue"
)


class Pgqueuer:
    """A queue and, while there is something to do, its worker."""

    def __init__(self) -> None:
        self.counter = Counter()
        self.moments = Moments()
        self.stored = 0

    async def open(self) -> Answer:
        """Connect, and make the tables."""
        self.pool = await asyncpg.create_pool(database_url(), min_size=2, max_size=10)
        self.queries = Queries.from_asyncpg_pool(self.pool)
        await self.queries.install()
        return {"version": importlib.metadata.version("pgqueuer"), "settings": SETTINGS}

    async def store(self, count: int, steps: int) -> Answer:
        """Put the first jobs of so many executions into the queue."""
        for start in range(0, count, 1000):
            payloads = [_payload(number, 1, steps) for number in range(start, min(start + 1000, count))]
            await self.queries.enqueue(["step"] * len(payloads), list(payloads), [0] * len(payloads))
        self.stored = count
        return {}

    async def drain(self, limit_s: float) -> Answer:
        """Run what is stored."""
        self.counter.expect(self.stored)
        began = time.perf_counter()
        worker = self._start()
        missing = await self.counter.wait(limit_s)
        seconds = time.perf_counter() - began
        await self._stop(worker)
        return {"count": self.stored - missing, "seconds": seconds}

    async def paced(self, rate: float, seconds: float, steps: int) -> Answer:
        """Enqueue at a steady rate, and note when the first and the last step ran."""
        worker = self._start()
        await asyncio.sleep(1)
        self.moments = moments = Moments()
        await pace(moments, rate, seconds, lambda n: self.queries.enqueue(["step"], [_payload(n, 1, steps)], [0]))
        await until(lambda: len(moments.done) == len(moments.sent), 15)
        await self._stop(worker)
        return moments.answer()

    def _start(self) -> tuple[PgQueuer, asyncio.Task[None]]:
        manager = PgQueuer.from_asyncpg_pool(self.pool)
        manager.entrypoint("step")(self._step)
        run = manager.run(batch_size=BATCH, dequeue_timeout=timedelta(seconds=POLL_S))
        return manager, asyncio.create_task(run)

    async def _stop(self, worker: tuple[PgQueuer, asyncio.Task[None]]) -> None:
        manager, task = worker
        manager.shutdown.set()
        await asyncio.wait([task], timeout=10)

    async def _step(self, job: Job) -> None:
        number, step, steps = json.loads(job.payload or b"[]")
        if step == 1:
            self.moments.first[number] = time.perf_counter()
        if step < steps:
            await self.queries.enqueue(["step"], [_payload(number, step + 1, steps)], [0])
            return
        self.moments.done[number] = time.perf_counter()
        self.counter.end()


def _payload(number: int, step: int, steps: int) -> bytes:
    return json.dumps([number, step, steps]).encode()


async def main() -> None:
    """Serve."""
    peer = Pgqueuer()
    handlers: dict[str, Any] = {"open": peer.open, "store": peer.store, "drain": peer.drain, "paced": peer.paced}
    await serve(handlers)


if __name__ == "__main__":
    uvloop.run(main())
