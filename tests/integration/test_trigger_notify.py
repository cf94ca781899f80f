"""Notifications of a real server: one event of each, whatever happens to the instances that listen."""

from __future__ import annotations

from contextlib import AsyncExitStack

import asyncpg
import orjson
from support.engine import EngineUnderTest, running_engine

ORDERS = """
id: orders
name: Orders
triggers: [{type: notify, channel: orders}]
steps: [{id: note, set: {n: "${{ event.data.payload }}"}}]
"""


async def payloads(connection: asyncpg.Connection) -> list[object]:
    rows = await connection.fetch("SELECT data FROM hark.events WHERE kind = 'notify' ORDER BY id")
    return [orjson.loads(row["data"])["payload"] for row in rows]


async def attached(tested: EngineUnderTest) -> None:
    await tested.until(lambda: tested.engine.listeners.health()["notify"].attached, "notify hears")


async def wait_for(tested: EngineUnderTest, connection: asyncpg.Connection, count: int) -> None:
    async def enough() -> bool:
        return len(await payloads(connection)) >= count

    await tested.until(enough, f"{count} messages")


async def test_messages_of_any_program_start_workflows(database_url: str, connection: asyncpg.Connection) -> None:
    async with running_engine(database_url) as tested:
        await tested.apply(ORDERS)
        await attached(tested)
        async with connection.transaction():
            await connection.execute("NOTIFY orders, '{\"id\": 7}'")
            await connection.execute("SELECT pg_notify('orders', 'plain')")
        async with connection.transaction():
            await connection.execute("NOTIFY other")
        await wait_for(tested, connection, 2)
    assert sorted(await payloads(connection), key=str) == ["plain", {"id": 7}]


async def test_three_instances_make_one_event_of_a_message(database_url: str, connection: asyncpg.Connection) -> None:
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(running_engine(database_url)) for _ in range(3)]
        await engines[0].apply(ORDERS)
        for tested in engines:
            await attached(tested)
        for number in range(50):
            await connection.execute("SELECT pg_notify('orders', $1)", str(number))
        await connection.execute("SELECT pg_notify('orders', '7')")
        await wait_for(engines[0], connection, 51)
    # Stopping, each instance stores what it held for another that might be stopping too.
    assert sorted(await payloads(connection)) == sorted([*range(50), 7])


async def test_a_connection_that_was_cut_is_rebuilt_and_heard_again(
    database_url: str, connection: asyncpg.Connection
) -> None:
    async with running_engine(database_url) as tested:
        await tested.apply(ORDERS)
        await attached(tested)
        cut = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND query ILIKE '%LISTEN%' AND pid <> pg_backend_pid()"
        )
        assert cut
        await tested.until(lambda: not tested.engine.listeners.health()["notify"].attached, "the loss is noticed")
        await attached(tested)
        await connection.execute("NOTIFY orders, 'again'")
        await wait_for(tested, connection, 1)
    assert await payloads(connection) == ["again"]
