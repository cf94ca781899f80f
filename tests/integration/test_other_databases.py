"""Triggers on named connections: what happens in another database starts workflows, each change once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import orjson
import pytest
from support.database import connected, fresh_database
from support.engine import EngineUnderTest, running_engine
from support.faults.proxy import Proxy
from support.pgbouncer import PROGRAM, pgbouncer

from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.elsewhere import look_elsewhere
from hark.daemon.engine.rehearsal import Bounds
from hark.daemon.engine.remote_capture import RemoteCapture
from hark.daemon.engine.row_backfill import WantedRows
from hark.daemon.settings import Settings
from hark.daemon.store.listing import capture_fault
from hark.daemon.store.row_outbox import take_row_changes
from hark.triggers.row_port import Picture
from hark.triggers.table_name import TableName
from hark.workflows.errors import DefinitionError, UnavailableError
from hark.workflows.ids import DEFAULT_TENANT, new_id

GREET = """
id: greet
name: Greet
triggers: [{type: row, connection: crm, table: clients, inputs: {name: "${{ new.name }}"}}]
inputs: {name: {type: string}}
steps: [{id: hello, action: probe, with: {say: "${{ inputs.name }}"}}]
"""
ORDERS = """
id: orders
name: Orders
triggers: [{type: notify, connection: crm, channel: orders}]
steps: [{id: note, set: {n: "${{ event.data.payload }}"}}]
"""
WRITE = """
id: write
name: Write
triggers: [{type: manual}]
steps:
  - {id: one, action: update_database, with: {sql: SELECT 1, connection: CRM}}
  - {id: two, action: update_database, with: {sql: SELECT 1, connection: News}}
"""
TABLE = "CREATE TABLE public.clients (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, status text)"


@pytest.fixture
async def crm_url(server_url: str) -> AsyncIterator[str]:
    """Have another database, with a table `clients`; give its URL."""
    async with fresh_database(server_url, "template0") as url:
        async with connected(url) as connection:
            await connection.execute(TABLE)
        yield url


@pytest.fixture
async def crm(crm_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to it."""
    async with connected(crm_url) as connection:
        yield connection


@asynccontextmanager
async def hark_with(database_url: str, crm_url: str, **more: Any) -> AsyncIterator[EngineUnderTest]:
    async with running_engine(database_url, connections={"crm": crm_url, **more}) as engine:
        yield engine


@asynccontextmanager
async def two_that_name_it(database_url: str, crm_url: str) -> AsyncIterator[tuple[EngineUnderTest, EngineUnderTest]]:
    """Run two instances: to one of them the other database is `crm`, to the other one `new`."""
    async with (
        hark_with(database_url, crm_url) as old,
        running_engine(database_url, connections={"new": crm_url}) as new,
    ):
        yield old, new


async def schema_of(hark: EngineUnderTest) -> str:
    return hark.engine.remotes.prefix


async def events(hark: EngineUnderTest, kind: str = "row") -> list[dict[str, Any]]:
    """Return the data of all stored events of a kind."""
    rows = await hark.database.pool.fetch("SELECT data FROM hark.events WHERE kind = $1 ORDER BY id", kind)
    return [orjson.loads(row["data"]) for row in rows]


async def names(hark: EngineUnderTest) -> list[str]:
    return sorted(event["new"]["name"] for event in await events(hark))


async def insert(crm: asyncpg.Connection, *names: str) -> None:
    for name in names:
        await crm.execute("INSERT INTO public.clients (name) VALUES ($1)", name)


async def are(hark: EngineUnderTest, wanted: list[str]) -> bool:
    return await names(hark) == wanted


async def attached(hark: EngineUnderTest, part: str) -> None:
    await hark.until(lambda: part in hark.engine.health() and hark.engine.health()[part].attached)


async def is_settled(hark: EngineUnderTest, crm: asyncpg.Connection) -> bool:
    """Tell whether nothing is in the outbox, and nothing in doubt at home."""
    left = await crm.fetchval(f"SELECT count(*) FROM {await schema_of(hark)}.row_changes")
    return left == 0 and await hark.database.pool.fetchval("SELECT count(*) FROM hark.moved_changes") == 0


async def test_rows_of_another_database_start_workflows(
    database_url: str, crm_url: str, crm: asyncpg.Connection, connection: asyncpg.Connection
) -> None:
    """The same table at home is another one; what a workflow writes there knows how far from outside it is."""
    await connection.execute(TABLE)
    async with hark_with(database_url, crm_url) as hark:
        await hark.apply(GREET)
        await hark.apply(
            """
id: promote
name: Promote
triggers: [{type: row, connection: crm, table: clients, when: 'new.status == null', inputs: {id: "${{ new.id }}"}}]
inputs: {id: {type: integer}}
steps:
  - id: write
    action: update_database
    with:
      connection: crm
      sql: "INSERT INTO public.clients (name, status) VALUES ('by a step', 'lead')"
"""
        )
        await insert(connection, "at home")
        await insert(crm, "anna")
        await hark.until(lambda: are(hark, ["anna", "by a step"]))
        (first, second) = await hark.database.pool.fetch("SELECT * FROM hark.events WHERE kind = 'row' ORDER BY id")
        data = orjson.loads(first["data"])
        assert (data["connection"], data["table"], data["new"]["name"]) == ("crm", "clients", "anna")
        assert (first["source"], first["route"]) == ("table@crm:public.clients", "row@crm:public.clients")
        assert (first["depth"], second["depth"]) == (0, 1)
        assert second["caused_by"] is not None
        await hark.until(lambda: is_settled(hark, crm))


