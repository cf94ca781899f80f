"""What the doctor finds in a database: each trouble is made for real, and seen."""

from __future__ import annotations

import os
import secrets
import shutil
import time
import zoneinfo
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from support.database import connected
from support.engine import running_engine

from hark.daemon.doctor import server as server_checks
from hark.daemon.doctor.checking import Case, Check, run
from hark.daemon.doctor.clock import look_at_clock
from hark.daemon.doctor.examination import examine
from hark.daemon.doctor.report import Finding
from hark.daemon.doctor.work import look_at_instances
from hark.daemon.settings import Settings
from hark.workflows.ids import DEFAULT_TENANT

Look = Callable[..., Awaitable[list[Finding]]]

_WATCHER = """
id: watcher
name: Watcher
triggers:
  - {id: rows, type: row, table: clients, columns: [status]}
steps:
  - {id: note, action: log_event, with: {message: seen}}
"""
_NIGHTLY = """
id: nightly
name: Nightly
triggers:
  - {id: nights, type: cron, schedule: "0 3 * * *", timezone: Europe/Berlin}
steps:
  - {id: note, action: log_event, with: {message: night}}
"""
_HOOKED = """
id: hooked
name: Hooked
triggers:
  - {id: hook, type: webhook, path: leads, auth: {type: bearer, secret: "${{ secrets.doctor_key }}"}}
steps:
  - {id: note, action: log_event, with: {message: called}}
"""


@pytest.fixture
def look(database_url: str, tmp_path: Path) -> Look:
    """Examine, and return what one check found."""

    async def look(check: str, *, url: str = database_url, schema: bool = False, **settings: int) -> list[Finding]:
        found = await examine(
            Settings(database_url=url, data_dir=tmp_path / "state", port=0, **settings), schema=schema
        )
        assert not [finding for finding in found if "the check itself failed" in finding.message]
        return [finding for finding in found if finding.check == check]

    return look


@pytest.fixture
async def visitor(database_url: str, connection: asyncpg.Connection) -> AsyncIterator[tuple[str, str]]:
    """Make a role that may log in and no more, and give its name and its URL."""
    name = f"hark_visitor_{secrets.token_hex(4)}"
    await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'visit'")
    parts = urlsplit(database_url)
    yield name, urlunsplit(parts._replace(netloc=f"{name}:visit@{parts.netloc.rpartition('@')[2]}"))
    await connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


@pytest.fixture
async def case(database_url: str, connection: asyncpg.Connection, tmp_path: Path) -> Case:
    """Prepare for a single check."""
    return Case(Settings(database_url=database_url, data_dir=tmp_path / "state", port=0), connection)


async def publish(database_url: str, text: str, **given: str) -> None:
    """Publish a workflow by an engine, which then ends."""
    async with running_engine(database_url, secrets=given) as engine:
        await engine.apply(text)
        await engine.engine.registry.refresh()


async def watch_clients(database_url: str, connection: asyncpg.Connection, workflow: str = _WATCHER) -> str:
    """Publish a workflow that watches a table; return the name of the trigger that captures it."""
    await connection.execute("CREATE TABLE public.clients (id int PRIMARY KEY, status text)")
    query = "SELECT tgname FROM pg_trigger WHERE tgrelid = 'public.clients'::regclass AND tgname LIKE 'hark%'"
    async with running_engine(database_url) as engine:
        await engine.apply(workflow)
        name: str = await engine.until(lambda: connection.fetchval(query), "the trigger on clients")
    return name


async def enter_instance(connection: asyncpg.Connection, *, silent: timedelta, version: str = "0.0.0") -> None:
    """Enter an instance that showed itself for the last time so long ago."""
    await connection.execute(
        "INSERT INTO hark.instances (id, host, pid, version, heartbeat_at) "
        "VALUES (hark.new_id(), 'elsewhere', 7, $1, now() - $2::interval)",
        version,
        silent,
    )


# The server.


async def test_settings_that_lose_data_are_found_with_their_origin(
    look: Look, connection: asyncpg.Connection, database_url: str
) -> None:
    name = urlsplit(database_url).path[1:]
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    found = {finding.detail["setting"]: finding for finding in await look("durability")}
    assert found["synchronous_commit"].level == "error"
    assert found["synchronous_commit"].detail["source"] == "database"
    if "HARK_TEST_DATABASE_URL" not in os.environ:  # the server of the tests runs without
        assert {"fsync", "full_page_writes"} < found.keys()


