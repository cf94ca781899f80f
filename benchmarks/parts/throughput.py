"""Executions per second of 1 and of 3 steps: Hark, the floor, and the peers, in turn on one server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import asyncpg

from benchmarks.bench import Bench, Contestant, Run, contestants, median
from benchmarks.meter import server_cpu_s
from benchmarks.processes import ContestantError
from benchmarks.results import Memory, Size, Speed, Throughput

NAMES = ("hark", "floor", "pgqueuer", "procrastinate", "dbos")
STEPS = (3, 1)
WARM_UP = 100
IN_FLIGHT = 1_000
_LEAST, _RUN_LIMIT_S = 50, 30.0


@dataclass(slots=True)
class _Lane:
    """One contestant doing one kind of work, and its readings so far."""

    contestant: Contestant
    kind: str
    count: int = 0
    runs: list[Run] = field(default_factory=list)
    python_us: list[float] = field(default_factory=list)
    postgres_us: list[float] = field(default_factory=list)
    broken: str = ""


async def measure(bench: Bench) -> Throughput:
    """Measure all of them."""
    at = datetime.now(UTC)
    async with AsyncExitStack() as stack:
        found = await contestants(bench, stack, NAMES)
        opened = {one.name: one.process.resident_mib() for one in found}
        speeds: list[Speed] = []
        sizes: list[Size] = []
        executions = dict.fromkeys(opened, 0)
        for steps in STEPS:
            lanes = await _warmed_up(bench, found, steps)
            async with _sized(lanes, sizes if steps == max(STEPS) else []):
                await _rounds(bench, lanes, steps)
            for lane in lanes:
                executions[lane.contestant.name] += sum(run.count for run in lane.runs)
            speeds += [_speed(lane, steps) for lane in lanes if lane.runs]
        memories = [await _memory(one, opened[one.name], executions[one.name]) for one in found]
        entrants = [one.entrant for one in found]
    return Throughput(scale=bench.scale.name, at=at, entrants=entrants, speeds=speeds, sizes=sizes, memories=memories)


async def _warmed_up(bench: Bench, found: list[Contestant], steps: int) -> list[_Lane]:
    """Let everybody run a little, and find out how many executions make a run of a few seconds."""
    lanes = []
    for one in found:
        for kind in {"hark": ("flow", "drain"), "floor": ("flow",)}.get(one.name, ("drain",)):
            lane = _Lane(one, kind)
            try:
                run = await one.run(kind, WARM_UP, steps, _RUN_LIMIT_S)
                if one.name not in {"hark", "floor"}:
                    run = await one.run(kind, _fitting(run, 1.0, bench), steps, _RUN_LIMIT_S)
                    lane.count = _fitting(run, bench.scale.peer_s, bench)
                else:
                    lane.count = bench.scale.drain
                lanes.append(lane)
            except ContestantError as error:
                bench.missing[one.name] = str(error)
                bench.say(f"{one.name} is left out: {error}")
    return lanes


def _fitting(run: Run, seconds: float, bench: Bench) -> int:
    return max(_LEAST, min(bench.scale.drain, int(run.rate * seconds)))


async def _rounds(bench: Bench, lanes: list[_Lane], steps: int) -> None:
    for number in range(bench.scale.rounds):
        # Every other round backwards, so that nobody always comes right after the same one.
        for lane in lanes if number % 2 == 0 else reversed(lanes):
            if not lane.broken:
                await _turn(bench, lane, steps)


async def _turn(bench: Bench, lane: _Lane, steps: int) -> None:
    one = lane.contestant
    python, postgres = one.process.cpu_s(), server_cpu_s(bench.server.postmaster)
    try:
        if lane.kind == "drain":
            await one.ask("store", 60, count=lane.count, steps=steps)
            python, postgres = one.process.cpu_s(), server_cpu_s(bench.server.postmaster)
            answer = await one.ask("drain", _RUN_LIMIT_S + 30, limit_s=_RUN_LIMIT_S)
        else:
            answer = await one.ask("flow", 2 * _RUN_LIMIT_S, count=lane.count, steps=steps)
    except ContestantError as error:
        lane.broken = bench.missing[one.name] = str(error)
        bench.say(f"{one.name} is left out from here on: {error}")
        return
    run = Run(max(1, answer["count"]), answer["seconds"])
    lane.runs.append(run)
    lane.python_us.append((one.process.cpu_s() - python) / run.count * 1e6)
    lane.postgres_us.append((server_cpu_s(bench.server.postmaster) - postgres) / run.count * 1e6)
    bench.say(f"{steps} steps: {one.name} {lane.kind} of {run.count}: {run.rate:,.0f}/s")


def _speed(lane: _Lane, steps: int) -> Speed:
    rates = [run.rate for run in lane.runs]
    return Speed(
        who=lane.contestant.name,
        kind=lane.kind,
        steps=steps,
        count=lane.count,
        rates=rates,
        rate=median(rates),
        python_us=median(lane.python_us),
        postgres_us=median(lane.postgres_us),
    )


async def _memory(one: Contestant, opened: float, executions: int) -> Memory:
    end = one.process.resident_mib()
    if one.name != "hark":
        return Memory(who=one.name, opened=opened, end=end, executions=executions)
    held = await one.ask("hold_many", 60, count=IN_FLIGHT)
    at_in_flight = one.process.resident_mib()
    await one.ask("release", 60)
    return Memory(
        who=one.name,
        opened=opened,
        end=end,
        executions=executions,
        in_flight=held["in_flight"],
        at_in_flight=at_in_flight,
    )


@asynccontextmanager
async def _sized(lanes: list[_Lane], sizes: list[Size]) -> AsyncIterator[None]:
    """Note what the executions of the block leave behind, for each contestant."""
    found = {lane.contestant.name: lane.contestant for lane in lanes}
    before = {name: await _size(one.url) for name, one in found.items()}
    yield
    for name, one in found.items():
        count = sum(run.count for lane in lanes if lane.contestant is one for run in lane.runs)
        after = await _size(one.url)
        if count:
            rows, held = (after[index] - before[name][index] for index in (0, 1))
            sizes.append(Size(who=name, rows=rows / count, bytes=held / count))


async def _size(url: str) -> tuple[int, int]:
    """Return the rows of all tables of a database, and its bytes with all indexes."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT oid::regclass::text AS name FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text "
            "NOT IN ('pg_catalog', 'information_schema') AND relpersistence = 'p'"
        )
        counts = [await connection.fetchval(f"SELECT count(*) FROM {row['name']}") for row in tables]
        return sum(counts), await connection.fetchval("SELECT pg_database_size(current_database())")
    finally:
        await connection.close()