async def test_how_far_another_database_is_behind_is_measured(
    database_url: str, crm_url: str, crm: asyncpg.Connection, connection: asyncpg.Connection
) -> None:
    async with hark_with(database_url, crm_url) as hark:
        await hark.apply(GREET)
        async with connection.transaction():
            await connection.execute("LOCK TABLE hark.moved_changes")
            await insert(crm, "anna", "berta")
            await hark.engine.lag.look_elsewhere()
            records, ages = (figure.values for figure in hark.engine.lag.figures())
            assert records["row_changes@crm"] == 2
            assert ages["row_changes@crm"] > 0
        await hark.until(lambda: are(hark, ["anna", "berta"]))
        await hark.engine.lag.look_elsewhere()
        records, ages = (figure.values for figure in hark.engine.lag.figures())
        assert (records["row_changes@crm"], ages["row_changes@crm"]) == (0, 0)


async def test_nothing_is_put_where_nobody_watches_and_all_is_taken_off_again(
    database_url: str, crm_url: str, crm: asyncpg.Connection
) -> None:
    triggers = "SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal"
    ours = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'hark%'"
    async with hark_with(database_url, crm_url) as hark:
        assert await crm.fetchval(ours) == 0
        assert await hark.engine.remotes.list_watches("crm", "public", "clients") == []
        assert await crm.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'hark%'") == 0
        await hark.apply(GREET)
        assert await crm.fetchval(triggers) == 1
    outbox = f"{hark.engine.remotes.prefix}.outbox"
    made = await crm.fetchval(f"SELECT functions FROM {outbox}")
    remove = f"{hark.engine.remotes.prefix}.remove_capture"
    await crm.execute(
        f"UPDATE {outbox} SET functions = 'of another version'; DROP FUNCTION {remove}; CREATE FUNCTION "
        f"{remove}(relation oid, trigger_name text, more integer DEFAULT 1) RETURNS integer LANGUAGE sql AS 'SELECT 1';"
        f"CREATE FUNCTION {remove}(relation oid, trigger_name text) RETURNS integer LANGUAGE sql AS 'SELECT 1'"
    )
    await insert(crm, "night")
    async with hark_with(database_url, crm_url) as hark:
        await hark.until(lambda: are(hark, ["night"]))
        assert await crm.fetchval(f"SELECT functions FROM {outbox}") == made
        await hark.engine.publisher.archive(hark.engine.registry.triggers[0].tenant_id, "greet")
        assert await crm.fetchval(triggers) == 0
        await hark.until(lambda: _gone(hark))
        assert hark.engine.health().keys().isdisjoint({"row@crm"})


async def _gone(hark: EngineUnderTest) -> bool:
    return not await hark.database.pool.fetchval("SELECT count(*) FROM hark.remotes")


async def test_a_database_that_is_another_harks_home_keeps_its_own_capture(
    database_url: str, server_url: str, template_database: str
) -> None:
    """Both watch the same table: neither's triggers, functions, settings or channels are the other's."""
    async with fresh_database(server_url, template_database) as other_url, connected(other_url) as there:
        await there.execute("UPDATE hark.outbox SET identity = gen_random_uuid()")
        await there.execute(TABLE)
        async with running_engine(other_url) as other, hark_with(database_url, other_url) as hark:
            await other.apply(GREET.replace("connection: crm, ", ""))
            await hark.apply(GREET)
            async with there.transaction():
                await insert(there, *"abcdefgh")
                await there.execute("SAVEPOINT s")
                await there.execute("DELETE FROM public.clients")
                await there.execute("ROLLBACK TO s")
            await hark.until(lambda: are(hark, [*"abcdefgh"]))
            await other.until(lambda: are(other, [*"abcdefgh"]))
            await other.engine.publisher.pause(other.engine.registry.triggers[0].tenant_id, "greet")
            await insert(there, "i")
            await hark.until(lambda: are(hark, [*"abcdefghi"]))
            assert await names(other) == [*"abcdefgh"]


