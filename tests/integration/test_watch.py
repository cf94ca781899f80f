"""`hark watch TABLE`: what is captured, as it comes, over the API and with the real program."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import asyncpg
import pytest
from support.api import ApiUnderTest, running_api
from support.database import connected
from support.program import Program

from hark.daemon.api.live_changes import ChangesTail
from hark.daemon.api.models.watches import CapturedChange, WatchRow
from hark.daemon.api.table import encode
from hark.daemon.api.watches import watch_of
from hark.daemon.store import captured
from hark.triggers.table_name import TableName
from hark.workflows.ids import DEFAULT_TENANT, TenantId, floor_of

WORKFLOWS = """
id: greet
name: Greet
triggers: [{type: row, table: clients, operations: [insert, update], capture: all, when: new.status == "lead"}]
steps: [{id: note, action: probe}]
---
id: bulk
name: Bulk
triggers: [{type: row, table: clients, per: statement}]
steps: [{id: note, action: probe}]
"""


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    async with running_api(database_url, tmp_path) as api:
        yield api


@pytest.fixture
async def clients(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Give a connection of an application, with its table."""
    async with connected(database_url) as connection:
        await connection.execute("SET search_path = public; CREATE TABLE clients (id int PRIMARY KEY, status text)")
        yield connection


class Following:
    """A client that follows the table."""

    def __init__(self, api: ApiUnderTest, since: str | None = None) -> None:
        self.states: list[WatchRow] = []
        self.changes: list[CapturedChange] = []
        self._api = api
        self._since = since

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow())
        await self._api.hark.until(lambda: bool(self.states))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        async for one in self._api.client.follow_changes("clients", self._since):
            if isinstance(one, WatchRow):
                self.states.append(one)
            else:
                self.changes.append(one)

    def rows(self) -> list[int]:
        """Return the ids of the rows, as they came; of whole statements none."""
        return [one.data["new"]["id"] for one in self.changes if "new" in one.data]


async def insert(clients: asyncpg.Connection, *ids: int, status: str = "lead") -> None:
    await clients.execute("INSERT INTO clients SELECT unnest($1::int[]), $2", ids, status)


async def test_each_change_is_told_with_what_it_started_or_why_nothing(
    api: ApiUnderTest, clients: asyncpg.Connection
) -> None:
    await api.client.apply({"all.yaml": WORKFLOWS})
    async with Following(api) as following:
        assert (following.states[0].workflows, following.states[0].key) == (["bulk", "greet"], ["id"])
        await insert(clients, 1, 2)
        await clients.execute(
            "BEGIN; SET LOCAL hark.actor = 'anna'; UPDATE clients SET status = 'old' WHERE id = 1; COMMIT"
        )
        await api.hark.until(lambda: len(following.changes) == 4)
        whole = next(one for one in following.changes if "rows" in one.data)
        assert [(one.workflow, one.trigger_id) for one in whole.started] == [("bulk", "row")]
        first, second, last = [one for one in following.changes if one is not whole]
        assert [[one.workflow for one in each.started] for each in (first, second, last)] == [["greet"], ["greet"], []]
        assert (last.data["actor"], last.refused[0].reason) == ("anna", "when_false")
        assert following.rows() == [1, 2, 1]


async def test_what_is_wrong_is_said_once_with_what_would_be_right(
    api: ApiUnderTest, clients: asyncpg.Connection, tmp_path: Path
) -> None:
    """The refusal of a parameter was printed, and then all of its problems, of which it is the first."""
    await api.client.apply({"all.yaml": WORKFLOWS})
    hark = Program(api, tmp_path)
    assert (await hark("watch", "clients", "--connection", "Home", "--no-follow")).status == 0
    said = await hark("watch", "clients", "--connection", "home", "--since", "banana")
    assert (said.status, said.out) == (1, "")
    assert said.err == (
        "error: parameters: since: 'banana' is no time: write one such as 2026-01-31T09:00:00Z, "
        "or a duration such as 1h for so long ago\n"
    )


async def test_a_break_costs_nothing_and_doubles_nothing(api: ApiUnderTest, clients: asyncpg.Connection) -> None:
    await api.client.apply({"all.yaml": WORKFLOWS.partition("---")[0]})
    async with Following(api) as following:
        await insert(clients, 1, 2, 3)
        await api.hark.until(lambda: len(following.changes) == 3)
        api.services.stopping = True
        await api.hark.until(lambda: api.services.listeners == 0)
        await insert(clients, *range(4, 500))
        events = "SELECT count(*) = 499 FROM hark.events"
        await api.hark.until(lambda: api.services.database.pool.fetchval(events))
        api.services.stopping = False
        await api.hark.until(lambda: 499 in following.rows())
        await insert(clients, 500)
        await api.hark.until(lambda: 500 in following.rows())
    assert following.rows() == list(range(1, 501))
    async with Following(api, since="1h") as again:
        await api.hark.until(lambda: 500 in again.rows())
    assert again.rows() == following.rows()


