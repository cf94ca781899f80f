"""Plans of the statements of every flush, made on empty tables and kept: they must be good on large ones too."""

from __future__ import annotations

import re

from hark.daemon.store.database import ENGINE_PLANNER, Database, sql
from hark.daemon.store.lane import Lane


async def plan(url: str, name: str, *types: str, **settings: str) -> str:
    """Return the generic plan of a statement on a connection with the engine's settings, and some more."""
    connection = await Database(url).open("plans", {**ENGINE_PLANNER, **settings})
    try:
        await connection.execute(f"PREPARE hot ({', '.join(types)}) AS {sql(name)}")
        nothing = ", ".join("NULL" for _ in types)
        return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN (COSTS OFF) EXECUTE hot ({nothing})"))
    finally:
        await connection.close()


async def test_the_end_of_an_execution_is_written_by_its_key(database_url: str) -> None:
    """It went through all executions of the instance for each row: quadratic in what is in flight."""
    rows = ("step", "change", "log", "note", "memory", "wait", "waited", "folded")
    found = await plan(database_url, "record_progress", "uuid", *(f"hark.progress_{row}[]" for row in rows))
    update = found[found.index("Update on workflow_executions") : found.index("CTE logs")]
    indexes = re.findall(r"Scan using (\S+) on workflow_executions", update)
    assert indexes
    assert all(index.endswith("_pkey") for index in indexes), update
    assert "Seq Scan" not in found


async def test_what_is_claimed_is_loaded_by_its_keys(database_url: str) -> None:
    """PostgreSQL 18 took the events by route, tenant and id for a key while their partition was empty (skip scan)."""
    for name in ("load_events", "load_steps"):
        found = await plan(database_url, name, "uuid[]", "uuid[]", enable_hashjoin="on")
        indexes = re.findall(r"Index Scan using (\S+) on", found)
        assert indexes
        assert all(index.endswith("_pkey") for index in indexes), found


async def test_who_waits_for_an_event_is_found_by_its_key(database_url: str) -> None:
    """With the key computed inside the join, all that wait for a route were gone through for each event: 4 s."""
    connection = await Database(database_url).open("plans")
    try:
        await connection.execute(_MANY_WAITS)
        explained = "EXPLAIN (ANALYZE, BUFFERS) SELECT hark.wake_waits(a) FROM public.arrived"
        text = "\n".join(row[0] for row in await connection.fetch(explained))
    finally:
        await connection.close()
    pages = sum(int(hits) for hits in re.findall(r"shared hit=(\d+)", text.split("Planning")[0]))
    assert 0 < pages < 5000, text


async def test_turns_are_removed_by_their_prefix(database_url: str) -> None:
    """Of a run of months all that it has on record would be read for each turn that goes."""
    connection = await Database(database_url).open("plans", ENGINE_PLANNER)
    try:
        for _ in range(6):
            await connection.execute(_REMOVE, 0)  # by now the plan is kept
        await connection.execute(_MANY_TURNS)
        explained = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS) {_REMOVE.replace('$1::integer', '100')}")
        left = await connection.fetchval("SELECT count(*) FROM hark.workflow_steps")
    finally:
        await connection.close()
    text = "\n".join(row[0] for row in explained)
    pages = sum(int(hits) for hits in re.findall(r"shared hit=(\d+)", text.split("Planning")[0]))
    assert left == 5 * (5000 - 100)
    assert 0 < pages < 5000, text


_REMOVE = """
SELECT hark.remove_folded((
    SELECT array_agg(ROW(t.id, '00000000-0000-7000-8000-00000000abcd', format('each[%s]', n))::hark.progress_folded)
    FROM hark.tenants AS t, generate_series(1, $1::integer) AS n))
"""
_MANY_TURNS = """
INSERT INTO hark.workflow_steps (tenant_id, execution_id, path, seq, verb, status)
SELECT t.id, '00000000-0000-7000-8000-00000000abcd', format('each[%s]%s', n, step), n, 'action', 'completed'
FROM hark.tenants AS t, generate_series(1, 5000) AS n, unnest(ARRAY['', '.a', '.b', '.in[0-9]', '.in[10].c']) AS step
"""
_MANY_WAITS = """
SELECT hark.wake_waits('{}');
INSERT INTO hark.wait_shapes SELECT id, 'event:X', '{order}' FROM hark.tenants;
INSERT INTO hark.event_waits
SELECT id, gen_random_uuid(), 'w', 'event:X', '{order}', n::text FROM hark.tenants, generate_series(1, 1000) AS n;
CREATE TABLE public.arrived AS
SELECT array_agg(jsonb_populate_record(NULL::hark.arrived_event, jsonb_build_object(
    'tenant_id', id, 'id', gen_random_uuid(), 'route', 'event:X', 'data', format('{"order": -%s}', n)))) AS a
FROM hark.tenants, generate_series(1, 200) AS n;
"""


async def test_looking_for_orphans_costs_by_the_instances_not_by_what_they_run(database_url: str) -> None:
    """Each running execution was compared with all of its instance: 0.8 s, every few seconds, with 4,000 in flight."""
    lane = Lane(Database(database_url), "heartbeat", ENGINE_PLANNER)
    try:
        async with lane.connection() as connection:
            await connection.execute(_MANY_RUN)
            rows = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS) {sql('reclaim_executions')}")
            pages = sum(int(hits) for hits in re.findall(r"shared hit=(\d+)", rows[1][0]))
            assert 0 < pages < 2_000, "\n".join(row[0] for row in rows)
            assert await connection.fetchval(sql("reclaim_executions")) == 0
            await connection.execute("DELETE FROM hark.instances")
            assert await connection.fetchval(sql("reclaim_executions")) == 2_000
    finally:
        await lane.stop()


_MANY_RUN = """
INSERT INTO hark.instances (id, host, pid, version) SELECT gen_random_uuid(), 'here', 1, 'x' FROM generate_series(1, 2);
INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, ordinal, trigger_type, status,
                                      instance_id, claims, inputs, started_at)
SELECT t.id, hark.new_id(), t.id, 1, t.id, 0, 'event', 'running', i.id, 1, '{}', now()
FROM hark.tenants AS t, hark.instances AS i, generate_series(1, 1000) AS n;
"""
