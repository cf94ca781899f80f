"""What happens to those who listen: a connection that goes silent, sessions that are ended, a server that restarts.

Nothing is lost and nothing doubled, whatever the trigger, and it is late by no more than is promised.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from unittest.mock import AsyncMock
from uuid import UUID

import asyncpg
import orjson
import pytest
from support.database import connected, quick_place
from support.engine import EngineUnderTest, running_engine
from support.faults.proxy import Proxy
from support.faults.server import Server, own_server

from hark.daemon.engine import claims, ends, instance
from hark.daemon.engine.lag import Lag
from hark.daemon.engine.row_capture import RowCapture
from hark.daemon.store import listening
from hark.daemon.store.database import Database
from hark.daemon.store.lane import Lane
from hark.daemon.store.schema import ensure_schema
from hark.triggers import row_drainer
from hark.workflows.errors import UnavailableError

POLL_S, REBUILD_S = 5.0, 15.0
"""What docs/architecture.md promises."""
SLACK_S = 10.0
"""For a machine that is busy with something else."""
WORKFLOWS = """
id: rows
name: Rows
triggers: [{type: row, table: public.leads, operations: [insert]}]
steps: [{id: note, set: {n: "${{ event.data.new.n }}"}}]
---
id: messages
name: Messages
triggers: [{type: notify, channel: news}]
steps: [{id: note, set: {n: "${{ event.data.payload }}"}}]
---
id: ticks
name: Ticks
triggers: [{type: cron, schedule: "* * * * * *"}]
steps: [{id: note, set: {n: "${{ event.data.slot }}"}}]
---
id: follower
name: Follower
triggers: [{type: workflow, workflow: messages}]
steps: [{id: note, set: {n: 1}}]
"""


def test_what_is_promised_follows_from_the_constants() -> None:
    found_s = listening.HEARTBEAT_S + listening.DEAF_AFTER_S
    assert found_s + listening.REBUILD_S < REBUILD_S
    assert found_s + listening.REBUILD_S + listening.DEAF_AFTER_S < REBUILD_S
    assert max(row_drainer.POLL_S, claims.POLL_S, ends.POLL_S) <= POLL_S


class Writer:
    """Writes rows all the time, each in a transaction of its own; knows none but those that the table has."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.written = 0

    async def run(self) -> None:
        """Write until cancelled, whatever the server does."""
        while True:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                async with connected(self._url) as connection:
                    while True:
                        await connection.execute("INSERT INTO public.leads (n) VALUES ($1)", self.written)
                        self.written += 1
                        await asyncio.sleep(0.03)
            await asyncio.sleep(0.05)


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[Writer]:
    writer = Writer(url)
    task = asyncio.create_task(writer.run(), name="writer")
    try:
        yield writer
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.timeout(120)
async def test_outages_lose_nothing_and_double_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the intervals shortened, to see each several times; what they are is another test's matter."""
    monkeypatch.setattr(listening, "HEARTBEAT_S", 0.5)
    monkeypatch.setattr(listening, "DEAF_AFTER_S", 0.5)
    monkeypatch.setattr(listening, "REBUILD_S", 0.2)
    monkeypatch.setattr(row_drainer, "POLL_S", 0.3)
    monkeypatch.setattr(instance, "HEARTBEAT_S", 0.3)
    async with own_server(quick_place()) as server:
        url = await server.start()
        await ensure_schema(url)
        proxy = Proxy(url)
        await proxy.start()
        try:
            async with connected(url) as connection:
                await connection.execute("CREATE TABLE public.leads (n int)")
            async with running_engine(proxy.url()) as tested:
                await tested.apply(WORKFLOWS)
                await tested.until(lambda: ready(tested), "all listeners hear")
                async with writing(url) as writer:
                    await went_silent(tested, proxy, writer)
                    await was_heard(tested, url, "silent")
                    await were_ended(tested, url, writer)
                    await was_heard(tested, url, "ended")
                    await restarted(tested, server, writer)
                    await was_heard(tested, url, "restarted")
                async with connected(url) as connection:
                    await judged(tested, connection)
        finally:
            await proxy.stop()


