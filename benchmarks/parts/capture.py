"""What row capture costs those who write: beside no trigger, and a trigger with an outbox as one writes it by hand."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg

from benchmarks.bench import Bench
from benchmarks.results import Capture, Watching, Writing
from hark.daemon.store.capture_site import CaptureSite
from hark.daemon.store.capture_triggers import describe_tables, install
from hark.daemon.store.database import Database
from hark.daemon.store.schema import ensure_schema
from hark.triggers.capture_plan import plan_captures
from hark.triggers.row_config import RowConfig
from hark.workflows.catalogue import ActiveTrigger
from hark.workflows.ids import DEFAULT_TENANT, WorkflowId

UNWATCHED, BY_HAND, WATCHED, FILTERED = "unwatched", "trigger by hand", "watched", "filtered out by `when`"
MANY = 1_000
FILTERED_BY_MANY = f"filtered out by `when` of {MANY:,} workflows"
TABLES = {UNWATCHED: "plain", BY_HAND: "by_hand", WATCHED: "watched", FILTERED: "filtered", FILTERED_BY_MANY: "many"}
ONE, LARGE = "a transaction of one row", "a statement of 1,000 rows"
INSIDE = f"{ONE}, in a procedure"
"""On a connection the processes take longer to wake each other up than any trigger takes, and not always the same."""
INSIDE_ROWS = 200
ROUND_S = 0.03
PATIENCE_S = 5.0

_TABLE = """
CREATE TABLE public.{0} (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL, status text NOT NULL,
    amount numeric(12, 2) NOT NULL, created_at timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_enabled = off)
"""
_BY_HAND = """
CREATE TABLE public.outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, table_name text NOT NULL, operation text NOT NULL,
    data jsonb NOT NULL, created_at timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_enabled = off);
CREATE FUNCTION public.keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.outbox (table_name, operation, data) VALUES (TG_TABLE_NAME, TG_OP, to_jsonb(NEW));
    RETURN NULL;
END $$;
CREATE TRIGGER keep AFTER INSERT ON public.by_hand FOR EACH ROW EXECUTE FUNCTION public.keep()
"""
_PROCEDURE = """
CREATE PROCEDURE public.write_{0}(rows integer) LANGUAGE plpgsql AS $$ BEGIN
    FOR n IN 1 .. rows LOOP
        INSERT INTO public.{0} (customer, status, amount) VALUES ('customer ' || n, 'new', n);
        COMMIT;
    END LOOP;
END $$
"""
_STATEMENTS = {
    ONE: "INSERT INTO public.{0} (customer, status, amount) VALUES ('customer', 'new', 1)",
    LARGE: "INSERT INTO public.{0} (customer, status, amount) "
    "SELECT 'customer ' || n, 'new', n FROM generate_series(1, 1000) AS n",
    INSIDE: f"CALL public.write_{{0}}({INSIDE_ROWS})",
}


async def measure(bench: Bench) -> Capture:
    """Write to tables that are alike but for their triggers, in turn; no instance runs: it would cost all of them."""
    at = datetime.now(UTC)
    url = await bench.database("bench_capture")
    await ensure_schema(url)
    database = Database(url)
    await database.start()
    try:
        async with database.pool.acquire() as connection:
            watchings = await _prepare(bench, database, connection)
        writer = await asyncpg.connect(url, server_settings={"synchronous_commit": "off"})
        try:
            writings = [one for shape in _STATEMENTS for one in await _write(bench, writer, shape)]
        finally:
            await writer.close()
    finally:
        await database.stop()
    return Capture(scale=bench.scale.name, at=at, writings=writings, watchings=watchings)


async def _prepare(bench: Bench, database: Database, connection: Any) -> list[Watching]:
    for table in TABLES.values():
        await connection.execute(_TABLE.format(table))
        await connection.execute(_PROCEDURE.format(table))
    await connection.execute(_BY_HAND)
    watchers = [_watch(1, "watched"), _watch(2, "filtered", 'new.status == "shipped"')]
    watchings = []
    for count in (MANY - 1, MANY):
        many = [_watch(3 + n, "many", f'new.customer == "someone else {n}"') for n in range(count)]
        began = time.perf_counter()
        await _install(database, [*watchers, *many])
        # As it is while instances look by themselves: nobody asks the writers for a NOTIFY.
        await database.fetchval("set_capture_wakeups", 0)
        watchings.append(Watching(watchers=count, seconds=time.perf_counter() - began))
    bench.say(f"{MANY:,} workflows on one table: {watchings[0].seconds * 1e3:,.0f} ms")
    return watchings


def _watch(number: int, table: str, when: str | None = None) -> ActiveTrigger:
    return ActiveTrigger(
        tenant_id=DEFAULT_TENANT,
        workflow_id=WorkflowId(UUID(int=number)),
        workflow=f"w{number}",
        version=1,
        id="row",
        kind="row",
        config=RowConfig(table=table),
        when=when,
    )


async def _install(database: Database, triggers: Iterable[ActiveTrigger]) -> None:
    """Make the database capture for these triggers, as the daemon would."""
    watchers = list(triggers)
    async with database.transaction() as connection:
        tables = await describe_tables(connection, {trigger.config.table_name for trigger in watchers})
    generation = await database.fetchval("get_generation")
    installed = await install(CaptureSite(database), plan_captures(watchers, tables), generation, patience_s=PATIENCE_S)
    assert installed.current, installed
    assert not installed.busy, installed
    assert not installed.problems, installed


async def _write(bench: Bench, writer: Any, shape: str) -> list[Writing]:
    """Write to all tables in turn, round after round; the median of the rounds counts."""
    statements = {what: await writer.prepare(_STATEMENTS[shape].format(table)) for what, table in TABLES.items()}
    times: dict[str, list[float]] = {what: [] for what in statements}
    for turn in range(bench.scale.capture_rounds):
        for what in statements if turn % 2 else reversed(statements):
            each = await _timed(statements[what])
            if turn:  # the first round warms up
                times[what].append(each / (INSIDE_ROWS if shape == INSIDE else 1))
        await writer.execute("TRUNCATE hark.row_changes, public.outbox")
    rows = 1_000 if shape == LARGE else 1
    writings = [Writing(what=what, shape=shape, us=statistics.median(each) * 1e6) for what, each in times.items()]
    said = ", ".join(f"{one.what} {one.us / rows:.1f}" for one in writings)
    bench.say(f"{shape}, µs a row: {said}")
    return writings


async def _timed(statement: Any) -> float:
    """Do it for a moment, so short that all have the same neighbours on the machine; return the seconds for one."""
    count, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < ROUND_S:
        await statement.fetch()
        count += 1
    return spent / count
