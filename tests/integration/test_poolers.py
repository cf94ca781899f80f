"""Through pgbouncer: per transaction, where nothing of a session lasts, and per session; the servers are few."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from asyncpg import exceptions as pg
from support.daemon import Daemon, daemon_home, until
from support.engine import running_engine
from support.pgbouncer import PROGRAM, pgbouncer

from hark.actions.pooled_connection import Way, open_connection
from hark.actions.pooler import find_way
from hark.actions.sql import NamedConnections
from hark.daemon.doctor.examination import examine
from hark.daemon.settings import Settings
from hark.daemon.store.database import Database, translated
from hark.workflows.errors import UnavailableError

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no pgbouncer here: apt-get install pgbouncer")

WORKFLOWS = """
id: on-row
name: On a row
triggers: [{type: row, table: public.clients, operations: [insert]}]
inputs: {}
steps: [{id: a, action: update_database, with: {sql: "INSERT INTO public.effects VALUES ('row')"}}]
---
id: on-hook
name: On a webhook
triggers: [{type: webhook, path: in, auth: {type: none}}]
steps: [{id: a, action: update_database, with: {sql: "INSERT INTO public.effects VALUES ('hook')"}}]
---
id: on-clock
name: On the clock
triggers: [{type: cron, schedule: "* * * * * *"}]
steps: [{id: a, action: update_database, with: {sql: "INSERT INTO public.effects VALUES ('clock')"}}]
---
id: after-hook
name: After another
triggers: [{type: workflow, workflow: on-hook}]
steps: [{id: a, action: update_database, with: {sql: "INSERT INTO public.effects VALUES ('after')"}}]
---
id: long
name: A long one
triggers: [{type: event, event: GO}]
steps:
  - {id: before, action: update_database, with: {sql: "INSERT INTO public.effects VALUES ('before')"}}
  - {id: call, action: http_request, with: {url: "URL"}, timeout: 30s}
  - {id: after, action: update_database, with: {sql: "INSERT INTO public.effects VALUES ('done')"}}
"""
DEAF = """
id: deaf
name: Deaf
triggers: [{type: notify, channel: news}]
steps: [{id: a, set: {heard: true}}]
"""
SETUP = """
CREATE TABLE IF NOT EXISTS public.clients (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text);
CREATE TABLE IF NOT EXISTS public.effects (what text NOT NULL);
"""
COUNT = "SELECT count(*) FROM public.effects WHERE what = "
STATUS = "SELECT status FROM hark.workflow_executions WHERE id = "
LEFT = """
SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (
            SELECT oid FROM pg_database WHERE datname = current_database()))
     + (SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND state LIKE 'idle in transaction%')
"""


class OtherEnd:
    """Holds the calls that it gets, until it is told to answer at once."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[None] = asyncio.Queue()
        self.answers = False

    async def handle(self, _request: web.Request) -> web.Response:
        """Take a call."""
        self.calls.put_nowait(None)
        if not self.answers:
            await asyncio.sleep(30)
        return web.Response()


@asynccontextmanager
async def other_end() -> AsyncIterator[tuple[OtherEnd, str]]:
    """Serve one; gives it and its URL."""
    one = OtherEnd()
    application = web.Application()
    application.router.add_get("/", one.handle)
    async with TestServer(application, shutdown_timeout=0.1) as server:
        yield one, str(server.make_url("/"))


@asynccontextmanager
async def two_daemons(url: str, call: str) -> AsyncIterator[tuple[Daemon, Daemon]]:
    """Run two on one database, one after the other; the second one has the key of the first."""
    async with daemon_home() as home:
        (home / "all.yaml").write_text(WORKFLOWS.replace("URL", call))
        (home / "setup.sql").write_text(SETUP)
        given = {"HARK_DATABASE_URL": url, "HARK_HTTP_ALLOW_NETWORKS": "127.0.0.0/8"}
        pair = []
        for name in ("one", "two"):
            (home / name).mkdir()
            arguments = ("--workflows", str(home), "--setup", str(home / "setup.sql"))
            pair.append(Daemon(home / name, given, *arguments))
        try:
            await asyncio.gather(*(one.start() for one in pair))
            yield pair[0], pair[1]
        finally:
            for one in pair:
                if one.process is not None:
                    await one.kill()


