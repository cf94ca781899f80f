"""The promises, kept by the real process: what was acknowledged is stored, runs once, and survives SIGKILL."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
from aiohttp import web
from support.daemon import Daemon, daemon, daemon_home, until
from support.faults.proxy import Point, Proxy, Verdict

SECRET = "a-shared-secret"

SETUP = """
CREATE TABLE IF NOT EXISTS public.clients (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email text, status text);
CREATE TABLE IF NOT EXISTS public.effects (workflow text NOT NULL, what text NOT NULL);
"""

WORKFLOWS = """
id: on-row
name: On a row
triggers:
  - {id: lead, type: row, table: public.clients, operations: [insert], when: new.status == "lead"}
inputs: {}
steps:
  - id: effect
    action: update_database
    with: {sql: "INSERT INTO public.effects VALUES ('on-row', :what)", params: {what: "${{ event.data.new.email }}"}}
---
id: on-hook
name: On a webhook
triggers:
  - {id: hook, type: webhook, path: "in", auth: {type: github, secret: "${{ secrets.hook }}"}}
steps:
  - id: effect
    action: update_database
    with:
      sql: INSERT INTO public.effects VALUES ('on-hook', :what)
      params: {what: "${{ string(event.data.body.n) }}"}
---
id: on-clock
name: On the clock
triggers:
  - {id: tick, type: cron, schedule: "* * * * * *", missed: all, max_missed: 1000}
steps:
  - id: effect
    action: update_database
    with: {sql: "INSERT INTO public.effects VALUES ('on-clock', :what)", params: {what: "${{ event.data.slot }}"}}
---
id: on-hours
name: On hours of the past
triggers:
  - {id: hourly, type: cron, schedule: "0 * * * *", missed: skip, grace: 1s}
steps:
  - id: effect
    action: update_database
    with: {sql: "INSERT INTO public.effects VALUES ('on-hours', :what)", params: {what: "${{ event.data.slot }}"}}
---
id: long
name: A long one
triggers: [{id: go, type: event, event: GO}]
steps:
  - id: before
    action: update_database
    with: {sql: "INSERT INTO public.effects VALUES ('long', 'before')"}
  - {id: call, action: http_request, with: {method: POST, url: "URL", json: {n: 1}}, timeout: 30s}
  - id: after
    action: update_database
    with: {sql: "INSERT INTO public.effects VALUES ('long', 'after')"}
---
id: patient
name: A patient one
triggers: [{id: go, type: event, event: GO}]
steps:
  - {id: before, action: update_database, with: {sql: "INSERT INTO public.effects VALUES ('patient', 'before')"}}
  - {id: pause, wait: 4s}
  - {id: after, action: update_database, with: {sql: "INSERT INTO public.effects VALUES ('patient', 'after')"}}
"""


BACKFILL = ("backfill", "on-hours", "--from", "2026-01-01", "--to", "2026-01-21")


class Receiver:
    """The other end of `http_request`: holds the first request until its sender is dead, answers the next."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.reached = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers["Idempotency-Key"])
        self.reached.set()
        if len(self.keys) == 1:
            await asyncio.sleep(30)
        return web.json_response({"taken": True})


@asynccontextmanager
async def receiver() -> AsyncIterator[tuple[Receiver, str]]:
    """Serve a receiver; gives it and its URL."""
    one = Receiver()
    application = web.Application()
    application.router.add_post("/take", one.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield one, f"http://127.0.0.1:{port}/take"
    finally:
        await runner.cleanup()


async def send_hook(one: Daemon, n: int) -> dict[str, Any]:
    """Deliver a signed webhook, twice as a nervous sender does; returns the acknowledgement."""
    body = json.dumps({"n": n}).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-Hub-Signature-256": f"sha256={signature}",
        "X-GitHub-Delivery": f"delivery-{n}",
    }
    answers = []
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            async with session.post(f"{one.url}/hooks/in", data=body, headers=headers) as answer:
                assert answer.status == 202, await answer.text()
                answers.append(await answer.json())
    assert answers[0] == answers[1]
    found: dict[str, Any] = answers[0]
    return found


