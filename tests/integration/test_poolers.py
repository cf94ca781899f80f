"""Through pgbouncer: per transaction, where nothing of a session lasts, and per session; the servers are few."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from asyncpg import exceptions as pg
from support.database import fresh_database
from support.engine import running_engine
from support.pgbouncer import PROGRAM, pgbouncer

from hark.actions.pooled_connection import Way, open_connection
from hark.actions.pooler import find_way
from hark.actions.sql import NamedConnections
from hark.daemon.store.database import Database
from hark.daemon.store.outages import translated
from hark.daemon.store.schema import ensure_schema
from hark.workflows.catalogue import Health
from hark.workflows.errors import UnavailableError

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no pgbouncer here: apt-get install pgbouncer")

DEAF = """
id: deaf
name: Deaf
triggers: [{type: notify, channel: news}]
steps: [{id: a, set: {heard: true}}]
"""


async def test_an_engine_works_through_a_pooler_per_session_and_hears(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async with pgbouncer(database_url, "session", 40) as url, running_engine(url) as hark:
        await hark.apply(DEAF)
        await hark.until(lambda: hark.engine.health()["notify"].attached)
        await hark.database.execute("notify", "news", "{}")
        await hark.until(lambda: hark.database.pool.fetchval("SELECT count(*) FROM hark.workflow_executions"))
        async with hark.database.pool.acquire() as connection:
            assert await connection.fetchval("SHOW search_path") == "hark, pg_catalog"
        async with hark.database.pool.acquire() as connection:  # the same one again
            assert await connection.fetchval("SHOW plan_cache_mode") == "force_custom_plan"
        assert hark.engine.health()["listening"].detail == ""
    assert capsys.readouterr().out.count("database.pooled") == 1


async def test_past_a_pooler_per_transaction_one_connection_listens(database_url: str, server_url: str) -> None:
    async with (
        pgbouncer(database_url, "transaction", 4) as url,
        running_engine(url, listen_url=database_url) as hark,
    ):
        await hark.apply(DEAF)
        await hark.until(lambda: hark.engine.health()["notify"] == Health(attached=True, detail=""))
        await hark.database.execute("notify", "news", "{}")
        await hark.until(lambda: hark.database.pool.fetchval("SELECT count(*) FROM hark.workflow_executions"))
        for elsewhere, reason in ((server_url, "does not lead to the database"), (url, "per transaction as well")):
            astray = Database(url, listen_url=elsewhere)
            await astray.start()
            with pytest.raises(UnavailableError, match=reason):
                await astray.open_listening()
            await astray.stop()


@pytest.mark.parametrize("ignored", ["", "search_path,jit,timezone,lock_timeout,extra_float_digits"])
async def test_what_stands_before_a_database_is_found_out(database_url: str, ignored: str) -> None:
    """Also where the pooler swallows the settings, as people make it do who have met its refusal."""
    more = {"ignore_startup_parameters": ignored} if ignored else {}
    assert await find_way(database_url) is Way.DIRECT
    async with pgbouncer(database_url, "session", 4, **more) as url:
        assert await find_way(url) is Way.SESSION
    async with pgbouncer(database_url, "transaction", 4, **more) as url:
        assert await find_way(url) is Way.TRANSACTION
        async with holding(url, 1):
            # Others are at work, so that the servers are not the same for two transactions of one client.
            assert await find_way(url) is Way.TRANSACTION


@asynccontextmanager
async def holding(url: str, count: int) -> AsyncIterator[None]:
    """Keep servers of a pooler busy for the length of a block."""
    opened = [await open_connection(url, Way.TRANSACTION, {}) for _ in range(count)]
    for one in opened:
        await one.execute("BEGIN")
    try:
        yield
    finally:
        for one in opened:
            await one.close()


async def test_settings_hold_in_every_transaction_and_nowhere_else(database_url: str) -> None:
    """With one server for all, whatever is left behind would be seen by the next one."""
    settings = {"search_path": "hark, pg_catalog", "lock_timeout": "7s", "jit": "off"}
    settings["default_transaction_read_only"] = "on"
    shown = "SELECT current_setting('lock_timeout') || current_setting('transaction_read_only')"
    direct = await asyncpg.connect(database_url)
    # The driver switches it off to ask about types, and then for whoever comes next.
    await direct.execute(f"ALTER DATABASE {await direct.fetchval('SELECT current_database()')} SET jit = on")
    await direct.close()
    async with pgbouncer(database_url, "transaction", 1) as url:
        ours = await open_connection(url, Way.TRANSACTION, settings)
        theirs = await open_connection(url, Way.TRANSACTION, {})
        # As the servers call it: any other name pgbouncer would set before each transaction.
        assert ours.get_settings().client_encoding == "UTF8"
        for _ in range(2):
            assert await ours.fetchval(shown) == "7son"
            assert await ours.fetchval("SELECT $1::hark.progress_wait IS NULL", None)  # a type that is asked for
            assert await theirs.fetchval(f"{shown} || current_setting('jit')") == "0offon"
        assert await theirs.fetchval("SELECT count(*) FROM pg_prepared_statements") == 0
        with pytest.raises(pg.ReadOnlySQLTransactionError):
            await ours.execute("CREATE TABLE public.x ()")
        with pytest.raises(pg.DivisionByZeroError):
            await ours.fetchval("SELECT 1 / $1::integer", 0)
        async with asyncio.timeout(5):  # what failed has let go of the server
            assert await theirs.fetchval("SELECT 1") == 1
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await ours.fetchval("SELECT pg_sleep(30)")
        async with asyncio.timeout(5):  # and so has what was broken off
            assert await theirs.fetchval("SELECT 2") == 2
        assert await ours.fetchval("SELECT 3") == 3
        await ours.close()
        await theirs.close()


async def test_the_schema_is_made_through_a_pooler_by_one_of_several(server_url: str) -> None:
    async with (
        fresh_database(server_url, "template0") as empty,
        pgbouncer(empty, "transaction", 4) as url,
    ):
        states = await asyncio.gather(*(ensure_schema(url) for _ in range(3)))
        assert [state.current for state in states] == [True] * 3


async def test_only_one_is_in_a_block_also_through_a_pooler(database_url: str) -> None:
    async with pgbouncer(database_url, "transaction", 4) as url:
        first, second = Database(url), Database(url)
        async with first.only_one(7, 8) as held:
            assert held is not None
            async with second.only_one(8) as refused, second.only_one(9) as other:
                assert (refused, other is not None) == (None, True)
            async with first.only_one(5, shared=True) as shared, second.only_one(5, shared=True) as again:
                assert shared is not None
                assert again is not None
            await held.confirm()
        async with second.only_one(8, 7) as free:
            assert free is not None


async def test_sql_on_another_database_works_through_a_pooler(database_url: str) -> None:
    async with pgbouncer(database_url, "transaction", 1) as url:
        connections = NamedConnections({"other": url})
        for kind, value in (("integer", 1), ("text", "one")):
            async with connections("other") as sql:
                await sql.execute("DROP TABLE IF EXISTS public.things")
                await sql.execute(f"CREATE TABLE public.things (n {kind})")
                await sql.execute("INSERT INTO public.things VALUES ($1)", value)
            async with connections("other") as sql:
                assert await sql.fetch("SELECT n FROM public.things", max_rows=5) == [{"n": value}]
                assert await sql.fetch("SELECT n FROM public.things") == [{"n": value}]
        await connections.aclose()


async def test_a_pooler_that_was_taken_for_a_server_is_named_with_the_remedy(database_url: str) -> None:
    async with pgbouncer(database_url, "transaction", 1) as url:
        wrong = Database(url, way=Way.DIRECT)
        with pytest.raises(UnavailableError, match=r"unsupported startup parameter.*HARK_DATABASE_POOLER=transaction"):
            await wrong.start()
        plain = await asyncpg.connect(url)
        with pytest.raises(UnavailableError, match=r"works per transaction.*HARK_DATABASE_POOLER=transaction"):
            await twice(plain, url)
        await plain.close()


async def twice(plain: asyncpg.Connection, url: str) -> None:
    """Run a prepared statement twice, between which another client has had the server."""
    with translated():
        await plain.fetchval("SELECT 1", timeout=5)
        other = await open_connection(url, Way.TRANSACTION, {})
        await other.execute("DEALLOCATE ALL")
        await other.close()
        await plain.fetchval("SELECT 1", timeout=5)
