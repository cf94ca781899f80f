"""From an event to its first step and to completion, at 20 a second and at half load; beside INSERT+NOTIFY→LISTEN.

Hark also from a row that an application inserts to the first step.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import asyncpg

from benchmarks.bench import Bench, Contestant, contestants, quantile
from benchmarks.processes import ContestantError
from benchmarks.results import Delay, Latency

NAMES = ("hark", "pgqueuer", "procrastinate", "dbos")
STEPS = 3
STEADY = 20.0
WARM_UP_S = 1.0
CALIBRATION = {"hark": 2_000, "pgqueuer": 500}
ROWS = "rows"
BARE = "bare INSERT+NOTIFY→LISTEN"


async def measure(bench: Bench) -> Latency:
    """Measure everybody, one after the other; the bare time before and after them."""
    at = datetime.now(UTC)
    url = await bench.database("bench_bare")
    delays: list[Delay] = []
    bare = await bare_times(url, STEADY, bench.scale.steady_s)
    async with AsyncExitStack() as stack:
        for one in await contestants(bench, stack, NAMES):
            try:
                delays += await _both_loads(bench, one)
                if one.name == "hark":
                    delays.append(await _rows(bench, one))
            except ContestantError as error:
                bench.missing[one.name] = str(error)
                bench.say(f"{one.name} is left out: {error}")
    bare += await bare_times(url, STEADY, bench.scale.steady_s)
    delays.insert(0, _bare_delay(bare))
    return Latency(scale=bench.scale.name, at=at, delays=delays)


async def _both_loads(bench: Bench, one: Contestant) -> list[Delay]:
    await one.ask("paced", 60, rate=STEADY, seconds=WARM_UP_S, steps=STEPS)
    steady = await paced(bench, one, "steady", STEADY, bench.scale.steady_s)
    kind = "flow" if one.name == "hark" else "drain"
    await one.run(kind, 50, STEPS, 20)
    run = await one.run(kind, CALIBRATION.get(one.name, 100), STEPS, 20)
    return [steady, await paced(bench, one, "half", run.rate / 2, bench.scale.half_load_s)]


async def _rows(bench: Bench, one: Contestant) -> Delay:
    await one.ask("paced_rows", 60, rate=STEADY, seconds=WARM_UP_S)
    answer = await one.ask("paced_rows", bench.scale.steady_s + 60, rate=STEADY, seconds=bench.scale.steady_s)
    delay = delay_of(one.name, ROWS, STEADY, {**answer, "done_ms": answer["first_ms"]})
    bench.say(f"{one.name}, a row at {STEADY:,.0f}/s: first step p50 {delay.first_p50} ms")
    return delay.model_copy(update={"done_p50": None, "done_p99": None})


async def paced(bench: Bench, one: Contestant, load: str, rate: float, seconds: float) -> Delay:
    """Measure latencies at a rate."""
    answer = await one.ask("paced", seconds + 60, rate=rate, seconds=seconds, steps=STEPS)
    delay = delay_of(one.name, load, rate, answer)
    bench.say(f"{one.name} at {rate:,.0f}/s: first step p50 {delay.first_p50} ms, complete p50 {delay.done_p50} ms")
    return delay


def delay_of(who: str, load: str, rate: float, answer: Mapping[str, Any]) -> Delay:
    """Make one line of what a contestant noted."""
    figures: dict[str, float] = {}
    for name in ("ack", "first", "done", "ack_to_first"):
        values = answer.get(f"{name}_ms")
        if values:
            figures[f"{name}_p50"] = round(quantile(values, 0.5), 3)
            figures[f"{name}_p99"] = round(quantile(values, 0.99), 3)
    complete = len(answer.get("done_ms", ()))
    return Delay(who=who, load=load, rate=rate, sent=answer["sent"], complete=complete, **figures)


def _bare_delay(times: list[float]) -> Delay:
    return Delay(
        who=BARE,
        load="steady",
        rate=STEADY,
        sent=len(times),
        complete=len(times),
        first_p50=round(quantile(times, 0.5), 3),
        first_p99=round(quantile(times, 0.99), 3),
    )


async def bare_times(url: str, rate: float, seconds: float) -> list[float]:
    """Insert a row and notify, in one statement; return the milliseconds from sending it to hearing it elsewhere."""
    writer, listener = await asyncpg.connect(url), await asyncpg.connect(url)
    heard: dict[str, float] = {}
    try:
        await writer.execute("CREATE TABLE IF NOT EXISTS bare (id bigint GENERATED ALWAYS AS IDENTITY, data jsonb)")
        await listener.add_listener("bare", lambda *args: heard.__setitem__(str(args[-1]), time.perf_counter()))
        statement = "WITH kept AS (INSERT INTO bare (data) VALUES ('{\"n\": 1}')) SELECT pg_notify('bare', $1)"
        for number in range(5):
            await writer.execute(statement, f"warm-up {number}")
        sent: dict[str, float] = {}
        loop = asyncio.get_running_loop()
        began = loop.time()
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            sent[str(number)] = time.perf_counter()
            await writer.execute(statement, str(number))
        await asyncio.sleep(0.2)
        return [(heard[key] - moment) * 1e3 for key, moment in sent.items() if key in heard]
    finally:
        await listener.close()
        await writer.close()
