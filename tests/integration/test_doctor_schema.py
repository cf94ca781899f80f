"""The doctor on the live schema: what is missing, changed or extra, is named one by one; it is tried, not only read."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest
from support.engine import running_engine

from hark.daemon.doctor.checking import Case, Check, run
from hark.daemon.doctor.examination import examine
from hark.daemon.doctor.objects import list_expected, look_at_objects
from hark.daemon.doctor.report import Finding
from hark.daemon.settings import Settings
from hark.daemon.store.database import sql

Look = Callable[[str], Awaitable[list[Finding]]]

_WORKFLOW = """
id: greeter
name: Greeter
triggers:
  - {id: come, type: event, event: CAME}
steps:
  - {id: note, action: log_event, with: {message: hello}}
"""


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url=database_url, data_dir=tmp_path / "state", port=0)


@pytest.fixture
def look(settings: Settings) -> Look:
    """Examine with the schema, and return what one check found."""

    async def look(check: str) -> list[Finding]:
        return [finding for finding in await examine(settings, schema=True) if finding.check == check]

    return look


async def test_the_copy_is_the_original(connection: asyncpg.Connection) -> None:
    """Whatever schema.sql holds comes out the same under another name; that is what the comparison stands on."""
    await connection.execute("SET search_path = pg_catalog")
    expected = await list_expected(connection)
    rows = await connection.fetch(sql("doctor_list_objects"), "hark")
    assert {tuple(row)[:3]: row["definition"] for row in rows} == {tuple(key): text for key, text in expected.items()}
    assert not await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'hark_%'")


async def test_every_kind_of_object_is_looked_at(look: Look) -> None:
    (found,) = await look("objects")
    assert found.level == "ok"
    kinds = {"table", "column", "constraint", "index", "trigger", "function", "sequence", "comment"}
    assert kinds <= found.detail.keys()


@pytest.mark.parametrize(
    "harm,message",
    [
        ("DROP TABLE hark.api_keys", "table api_keys is missing"),
        ("ALTER TABLE hark.workflows DROP category", "column workflows.category is missing"),
        ("ALTER TABLE hark.workflows ALTER description TYPE varchar(50)", "column workflows.description has changed"),
        ("ALTER TABLE hark.workflows ALTER name DROP NOT NULL", "column workflows.name has changed"),
        ("ALTER TABLE hark.workflows ALTER tags DROP DEFAULT", "column workflows.tags has changed"),
        ("DROP INDEX hark.executions_by_workflow", "index workflow_executions.executions_by_workflow is missing"),
        (
            "DROP INDEX hark.logs_by_time; CREATE INDEX logs_by_time ON hark.workflow_logs (id)",
            "index workflow_logs.logs_by_time has changed",
        ),
        (
            "ALTER TABLE hark.workflows DROP CONSTRAINT active_is_published",
            "constraint workflows.active_is_published is missing",
        ),
        ("DROP TRIGGER workflows_stamp ON hark.workflows", "trigger workflows.workflows_stamp is missing"),
        (
            "ALTER TABLE hark.workflows DISABLE TRIGGER workflows_stamp",
            "trigger workflows.workflows_stamp has changed",
        ),
        ("DROP FUNCTION hark.create_history_partitions", "function create_history_partitions(parent text"),
        ("ALTER FUNCTION hark.id_floor VOLATILE", "function id_floor(moment timestamp with time zone) has changed"),
        ("GRANT EXECUTE ON FUNCTION hark.capture_change TO PUBLIC", "function capture_change() has changed"),
        ("COMMENT ON TABLE hark.events IS NULL", "comment events.relation is missing"),
        ("COMMENT ON COLUMN hark.events.depth IS 'how deep'", "comment events.column depth has changed"),
        ("ALTER SEQUENCE hark.capture_wakeups MAXVALUE 5", "sequence capture_wakeups has changed"),
        ("ALTER TABLE hark.events ENABLE ROW LEVEL SECURITY", "table events has changed"),
    ],
)
async def test_harm_is_named(look: Look, connection: asyncpg.Connection, harm: str, message: str) -> None:
    await connection.execute(harm)
    found = [finding for finding in await look("objects") if finding.message.startswith(message)]
    assert [finding.level for finding in found] == ["error"]
    assert found[0].detail["expected"]


@pytest.mark.parametrize(
    "addition,message",
    [
        ("CREATE TABLE hark.notes (id int PRIMARY KEY)", "table notes is not part"),
        ("ALTER TABLE hark.workflows ADD colour text", "column workflows.colour is not part"),
        ("CREATE INDEX my_own ON hark.workflows (name)", "index workflows.my_own is not part"),
        ("CREATE FUNCTION hark.mine() RETURNS int RETURN 1", "function mine() is not part"),
        ("CREATE VIEW hark.shown AS SELECT 1 AS one", "view shown is not part"),
        ("CREATE POLICY mine ON hark.events USING (true)", "policy events.mine is not part"),
        ("CREATE DOMAIN hark.word AS text CHECK (VALUE <> '')", "type word is not part"),
    ],
)
async def test_what_is_extra_is_a_warning(
    look: Look, connection: asyncpg.Connection, addition: str, message: str
) -> None:
    await connection.execute(addition)
    found = [finding for finding in await look("objects") if finding.level != "ok"]
    assert [(finding.level, finding.message.startswith(message)) for finding in found] == [("warning", True)]


async def test_partitions_are_no_extras(look: Look, connection: asyncpg.Connection) -> None:
    assert await connection.fetchval("SELECT hark.create_history_partitions('events', now() + interval '8 weeks')") > 0
    assert [finding.level for finding in await look("objects")] == ["ok"]


async def test_who_may_not_make_the_copy_is_told_so(settings: Settings, connection: asyncpg.Connection) -> None:
    role = f"hark_reader_{secrets.token_hex(4)}"
    await connection.execute(f"CREATE ROLE {role}")
    try:
        await connection.execute(f"GRANT USAGE ON SCHEMA hark TO {role}; SET ROLE {role}")
        (found,) = await run(Check("objects", look_at_objects), Case(settings, connection))
    finally:
        await connection.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")
    assert (found.level, "GRANT CREATE on the database" in found.advice) == ("warning", True)


async def test_cascades_are_tried_and_leave_no_trace(look: Look, connection: asyncpg.Connection) -> None:
    (found,) = await look("cascades")
    assert found.level == "ok"
    assert found.detail["planted"] == {
        "workflows": 1,
        "workflow_versions": 1,
        "workflow_triggers": 1,
        "schedules": 1,
        "event_decisions": 1,
        "workflow_executions": 1,
        "workflow_steps": 3,
        "workflow_timeline": 1,
        "workflow_logs": 1,
        "workflow_context": 1,
        "waits": 1,
    }
    assert await connection.fetchval("SELECT count(*) FROM hark.tenants") == 1


async def test_a_cascade_that_is_broken_is_found(look: Look, connection: asyncpg.Connection) -> None:
    await connection.execute("DROP TRIGGER workflows_erase_history ON hark.workflows")
    (found,) = await look("cascades")
    assert found.level == "error"
    assert {"workflow_executions", "workflow_steps", "workflow_logs"} <= found.detail["left"].keys()


async def test_sizes_and_look_up_times_are_told(look: Look, connection: asyncpg.Connection, database_url: str) -> None:
    async with running_engine(database_url) as engine:
        await engine.apply(_WORKFLOW)
        await engine.run("CAME")
    await connection.execute("ANALYZE hark.workflow_executions, hark.workflow_steps, hark.workflows")
    (sizes,) = await look("sizes")
    assert (sizes.detail["rows"]["workflows"], sizes.detail["rows"]["workflow_steps"]) == (1, 1)
    assert sizes.detail["bytes"]["workflow_steps"] > 0
    times = {finding.detail["look_up"]: finding.detail["ms"] for finding in await look("look_ups")}
    assert times.keys() == {"workflows by trigger", "executions by workflow", "steps by execution"}
    assert all(0 < took_ms < 1000 for took_ms in times.values())
