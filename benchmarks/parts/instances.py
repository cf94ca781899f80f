"""Several daemons on one database: how fast they run together what is stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime

import asyncpg

from benchmarks.bench import Bench, median
from benchmarks.daemons import Daemon, daemon
from benchmarks.meter import server_cpu_s
from benchmarks.processes import ContestantError
from benchmarks.results import Fleet, Instances
from benchmarks.stored import store_pending
from benchmarks.work import Work

WORK = Work(3, strict=True)
WARM_UP = 500
RUN_LIMIT_S = 60.0
_LEFT = "SELECT EXISTS (SELECT 1 FROM hark.workflow_executions WHERE status IN ('pending', 'running'))"


async def measure(bench: Bench) -> Instances:
    """Measure one instance, then more and more; one alone is measured again at the end, for the machine may drift."""
    at = datetime.now(UTC)
    url = await bench.database("bench_instances")
    fleets: dict[int, list[_Drain]] = {}
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(_one(url))
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        async with AsyncExitStack() as others:
            fleet = [first]
            for size in bench.scale.instances:
                while len(fleet) < size:
                    fleet.append(await others.enter_async_context(_one(url)))
                fleets[size] = await _drains(bench, connection, fleet, bench.scale.rounds)
        if len(fleets) > 1:
            fleets[1] += await _drains(bench, connection, [first], bench.scale.rounds)
    return Instances(scale=bench.scale.name, at=at, fleets=[_fleet(size, drains) for size, drains in fleets.items()])


def _one(url: str) -> AbstractAsyncContextManager[Daemon]:
    return daemon(url, {"work": WORK.text}, max_running="1000")


class _Drain:
    """One run of all instances together."""

    def __init__(self, count: int, seconds: float, process_s: float, postgres_s: float) -> None:
        self.rate = count / seconds
        self.process_us = process_s / count * 1e6
        self.postgres_us = postgres_s / count * 1e6


async def _drains(
    bench: Bench, connection: asyncpg.Connection[asyncpg.Record], fleet: Sequence[Daemon], rounds: int
) -> list[_Drain]:
    await _drain(bench, connection, fleet, WARM_UP * len(fleet))
    found = []
    for _ in range(rounds):
        found.append(await _drain(bench, connection, fleet, bench.scale.drain))
        bench.say(f"{len(fleet)} instances: {found[-1].rate:,.0f}/s")
    return found


async def _drain(
    bench: Bench, connection: asyncpg.Connection[asyncpg.Record], fleet: Sequence[Daemon], count: int
) -> _Drain:
    """Store executions and wait for the last end."""
    transaction = connection.transaction()
    await transaction.start()
    await store_pending(connection, WORK.name, count)
    processes = sum(one.process.cpu_s() for one in fleet)
    postgres, began = server_cpu_s(bench.server.postmaster), time.perf_counter()
    await transaction.commit()
    while await connection.fetchval(_LEFT):
        if time.perf_counter() - began > RUN_LIMIT_S:
            raise ContestantError(f"{len(fleet)} instances had not run {count} executions after {RUN_LIMIT_S:.0f} s")
        await asyncio.sleep(0.02)
    seconds = time.perf_counter() - began
    return _Drain(
        count,
        seconds,
        sum(one.process.cpu_s() for one in fleet) - processes,
        server_cpu_s(bench.server.postmaster) - postgres,
    )


def _fleet(size: int, drains: Sequence[_Drain]) -> Fleet:
    return Fleet(
        instances=size,
        rates=[drain.rate for drain in drains],
        rate=median([drain.rate for drain in drains]),
        process_us=median([drain.process_us for drain in drains]),
        postgres_us=median([drain.postgres_us for drain in drains]),
    )
