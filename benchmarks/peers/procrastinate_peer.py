"""procrastinate: an execution is a chain of jobs; each defers the next one when it is done."""

from __future__ import annotations

import asyncio
import importlib.metadata
import time
from typing import Any

import procrastinate
import uvloop

from benchmarks.peers.contract import Answer, Counter, Moments, database_url, pace, serve, until

CONCURRENCY = 30
SETTINGS = (
    f"psycopg 3 with its C part, pool of 20, uvloop, concurrency={CONCURRENCY} (default 1), LISTEN/NOTIFY on, "
    "delete_jobs=never (the default), stored by batch_defer"
)


class Procrastinate:
    """A queue and, while there is something to do, its worker."""

    def __init__(self) -> None:
        connector = procrastinate.PsycopgConnector(conninfo=database_url(), min_size=2, max_size=20)
        self.app = procrastinate.App(connector=connector)
        self.task: Any = self.app.task(name="step")(self._step)
        self.counter = Counter()
        self.moments = Moments()
        self.stored = 0

    async def open(self) -> Answer:
        """Connect, and make the tables."""
        await self.app.open_async()
        await self.app.schema_manager.apply_schema_async()
        return {"version": importlib.metadata.version("procrastinate"), "settings": SETTINGS}

    async def store(self, count: int, steps: int) -> Answer:
        """Put the first jobs of so many executions into the queue."""
        for start in range(0, count, 1000):
            numbers = range(start, min(start + 1000, count))
            await self.task.batch_defer_async(*({"number": n, "step": 1, "steps": steps} for n in numbers))
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
        """Defer at a steady rate, and note when the first and the last step ran."""
        worker = self._start()
        await asyncio.sleep(1)
        self.moments = moments = Moments()
        await pace(moments, rate, seconds, lambda n: self.task.defer_async(number=n, step=1, steps=steps))
        await until(lambda: len(moments.done) == len(moments.sent), 15)
        await self._stop(worker)
        return moments.answer()

    def _start(self) -> asyncio.Task[None]:
        run = self.app.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False)
        return asyncio.create_task(run)

    async def _stop(self, worker: asyncio.Task[None]) -> None:
        # Cancelling is how a worker inside a program is asked to finish what it has and stop.
        worker.cancel()
        await asyncio.wait([worker], timeout=10)

    async def _step(self, number: int, step: int, steps: int) -> None:
        if step == 1:
            self.moments.first[number] = time.perf_counter()
        if step < steps:
            await self.task.defer_async(number=number, step=step + 1, steps=steps)
            return
        self.moments.done[number] = time.perf_counter()
        self.counter.end()


async def main() -> None:
    """Serve."""
    peer = Procrastinate()
    await serve({"open": peer.open, "store": peer.store, "drain": peer.drain, "paced": peer.paced})


if __name__ == "__main__":
    uvloop.run(main())
