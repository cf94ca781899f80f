"""Memory over a million executions; takes minutes, so that it runs only when it is asked for."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime

from benchmarks.bench import Bench, contestants
from benchmarks.processes import ContestantError
from benchmarks.results import Point, Soak

EXECUTIONS = {"full": 1_000_000, "quick": 20_000}
PARTS = 20
STEPS = 3


async def measure(bench: Bench) -> Soak:
    """Run executions in parts, and note the memory after each."""
    at = datetime.now(UTC)
    part = EXECUTIONS[bench.scale.name] // PARTS
    points: list[Point] = []
    async with AsyncExitStack() as stack:
        found = await contestants(bench, stack, ["hark"])
        if not found:
            raise ContestantError(bench.missing["hark"])
        for number in range(1, PARTS + 1):
            await found[0].ask("flow", 300, count=part, steps=STEPS)
            points.append(Point(executions=number * part, resident_mib=found[0].process.resident_mib()))
            bench.say(f"{points[-1].executions:,} executions: {points[-1].resident_mib:.0f} MiB")
    return Soak(scale=bench.scale.name, at=at, points=points)
