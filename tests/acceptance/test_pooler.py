"""Two daemons behind a pgbouncer that works per transaction and has few servers keep their promises."""

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
from support.daemon import Daemon, daemon_home, until
from support.pgbouncer import PROGRAM, pgbouncer

from hark.daemon.doctor.examination import examine
from hark.daemon.settings import Settings

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
        assert ["HARK_LISTEN_URL" in warning["message"] for warning in applied["warnings"]] == [True], applied
        examined = {one.check: one.message for one in await examine(Settings(database_url=url, data_dir=two.data_dir))}
        assert "works per transaction" in examined["pooler"]
        assert examined["hearing"] == "deaf/notify: nothing is heard"
        async with aiohttp.ClientSession() as session, session.get(f"{two.url}/readyz") as answer:
            parts = (await answer.json())["parts"]
        assert answer.status == 200
        assert parts["listening"]["detail"].startswith("looks every 0.5 s")
        assert "1 channel is not heard" in parts["notify"]["detail"]
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
