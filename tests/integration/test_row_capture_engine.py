"""Row capture from the writer's statement to the execution: nothing lost, nothing doubled, whatever happens between."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any

import asyncpg
import orjson
import pytest
from support.database import connected
from support.engine import EngineUnderTest, Probe, running_engine

from hark.daemon.engine.ingest import Taken
from hark.daemon.engine.row_capture import RowCapture
from hark.daemon.engine.strandings import Takings
from hark.daemon.store.database import Database
from hark.daemon.store.row_outbox import take_row_changes
from hark.triggers.row_changes import events_of
from hark.workflows.catalogue import NewEvent
from hark.workflows.errors import DefinitionError, UnavailableError, UnprocessableError
from hark.workflows.ids import DEFAULT_TENANT

GREET = """
id: greet
name: Greet
triggers: [{type: row, table: clients, when: 'new.status == "lead"', inputs: {name: "${{ new.name }}"}}]
inputs: {name: {type: string}}
steps: [{id: hello, action: probe, with: {say: "${{ inputs.name }}"}}]
"""


@pytest.fixture
def checked_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare the triggers with what they should be all the time, from the start of an engine on."""
    monkeypatch.setattr("hark.triggers.row_keeper.CHECK_S", 0.05)


@pytest.fixture
async def clients(connection: asyncpg.Connection) -> asyncpg.Connection:
    """Have a table `clients`; give a connection that writes to it."""
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET search_path = public; SET search_path = public")
    await connection.execute(
        "CREATE TABLE clients (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, status text)"
    )
    return connection


@pytest.fixture
async def hark(clients: asyncpg.Connection, database_url: str) -> AsyncIterator[EngineUnderTest]:
    """Run an engine for the test."""
    async with running_engine(database_url) as engine:
        yield engine


async def greeted(hark: EngineUnderTest) -> list[str]:
    """Name the clients whose executions have ended, in the order of their ids."""
    rows = await hark.database.pool.fetch(
        "SELECT inputs->>'name' AS name FROM hark.workflow_executions WHERE status = 'completed' ORDER BY id"
    )
    return sorted(row["name"] for row in rows)


async def row_events(hark: EngineUnderTest) -> list[dict[str, Any]]:
    """Return the data of all stored row events."""
    rows = await hark.database.pool.fetch("SELECT data FROM hark.events WHERE kind = 'row' ORDER BY id")
    return [orjson.loads(row["data"]) for row in rows]


async def test_a_committed_row_starts_the_workflow_as_soon_as_apply_has_returned(
    hark: EngineUnderTest, clients: asyncpg.Connection
) -> None:
    await hark.apply(GREET)
    await clients.execute("INSERT INTO clients (name, status) VALUES ('anna', 'lead'), ('bob', 'customer')")
    await hark.until(lambda: len(hark.probe.calls) == 1)
    await hark.until(lambda: _equals(greeted(hark), ["anna"]))
    (event,) = await row_events(hark)
    assert event["new"] == {"id": 1, "name": "anna", "status": "lead"}


async def _equals(found: Any, wanted: object) -> bool:
    return bool(await found == wanted)


async def test_rows_that_were_written_while_no_instance_ran_are_made_up_for(
    clients: asyncpg.Connection, database_url: str
) -> None:
    async with running_engine(database_url) as first:
        await first.apply(GREET)
    await clients.execute("INSERT INTO clients (name, status) VALUES ('night', 'lead')")
    async with running_engine(database_url) as second:
        await second.until(lambda: _equals(greeted(second), ["night"]))


async def test_pausing_takes_the_triggers_off_and_resuming_puts_them_back(
    hark: EngineUnderTest, clients: asyncpg.Connection
) -> None:
    count = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'hark_capture%'"
    await hark.apply(GREET)
    assert await clients.fetchval(count) == 1
    await hark.engine.publisher.pause(DEFAULT_TENANT, "greet")
    assert await clients.fetchval(count) == 0
    await clients.execute("INSERT INTO clients (name, status) VALUES ('unseen', 'lead')")
    await hark.engine.publisher.resume(DEFAULT_TENANT, "greet")
    await clients.execute("INSERT INTO clients (name, status) VALUES ('seen', 'lead')")
    await hark.until(lambda: _equals(greeted(hark), ["seen"]))


async def test_an_unknown_table_or_column_is_refused_and_nothing_is_published(hark: EngineUnderTest) -> None:
    with pytest.raises(DefinitionError, match=r"no column 'state' \(.*") as refused:
        await hark.apply(GREET.replace("new.status", "new.state"))
    (problem,) = refused.value.problems
    assert problem.path == ("triggers", 0, "when")
    assert problem.place is not None
    assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.workflows") == 0