async def send(one: Daemon, path: str, key: Daemon, body: Any = None) -> Any:
    """Post to a daemon; return what it says."""
    async with (
        aiohttp.ClientSession(headers=key.headers) as session,
        session.post(one.url + path, json=body) as answer,
    ):
        assert answer.status < 300, await answer.text()
        return await answer.json()


def said(one: Daemon, event: str) -> list[dict[str, Any]]:
    """Return the lines of the log with an event."""
    lines = [json.loads(line) for line in one.log.splitlines() if line.startswith("{")]
    return [line for line in lines if line.get("event") == event]


async def go(one: Daemon, key: Daemon, end: OtherEnd) -> str:
    """Start the long one on an instance; returns its execution once it is in the middle of its call."""
    receipt = await send(one, "/api/events", key, {"type": "GO", "data": {}})
    async with asyncio.timeout(10):
        await end.calls.get()
    (execution,) = receipt["executions"]
    return str(execution)


async def test_all_of_it_works_through_a_pooler_per_transaction(database_url: str) -> None:
    async with (
        pgbouncer(database_url, "transaction", 4) as url,
        other_end() as (end, call),
        two_daemons(url, call) as (one, two),
    ):
        connection = await asyncpg.connect(database_url)
        await connection.execute("INSERT INTO public.clients (email) SELECT 'a@example.org' FROM generate_series(1, 5)")
        await connection.close()
        await send(one, "/hooks/in", one, {})
        for what, least in (("row", 5), ("hook", 1), ("after", 1), ("clock", 2)):
            await until(database_url, f"{COUNT} '{what}'", lambda count, least=least: count >= least)

        cancelled = await go(one, one, end)
        await send(two, f"/api/executions/{cancelled}/cancel", one, {})
        await until(database_url, f"{STATUS} '{cancelled}'", lambda status: status == "cancelled")

        taken_over = await go(one, one, end)
        await one.kill()
        end.answers = True
        await until(database_url, f"{STATUS} '{taken_over}'", lambda status: status == "completed")

        applied = await send(two, "/api/apply", one, {"files": [{"name": "deaf.yaml", "content": DEAF}]})
        assert ["pool_mode = session" in warning["message"] for warning in applied["warnings"]] == [True], applied
        examined = {one.check: one.message for one in await examine(Settings(database_url=url, data_dir=two.data_dir))}
        assert "works per transaction" in examined["pooler"]
        assert examined["hearing"] == "deaf/notify: nothing is heard"
        async with aiohttp.ClientSession() as session, session.get(f"{two.url}/readyz") as answer:
            parts = (await answer.json())["parts"]
        assert answer.status == 200
        assert parts["listening"]["detail"].startswith("looks every 0.5 s")
        assert "1 channels are not heard" in parts["notify"]["detail"]
        assert await two.stop() == 0, two.log

        for each in (one, two):
            assert [line["pooler"] for line in said(each, "database.pooled")] == ["transaction"]
            broken = [line for line in each.log.splitlines() if '"level": "error"' in line or "Traceback" in line]
            assert [line for line in broken if "notify.cannot_hear" not in line] == []
        await until(database_url, LEFT, lambda left: left == 0)
        # Each effect once, also of the execution that changed hands; a slot is one over both of them.
        await until(database_url, f"{COUNT} 'before'", lambda count: count == 2)
        await until(database_url, f"{COUNT} 'done'", lambda count: count == 1)
        await until(database_url, f"{COUNT} 'row'", lambda count: count == 5)


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
        async with hark.database.pool.acquire() as connection:  # the same one, after the pool has put it right
            assert await connection.fetchval("SHOW plan_cache_mode") == "force_custom_plan"
        assert hark.engine.health()["listening"].detail == ""
    assert capsys.readouterr().out.count("database.pooled") == 1


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