async def test_too_few_connections_are_an_error(look: Look) -> None:
    (found,) = await look("connections", database_connections=500)
    assert (found.level, found.detail["needed"]) == ("error", 500)


async def test_the_limit_of_a_role_counts(look: Look, connection: asyncpg.Connection, visitor: tuple[str, str]) -> None:
    name, url = visitor
    await connection.execute(f"ALTER ROLE {name} CONNECTION LIMIT 4")
    (found,) = await look("connections", url=url)
    assert (found.level, found.detail["most"]) == ("error", 4)


async def test_an_old_snapshot_is_found(
    look: Look, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_checks, "OLD_TRANSACTION", timedelta(0))
    pid = connection.get_server_pid()
    async with connection.transaction(isolation="repeatable_read"):
        await connection.fetchval("SELECT count(*) FROM hark.tenants")
        found = [finding for finding in await look("transactions") if f"session {pid} " in finding.message]
    assert [finding.level for finding in found] == ["warning"]
    assert f"pg_terminate_backend({pid})" in found[0].advice


@pytest.mark.parametrize("ahead_s,level", [(0, "ok"), (5, "warning"), (-5, "warning"), (40, "error"), (-3600, "error")])
async def test_a_clock_that_is_off_is_found(case: Case, ahead_s: float, level: str) -> None:
    shifted = Case(case.settings, case.connection, wall=lambda: time.time() + ahead_s)
    (found,) = await run(Check("clock", look_at_clock), shifted)
    assert found.level == level
    assert abs(found.detail["offset_s"] + ahead_s) < 1
    if ahead_s:
        assert ("ahead of" if ahead_s > 0 else "behind") in found.message


# The schema.


async def test_a_missing_schema_is_found_and_the_rest_skipped(look: Look, connection: asyncpg.Connection) -> None:
    await connection.execute("DROP SCHEMA hark CASCADE")
    (found,) = await look("schema")
    assert (found.level, "no schema" in found.message, "hark run" in found.advice) == ("error", True, True)
    (skipped,) = await look("skipped")
    assert "capture" in skipped.detail["checks"]


async def test_who_may_not_make_the_schema_is_told_the_grant(
    look: Look, connection: asyncpg.Connection, visitor: tuple[str, str]
) -> None:
    await connection.execute("DROP SCHEMA hark CASCADE")
    (found,) = await look("schema", url=visitor[1])
    assert "GRANT CREATE on the database" in found.advice


async def test_a_newer_schema_is_found(look: Look, connection: asyncpg.Connection) -> None:
    await connection.execute(
        "INSERT INTO hark.schema_migrations (version, description) VALUES (999, 'from the future')"
    )
    (found,) = await look("schema")
    assert (found.level, found.detail["found"]) == ("error", 999)
    assert "upgrade" in found.advice


async def test_a_schema_of_somebody_else_is_found(look: Look, connection: asyncpg.Connection) -> None:
    await connection.execute("DROP SCHEMA hark CASCADE; CREATE SCHEMA hark")
    (found,) = await look("schema")
    assert (found.level, "does not say which version" in found.message) == ("error", True)


async def test_a_user_who_may_not_use_the_schema_is_told_the_grant(look: Look, visitor: tuple[str, str]) -> None:
    (found,) = await look("schema", url=visitor[1])
    assert (found.level, "GRANT USAGE" in found.advice) == ("error", True)


async def test_missing_privileges_are_named_with_the_statements_that_give_them(
    look: Look, connection: asyncpg.Connection, visitor: tuple[str, str]
) -> None:
    name, url = visitor
    await connection.execute(
        f"GRANT USAGE, CREATE ON SCHEMA hark TO {name}; GRANT ALL ON ALL TABLES IN SCHEMA hark TO {name};"
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA hark TO {name}; GRANT ALL ON ALL FUNCTIONS IN SCHEMA hark TO {name};"
        f"REVOKE DELETE ON hark.instances FROM {name}; REVOKE CREATE ON SCHEMA hark FROM {name};"
        f"REVOKE UPDATE ON SEQUENCE hark.capture_wakeups FROM {name};"
        f"REVOKE EXECUTE ON FUNCTION hark.capture_change() FROM {name}"
    )
    (found,) = await look("privileges", url=url)
    assert found.level == "error"
    missing = set(found.detail["missing"])
    assert {
        "CREATE on schema hark",
        "DELETE on hark.instances",
        "UPDATE on hark.capture_wakeups",
        "EXECUTE on hark.capture_change()",
    } <= missing
    assert {what for what in missing if what.startswith("ownership")} >= {"ownership of hark.events"}
    remedies = [remedy for remedy in found.detail["remedies"] if "OWNER" not in remedy]
    for remedy in remedies:
        await connection.execute(remedy)
    (found,) = await look("privileges", url=url)
    assert all(what.startswith("ownership") for what in found.detail["missing"]), "the remedies help"