async def test_a_workflow_that_writes_to_its_own_table_ends_at_the_depth_limit(
    hark: EngineUnderTest, clients: asyncpg.Connection
) -> None:
    await hark.apply(
        """
id: loop
name: Loop
triggers: [{type: row, table: clients}]
steps:
  - {id: again, action: update_database, with: {sql: "INSERT INTO public.clients (name) VALUES ('more')"}}
"""
    )
    await clients.execute("INSERT INTO clients (name) VALUES ('first')")
    refused = "SELECT count(*) FROM hark.event_decisions WHERE reason = 'depth_limit'"
    await hark.until(lambda: hark.database.pool.fetchval(refused))
    depths = await hark.database.pool.fetch("SELECT depth, caused_by FROM hark.events ORDER BY id")
    assert [row["depth"] for row in depths] == list(range(len(depths)))
    assert depths[0]["caused_by"] is None
    assert all(row["caused_by"] is not None for row in depths[1:])


async def test_a_statement_can_be_one_execution(hark: EngineUnderTest, clients: asyncpg.Connection) -> None:
    await hark.apply(
        """
id: import
name: Import
triggers: [{type: row, table: clients, per: statement, inputs: {n: "${{ event.data.count }}"}}]
inputs: {n: {type: integer}}
steps: [{id: note, action: probe, with: {say: "${{ inputs.n }}"}}]
"""
    )
    await clients.execute("INSERT INTO clients (name) SELECT i::text FROM generate_series(1, 2000) AS i")
    await hark.until(lambda: len(hark.probe.calls) == 1)
    (event,) = await row_events(hark)
    assert (event["count"], len(event["rows"])) == (2000, 500)


@pytest.mark.usefixtures("checked_often")
async def test_a_trigger_that_was_dropped_is_put_back_by_itself(
    hark: EngineUnderTest, clients: asyncpg.Connection
) -> None:
    await hark.apply(GREET)
    await clients.execute("DROP TRIGGER hark_capture_insert_row ON clients")
    await hark.until(lambda: clients.fetchval("SELECT count(*) FROM pg_trigger WHERE tgname LIKE 'hark_capture%'"))


@pytest.mark.usefixtures("checked_often")
async def test_a_dropped_table_is_named_by_the_health(hark: EngineUnderTest, clients: asyncpg.Connection) -> None:
    await hark.apply(GREET)
    assert hark.engine.health()["row"].attached
    await clients.execute("DROP TABLE clients")
    await hark.until(lambda: "there is no table public.clients" in hark.engine.health()["row"].detail)
    assert not hark.engine.health()["row"].attached


async def test_a_killed_connection_loses_nothing(hark: EngineUnderTest, clients: asyncpg.Connection) -> None:
    await hark.apply(GREET)
    for n in range(5):
        await clients.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name IN ('hark row capture', 'hark listen') AND datname = current_database()"
        )
        await clients.execute("INSERT INTO clients (name, status) VALUES ($1, 'lead')", str(n))
    await hark.until(lambda: _equals(greeted(hark), list("01234")))


async def test_two_instances_share_the_outbox_without_doubling(clients: asyncpg.Connection, database_url: str) -> None:
    probe = Probe()
    names = [f"{n:03}" for n in range(300)]
    async with running_engine(database_url, probe=probe) as one, running_engine(database_url, probe=probe) as two:
        await one.apply(GREET)
        await two.until(lambda: len(two.engine.registry) == 1)
        async with connected(database_url) as other:
            for connection, mine in ((clients, names[:150]), (other, names[150:])):
                for name in mine:
                    await connection.execute("INSERT INTO clients (name, status) VALUES ($1, 'lead')", name)
        await one.until(lambda: _equals(greeted(one), names))
        assert len(await row_events(one)) == 300
        assert max(Counter(key for *_, key in probe.calls).values()) == 1


KEEP = """
INSERT INTO hark.row_changes (watch_id, operation, row_count, new_rows, transaction_id, occurred_at)
SELECT 0, 'insert', 1, '[{"id": 1}]', pg_current_xact_id(), now() FROM generate_series(1, 2) RETURNING id
"""


async def test_changes_are_taken_with_the_statement_that_stores_their_events_all_or_none(
    hark: EngineUnderTest, clients: asyncpg.Connection
) -> None:
    event = NewEvent(DEFAULT_TENANT, "row", "insert", "test", "row:public.clients", {"new": {"id": 1}})
    take = hark.engine.ingest.take_from_outbox
    left = "SELECT array_agg(id) FROM hark.row_changes"
    transaction = clients.transaction()  # nobody else sees what is in there
    await transaction.start()
    ids = [row["id"] for row in await clients.fetch(KEEP)]
    assert not await take(clients, [event], [*ids, ids[-1] + 1], since=None)
    assert await clients.fetchval(left) == ids
    assert await clients.fetchval("SELECT count(*) FROM hark.events") == 0
    assert await take(clients, [event], ids, since=None)
    assert await clients.fetchval(left) is None
    assert await clients.fetchval("SELECT count(*) FROM hark.events") == 1
    await transaction.rollback()


