"""How many executions per second, beside the floor: the same rows written by a bare loop with the same durability.

Run by `make bench`, on an embedded PostgreSQL with fsync on. Short runs of both in turn, and their medians: a shared
machine changes from one second to the next. Compare the ratio, not the figures: machines differ.
"""

from __future__ import annotations

import argparse
import gc
import statistics
from collections.abc import Awaitable, Callable, Sequence

import uvloop
from rich.console import Console
from rich.table import Table

from benchmarks.floor import Floor
from benchmarks.hark_side import HarkSide, hark_side
from benchmarks.meter import Reading, metered, resident_mib
from benchmarks.server import Server, own_server
from benchmarks.work import Work
from hark.daemon.logging import configure_logging
from hark.daemon.store.schema import ensure_schema

WORKS = {work.name: work for work in (Work(3, strict=True), Work(1, strict=True), Work(3, strict=False))}

Side = Callable[[int, Work], Awaitable[None]]


async def alternate(server: Server, sides: Sequence[Side], count: int, work: Work, rounds: int) -> list[list[Reading]]:
    """Measure the sides in turn; returns the readings of each."""
    readings: list[list[Reading]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, own in zip(sides, readings, strict=True):
            gc.collect()
            with metered(count, server.postmaster) as reading:
                await side(count, work)
            own.append(reading)
    return readings


def medians(readings: Sequence[Reading]) -> tuple[float, float, float]:
    """Return rate, and microseconds of Python and of PostgreSQL for each, at the median."""
    return (
        statistics.median(reading.rate for reading in readings),
        statistics.median(reading.python_us for reading in readings),
        statistics.median(reading.postgres_us for reading in readings),
    )


async def measure(count: int, rounds: int, works: Sequence[Work]) -> Table:
    """Measure both sides on one server."""
    table = Table("work", "side", "executions/s", "ratio", "Python, µs each", "PostgreSQL, µs each")
    async with own_server() as server, hark_side(server.url) as ours:
        # In a database of its own: Hark would take up executions that run without a licence.
        floor_url = await server.database("floor")
        await ensure_schema(floor_url)
        floor = await Floor.open(floor_url)
        for work in works:
            await ours.prepare(work)
            ours_readings, floor_readings = await alternate(server, (ours.drain, floor.write), count, work, rounds)
            _add(table, work, medians(ours_readings), medians(floor_readings))
        await floor.close()
        await _check(ours, works)
    return table


async def _check(ours: HarkSide, works: Sequence[Work]) -> None:
    """Everything must have completed, with a record of every step: else the figures say nothing."""
    pool = ours.engine.database.pool
    for work in works:
        ended = await pool.fetch(
            "SELECT e.status, count(*), sum((SELECT count(*) FROM hark.workflow_steps AS s WHERE s.tenant_id = "
            "e.tenant_id AND s.execution_id = e.id AND s.status = 'completed'))::bigint AS steps "
            "FROM hark.workflow_executions AS e JOIN hark.workflows AS w ON w.id = e.workflow_id WHERE w.slug = $1 "
            "GROUP BY e.status",
            work.name,
        )
        assert [(row["status"], row["steps"]) for row in ended] == [("completed", ended[0]["count"] * work.steps)]


def _add(table: Table, work: Work, ours: tuple[float, float, float], floor: tuple[float, float, float]) -> None:
    for side, (rate, python, postgres) in (("Hark", ours), ("floor", floor)):
        ratio = f"{rate / floor[0]:.2f}"
        table.add_row(work.name, side, f"{rate:,.0f}", ratio, f"{python:.0f}", f"{postgres:.0f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=4_000, help="executions in a run")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each side")
    parser.add_argument("--work", choices=WORKS, nargs="*", default=list(WORKS), help="what to run")
    arguments = parser.parse_args()
    configure_logging("warning")
    works = [WORKS[name] for name in arguments.work]
    table = uvloop.run(measure(arguments.count, arguments.rounds, works))
    console = Console()
    console.print(table)
    console.print(f"memory at the end: {resident_mib():.0f} MiB")


if __name__ == "__main__":
    main()
