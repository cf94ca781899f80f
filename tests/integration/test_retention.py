"""Retention: past weeks go whole, and what is open or kept longer stays with everything of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import pytest

from hark.daemon.engine import maintenance
from hark.daemon.engine.maintenance import HISTORY, Maintenance
from hark.daemon.store.database import Database
from hark.workflows.ids import DEFAULT_TENANT
from tests.support.database import connected

WORKFLOW = UUID("00000000-0000-7000-8000-0000000000aa")

# As if the schema had been made six weeks ago.
AGE = """
DO $$
DECLARE
    parent text;
    week timestamptz;
BEGIN
    FOREACH parent IN ARRAY ARRAY['events', 'event_decisions', 'workflow_executions', 'workflow_steps',
        'workflow_timeline', 'workflow_logs', 'workflow_context', 'waits', 'execution_events'] LOOP
        EXECUTE format('ALTER TABLE hark.%I DETACH PARTITION hark.%I', parent, parent || '_oldest');
        week := date_trunc('week', now(), 'UTC') - interval '42 days';
        EXECUTE format('ALTER TABLE hark.%I ATTACH PARTITION hark.%I FOR VALUES FROM (MINVALUE) TO (%L)', parent,
                       parent || '_oldest', hark.id_floor(week));
        WHILE week < date_trunc('week', now(), 'UTC') LOOP
            PERFORM hark.attach_partition(parent, parent || to_char(week AT TIME ZONE 'UTC', '"_"IYYY"w"IW'), week,
                                          week + interval '7 days');
            week := week + interval '7 days';
        END LOOP;
    END LOOP;
END $$
"""

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
TABLES = ("events", "event_decisions", "workflow_executions", "workflow_steps", "workflow_timeline", "workflow_logs")


def days(number: float) -> timedelta:
    """Return a span in days."""
    return timedelta(days=number)


class History:
    """A database with six weeks of the past."""

    def __init__(self, connection: asyncpg.Connection, database: Database) -> None:
        self.connection = connection
        self.maintenance = Maintenance(
            database,
            now=lambda: pytest.fail("retention goes by the database's clock"),
            retention=days(14),
            failed_retention=days(60),
            unmatched_retention=days(7),
        )

    async def add(
        self,
        status: str,
        age: timedelta,
        *,
        ended: timedelta | None = None,
        tenant: UUID = DEFAULT_TENANT,
        parent: UUID | None = None,
    ) -> UUID:
        """Store an execution of an event of some age, with a row of each kind; it ended at once by default."""
        row: UUID = await self.connection.fetchval(ADD, tenant, WORKFLOW, age, status, ended or age, parent)
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


@pytest.fixture
async def history(database_url: str) -> AsyncIterator[History]:
    database = Database(database_url)
    await database.start()
    async with connected(database_url) as connection:
        await connection.execute(AGE)
        yield History(connection, database)
    await database.stop()


async def test_past_weeks_go_and_what_has_to_stay_stays_whole(history: History) -> None:
    await history.add("completed", days(30))
    await history.add("cancelled", days(30))
    waiting = await history.add("waiting", days(35))
    stays = {
        waiting,
        await history.add("failed", days(30)),
        await history.add("completed", days(35), ended=days(3)),
        await history.add("completed", days(35), parent=waiting),
        await history.add("completed", days(5)),
    }
    before = await history.weeks("events")

    await history.maintenance.retire()

    assert await history.left() == stays
    left = {await history.weeks(table) for table in HISTORY}
    assert left == {before - 4}
    assert not await history.connection.fetchval("SELECT hark.past_week('14 days')")


async def test_what_stayed_goes_when_its_own_time_has_come(history: History) -> None:
    failed = await history.add("failed", days(40))
    waiting = await history.add("waiting", days(40))
    await history.maintenance.retire()
    assert await history.left() == {failed, waiting}
    await history.connection.execute(
        "UPDATE hark.workflow_executions SET completed_at = now() - interval '61 days' WHERE id = $1", failed
    )

    await history.maintenance.retire()

    assert await history.left() == {waiting}


async def test_a_tenant_that_keeps_longer_holds_the_weeks_and_others_go_row_by_row(history: History) -> None:
    other = uuid4()
    await history.connection.execute(
        "INSERT INTO hark.tenants (id, slug, name, retention) VALUES ($1, 'other', 'Other', '35 days')", other
    )
    await history.add("completed", days(30))
    await history.add("completed", days(40), tenant=other)
    stays = {await history.add("completed", days(30), tenant=other), await history.add("completed", days(12))}

    await history.maintenance.retire()

    # What is past for the other one goes with its week, which may not be over yet.
    assert stays <= await history.left()
    assert not await history.connection.fetchval(
        "SELECT count(*) FROM hark.workflow_executions "
        "WHERE tenant_id = $1 AND hark.id_time(id) < now() - interval '14 days'",
        DEFAULT_TENANT,
    )


async def test_an_event_that_a_batch_still_names_stays(history: History) -> None:
    batch = await history.add("waiting", days(40))
    joined = await history.add("completed", days(30))
    await history.connection.execute(
        "INSERT INTO hark.execution_events (tenant_id, execution_id, event_id, position) "
        "SELECT tenant_id, $1, event_id, 0 FROM hark.workflow_executions WHERE id = $2",
        batch,
        joined,
    )

    await history.maintenance.retire()

    assert await history.connection.fetchval("SELECT count(*) FROM hark.events") == 2
    assert await history.connection.fetchval("SELECT count(*) FROM hark.execution_events") == 1
    assert await history.connection.fetchval("SELECT count(*) FROM hark.workflow_executions") == 1


async def test_a_late_retry_of_an_old_event_has_a_place(history: History) -> None:
    await history.maintenance.retire()

    late = await history.add("waiting", days(30))

    await history.maintenance.retire()
    assert await history.left() == {late}


async def test_several_instances_at_once_drop_each_week_once(history: History) -> None:
    stays = {await history.add("waiting", days(age)) for age in (20, 27, 34, 41)}

    await asyncio.gather(*[history.maintenance.retire() for _ in range(4)])

    assert await history.left() == stays


async def test_who_is_in_the_way_is_not_waited_for(
    history: History, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "LOCK_TRIES", 2)
    monkeypatch.setattr(maintenance, "LOCK_PAUSE_S", 0.01)
    await history.add("completed", days(30))
    before = await history.weeks("events")
    async with connected(database_url) as reader, reader.transaction():
        await reader.fetch("SELECT id FROM hark.workflow_executions")
        async with asyncio.timeout(5):
            await history.maintenance.retire()
        assert await history.weeks("events") == before

    await history.maintenance.retire()

    assert await history.left() == set()