async def insert_leads(url: str, start: int, count: int) -> set[str]:
    """Insert rows as any program would; returns the e-mails of those that concern the workflow."""
    connection = await asyncpg.connect(url)
    try:
        rows = [(f"{n}@example.org", "lead" if n % 2 == 0 else "customer") for n in range(start, start + count)]
        await connection.executemany("INSERT INTO public.clients (email, status) VALUES ($1, $2)", rows[: count // 2])
        await connection.copy_records_to_table(
            "clients", schema_name="public", columns=["email", "status"], records=rows[count // 2 :]
        )
        return {email for email, status in rows if status == "lead"}
    finally:
        await connection.close()


async def effects(url: str, workflow: str) -> list[str]:
    """Return what a workflow has done to the table, in any order."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT what FROM public.effects WHERE workflow = $1", workflow)
        return [row["what"] for row in rows]
    finally:
        await connection.close()


async def test_nothing_is_lost_and_nothing_happens_twice_over_a_crash() -> None:
    async with (
        receiver() as (other_end, url),
        daemon(
            {"HARK_SECRET_HOOK": SECRET, "HARK_HTTP_ALLOW_NETWORKS": "127.0.0.0/8"},
            "--workflows",
            "{home}/workflows",
            "--setup",
            "{home}/setup.sql",
            files={"workflows/all.yaml": WORKFLOWS.replace("URL", url), "setup.sql": SETUP},
        ) as one,
    ):
        await one.start()
        database = one.database_url
        leads = await insert_leads(database, 0, 40)
        acknowledged = [await send_hook(one, n) for n in range(10)]
        await one.hark("emit", "GO", "--data", "{}")
        await other_end.reached.wait()
        await until(
            database,
            "SELECT count(*) FROM hark.workflow_steps WHERE path = 'pause' AND status = 'waiting'",
            lambda count: count == 1,
        )
        await until(
            database, "SELECT count(*) FROM public.effects WHERE workflow = 'on-clock'", lambda count: count >= 2
        )
        filling = asyncio.create_task(one.hark(*BACKFILL, check=False))
        await until(
            database, "SELECT count(*) FROM public.effects WHERE workflow = 'on-hours'", lambda count: count >= 5
        )
        await one.kill()
        await filling

        leads |= await insert_leads(database, 100, 40)  # the daemon is dead, its database lives
        await asyncio.sleep(2)  # slots pass meanwhile

        await one.start()
        acknowledged += [await send_hook(one, n) for n in range(8, 20)]
        filled = json.loads(await one.hark(*BACKFILL, "--json"))
        assert (filled["matched"] + filled["already"], filled["refused"]) == (480, 0)
        open_ones = (
            "SELECT count(*) FROM hark.workflow_executions WHERE completed_at IS NULL AND trigger_type <> 'cron'"
        )
        await until(
            database, "SELECT count(*) FROM public.effects WHERE workflow = 'on-row'", lambda n: n >= len(leads)
        )
        await until(
            database, "SELECT count(*) FROM public.effects WHERE workflow = 'on-hours'", lambda count: count >= 480
        )
        await until(database, open_ones, lambda count: count == 0)
        assert await one.stop() == 0, one.log

        # Outside the daemon's word: its database and the other end. The server went with the daemon, so bring it back.
        await one.start()
        await check(one.database_url, leads, acknowledged)
        # The held call was cut by the crash and made again, with the same key.
        assert len(other_end.keys) == 2
        assert len(set(other_end.keys)) == 1


async def check(database: str, leads: set[str], acknowledged: list[dict[str, Any]]) -> None:
    """Compare the record with what was done from outside."""
    assert sorted(await effects(database, "on-row")) == sorted(leads)
    assert sorted(int(n) for n in await effects(database, "on-hook")) == list(range(20))
    slots = await effects(database, "on-clock")
    assert len(slots) == len(set(slots)) > 3
    hours = [slot for slot in await effects(database, "on-hours") if slot < "2026-01-21"]
    assert len(hours) == len(set(hours)) == 480
    assert sorted(await effects(database, "long")) == ["after", "before"]
    assert sorted(await effects(database, "patient")) == ["after", "before"]
    connection = await asyncpg.connect(database)
    try:
        for answer in acknowledged:
            stored = await connection.fetchval(
                "SELECT count(*) FROM hark.events WHERE id = $1::uuid", answer["event_id"]
            )
            assert stored == 1
            status = await connection.fetchval(
                "SELECT status FROM hark.workflow_executions WHERE id = $1::uuid", answer["executions"][0]
            )
            assert status == "completed"
        twice = await connection.fetch(
            "SELECT workflow_id, event_id FROM hark.workflow_executions GROUP BY 1, 2 HAVING count(*) > 1"
        )
        assert twice == []
        unfinished = await connection.fetchval(
            "SELECT count(*) FROM hark.workflow_steps WHERE status NOT IN ('completed', 'skipped')"
        )
        assert unfinished == 0
    finally:
        await connection.close()


async def test_a_daemon_whose_log_nobody_reads_still_stops() -> None:
    """`hark run | tee log`, then Ctrl-C: tee went first, and the daemon failed at the line that said so."""
    async with daemon({}, files={}) as one:
        read, write = os.pipe()
        await one.start(log=write)
        os.close(write)
        os.close(read)
        assert await one.stop() == 0


async def test_a_database_that_goes_away_during_the_start_is_waited_for(database_url: str) -> None:
    """What stands by then is taken down, and everything begins anew."""

    async def cut() -> Verdict:
        return Verdict.CUT

    proxy = Proxy(database_url)
    await proxy.start()
    trap = proxy.lay(Point("list_hints"), cut)
    try:
        async with daemon_home() as home:
            one = Daemon(home, {"HARK_DATABASE_URL": proxy.url()})
            await one.start()
            assert await one.stop() == 0
            assert (trap.hits, one.log.count("database.awaited")) == (1, 1)
    finally:
        await proxy.stop()
