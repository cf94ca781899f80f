"""How speed, latency, memory and size change with the number of stored executions."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import asyncpg

from benchmarks.bench import Bench, Contestant, contestants, median
from benchmarks.meter import server_cpu_s
from benchmarks.parts.latency import delay_of
from benchmarks.processes import ContestantError
from benchmarks.results import Level, Stored
from benchmarks.stored import count_executions, fill
from benchmarks.work import Work

STEPS = 3
STEADY = 20.0
STEADY_S = 5.0
WARM_UP = 1_000
ENOUGH = 10_000
FILL_RATE = 8_000
"""Executions per second that filling writes at the least; a level that would not be done in time is left out."""
RUNS_S = 40.0


async def measure(bench: Bench) -> Stored:
    """Fill up to one level after the other, and measure at each."""
    at = datetime.now(UTC)
    levels: list[Level] = []
    async with AsyncExitStack() as stack:
        found = await contestants(bench, stack, ["hark"])
        if not found:
            raise ContestantError(bench.missing["hark"])
        one = found[0]
        await one.ask("flow", count=WARM_UP, steps=STEPS)
        for wanted in bench.scale.stored:
            if levels and wanted / FILL_RATE + RUNS_S > bench.left_s:
                bench.say(f"{wanted:,} stored are left out: the time would not be enough")
                break
            levels.append(await _level(bench, one, wanted))
    return Stored(scale=bench.scale.name, at=at, levels=levels)


async def _level(bench: Bench, one: Contestant, wanted: int) -> Level:
    began = time.perf_counter()
    there, bytes_before = await count_executions(one.url), await _bytes(one.url)
    filled = max(0, wanted - there)
    await fill(one.url, Work(STEPS, strict=True).name, filled, STEPS)
    there += filled
    bytes_each = (await _bytes(one.url) - bytes_before) / filled if filled >= ENOUGH else None
    fill_s = time.perf_counter() - began
    count = bench.scale.drain // 2
    flows, python_us, postgres_us = [], [], []
    for _ in range(bench.scale.rounds):
        python, postgres = one.process.cpu_s(), server_cpu_s(bench.server.postmaster)
        answer = await one.ask("flow", count=count, steps=STEPS)
        flows.append(count / answer["seconds"])
        python_us.append((one.process.cpu_s() - python) / count * 1e6)
        postgres_us.append((server_cpu_s(bench.server.postmaster) - postgres) / count * 1e6)
    drain = await one.run("drain", count, STEPS, 60)
    answer = await one.ask("paced", rate=STEADY, seconds=min(STEADY_S, bench.scale.steady_s), steps=STEPS)
    delay = delay_of("hark", f"{there} stored", STEADY, answer)
    bench.say(f"{there:,} stored (filled in {fill_s:.0f} s): {median(flows):,.0f}/s")
    return Level(
        stored=there,
        fill_s=fill_s,
        flow=median(flows),
        flows=flows,
        drain=drain.rate,
        python_us=median(python_us),
        postgres_us=median(postgres_us),
        first_p50=delay.first_p50 or 0.0,
        first_p99=delay.first_p99 or 0.0,
        done_p50=delay.done_p50 or 0.0,
        done_p99=delay.done_p99 or 0.0,
        resident_mib=one.process.resident_mib(),
        bytes_each=bytes_each,
    )


async def _bytes(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT pg_database_size(current_database())"))
    finally:
        await connection.close()