# Row capture.


async def test_a_watch_in_order_is_good(look: Look, connection: asyncpg.Connection, database_url: str) -> None:
    await watch_clients(database_url, connection)
    assert [finding.level for finding in await look("capture")] == ["ok"]


async def test_a_trigger_that_is_gone_is_found(look: Look, connection: asyncpg.Connection, database_url: str) -> None:
    name = await watch_clients(database_url, connection)
    await connection.execute(f"DROP TRIGGER {name} ON public.clients")
    (found,) = await look("capture")
    assert (found.level, found.detail["trigger"]) == ("error", name)
    assert "is gone" in found.message


async def test_a_trigger_that_is_disabled_is_found_and_the_advice_helps(
    look: Look, connection: asyncpg.Connection, database_url: str
) -> None:
    name = await watch_clients(database_url, connection)
    await connection.execute(f"ALTER TABLE public.clients DISABLE TRIGGER {name}")
    (found,) = await look("capture")
    assert (found.level, "disabled" in found.message) == ("error", True)
    await connection.execute(found.advice)
    assert [finding.level for finding in await look("capture")] == ["ok"]


async def test_a_trigger_made_from_something_else_is_found(
    look: Look, connection: asyncpg.Connection, database_url: str
) -> None:
    name = await watch_clients(database_url, connection)
    await connection.execute(
        f"CREATE OR REPLACE TRIGGER {name} AFTER UPDATE ON public.clients FOR EACH ROW "
        "EXECUTE FUNCTION hark.capture_change('1', 'row', 'another')"
    )
    (found,) = await look("capture")
    assert (found.level, "does not fit" in found.message) == ("warning", True)


async def test_a_trigger_that_nobody_needs_is_found(
    look: Look, connection: asyncpg.Connection, database_url: str
) -> None:
    name = await watch_clients(database_url, connection)
    await connection.execute("UPDATE hark.workflows SET paused_at = now()")
    (found,) = await look("capture")
    assert (found.level, found.message.startswith(f"public.clients is captured by {name}")) == ("warning", True)


async def test_a_table_that_is_gone_is_found(look: Look, connection: asyncpg.Connection, database_url: str) -> None:
    await watch_clients(database_url, connection)
    await connection.execute("DROP TABLE public.clients")
    (found,) = await look("capture")
    assert (found.level, found.detail) == ("error", {"workflow": "watcher", "trigger": "rows"})
    assert "there is no table public.clients" in found.message


async def test_a_column_that_is_gone_is_found(look: Look, connection: asyncpg.Connection, database_url: str) -> None:
    name = await watch_clients(database_url, connection)
    await connection.execute(
        f"DROP TRIGGER {name} ON public.clients; ALTER TABLE public.clients RENAME status TO state"
    )
    found = await look("capture")
    assert any("has no column 'status'" in finding.message and finding.level == "error" for finding in found)


@pytest.mark.parametrize("more", ["inputs: {x: '${{ new.status }}'}", "subject: {kind: k, id: '${{ new.status }}'}"])
async def test_a_column_that_is_handed_on_and_gone_is_found(
    look: Look, connection: asyncpg.Connection, database_url: str, more: str
) -> None:
    """Who published such a trigger was refused; the doctor, who was asked afterwards, found it good."""
    await watch_clients(database_url, connection, _WATCHER.replace("columns: [status]", more))
    await connection.execute("ALTER TABLE public.clients RENAME status TO state")
    (found,) = await look("capture")
    assert (found.level, "has no column 'status'" in found.message) == ("error", True)


async def test_a_user_who_may_not_place_triggers_is_told_the_grant(
    look: Look, connection: asyncpg.Connection, database_url: str, visitor: tuple[str, str]
) -> None:
    await watch_clients(database_url, connection)
    name, url = visitor
    await connection.execute(
        f"GRANT USAGE ON SCHEMA hark TO {name}; GRANT SELECT ON ALL TABLES IN SCHEMA hark TO {name}"
    )
    found = await look("capture", url=url)
    assert any("GRANT TRIGGER ON public.clients" in finding.advice for finding in found)


