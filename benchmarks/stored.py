"""Rows written by SQL: executions that wait for an instance, a history of completed ones, and many active workflows."""

from __future__ import annotations

import asyncpg

from hark.workflows.ids import DEFAULT_TENANT

Connection = asyncpg.Connection

_PENDING = """
WITH made AS MATERIALIZED (
    SELECT uuidv7() AS event_id, uuidv7() AS id, n FROM generate_series(1, $3::integer) AS n
), stored AS (
    INSERT INTO hark.events (tenant_id, id, kind, type, source, route, data, occurred_at, matched)
    SELECT $1, event_id, 'event', $2, 'bench', 'event:' || $2, jsonb_build_object('n', n), now(), true FROM made
)
INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, trigger_id, trigger_type, status)
SELECT $1, m.id, w.id, w.published_version, m.event_id, 'event', 'event', 'pending'
FROM made AS m CROSS JOIN hark.workflows AS w WHERE w.tenant_id = $1 AND w.slug = $2
"""

_EVENTS = """
INSERT INTO hark.events (tenant_id, id, kind, type, source, route, data, occurred_at, matched)
SELECT $1, event_id, 'event', $2, 'bench', 'event:' || $2, '{"n": 1}', now(), true FROM filled
"""
_EXECUTIONS = """
INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, trigger_id, trigger_type, status,
                                      inputs, started_at, completed_at)
SELECT $1, f.id, w.id, w.published_version, f.event_id, 'event', 'event', 'completed', '{"n": 1}', now(), now()
FROM filled AS f CROSS JOIN hark.workflows AS w WHERE w.tenant_id = $1 AND w.slug = $2
"""
_STEPS = """
INSERT INTO hark.workflow_steps (tenant_id, execution_id, path, seq, verb, action_type, status, input, output,
                                 started_at, completed_at)
SELECT $1, f.id, 's' || n, n, 'action', 'touch', 'completed', '{"say": 1}', '1', now(), now()
FROM filled AS f CROSS JOIN generate_series(0, $2::integer - 1) AS n
"""
_PART = 100_000

_ACTIVE = """
WITH clones AS MATERIALIZED (
    SELECT w.tenant_id, uuidv7() AS id, lpad(n::text, 5, '0') AS digits, v.definition, t.id AS trigger_id, t.kind,
           t.route, t.config
    FROM hark.workflows AS w
    JOIN hark.workflow_versions AS v ON (v.tenant_id, v.workflow_id) = (w.tenant_id, w.id)
    JOIN hark.workflow_triggers AS t ON (t.tenant_id, t.workflow_id) = (w.tenant_id, w.id)
    CROSS JOIN generate_series($2::integer, $3::integer) AS n
    WHERE w.tenant_id = $1 AND w.slug = 'active-00001'
), workflows AS (
    INSERT INTO hark.workflows (tenant_id, id, slug, name, status, active_since, published_version, latest_version)
    SELECT tenant_id, id, 'active-' || digits, 'Active', 'active', now(), 1, 1 FROM clones
), versions AS (
    INSERT INTO hark.workflow_versions (tenant_id, workflow_id, version, content_hash, definition)
    SELECT tenant_id, id, 1, encode(sha256(digits::bytea), 'hex'),
           replace(replace(definition::text, 'active-00001', 'active-' || digits), 'k00001', 'k' || digits)::jsonb
    FROM clones
)
INSERT INTO hark.workflow_triggers (tenant_id, workflow_id, id, kind, route, config)
SELECT tenant_id, id, trigger_id, kind, route, replace(config::text, 'k00001', 'k' || digits)::jsonb FROM clones
"""
ACTIVE = """
id: active-00001
name: Active
triggers: [{type: event, event: active, when: event.data.k == "k00001"}]
steps: [{id: s0, set: {v0: "${{ event.data.k }}"}}]
"""
"""The workflow whose likes are made active by the thousand: each has an equality condition that it alone fulfils."""


async def store_pending(connection: Connection[asyncpg.Record], workflow: str, count: int) -> None:
    """Store executions of a workflow that no instance has taken yet, with their events, and wake the instances."""
    await connection.execute(_PENDING, DEFAULT_TENANT, workflow, count)
    await connection.execute("NOTIFY hark_work")


async def fill(url: str, workflow: str, count: int, steps: int) -> None:
    """Store a history of completed executions, whole with events and steps, as fast as SQL does it."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET synchronous_commit = off; CREATE TEMP TABLE filled (event_id uuid, id uuid)")
        for start in range(0, count, _PART):
            part = min(_PART, count - start)
            await connection.execute("TRUNCATE filled")
            await connection.execute("INSERT INTO filled SELECT uuidv7(), uuidv7() FROM generate_series(1, $1)", part)
            await connection.execute(_EVENTS, DEFAULT_TENANT, workflow)
            await connection.execute(_EXECUTIONS, DEFAULT_TENANT, workflow)
            await connection.execute(_STEPS, DEFAULT_TENANT, steps)
        await connection.execute("ANALYZE hark.events, hark.workflow_executions, hark.workflow_steps")
    finally:
        await connection.close()


async def count_executions(url: str) -> int:
    """Return how many executions a database holds."""
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT count(*) FROM hark.workflow_executions"))
    finally:
        await connection.close()


async def activate(connection: Connection[asyncpg.Record], first: int, last: int) -> None:
    """Make the likes of ACTIVE active, by SQL: publishing them one by one is not what is measured."""
    await connection.execute(_ACTIVE, DEFAULT_TENANT, first, last)