async def went_silent(tested: EngineUnderTest, proxy: Proxy, writer: Writer) -> None:
    """Swallow what the listening connection is sent: no wake-up comes, and nobody says so."""
    await more(tested, writer)
    rebuilt, surprises = tested.engine.listening.rebuilt, unannounced(tested)
    assert proxy.swallow("listen") == 1
    assert tested.engine.listening.hears
    await tested.until(lambda: unannounced(tested) > surprises, "a look finds what no wake-up has told of")
    await tested.until(lambda: not tested.engine.health()["notify"].attached, "it is found out")
    await tested.until(lambda: tested.engine.listening.rebuilt > rebuilt and ready(tested), "it is rebuilt")


async def were_ended(tested: EngineUnderTest, url: str, writer: Writer) -> None:
    """End the sessions that listen, drain the outbox, and store events, again and again."""
    lanes = ("hark listen", "hark row capture", "hark ingest")
    there = "FROM pg_stat_activity WHERE application_name = ANY ($1)"
    async with connected(url) as connection:
        for _ in range(3):
            await more(tested, writer)
            await tested.until(lambda: connection.fetchval(f"SELECT count(*) >= 3 {there}", lanes), "all are there")
            assert await connection.fetchval(f"SELECT bool_and(pg_terminate_backend(pid)) {there}", lanes)
            await tested.until(lambda: not tested.engine.listening.hears, "it is found out")
            await tested.until(lambda: ready(tested), "all listeners hear again")


async def restarted(tested: EngineUnderTest, server: Server, writer: Writer) -> None:
    """Stop the server and start it again."""
    await server.stop()
    await tested.until(lambda: not tested.engine.listening.hears, "it is found out")
    await server.start()
    await more(tested, writer)
    await tested.until(lambda: ready(tested), "all listeners hear again")


async def was_heard(tested: EngineUnderTest, url: str, word: str) -> None:
    """Send a notification, which is an event while somebody listens, and nothing at other times."""
    async with connected(url) as connection:
        await connection.execute("SELECT pg_notify('news', $1)", word)
        stored = "SELECT count(*) FROM hark.events WHERE kind = 'notify' AND data ->> 'payload' = $1"
        await tested.until(lambda: connection.fetchval(stored, word), "it is stored")


async def judged(tested: EngineUnderTest, connection: asyncpg.Connection) -> None:
    """Compare what has run with what there is."""
    rows = await connection.fetch("SELECT n FROM public.leads ORDER BY n")
    assert len(rows) > 20

    async def seen() -> bool:
        return await connection.fetchval("SELECT count(*) FROM hark.events WHERE kind = 'row'") >= len(rows)

    await tested.until(seen, "all rows are events")
    assert [orjson.loads(row["new"])["n"] for row in await of_kind(connection, "row", "new")] == [
        row["n"] for row in rows
    ]
    assert sorted(orjson.loads(row["payload"]) for row in await of_kind(connection, "notify", "payload")) == [
        "ended", "restarted", "silent",
    ]  # fmt: skip
    slots = [row["occurred_at"].timestamp() for row in await of_kind(connection, "cron", "slot")]
    assert sorted(slots) == list(range(int(min(slots)), int(max(slots)) + 1))
    late_s = await connection.fetchval(
        "SELECT max(extract(epoch FROM hark.id_time(id) - occurred_at))::float8 FROM hark.events"
        " WHERE kind IN ('row', 'cron')"
    )
    assert late_s < POLL_S + REBUILD_S + SLACK_S
    follows = "SELECT count(*) FROM hark.events WHERE kind = 'workflow'"
    await tested.until(lambda: connection.fetchval(f"{follows} HAVING count(*) >= 3"), "what follows has started")
    assert await connection.fetchval(follows) == 3


async def of_kind(connection: asyncpg.Connection, kind: str, field: str) -> list[asyncpg.Record]:
    return await connection.fetch(
        f"SELECT occurred_at, data -> '{field}' AS {field} FROM hark.events WHERE kind = $1"
        f" ORDER BY (data -> 'new' ->> 'n')::int, id", kind,
    )  # fmt: skip


