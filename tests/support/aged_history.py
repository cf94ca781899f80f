"""A database whose history is six weeks old, for tests of what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import asyncpg

from hark.daemon.engine.retention import Policy, Retention
from hark.daemon.store.database import Database
from hark.workflows.ids import DEFAULT_TENANT
from support.database import connected
from support.partitions import aged_by

WORKFLOW = UUID("00000000-0000-7000-8000-0000000000aa")

ADD = """
WITH event AS (
    INSERT INTO hark.events (tenant_id, id, kind, type, source, route, data, occurred_at, matched)
    SELECT $1, hark.new_id(now() - $3::interval), 'event', 'go', 'test', 'event:go', '{}',
           now() - $3::interval, true
    RETURNING id
), execution AS (
    INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, trigger_type,
                                          status, due_at, error, completed_at, parent_id, parent_path)
    SELECT $1, overlay(e.id::text PLACING right(gen_random_uuid()::text, 12) FROM 25)::uuid, $2, 1, e.id,
           'event', $4::text,
           CASE WHEN $4::text = 'waiting' THEN now() + interval '1 day' END,
           CASE WHEN $4::text = 'failed' THEN '{"class": "test"}'::jsonb END,
           CASE WHEN $4::text <> 'waiting' THEN now() - $5::interval END,
           $6::uuid, CASE WHEN $6::uuid IS NOT NULL THEN 'ask' END
    FROM event AS e RETURNING id, event_id
), step AS (
    INSERT INTO hark.workflow_steps (tenant_id, execution_id, path, seq, verb, status)
    SELECT $1, x.id, 'work', 0, 'action', 'completed' FROM execution AS x
), line AS (
    INSERT INTO hark.workflow_logs (tenant_id, execution_id, id, level, message)
    SELECT $1, x.id, hark.new_id(), 'info', 'done' FROM execution AS x
), entry AS (
    INSERT INTO hark.workflow_timeline (tenant_id, execution_id, id, type)
    SELECT $1, x.id, hark.new_id(), 'retried' FROM execution AS x
), decision AS (
    INSERT INTO hark.event_decisions (tenant_id, event_id, workflow_id, trigger_id, reason)
    SELECT $1, x.event_id, gen_random_uuid(), 'other', 'when_false' FROM execution AS x
)
SELECT id FROM execution
"""
PUBLISH = """
WITH workflow AS (
    INSERT INTO hark.workflows (tenant_id, id, slug, name, status, published_version, latest_version)
    SELECT $1, hark.new_id(), 'w' || gen_random_uuid(), 'W', 'active', 1, 1 RETURNING id
)
INSERT INTO hark.workflow_versions (tenant_id, workflow_id, version, content_hash, definition)
SELECT $1, w.id, 1, repeat('0', 64), jsonb_build_object('retention', $2::text::jsonb) FROM workflow AS w
RETURNING workflow_id
"""
TABLES = ("events", "event_decisions", "workflow_executions", "workflow_steps", "workflow_timeline", "workflow_logs")


def days(number: float) -> timedelta:
    """Return a span in days."""
    return timedelta(days=number)


class History:
    """A database with six weeks of the past."""

    def __init__(self, connection: asyncpg.Connection, database: Database) -> None:
        self.connection = connection
        self.database = database
        self.retention = Retention(database, Policy(days(14), days(60), days(7), days(90)))

    async def workflow(self, policy: str) -> UUID:
        """Publish a workflow with a policy of its own, written as JSON."""
        row: UUID = await self.connection.fetchval(PUBLISH, DEFAULT_TENANT, policy)
        return UUID(str(row))

    async def add(
        self,
        status: str,
        age: timedelta,
        *,
        ended: timedelta | None = None,
        tenant: UUID = DEFAULT_TENANT,
        parent: UUID | None = None,
        workflow: UUID = WORKFLOW,
    ) -> UUID:
        """Store an execution of an event of some age, with a row of each kind; it ended at once by default."""
        row: UUID = await self.connection.fetchval(ADD, tenant, workflow, age, status, ended or age, parent)
        return UUID(str(row))

    async def left(self) -> set[UUID]:
        """Return the executions that are there; all other tables have to hold exactly theirs."""
        counts = [await self.connection.fetchval(f"SELECT count(*) FROM hark.{table}") for table in TABLES]
        assert len(set(counts)) == 1, dict(zip(TABLES, counts, strict=True))
        rows = await self.connection.fetch("SELECT id FROM hark.workflow_executions")
        return {UUID(str(row["id"])) for row in rows}

    async def weeks(self, table: str) -> int:
        """Return how many partitions a table has beside the oldest."""
        count: int = await self.connection.fetchval(
            "SELECT count(*) FROM pg_inherits JOIN pg_class ON oid = inhrelid "
            "WHERE inhparent = $1::text::regclass AND relname !~ 'oldest'",
            f"hark.{table}",
        )
        return count


@asynccontextmanager
async def aged_history(url: str) -> AsyncIterator[History]:
    """Age a fresh database, for the length of a block."""
    database = Database(url)
    await database.start()
    async with connected(url) as connection:
        await connection.execute(aged_by(6))
        yield History(connection, database)
    await database.stop()