async def test_while_a_few_changes_are_being_stored_nobody_takes_what_came_after_them(
    hark: EngineUnderTest, clients: asyncpg.Connection, database_url: str
) -> None:
    """Else a row's later change would be an event before the earlier one, whose storing may even fail."""
    event = NewEvent(DEFAULT_TENANT, "row", "insert", "test", "row:public.clients", {"new": {"id": 1}})
    async with connected(database_url) as other:
        await other.execute("BEGIN")
        later = [row["id"] for row in await other.fetch(KEEP)]  # not committed, lest the engine takes them
        await clients.execute("BEGIN")
        few = [row["id"] for row in await clients.fetch(KEEP)]
        assert await hark.engine.ingest.take_from_outbox(clients, [event], few, since=None)
        assert (await take_row_changes(other, 0, 10)).changes == []
        await clients.execute("ROLLBACK; BEGIN")
        assert [change.id for change in (await take_row_changes(other, 0, 10)).changes] == later
        few = [row["id"] for row in await clients.fetch(KEEP)]
        assert not await hark.engine.ingest.take_from_outbox(clients, [event], few, since=None)
        await clients.execute("ROLLBACK")
        await other.execute("ROLLBACK")


# ------------------------------------------------------------------ the drain by itself


class Ingest:
    """The engine's ingest, as far as drains see it."""

    def __init__(self) -> None:
        self.stored: list[NewEvent] = []
        self.refuses: Callable[[NewEvent], bool] = lambda _event: False
        self.away = False

    async def take_within(self, connection: Any, events: list[NewEvent], *, since: datetime | None) -> Taken:
        if self.away:
            raise UnavailableError("too much is waiting")
        if any(map(self.refuses, events)):
            raise UnprocessableError("not with me")

        return Taken(committed=lambda: self.stored.extend(events), abandoned=lambda: None)

    async def take_from_outbox(
        self, connection: Any, events: list[NewEvent], changes: list[int], *, since: datetime | None
    ) -> bool:
        if self.away:
            raise UnavailableError("too much is waiting")
        if any(map(self.refuses, events)):
            raise UnprocessableError("not with me")
        await connection.execute("DELETE FROM hark.row_changes WHERE id = ANY($1::bigint[])", changes)
        self.stored.extend(events)
        return True

    @property
    def names(self) -> list[str | None]:
        return [event.data["new"] and event.data["new"]["name"] for event in self.stored]


@pytest.fixture
async def outbox(clients: asyncpg.Connection, database_url: str) -> AsyncIterator[RowCapture]:
    """Give a RowCapture on watched `clients`, with an Ingest that a test can look into."""
    from support.capture import capturing, watch

    async with capturing(clients, database_url) as capture:
        await capture.watched(watch())
        database: Database = capture.database
        rows = RowCapture(database, Ingest(), Takings(), lambda: 0)  # type: ignore[arg-type]
        try:
            yield rows
        finally:
            await rows.close()


async def drain_all(outbox: RowCapture) -> Ingest:
    while (await outbox.drain(events_of)).more:
        pass
    ingest: Ingest = outbox._ingest  # type: ignore[assignment]
    return ingest


async def insert(connection: asyncpg.Connection, *names: str) -> None:
    for name in names:
        await connection.execute("INSERT INTO clients (name) VALUES ($1)", name)


async def test_a_change_that_cannot_be_stored_does_not_hold_up_the_others(
    outbox: RowCapture, clients: asyncpg.Connection
) -> None:
    await insert(clients, "a", "poison", "b")
    ingest: Ingest = outbox._ingest  # type: ignore[assignment]
    ingest.refuses = lambda event: bool(event.data["new"] and event.data["new"]["name"] == "poison")
    await drain_all(outbox)
    assert sorted(ingest.names, key=str) == [None, "a", "b"]
    (bare,) = [event.data for event in ingest.stored if event.data["new"] is None]
    assert "not with me" in bare["error"]


async def test_what_cannot_even_be_stored_without_its_rows_is_put_aside_for_a_person(
    outbox: RowCapture, clients: asyncpg.Connection
) -> None:
    await insert(clients, "a", "b")
    ingest: Ingest = outbox._ingest  # type: ignore[assignment]
    ingest.refuses = lambda event: event.data["transaction_id"] == first
    first = await clients.fetchval("SELECT min(transaction_id::text::bigint) FROM hark.row_changes")
    await drain_all(outbox)
    assert ingest.names == ["b"]
    parked = await clients.fetchrow("SELECT parked_at, note, new_rows FROM hark.row_changes")
    assert parked["parked_at"] is not None
    assert "not with me" in parked["note"]
    assert '"a"' in parked["new_rows"]


