"""Cron on a real database: slots become executions once, and down times are made up for."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import asyncpg
from support.engine import EngineUnderTest, running_engine

from hark.workflows.ids import DEFAULT_TENANT

EVERY_SECOND = """
id: tick
name: Tick
triggers:
  - {id: clock, type: cron, schedule: "* * * * * *", missed: %s}
steps:
  - {id: note, set: {slot: "${{ event.data.slot }}"}}
"""


async def slots(connection: asyncpg.Connection, workflow: str = "tick") -> list[datetime]:
    rows = await connection.fetch(
        "SELECT occurred_at FROM hark.events WHERE source = $1 ORDER BY occurred_at", f"cron:{workflow}/clock"
    )
    return [row["occurred_at"] for row in rows]


async def wait_for_slots(
    tested: EngineUnderTest, connection: asyncpg.Connection, count: int, workflow: str = "tick"
) -> None:
    async def enough() -> bool:
        return len(await slots(connection, workflow)) >= count

    await tested.until(enough, f"{count} slots")


async def test_four_instances_fire_each_slot_once(database_url: str, connection: asyncpg.Connection) -> None:
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(running_engine(database_url)) for _ in range(4)]
        await engines[0].apply(EVERY_SECOND % "last")
        await wait_for_slots(engines[0], connection, 4)
    fired = await slots(connection)
    assert {later - earlier for earlier, later in pairwise(fired)} == {timedelta(seconds=1)}
    doubles = await connection.fetchval(
        "SELECT count(*) - count(DISTINCT event_id) FROM hark.workflow_executions WHERE trigger_type = 'cron'"
    )
    assert doubles == 0
    assert await connection.fetchval("SELECT count(*) FROM hark.workflow_executions") == len(fired)


async def test_a_down_time_is_made_up_for(database_url: str, connection: asyncpg.Connection) -> None:
    async with running_engine(database_url) as tested:
        await tested.apply((EVERY_SECOND % "all").replace("* * * * * *", "0 * * * *"))
        await tested.until(lambda: tested.engine.listeners.health()["cron"].attached)
    assert await slots(connection) == []
    back = timedelta(hours=3)
    await connection.execute(
        "UPDATE hark.workflows SET active_since = active_since - $1::interval", back + timedelta(hours=1)
    )
    await connection.execute("UPDATE hark.schedules SET settled_until = settled_until - $1::interval", back)
    async with running_engine(database_url) as tested:
        await wait_for_slots(tested, connection, 3)
    whole = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    assert (await slots(connection))[-3:] == [whole - timedelta(hours=2 - index) for index in range(3)]


async def test_a_paused_schedule_is_silent_and_makes_up_for_nothing(
    database_url: str, connection: asyncpg.Connection
) -> None:
    """Another schedule goes on meanwhile, and tells how much time has passed."""
    async with running_engine(database_url) as tested:
        await tested.apply(EVERY_SECOND % "all")
        await tested.apply((EVERY_SECOND % "all").replace("tick", "metronome"))
        await wait_for_slots(tested, connection, 1)
        await tested.engine.publisher.pause(DEFAULT_TENANT, "tick")
        paused_at = await connection.fetchval("SELECT now()")
        await wait_for_slots(tested, connection, len(await slots(connection, "metronome")) + 3, "metronome")
        resumed_at = await connection.fetchval("SELECT now()")
        await tested.engine.publisher.resume(DEFAULT_TENANT, "tick")
        await wait_for_slots(tested, connection, len(await slots(connection)) + 1)
    silence = [slot for slot in await slots(connection) if paused_at + timedelta(seconds=1) < slot < resumed_at]
    assert silence == []
    assert (await slots(connection))[-1] > resumed_at
