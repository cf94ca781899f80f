"""What an event costs with more and more active workflows on its trigger type, one of which matches."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from benchmarks.bench import Bench, Contestant, contestants, quantile
from benchmarks.meter import server_cpu_s
from benchmarks.processes import ContestantError
from benchmarks.results import Active, Workflows

MATCH_S = 5.0
FIRST_S = 20.0
FEWEST = 2_000
"""Where there are fewer workflows, so many events are sent to meet them for the first time."""
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


@dataclass(frozen=True, slots=True)
class _Matched:
    """What events took, in microseconds of CPU time for each."""

    answer: dict[str, Any]
    count: int
    python_us: float
    postgres_us: float


async def _matched(bench: Bench, one: Contestant, seconds: float, wanted: int, most: int = 1 << 40) -> _Matched:
    """Have events sent for so long, or so many; each must start one execution."""
    python, postgres = one.process.cpu_s(), server_cpu_s(bench.server.postmaster)
    answer = await one.ask("match", seconds + 60, seconds=seconds, count=wanted, most=most)
    count = answer["count"]
    if answer["matched"] != count:
        raise ContestantError(f"{count} events started {answer['matched']} executions instead of one each")
    spent = (one.process.cpu_s() - python, server_cpu_s(bench.server.postmaster) - postgres)
    return _Matched(answer, count, spent[0] / count * 1e6, spent[1] / count * 1e6)


async def _active(bench: Bench, one: Contestant, wanted: int) -> Active:
    began = time.perf_counter()
    await one.ask("activate", LOAD_LIMIT_S, count=wanted)
    load_s = time.perf_counter() - began
    seconds = min(MATCH_S, bench.scale.hooks_s)
    first = await _matched(bench, one, FIRST_S, wanted, max(wanted, FEWEST))
    warm = await _matched(bench, one, seconds, wanted)
    answer = warm.answer
    figures = Active(
        workflows=wanted,
        load_s=load_s,
        rate=warm.count / answer["seconds"],
        python_us=warm.python_us,
        postgres_us=warm.postgres_us,
        first_us=first.python_us + first.postgres_us,
        ack_p50=round(quantile(answer["ms"], 0.5), 3),
        ack_p99=round(quantile(answer["ms"], 0.99), 3),
        resident_mib=one.process.resident_mib(),
    )
    bench.say(f"{wanted:,} active workflows: {figures.rate:,.0f} events/s")
    return figures