async def test_what_the_daemon_has_noted_is_passed_on(
    look: Look, connection: asyncpg.Connection, database_url: str
) -> None:
    await watch_clients(database_url, connection)
    await connection.execute("UPDATE hark.watches SET problem = 'locked by another transaction'")
    (found,) = await look("capture")
    assert (found.level, "locked by another transaction" in found.message) == ("warning", True)


# Schedules and secrets.


async def test_time_zones_that_differ_are_found(look: Look, database_url: str, tmp_path: Path) -> None:
    await publish(database_url, _NIGHTLY)
    assert [finding.level for finding in await look("zones")] == ["ok"]
    folder = Path(next(path for path in zoneinfo.TZPATH if (Path(path) / "Asia/Tokyo").exists()))
    (tmp_path / "zones" / "Europe").mkdir(parents=True)
    shutil.copy(folder / "Asia" / "Tokyo", tmp_path / "zones" / "Europe" / "Berlin")
    zoneinfo.reset_tzpath(to=[str(tmp_path / "zones")])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        (found,) = await look("zones")
    finally:
        zoneinfo.reset_tzpath()
        zoneinfo.ZoneInfo.clear_cache()
    assert (found.level, found.detail) == ("warning", {"zone": "Europe/Berlin", "days": found.detail["days"]})
    assert found.detail["days"] >= 400