async def test_what_somebody_drops_there_is_made_anew(
    database_url: str, crm_url: str, crm: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ids begin at 1, far below those of the outbox that a session has read before."""
    monkeypatch.setattr("hark.triggers.row_keeper.AWAY_RETRY_S", 0.1)
    monkeypatch.setattr("hark.triggers.row_keeper.CHECK_S", 0.1)
    monkeypatch.setattr("hark.triggers.row_drainer.POLL_S", 0.2)
    async with hark_with(database_url, crm_url) as hark:
        await hark.apply(GREET)
        await insert(crm, "before")
        await hark.until(lambda: are(hark, ["before"]))
        hark.engine.remotes.rows("crm")._floor = 1_000_000
        await crm.execute(f"DROP SCHEMA {hark.engine.remotes.prefix} CASCADE")
        triggers = "SELECT count(*) = 1 FROM pg_trigger WHERE NOT tgisinternal"
        await hark.until(lambda: crm.fetchval(triggers), "the trigger is back")
        await insert(crm, "later")
        await hark.until(lambda: are(hark, ["before", "later"]))


async def test_what_a_newer_program_captures_with_is_left_to_it(
    database_url: str, crm_url: str, crm: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two versions replaced each other's functions and triggers every few seconds, and each time the writers waited."""
    monkeypatch.setattr("hark.triggers.row_keeper.CHECK_S", 0.1)
    monkeypatch.setattr("hark.triggers.row_keeper.CHECK_SHARE", 1)
    compared = asyncio.Semaphore(0)
    install = RemoteCapture.install

    async def counted(*about: Any, **more: Any) -> Any:
        try:
            return await install(*about, **more)
        finally:
            compared.release()

    async def compared_again() -> None:
        """Wait for a look that began after this moment to have been acted upon."""
        for _ in range(compared._value + 2):
            await compared.acquire()

    monkeypatch.setattr(RemoteCapture, "install", counted)
    async with hark_with(database_url, crm_url) as hark:
        await hark.apply(GREET)
        schema, home = hark.engine.remotes.prefix, hark.database.pool
        state = f"""SELECT (SELECT functions FROM {schema}.outbox) AS functions,
                           (SELECT array_agg((tgname, tgargs) ORDER BY tgname) FROM pg_trigger
                            WHERE tgrelid = 'public.clients'::regclass) AS triggers"""
        ours = await crm.fetchrow(state)

        newer = new_id(datetime.now(UTC))
        enter = "INSERT INTO hark.instances (id, host, pid, version, program) VALUES ($1, 'there', 1, '999.10', 'next')"
        await home.execute(enter, newer)
        await compared_again()
        await crm.execute(
            f"UPDATE {schema}.outbox SET functions = 'of another version'; "
            f"CREATE OR REPLACE TRIGGER {schema}_insert AFTER INSERT ON public.clients "
            "REFERENCING NEW TABLE AS hark_new FOR EACH STATEMENT "
            f"EXECUTE FUNCTION {schema}.capture_change('1', 'row', 'of another version', 'insert'); "
            f"CREATE TRIGGER {schema}_other AFTER UPDATE ON public.clients FOR EACH ROW WHEN (false) "
            f"EXECUTE FUNCTION {schema}.capture_change('1', 'row', 'of another version', 'update')"
        )
        theirs = await crm.fetchrow(state)
        await compared_again()
        assert await crm.fetchrow(state) == theirs
        # Nobody is left out meanwhile: where no trigger is, it makes one.
        await crm.execute("CREATE TABLE public.orders (name text)")
        await hark.apply(GREET.replace("clients", "orders").replace("greet", "orders"))
        await insert(crm, "a")
        await crm.execute("INSERT INTO public.orders VALUES ('b')")
        await hark.until(lambda: are(hark, ["a", "b"]))
        await home.execute("DELETE FROM hark.instances WHERE id = $1", newer)
        await hark.until(lambda: _is(crm, state, ours), "once that one is gone it is as before")


async def _is(crm: asyncpg.Connection, state: str, wanted: asyncpg.Record) -> bool:
    return await crm.fetchrow(state) == wanted


async def test_connections_that_lead_nowhere_or_home_are_refused(
    database_url: str, crm_url: str, crm: asyncpg.Connection
) -> None:
    async with hark_with(database_url, crm_url, here=database_url) as hark:
        refused = {
            "crm, table: clients": ("crn, table: clients", r"no connection 'crn' \(did you mean crm\?"),
            "connection: crm": ("connection: here", "leads to the home database itself.*drop `connection`"),
            "table: clients": ("table: client", r"no table public.client \(did you mean clients\?"),
            "inputs: {name": ('when: "new.state == 1", inputs: {name', "no column 'state'"),
        }
        for old, (new, message) in refused.items():
            with pytest.raises(DefinitionError, match=message):
                await hark.apply(GREET.replace(old, new, 1))
        with pytest.raises(DefinitionError, match="no connection 'erp'"):
            await hark.apply(ORDERS.replace("crm", "erp"))
        assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.workflows") == 0
        assert await crm.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'hark%'") == 0


async def test_a_copy_of_the_home_does_not_take_its_changes_and_says_why(
    database_url: str, crm_url: str, crm: asyncpg.Connection, server_url: str, template_database: str
) -> None:
    async with hark_with(database_url, crm_url) as hark:
        await hark.apply(GREET)
        async with fresh_database(server_url, template_database) as copy_url, hark_with(copy_url, crm_url) as copy:
            await copy.apply(GREET)
            await copy.until(lambda: "is a copy of it" in copy.engine.health()["row@crm"].detail)
            assert copy.engine.health()["row"].attached
            assert copy.engine.remotes.prefix == hark.engine.remotes.prefix
            await insert(crm, "anna")
            await hark.until(lambda: are(hark, ["anna"]))
            assert await names(copy) == []


async def test_a_connection_is_renamed_instance_by_instance(
    database_url: str, crm_url: str, crm: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who knows the old name alone takes off no triggers, and moves nothing under a name to which nobody listens."""
    monkeypatch.setattr("hark.triggers.row_keeper.CHECK_S", 0.1)
    async with two_that_name_it(database_url, crm_url) as (old, new):
        await old.apply(GREET)
        await insert(crm, "before")
        await old.until(lambda: are(old, ["before"]))
        await new.apply(GREET.replace("crm", "new"))
        await attached(new, "row@new")
        wanted = [f"row {number:02}" for number in range(30)]
        for name in wanted:
            await insert(crm, name)
            await asyncio.sleep(0.02)
        await new.until(lambda: are(new, ["before", *wanted]))
        sources = await new.database.pool.fetch("SELECT source, count(*) FROM hark.events GROUP BY 1 ORDER BY 2")
        assert [*map(tuple, sources)] == [("table@crm:public.clients", 1), ("table@new:public.clients", 30)]
        await old.until(lambda: "row@crm" not in old.engine.health())
        assert await new.engine.remotes.captured() == ["new"]


async def test_who_looked_before_a_connection_was_renamed_takes_off_no_triggers(
    database_url: str, crm_url: str, crm: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hark.triggers.row_keeper.AWAY_RETRY_S", 0.1)
    async with two_that_name_it(database_url, crm_url) as (old, new):
        await old.apply(GREET)
        await attached(old, "row@crm")
        looked, renamed = asyncio.Event(), asyncio.Event()
        old_rows, new_rows = old.engine.remotes.rows("crm"), new.engine.remotes.rows("new")
        old_look, new_look = old_rows.look, new_rows.look

        async def look_first(tables: Collection[TableName]) -> Picture:
            picture = await old_look(tables)
            looked.set()
            await renamed.wait()
            return picture

        async def look_later(tables: Collection[TableName]) -> Picture:
            await looked.wait()
            return await new_look(tables)

        monkeypatch.setattr(old_rows, "look", look_first)
        monkeypatch.setattr(new_rows, "look", look_later)
        await new.apply(GREET.replace("crm", "new"))
        await attached(new, "row@new")
        renamed.set()
        await old.until(lambda: "row@crm" not in old.engine.health())
        await insert(crm, "after")
        await new.until(lambda: are(new, ["after"]))


async def test_a_second_name_for_the_same_database_is_refused(database_url: str, crm_url: str) -> None:
    async with hark_with(database_url, crm_url, crm2=crm_url) as hark:
        await hark.apply(GREET)
        await attached(hark, "row@crm")
        with pytest.raises(DefinitionError, match="connection crm2: the same database is connection crm: name that"):
            await hark.apply(GREET.replace("id: greet", "id: greet2").replace("crm", "crm2"))


async def test_one_that_takes_no_writes_is_told_from_the_home_database(
    database_url: str, crm_url: str, crm: asyncpg.Connection
) -> None:
    name = await crm.fetchval("SELECT current_database()")
    await crm.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with hark_with(database_url, crm_url) as hark:
        (applied,) = await hark.apply(GREET)
        assert applied.warnings[0].message.startswith("connection crm: the database takes no writes")
        await hark.until(lambda: "connection crm: " in hark.engine.health()["row@crm"].detail)


async def test_rights_that_are_missing_are_named_and_taken_up_when_they_are_given(
    database_url: str, crm_url: str, crm: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ordinary role that owns nothing there: it may put triggers on the table, and gets a schema of its own."""
    monkeypatch.setattr("hark.triggers.row_keeper.AWAY_RETRY_S", 0.1)
    monkeypatch.setattr("hark.triggers.row_drainer.POLL_S", 0.2)
    role = await crm.fetchval("SELECT 'guest_' || substr(current_database(), 11)")
    await crm.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'guest'")
    parts = urlsplit(crm_url)
    guest_url = urlunsplit(parts._replace(netloc=f"{role}:guest@{parts.netloc.rpartition('@')[2]}"))
    try:
        async with hark_with(database_url, guest_url) as hark:
            with pytest.raises(DefinitionError, match="GRANT TRIGGER ON"):
                await hark.apply(GREET)
            await crm.execute(f"GRANT TRIGGER ON public.clients TO {role}")
            await hark.apply(GREET)
            await hark.until(lambda: "GRANT CREATE ON DATABASE" in hark.engine.health()["row@crm"].detail)
            await crm.execute(f"CREATE SCHEMA {hark.engine.remotes.prefix} AUTHORIZATION {role}")
            await attached(hark, "row@crm")
            await insert(crm, "anna")
            await hark.until(lambda: are(hark, ["anna"]))
    finally:
        await crm.execute(f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


async def test_people_see_the_other_database_and_run_what_is_there(
    database_url: str, crm_url: str, crm: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hark watch`, a dry run, a backfill of rows, and the doctor."""
    await insert(crm, "before")
    async with hark_with(database_url, crm_url, news=crm_url) as hark:
        await hark.apply(GREET)
        (watched,) = await hark.engine.remotes.list_watches("crm")
        assert capture_fault(watched) is None
        report = await rehearsed(hark)
        assert (report["connection"], report["would_start"], report["problem"]) == ("crm", 1, None)
        for _ in range(2):
            ran = await hark.engine.row_backfill.run(DEFAULT_TENANT, "greet", WantedRows())
        assert (ran.done, ran.already) == (0, 1)
        await hark.until(lambda: are(hark, ["before"]))
        settings = Settings(database_url=database_url, data_dir="/proc/no-data-directory")
        async with connected(database_url) as home:
            case = Case(settings, home)
            assert "is not set" in await said(case)
            monkeypatch.setenv("HARK_CONNECTION_CRM", crm_url)
            assert await said(case) == ""
            trigger = hark.engine.remotes.prefix + "_insert"
            await crm.execute(f"ALTER TABLE public.clients DISABLE TRIGGER {trigger}")
            fault = f"connection crm: public.clients is watched, but somebody has disabled its trigger {trigger}"
            assert fault in await said(case)
        await hark.apply(ORDERS.replace("connection: crm", "connection: News") + "---" + WRITE)
        async with connected(database_url) as home:
            case = Case(settings, home)
            assert "workflows listen to connection news, which is not set: orders" in await said(case)
            assert "workflows have steps on connection news, which is not set: write" in await said(case)
            monkeypatch.setenv("HARK_CONNECTION_NEWS", "mysql://news")
            assert "not looked at: HARK_CONNECTION_NEWS: write postgresql://" in await said(case)
            monkeypatch.setenv("HARK_CONNECTION_NEWS", "postgresql://nobody:x@127.0.0.1:1/none")
            assert "connection news: the database is not available" in await said(case)


async def said(case: Case) -> str:
    return "; ".join([finding.message async for finding in look_elsewhere(case)])


async def rehearsed(hark: EngineUnderTest) -> dict[str, Any]:
    row = await hark.database.pool.fetchrow("SELECT id, slug, published_version AS version FROM hark.workflows")
    now = hark.engine.now()
    picture = await hark.engine.rehearsal.of_version(DEFAULT_TENANT, row["id"], row["slug"], row["version"], now)
    assert picture is not None
    found = await hark.engine.rehearsal.run(picture, Bounds(now - timedelta(hours=1), now))
    rows: dict[str, Any] = found["rows"][0]
    return rows


async def test_an_erasure_waits_for_changes_of_other_databases(
    database_url: str, crm_url: str, crm: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hark.daemon.engine.erasure.PATIENCE_S", 0.3)
    async with hark_with(database_url, crm_url) as hark:
        await hark.apply(GREET)
        await hark.engine.listeners.stop()
        await insert(crm, "anna")
        with pytest.raises(UnavailableError, match="row changes of another database from before this call"):
            await hark.engine.eraser.erase(DEFAULT_TENANT, ("client", "7"), force=False, by="test")
        await crm.execute(f"UPDATE {hark.engine.remotes.prefix}.row_changes SET parked_at = now()")
        await hark.engine.eraser.erase(DEFAULT_TENANT, ("client", "7"), force=False, by="test")


# ---------------------------------------------------------------------- the move


class Crash(Exception):  # noqa: N818 - not an error of the program
    """Where a process would have died."""


@pytest.mark.parametrize("lost", ["before", "after"])
async def test_a_commit_there_that_nobody_hears_of_doubles_nothing_and_loses_nothing(
    database_url: str, crm_url: str, crm: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Every other move ends between the two commits, or after both without an answer."""
    commit, count = RemoteCapture._commit, 0

    async def unreliable(connection: Any) -> None:
        nonlocal count
        count += 1
        if lost == "after" or count % 2:
            await commit(connection)
        if count % 2 == 0:
            connection.terminate()
            raise UnavailableError("the answer was lost")

    monkeypatch.setattr(RemoteCapture, "_commit", staticmethod(unreliable))
    wanted = [f"{number:03}" for number in range(60)]
    async with hark_with(database_url, crm_url) as hark:
        await hark.apply(GREET)
        for name in wanted:
            await insert(crm, name)
            await asyncio.sleep(0.005)
        await hark.until(lambda: are(hark, wanted))
        assert count > 4
        await hark.until(lambda: is_settled(hark, crm))
        assert await names(hark) == wanted


async def test_what_a_dead_process_left_in_doubt_is_settled_by_the_next_one(
    database_url: str, crm_url: str, crm: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long after. A change with the id of another one, after a restore of that database, is a new one."""
    async with hark_with(database_url, crm_url) as hark:
        await hark.apply(GREET)
        with monkeypatch.context() as dying:

            async def die(connection: Any) -> None:
                connection.terminate()
                raise UnavailableError("dead")

            dying.setattr(RemoteCapture, "_commit", staticmethod(die))
            await insert(crm, "old")
            await hark.until(lambda: are(hark, ["old"]))
            await hark.engine.listeners.stop()
    schema = await schema_of(hark)
    async with connected(database_url) as home:
        (old,) = await home.fetch("SELECT change_id FROM hark.moved_changes")
        # As if the other database had been restored to a time before, and gone on from there.
        await crm.execute(f"UPDATE {schema}.row_changes SET occurred_at = occurred_at + interval '1 hour'")
        assert await crm.fetchval(f"SELECT id FROM {schema}.row_changes") == old["change_id"]
    async with hark_with(database_url, crm_url) as hark:
        await hark.until(lambda: are(hark, ["old", "old"]))
        await hark.until(lambda: is_settled(hark, crm))


async def test_who_was_frozen_between_the_commits_and_wakes_up_stores_nothing_twice(
    database_url: str, crm_url: str, crm: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its session there is ended meanwhile, so that another instance takes the change, which waits for its commit."""
    monkeypatch.setattr("hark.triggers.row_drainer.POLL_S", 0.2)
    async with hark_with(database_url, crm_url) as one, hark_with(database_url, crm_url) as two:
        frozen, thaw, waits = asyncio.Event(), asyncio.Event(), asyncio.Event()
        store, look = one.engine.ingest.take_within, two.engine.remotes.rows("crm")._store

        async def freeze(*args: Any, **options: Any) -> Any:
            taken = await store(*args, **options)
            frozen.set()
            await thaw.wait()
            return taken

        async def note(*args: Any) -> None:
            waits.set()
            await look(*args)

        one.engine.ingest.take_within = freeze  # type: ignore[method-assign]
        two.engine.remotes.rows("crm")._store = note  # type: ignore[method-assign]
        await one.apply(GREET)
        await attached(two, "row@crm")
        ended = 0
        async with asyncio.timeout(20):
            while not frozen.is_set():
                await insert(crm, str(ended))
                ended += 1
                await asyncio.sleep(0.02)
        pid = one.engine.remotes.rows("crm")._lane.backend_pid
        await crm.execute("SELECT pg_terminate_backend($1)", pid)
        await insert(crm, str(ended))
        async with asyncio.timeout(20):
            await waits.wait()
        await asyncio.sleep(0.1)
        thaw.set()
        wanted = sorted(map(str, range(ended + 1)))
        await two.until(lambda: are(two, wanted))
        await two.until(lambda: is_settled(two, crm))
        assert await names(two) == wanted


async def test_who_was_frozen_before_it_stored_what_another_has_moved_meanwhile_stores_nothing(
    database_url: str, crm_url: str, crm: asyncpg.Connection
) -> None:
    """By the time it wakes up, the names of those changes are forgotten at home, and they look new."""
    async with hark_with(database_url, crm_url) as one, hark_with(database_url, crm_url) as two:
        rows = one.engine.remotes.rows("crm")
        frozen, thaw, over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        store, inserted = rows._store, 0

        async def freeze(*args: Any) -> None:
            frozen.set()
            await thaw.wait()
            try:
                await store(*args)
            finally:
                over.set()

        rows._store = freeze  # type: ignore[method-assign]
        await one.apply(GREET)
        await attached(two, "row@crm")
        while not frozen.is_set():
            await insert(crm, str(inserted))
            inserted += 1
            await asyncio.sleep(0.02)
        await crm.execute("SELECT pg_terminate_backend($1)", rows._lane.backend_pid)
        await insert(crm, str(inserted))
        wanted = sorted(map(str, range(inserted + 1)))
        await two.until(lambda: are(two, wanted))
        await two.until(lambda: is_settled(two, crm))
        thaw.set()
        await over.wait()
        await insert(crm, "last")
        await two.until(lambda: are(two, [*wanted, "last"]))


@pytest.mark.parametrize("fails", ["here", "there"])
async def test_a_move_that_fails_half_way_is_no_part_of_the_next_one(
    database_url: str, crm_url: str, crm: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """What it had taken out of the outbox is in it again, and the connection is good for the next one at once."""
    take, count = take_row_changes, 0

    async def take_badly(connection: Any, *args: Any) -> Any:
        nonlocal count
        count += 1
        taken = await take(connection, *args)
        if count == 1 and fails == "here":
            raise ValueError("this cannot be read")
        if count == 1:
            await connection.execute("SELECT 1 / 0")
        return taken

    async with hark_with(database_url, crm_url) as hark:
        await hark.apply(GREET)
        await attached(hark, "row@crm")
        async with crm.transaction():
            monkeypatch.setattr("hark.daemon.engine.remote_capture.take_row_changes", take_badly)
            await insert(crm, "a", "b")
        async with asyncio.timeout(4):
            await hark.until(lambda: are(hark, ["a", "b"]))
        assert count > 1


async def test_a_change_that_cannot_be_read_is_put_aside_and_keeps_no_other(database_url: str, server_url: str) -> None:
    """A database without an encoding may hold bytes that are no text, which nothing can be sent as."""
    database = fresh_database(server_url, "template0 ENCODING SQL_ASCII LOCALE_PROVIDER libc LOCALE 'C'")
    async with database as url, connected(url) as crm, hark_with(database_url, url) as hark:
        await crm.execute(TABLE)
        await hark.apply(GREET)
        await attached(hark, "row@crm")
        async with crm.transaction():
            await insert(crm, "before")
            await crm.execute("INSERT INTO public.clients (name) VALUES (E'caf\\xe9')")
            await insert(crm, "café")
        await hark.until(lambda: are(hark, ["before", "café"]))
        (left,) = await crm.fetch(f"SELECT parked_at, note FROM {await schema_of(hark)}.row_changes")
        assert left["parked_at"] is not None
        assert "invalid byte sequence" in left["note"]


async def test_a_condition_that_cannot_be_said_in_the_encoding_there_is_left_to_the_daemon(
    database_url: str, server_url: str
) -> None:
    """One trigger serves all workflows: what it does not take from one of them would be captured for none."""
    database = fresh_database(server_url, "template0 ENCODING LATIN1 LOCALE_PROVIDER libc LOCALE 'C'")
    async with database as url, connected(url) as crm, hark_with(database_url, url) as hark:
        await crm.execute(TABLE)
        for slug, name in (("greet", "café"), ("east", "日本")):
            text = GREET.replace("id: greet", f"id: {slug}")
            await hark.apply(text.replace("inputs: {name: ", f"when: 'new.name == \"{name}\"', inputs: {{name: ", 1))
        await attached(hark, "row@crm")
        await insert(crm, "cafe", "café")
        await hark.until(lambda: len(hark.probe.calls) == 1)
        assert "café" in await names(hark)


async def test_a_home_that_does_not_wait_for_its_log_does_so_for_what_was_moved(
    database_url: str, crm_url: str, crm: asyncpg.Connection, connection: asyncpg.Connection
) -> None:
    """Else a crash of the home server would lose what the other database has let go of."""
    await connection.execute("DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', "
                             "current_database()); END $$")  # fmt: skip
    async with hark_with(database_url, crm_url) as hark:
        at_commit: list[str] = []
        store = hark.engine.ingest.take_within

        async def note(connection: Any, *args: Any, **options: Any) -> Any:
            at_commit.append(await connection.fetchval("SELECT current_setting('synchronous_commit')"))
            return await store(connection, *args, **options)

        hark.engine.ingest.take_within = note  # type: ignore[method-assign]
        await hark.apply(GREET)
        await insert(crm, "anna")
        await hark.until(lambda: are(hark, ["anna"]))
        assert at_commit == ["on"]


async def test_two_instances_move_each_change_once(database_url: str, crm_url: str, crm: asyncpg.Connection) -> None:
    wanted = [f"{number:04}" for number in range(400)]
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(hark_with(database_url, crm_url)) for _ in range(2)]
        await one.apply(GREET)
        await attached(two, "row@crm")
        await crm.executemany("INSERT INTO public.clients (name) VALUES ($1)", [(name,) for name in wanted[:200]])
        for name in wanted[200:]:
            await insert(crm, name)
        await one.until(lambda: are(one, wanted))
        await one.until(lambda: is_settled(one, crm))


# ---------------------------------------------------------------------- away


async def test_a_database_that_is_away_holds_up_nobody_and_is_made_up_for(
    database_url: str,
    crm_url: str,
    crm: asyncpg.Connection,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It takes connections and never answers: at the start, while a workflow is published, and until it comes back."""
    monkeypatch.setattr("hark.daemon.store.database._OTHER_CONNECT_S", 0.5)
    monkeypatch.setattr("hark.triggers.row_keeper.AWAY_RETRY_S", 0.2)
    monkeypatch.setattr("hark.triggers.row_drainer.POLL_S", 0.5)
    monkeypatch.setattr("hark.triggers.capturing._STOP_S", 0.2)
    monkeypatch.setattr("hark.daemon.engine.remotes.PATIENCE_S", 0.3)
    await connection.execute(TABLE)
    proxy = Proxy(crm_url)
    await proxy.start()
    proxy.dark.set()
    loop = asyncio.get_running_loop()
    try:
        async with hark_with(database_url, proxy.url()) as hark:
            began = loop.time()
            (applied,) = await hark.apply(GREET)
            assert loop.time() - began < 1.5
            assert "connection crm: it did not answer within 0.3 s" in applied.warnings[0].message
            assert applied.warnings[0].path == ("triggers", 0, "connection")
        began = loop.time()
        async with hark_with(database_url, proxy.url()) as hark:
            assert loop.time() - began < 1.5
            home = GREET.replace("connection: crm, ", "").replace("id: greet", "id: home")
            await hark.apply(home)
            await insert(connection, "at home")
            await hark.until(lambda: are(hark, ["at home"]))
            health = hark.engine.health()
            assert health["row"].attached
            await hark.until(lambda: "connection crm" in hark.engine.health()["row@crm"].detail)
            assert not health["row@crm"].needed
            proxy.dark.clear()
            await hark.until(lambda: hark.engine.health()["row@crm"].attached)
            await insert(crm, "elsewhere")
            await hark.until(lambda: are(hark, ["at home", "elsewhere"]))
            proxy.dark.set()
            began = loop.time()
        assert loop.time() - began < 4
    finally:
        await proxy.stop()


async def test_messages_of_another_database_are_one_event_each(
    database_url: str, crm_url: str, crm: asyncpg.Connection
) -> None:
    async with AsyncExitStack() as stack:
        both = [await stack.enter_async_context(hark_with(database_url, crm_url)) for _ in range(2)]
        await both[0].apply(ORDERS)
        for hark in both:
            await hark.until(
                lambda h=hark: "notify@crm" in h.engine.health() and h.engine.health()["notify@crm"].attached
            )
        for number in range(30):
            await crm.execute("SELECT pg_notify('orders', $1)", str(number))
        await both[0].until(lambda: _are_payloads(both[0], 30))
    async with running_engine(database_url) as hark:
        found = await events(hark, "notify")
    assert sorted(one["payload"] for one in found) == [*range(30)]
    assert {one["connection"] for one in found} == {"crm"}


async def test_why_a_channel_of_another_database_is_not_heard_is_told(database_url: str, crm_url: str) -> None:
    parts = urlsplit(crm_url)
    refused = urlunsplit(parts._replace(netloc=f"{parts.username}:wrong@{parts.netloc.rpartition('@')[2]}"))
    async with hark_with(database_url, "postgresql://nobody:x@127.0.0.1:1/none", crm2=refused) as hark:
        await hark.apply(ORDERS + "---\n" + ORDERS.replace("id: orders", "id: orders2").replace("crm", "crm2"))
        for name, reason in (("crm", "Connect call failed"), ("crm2", "password authentication failed")):
            told = f"1 channel is not heard yet: connection {name}: the database is not available: "

            def is_told(name: str = name, reason: str = reason, told: str = told) -> bool:
                health = hark.engine.health().get(f"notify@{name}")
                return health is not None and health.detail.startswith(told) and reason in health.detail

            await hark.until(is_told)


async def test_a_copy_of_the_home_and_another_name_hear_each_message_for_themselves(
    database_url: str, crm_url: str, crm: asyncpg.Connection, server_url: str, template_database: str
) -> None:
    """None of them says to another that it has stored what it heard, for it did so elsewhere, or as another event."""
    twice = ORDERS + "---\n" + ORDERS.replace("id: orders", "id: orders2").replace("crm", "crm2")
    async with AsyncExitStack() as stack:
        copy_url = await stack.enter_async_context(fresh_database(server_url, template_database))
        hark = await stack.enter_async_context(hark_with(database_url, crm_url, crm2=crm_url))
        copy = await stack.enter_async_context(hark_with(copy_url, crm_url))
        await hark.apply(twice)
        await copy.apply(ORDERS)
        await attached(hark, "notify@crm")
        await attached(hark, "notify@crm2")
        await attached(copy, "notify@crm")
        for number in range(10):
            await crm.execute("SELECT pg_notify('orders', $1)", str(number))
        await copy.until(lambda: _are_payloads(copy, 10))
        await hark.until(lambda: _are_payloads(hark, 20))


async def _are_payloads(hark: EngineUnderTest, count: int) -> bool:
    return len(await events(hark, "notify")) >= count


@pytest.mark.skipif(PROGRAM is None, reason="there is no pgbouncer here: apt-get install pgbouncer")
async def test_through_a_pooler_that_works_per_transaction_changes_are_looked_for(
    database_url: str, crm_url: str, crm: asyncpg.Connection
) -> None:
    """Nothing can be heard there, which is said; rows come all the same."""
    async with pgbouncer(crm_url, "transaction", 5) as pooled, hark_with(database_url, pooled) as hark:
        await hark.apply(GREET)
        await hark.apply(ORDERS)
        await attached(hark, "row@crm")
        await insert(crm, "anna", "bert")
        await hark.until(lambda: are(hark, ["anna", "bert"]))
        await hark.until(lambda: "HARK_CONNECTION_CRM" in hark.engine.health()["notify@crm"].detail)
        await hark.until(lambda: is_settled(hark, crm))
