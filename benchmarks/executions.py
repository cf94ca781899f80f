"""How many executions per second, beside the floor: the same rows written by a bare loop with the same durability.

Run by `make bench`, on an embedded PostgreSQL with fsync on. Compare the ratio, not the figures: machines differ.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from pathlib import Path
from uuid import UUID

import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table

from hark.actions.builtin import builtin_actions
from hark.daemon.engine.engine import Engine
from hark.daemon.logging import configure_logging
from hark.daemon.postgres.server import EmbeddedPostgres
from hark.daemon.settings import Settings
from hark.daemon.store.database import Database
from hark.daemon.store.schema import ensure_schema
from hark.triggers.builtin import builtin_triggers
from hark.workflows.catalogue import Catalogue, NewEvent
from hark.workflows.ids import DEFAULT_TENANT, new_id
from hark.workflows.loading import load_all

BATCH = 500


def workflow(steps: int) -> str:
    """Write a workflow of trivial steps."""
    lines = "\n".join(f'  - {{id: s{n}, set: {{v{n}: "${{{{ event.data.n + {n} }}}}"}}}}' for n in range(steps))
    return f"id: bench-{steps}\nname: Bench\ntriggers: [{{type: event, event: BENCH{steps}}}]\nsteps:\n{lines}\n"


async def hark(engine: Engine, count: int, steps: int) -> float:
    """Take in events and run their executions to the end; returns executions per second."""
    await engine.publisher.apply(DEFAULT_TENANT, load_all(workflow(steps), engine.catalogue))
    kind = f"BENCH{steps}"
    ended = sum(engine.executor.ended.values())
    began = time.perf_counter()

    async def sender(start: int) -> None:
        for n in range(start, count, BATCH):
            await engine.emit(NewEvent(DEFAULT_TENANT, "event", kind, "bench", f"event:{kind}", {"n": n}))

    await asyncio.gather(*(sender(start) for start in range(BATCH)))
    while sum(engine.executor.ended.values()) < ended + count:
        await asyncio.sleep(0.005)
    return count / (time.perf_counter() - began)


EVENTS = """
INSERT INTO hark.events (tenant_id, id, kind, type, source, route, data, occurred_at, matched)
SELECT $1, u.id, 'event', 'FLOOR', 'bench', 'event:FLOOR', '{"n": 1}', now(), true FROM unnest($2::uuid[]) AS u (id)
"""
EXECUTIONS = """
INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, trigger_type, status, instance_id,
                                      claims, inputs, started_at)
SELECT $1, u.id, $3, 1, u.id, 'event', 'running', $4, 1, '{"n": 1}', now() FROM unnest($2::uuid[]) AS u (id)
"""
STEPS = """
INSERT INTO hark.workflow_steps (tenant_id, execution_id, path, seq, verb, status, output, started_at, completed_at)
SELECT $1, u.id, 's' || n, n, 'set', 'completed', '{"v": 1}', now(), now()
FROM unnest($2::uuid[]) AS u (id), generate_series(0, $3::integer - 1) AS n
"""
END = """
UPDATE hark.workflow_executions AS e
SET status = 'completed', instance_id = NULL, completed_at = now(), claims = 0
FROM unnest($2::uuid[]) AS u (id) WHERE e.tenant_id = $1 AND e.id = u.id
"""


async def floor(url: str, count: int, steps: int) -> float:
    """Write the rows that so many executions leave, in the same two transactions; returns executions per second."""
    connection = await asyncpg.connect(url)
    workflow_id, instance = UUID(int=1), UUID(int=2)
    now = await connection.fetchval("SELECT now()")
    await connection.execute("SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off")
    began = time.perf_counter()
    for start in range(0, count, BATCH):
        ids = [new_id(now) for _ in range(min(BATCH, count - start))]
        async with connection.transaction():
            await connection.execute(EVENTS, DEFAULT_TENANT, ids)
            await connection.execute(EXECUTIONS, DEFAULT_TENANT, ids, workflow_id, instance)
        async with connection.transaction():
            await connection.execute(STEPS, DEFAULT_TENANT, ids, steps)
            await connection.execute(END, DEFAULT_TENANT, ids)
    seconds = time.perf_counter() - began
    await connection.close()
    return count / seconds


async def measure(count: int) -> Table:
    """Run both on one server, one after the other."""
    table = Table("steps", "Hark, executions/s", "floor, executions/s", "ratio")
    with tempfile.TemporaryDirectory(prefix="hark-bench-") as directory:
        home = Path(directory)
        home.chmod(0o711)  # noqa: ASYNC240 - nothing else runs
        server = EmbeddedPostgres(home)
        url = await server.start()
        try:
            await ensure_schema(url)
            database = Database(url)
            await database.start()
            engine = Engine(
                Settings(max_running=1000), database, Catalogue(builtin_actions(), builtin_triggers()), secrets={}
            )
            await engine.start()
            await hark(engine, BATCH, 1)
            for steps in (1, 3):
                ours = await hark(engine, count, steps)
                theirs = await floor(url, count, steps)
                table.add_row(str(steps), f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.2f}")
            await engine.stop()
            await database.stop()
        finally:
            await server.stop()
    return table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000, help="executions of each kind")
    count = parser.parse_args().count
    configure_logging("warning")
    table = uvloop.run(measure(count))
    console = Console()
    console.print(table)
    console.print(f"memory at its highest: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