async def test_who_begins_now_is_told_what_comes_though_the_clock_of_the_daemon_is_ahead(
    api: ApiUnderTest, clients: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an estimate: half of the time that the last heartbeat took, it may be ahead of that of the ids."""
    await api.client.apply({"all.yaml": WORKFLOWS.partition("---")[0]})
    await insert(clients, 1)
    await api.hark.until(lambda: api.services.database.pool.fetchval("SELECT count(*) = 1 FROM hark.events"))
    engine = api.services.engine
    now = engine.now
    monkeypatch.setattr(engine, "now", lambda: now() + timedelta(seconds=2))
    async with Following(api) as following:
        await insert(clients, 2)
        await api.hark.until(lambda: following.rows() == [2])


async def test_no_outcome_is_missing_when_there_are_more_than_one_statement_returns(
    api: ApiUnderTest, clients: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured, "MOST_OUTCOMES", 3)
    await api.client.apply({"all.yaml": WORKFLOWS.partition("---")[0]})
    async with Following(api) as following:
        await insert(clients, *range(5))
        await insert(clients, *range(5, 10), status="old")
        await api.hark.until(lambda: len(following.changes) == 10)
    assert following.rows() == list(range(10))
    assert [len(one.started) for one in following.changes] == 5 * [1] + 5 * [0]
    assert [len(one.refused) for one in following.changes] == 5 * [0] + 5 * [1]


async def test_what_is_committed_late_is_told_and_once(api: ApiUnderTest, clients: asyncpg.Connection) -> None:
    """An event's id is older than its commit: one that was told already may be younger."""
    await api.client.apply({"all.yaml": WORKFLOWS})
    now = api.hark.engine.now()
    tail = ChangesTail(api.services, DEFAULT_TENANT, TableName("public", "clients"), floor_of(now - timedelta(hours=1)))

    async def told() -> list[int]:
        return [json.loads(encode(one.row))["data"]["n"] for one in await tail.look() if one.name == "change"]

    await store(clients, now, 1)
    assert await told() == [1]
    for late_s, number in ((2, 2), (8, 3), (60, 4)):
        await store(clients, now - timedelta(seconds=late_s), number)
    assert await told() == [3, 2]
    assert await told() == []
    await store(clients, now + timedelta(seconds=1), 5)
    assert await told() == [5]


async def test_who_is_far_behind_costs_no_memory_for_what_was_told(
    api: ApiUnderTest, clients: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that was told since the beginning was kept, in order to know it again."""
    monkeypatch.setattr("hark.daemon.api.live_changes.MOST", 2)
    now = api.hark.engine.now()
    tail = ChangesTail(api.services, DEFAULT_TENANT, TableName("public", "clients"), floor_of(now - timedelta(hours=1)))
    for number in range(20):
        await store(clients, now - timedelta(minutes=30) + timedelta(seconds=number), number)
    told = [len([one for one in await tail.look() if one.name == "change"]) for _ in range(11)]
    assert told == [2] * 10 + [0]
    assert len(tail._told) <= 2


async def store(connection: asyncpg.Connection, moment: Any, number: int) -> None:
    await connection.execute(
        "INSERT INTO hark.events (tenant_id, id, kind, type, source, route, data, occurred_at, matched) VALUES "
        "($1, $2, 'row', 'row.insert', 'table:public.clients', 'row:public.clients', $3, now(), true)",
        DEFAULT_TENANT, floor_of(moment), json.dumps({"n": number}),
    )  # fmt: skip


async def test_what_another_tenant_watches_is_not_told(api: ApiUnderTest, clients: asyncpg.Connection) -> None:
    await api.client.apply({"all.yaml": WORKFLOWS})
    name = TableName("public", "clients")
    assert (await watch_of(api.services, DEFAULT_TENANT, name))["key"] == ["id"]
    other = await watch_of(api.services, TenantId(uuid4()), name)
    assert (other["attached"], other["key"], other["workflows"]) == (False, [], [])


async def test_that_the_capture_ends_is_told_too(
    api: ApiUnderTest, clients: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hark.daemon.api.live_changes.STATE_S", 0.0)
    await api.client.apply({"all.yaml": WORKFLOWS.partition("---")[0]})
    async with Following(api) as following:
        await clients.execute("ALTER TABLE clients DISABLE TRIGGER ALL")
        await api.hark.until(lambda: not following.states[-1].attached)
        await api.client.pause("greet")
        await api.hark.until(lambda: following.states[-1].workflows == [])


async def test_the_program_follows_until_it_is_interrupted_or_nobody_reads(
    api: ApiUnderTest, clients: asyncpg.Connection, tmp_path: Path
) -> None:
    hark = Program(api, tmp_path)
    unwatched = await hark("watch", "clients")
    assert (unwatched.status, unwatched.out) == (1, "")
    assert "no active workflow watches public.clients" in unwatched.err
    assert "- {type: row, table: public.clients, operations: [insert, update, delete]}" in unwatched.err

    await api.client.apply({"all.yaml": WORKFLOWS.partition("---")[0]})
    lines, objects = await hark.start("watch", "clients"), await hark.start("watch", "clients", "--json")
    await api.hark.until(lambda: api.services.listeners == 2)
    await insert(clients, 1)
    assert lines.stdout is not None
    assert objects.stdout is not None
    while b" insert " not in (line := await lines.stdout.readline()):
        assert line
    assert b"  id=1  status=lead  started greet " in line
    assert json.loads(await objects.stdout.readline())["data"]["new"] == {"id": 1, "status": "lead"}
    lines.send_signal(signal.SIGINT)
    assert (await lines.communicate())[1] == b""
    objects._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
    assert (lines.returncode, await asyncio.wait_for(objects.wait(), 20)) == (0, 0)