async def test_while_nothing_can_be_taken_everything_stays(outbox: RowCapture, clients: asyncpg.Connection) -> None:
    await insert(clients, "a")
    ingest: Ingest = outbox._ingest  # type: ignore[assignment]
    ingest.away = True
    with pytest.raises(UnavailableError):
        await outbox.drain(events_of)
    ingest.away = False
    assert (await drain_all(outbox)).names == ["a"]


async def test_the_floor_never_rises_above_a_transaction_that_is_still_open(
    outbox: RowCapture, clients: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What commits late has a low id; a floor above it would hide it until a restart."""
    monkeypatch.setattr("hark.daemon.engine.row_capture.FLOOR_S", 0.0)
    async with connected(database_url) as slow:
        await slow.execute("BEGIN; INSERT INTO public.clients (name) VALUES ('slow')")
        for name in "abcdef":
            await insert(clients, name)
            await drain_all(outbox)
        assert outbox._floor == 0
        await slow.execute("COMMIT")
    await rises_above(7, outbox, clients)
    assert sorted(set((await drain_all(outbox)).names), key=str) == sorted([*"abcdef", "more", "slow"])


async def rises_above(floor: int, outbox: RowCapture, clients: asyncpg.Connection) -> None:
    """Insert and drain until the floor is above; transactions of others on the server hold it back too."""
    async with asyncio.timeout(60):
        while outbox._floor <= floor:
            await insert(clients, "more")
            await drain_all(outbox)


async def test_an_outbox_whose_ids_begin_anew_is_read_again(
    outbox: RowCapture, clients: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hark.daemon.engine.row_capture.FLOOR_S", 0.0)
    await rises_above(1, outbox, clients)
    await clients.execute("TRUNCATE hark.row_changes RESTART IDENTITY")
    await insert(clients, "new")
    await outbox._raise_floor()
    assert (await drain_all(outbox)).names[-1] == "new"


async def test_a_change_of_a_table_that_nobody_watches_any_more_is_let_go(
    outbox: RowCapture, clients: asyncpg.Connection
) -> None:
    await insert(clients, "a")
    await clients.execute("DELETE FROM hark.watches")
    assert (await drain_all(outbox)).stored == []
    assert await clients.fetchval("SELECT count(*) FROM hark.row_changes") == 0


async def test_wake_ups_are_asked_for_once_and_older_writers_waited_for(
    outbox: RowCapture, clients: asyncpg.Connection, database_url: str
) -> None:
    await outbox.drain(events_of)
    async with connected(database_url) as writer:
        await writer.execute("BEGIN; INSERT INTO public.clients (name) VALUES ('old')")
        horizon = await outbox.want_wakeups(wanted=True)
        assert horizon is not None
        assert not await outbox.is_past(horizon)
        assert await outbox.want_wakeups(wanted=True) is None
        await writer.execute("COMMIT")
        async with asyncio.timeout(20):
            while not await outbox.is_past(horizon):  # others on the server are waited for too
                await asyncio.sleep(0.01)
    assert await clients.fetchval("SELECT last_value FROM hark.capture_wakeups") == 1


async def test_what_somebody_else_is_at_is_left_to_him(
    outbox: RowCapture, clients: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The changes are read before they are locked: by then another instance may have taken them."""
    ingest: Ingest = outbox._ingest  # type: ignore[assignment]
    peeked: list[int] = []

    async def too_late(_connection: Any, _events: list[NewEvent], changes: list[int], **_: Any) -> bool:
        peeked.extend(changes)
        return False

    monkeypatch.setattr(ingest, "take_from_outbox", too_late)
    await insert(clients, "a")
    async with connected(database_url) as other:
        await other.execute("BEGIN; SELECT FROM hark.row_changes FOR UPDATE")
        assert await outbox.drain(events_of) == (0, False)
        await other.execute("ROLLBACK")
    assert (await drain_all(outbox)).names == ["a"]
    assert len(peeked) == 2


@pytest.mark.parametrize("names", [list("abcdefghi"), ["x" * 100_000]], ids=["many", "large"])
async def test_many_changes_or_large_ones_are_taken_in_a_transaction(
    outbox: RowCapture, clients: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    ingest: Ingest = outbox._ingest  # type: ignore[assignment]
    monkeypatch.setattr(ingest, "take_from_outbox", None)
    await insert(clients, *names)
    await drain_all(outbox)
    assert len(ingest.stored) == len(names)