async def test_a_secret_that_is_not_set_is_named(
    look: Look, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(database_url, _HOOKED, doctor_key="a-key-for-nothing")
    (found,) = await look("secrets")
    assert (found.level, found.detail) == ("warning", {"secret": "doctor_key", "workflow": "hooked"})
    assert "HARK_SECRET_DOCTOR_KEY" in found.advice
    monkeypatch.setenv("HARK_SECRET_DOCTOR_KEY", "a-key-for-nothing")
    assert [finding.level for finding in await look("secrets")] == ["ok"]


# The work.


async def test_a_partition_that_is_missing_is_found_and_the_advice_helps(
    look: Look, connection: asyncpg.Connection
) -> None:
    next_week = await connection.fetchval("""SELECT to_char(now() + interval '7 days', '"events_"IYYY"w"IW')""")
    await connection.execute(f"DROP TABLE hark.{next_week}")
    (found,) = await look("partitions")
    assert (found.level, found.detail["missing"]) == ("warning", [next_week])
    await connection.execute(found.advice.partition(";")[0])
    assert [finding.level for finding in await look("partitions")] == ["ok"]


async def test_no_partition_for_this_week_is_an_error_while_an_instance_works(
    look: Look, connection: asyncpg.Connection
) -> None:
    this_week = await connection.fetchval("""SELECT to_char(now(), '"events_"IYYY"w"IW')""")
    await connection.execute(f"DROP TABLE hark.{this_week}")
    (found,) = await look("partitions")
    assert found.level == "warning", "the next start makes it"
    await enter_instance(connection, silent=timedelta(0))
    (found,) = await look("partitions")
    assert (found.level, found.detail["missing"]) == ("error", [this_week])


async def test_dead_instances_and_other_versions_are_found(look: Look, connection: asyncpg.Connection) -> None:
    await enter_instance(connection, silent=timedelta(minutes=3))
    await enter_instance(connection, silent=timedelta(0), version="9.9.9")
    dead, other, count = await look("instances")
    assert (dead.level, "silent for 0:03:0" in dead.message) == ("warning", True)
    assert (other.level, "runs Hark 9.9.9" in other.message) == ("warning", True)
    assert (count.level, count.detail) == ("ok", {"live": 1})


@pytest.mark.parametrize(
    "status,columns,values",
    [
        ("pending", "", ""),
        ("waiting", ", due_at", ", now() - interval '1 hour'"),
        ("running", ", instance_id", ", hark.new_id()"),
    ],
)
async def test_executions_that_wait_while_no_instance_runs_are_found(
    look: Look, connection: asyncpg.Connection, status: str, columns: str, values: str
) -> None:
    await connection.execute(
        "INSERT INTO hark.workflow_executions "
        f"(tenant_id, id, workflow_id, version, event_id, trigger_type, status{columns}) "
        f"VALUES ($1, hark.new_id(now() - interval '1 hour'), hark.new_id(), 1, hark.new_id(), 'event', $2{values})",
        DEFAULT_TENANT,
        status,
    )
    (found,) = await look("executions")
    assert (found.level, found.detail) == ("error", {"waiting": 1})
    await enter_instance(connection, silent=timedelta(0))
    assert [finding.level for finding in await look("executions")] == ["ok"]


async def test_row_changes_that_stay_or_were_put_aside_are_found(
    look: Look, connection: asyncpg.Connection, database_url: str
) -> None:
    await watch_clients(database_url, connection)
    await connection.execute("INSERT INTO public.clients VALUES (1, 'lead'), (2, 'lead')")
    for key in (1, 2):
        await connection.execute("UPDATE public.clients SET status = 'client' WHERE id = $1", key)
    assert [finding.level for finding in await look("outbox")] == ["ok"], "they have just come"
    await connection.execute("UPDATE hark.row_changes SET occurred_at = now() - interval '5 minutes'")
    parked = await connection.execute(
        "UPDATE hark.row_changes SET parked_at = now() WHERE id = (SELECT max(id) FROM hark.row_changes)"
    )
    assert parked == "UPDATE 1"
    waiting, parked = await look("outbox")
    assert (waiting.level, waiting.detail["waiting"], round(waiting.detail["age_s"] / 60)) == ("warning", 1, 5)
    assert (parked.level, parked.detail) == ("warning", {"parked": 1})
    await enter_instance(connection, silent=timedelta(0))
    waiting, parked = await look("outbox")
    assert waiting.level == "error", "an instance is there and does not take them"


async def test_ends_that_start_nothing_are_found(look: Look, connection: asyncpg.Connection, database_url: str) -> None:
    follower = "id: after\nname: A\ntriggers: [{type: workflow, workflow: greet}]\nsteps: [{id: a, set: {x: 1}}]"
    async with running_engine(database_url) as engine:
        await engine.apply(follower)
    (missing,) = await look("ends")
    assert (missing.level, missing.detail) == ("warning", {"missing": ["after → greet"]})
    async with running_engine(database_url) as engine:
        await engine.apply(follower.replace("after", "greet").replace("workflow: greet", "workflow: after"))
    assert [finding.level for finding in await look("ends")] == ["ok"]
    await connection.execute(
        "INSERT INTO hark.execution_ends (tenant_id, execution_id, parked_at) SELECT id, id, now() FROM hark.tenants"
    )
    (parked,) = await look("ends")
    assert (parked.level, parked.detail) == ("warning", {"parked": 1})
    await connection.execute("UPDATE hark.execution_ends SET parked_at = NULL")
    assert [finding.level for finding in await look("ends")] == ["ok"], "it has just come"
    await connection.execute("UPDATE hark.execution_ends SET noted_at = now() - interval '5 minutes'")
    (waiting,) = await look("ends")
    assert (waiting.level, waiting.detail) == ("warning", {"waiting": 1})
    await enter_instance(connection, silent=timedelta(0))
    assert (await look("ends"))[0].level == "error", "an instance is there and does not take them"


async def test_a_check_that_cannot_look_in_time_says_so(
    case: Case, connection: asyncpg.Connection, database_url: str
) -> None:
    async with connected(database_url) as other, other.transaction():
        await other.execute("LOCK TABLE hark.instances IN ACCESS EXCLUSIVE MODE")
        (found,) = await run(Check("instances", look_at_instances, limit_s=0.2), case)
        assert (found.check, found.level) == ("instances", "warning")
        assert "too long" in found.message
    (found,) = await run(Check("instances", look_at_instances), case)
    assert found.level == "ok", "the connection is still good for the checks that follow"


async def test_looking_changes_nothing(look: Look, connection: asyncpg.Connection) -> None:
    async def everything() -> list[tuple[str, int]]:
        rows = await connection.fetch(
            "SELECT c.oid::regclass::text AS name FROM pg_class AS c WHERE c.relkind IN ('r', 'p')"
        )
        names = sorted(row["name"] for row in rows if row["name"].startswith("hark"))
        return [(name, await connection.fetchval(f"SELECT count(*) FROM {name}")) for name in names]

    before = await everything(), await connection.fetchval("SELECT generation FROM hark.registry")
    await look("objects", schema=True)
    assert (await everything(), await connection.fetchval("SELECT generation FROM hark.registry")) == before
