"""What an event costs with more and more active workflows on its trigger type, one of which matches."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from benchmarks.bench import Bench, Contestant, contestants, quantile
from benchmarks.meter import server_cpu_s
from benchmarks.processes import ContestantError
from benchmarks.results import Active, Workflows

MATCH_S = 5.0
LOAD_LIMIT_S = 90.0


async def measure(bench: Bench) -> Workflows:
    """Publish more and more workflows with an equality condition, and send events that one of them matches."""
    at = datetime.now(UTC)
    actives: list[Active] = []
    async with AsyncExitStack() as stack:
        found = await contestants(bench, stack, ["hark"])
        if not found:
            raise ContestantError(bench.missing["hark"])
        for wanted in bench.scale.active:
            if actives and bench.left_s < LOAD_LIMIT_S / 3:
                bench.say(f"{wanted:,} active workflows are left out: the time would not be enough")
                break
            actives.append(await _active(bench, found[0], wanted))
    return Workflows(scale=bench.scale.name, at=at, actives=actives)


async def _active(bench: Bench, one: Contestant, wanted: int) -> Active:
    began = time.perf_counter()
    await one.ask("activate", LOAD_LIMIT_S, count=wanted)
    load_s = time.perf_counter() - began
    seconds = min(MATCH_S, bench.scale.hooks_s)
    await one.ask("match", 60, seconds=seconds / 4, count=wanted)
    python, postgres = one.process.cpu_s(), server_cpu_s(bench.server.postmaster)
    answer = await one.ask("match", 60, seconds=seconds, count=wanted)
    count = answer["count"]
    if answer["matched"] != count:
        raise ContestantError(f"{count} events started {answer['matched']} executions instead of one each")
    figures = Active(
        workflows=wanted,
        load_s=load_s,
        rate=count / answer["seconds"],
        python_us=(one.process.cpu_s() - python) / count * 1e6,
        postgres_us=(server_cpu_s(bench.server.postmaster) - postgres) / count * 1e6,
        ack_p50=round(quantile(answer["ms"], 0.5), 3),
        ack_p99=round(quantile(answer["ms"], 0.99), 3),
        resident_mib=one.process.resident_mib(),
    )
    bench.say(f"{wanted:,} active workflows: {figures.rate:,.0f} events/s")
    return figures