def ready(tested: EngineUnderTest) -> bool:
    return all(part.attached for part in tested.engine.health().values())


def unannounced(tested: EngineUnderTest) -> float:
    return values(tested)["polls_unannounced_total"]["row"]


def values(tested: EngineUnderTest) -> dict[str, dict[str, float]]:
    return {figure.name: dict(figure.values) for figure in tested.engine.figures()}


async def more(tested: EngineUnderTest, writer: Writer) -> None:
    """Wait for a few more rows."""
    wanted = writer.written + 5
    await tested.until(lambda: writer.written >= wanted, "more rows")


async def test_what_waits_is_measured(database_url: str, connection: asyncpg.Connection) -> None:
    change = (
        "INSERT INTO hark.row_changes (watch_id, operation, row_count, transaction_id, occurred_at, parked_at)"
        " VALUES (1, 'insert', 1, pg_current_xact_id(), now() - $1::text::interval, $2) RETURNING id"
    )
    await connection.execute(change, "3 hours", datetime.now(UTC))
    await connection.execute(change, "1 hour", None)
    await connection.execute(change, "1 minute", None)
    end = (
        "INSERT INTO hark.execution_ends (tenant_id, execution_id, noted_at) VALUES ($1, $1, now() - interval '1 hour')"
    )
    await connection.execute(end, UUID(int=1))
    database = Database(database_url)
    await database.start()
    try:
        unused: Any = None
        lag = Lag(database, RowCapture(database, unused, unused, unused), unused)
        await lag.look()
        records, ages = (figure.values for figure in lag.figures())
        assert records == {"row_changes": 2, "execution_ends": 1}
        assert all(3600 <= age < 3700 for age in ages.values())
        assert lag.stats() == {"executions_claimable_oldest_age_seconds": 0}
    finally:
        await database.stop()


async def test_an_execution_that_waits_for_a_place_is_measured(database_url: str) -> None:
    step = "{id: it, action: probe, with: {hold: true}}"
    probe = f"{{id: held, name: Held, triggers: [{{type: event, event: GO}}], steps: [{step}]}}"
    async with running_engine(database_url, max_running=1) as tested:
        await tested.apply(probe)
        await tested.emit("GO")
        await tested.probe.called.wait()
        await tested.emit("GO")
        await tested.engine.lag.look()
        assert tested.engine.stats()["executions_claimable_oldest_age_seconds"] > 0


class ClosedUnnoticed:
    """A connection as uvloop leaves it between the end of its socket and `connection_lost`."""

    closed = False

    def is_closed(self) -> bool:
        return self.closed

    def terminate(self) -> None:
        self.closed = True

    async def fetch(self, *_: object) -> None:
        self.closed = True  # asyncpg gives it up as it passes the error on
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")


async def test_a_socket_that_the_loop_has_closed_already_is_an_outage(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lane = Lane(Database(database_url), "test")
    with monkeypatch.context() as patched:
        patched.setattr(lane, "_open", AsyncMock(return_value=ClosedUnnoticed()))
        with pytest.raises(UnavailableError):
            await lane.fetch("get_time")
    try:
        assert await lane.fetch("get_time")
        with pytest.raises(RuntimeError, match="a defect"):
            async with lane.connection():
                raise RuntimeError("a defect")
    finally:
        await lane.stop()


async def test_the_pool_of_a_database_that_is_away_says_nothing_by_itself(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The driver refilled it in the background, and logged each refusal with its traceback."""
    proxy = Proxy(database_url)
    await proxy.start()
    database = Database(proxy.url())
    await database.start()
    assert database.pool.get_idle_size() == 1, "who starts finds out at once whether there is a database"
    await proxy.stop()
    for _ in range(10):
        with pytest.raises(UnavailableError):
            await database.fetchval("get_generation")
    assert [record for record in caplog.records if record.name.startswith("asyncpg")] == []
    await database.stop()
