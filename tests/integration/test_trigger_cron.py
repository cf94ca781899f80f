"""Cron on a real database: slots become executions once, and down times are made up for."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import asyncpg
import pytest
from support.engine import EngineUnderTest, running_engine
from support.triggers import HandAlarm

from hark.daemon.engine import clock as clock_module
from hark.triggers.cron import CronTrigger
from hark.triggers.cron_listener import CronListener
from hark.workflows.catalogue import Listener, ListenerContext
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


class FakedTime:
    """The time that cron listeners are told, a moment apart in each; a test moves it and rings their alarms."""

    def __init__(self, start: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = start
        self.alarms: list[HandAlarm] = []
        self.lag_s = 0.0
        self._random = Random(1)
        monkeypatch.setattr(CronTrigger, "listener", lambda _, context: self._listener(context))

    def _listener(self, context: ListenerContext) -> Listener:
        self.alarms.append(HandAlarm())
        behind = timedelta(seconds=self._random.uniform(0, self.lag_s))
        return CronListener(replace(context, now=lambda: self.now - behind), self.alarms[-1])

    async def go_to(self, moment: datetime) -> None:
        self.now = moment
        for alarm in self._random.sample(self.alarms, len(self.alarms)):
            alarm.ring()
        await asyncio.sleep(0)


@pytest.fixture
async def faked_time(connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch) -> FakedTime:
    """Begin in the middle of a minute, later than whatever the test is going to publish."""
    now: datetime = await connection.fetchval("SELECT now()")
    minute = now.replace(second=0, microsecond=0) + timedelta(minutes=2)
    return FakedTime(minute - timedelta(seconds=30), monkeypatch)


EVERY_MINUTE = EVERY_SECOND.replace("* * * * * *", "* * * * *")


async def test_an_hour_of_four_instances_is_sixty_executions(
    database_url: str, connection: asyncpg.Connection, faked_time: FakedTime
) -> None:
    """Whatever rings first, and whichever instance is a moment behind."""
    begin, faked_time.lag_s = faked_time.now, 5
    async with AsyncExitStack() as stack:
        engines = [await stack.enter_async_context(running_engine(database_url)) for _ in range(4)]
        await engines[0].apply(EVERY_MINUTE % "last")
        for one in engines:
            await one.until(lambda one=one: is_listening(one))
        for second in range(15, 3601, 15):
            await faked_time.go_to(begin + timedelta(seconds=second))
            if second % 60 == 45:
                await engines[0].until(
                    lambda second=second: settled(connection, begin + timedelta(seconds=second - 15))
                )
        await engines[0].until(lambda: all_done(connection))
    fired = [slot for slot in await slots(connection) if slot > begin]
    assert fired == [begin + timedelta(seconds=30, minutes=minute) for minute in range(60)]
    counted = await connection.fetchrow(
        "SELECT count(*) AS executions, count(DISTINCT event_id) AS events FROM hark.workflow_executions"
    )
    assert counted["executions"] == counted["events"] == len(await slots(connection))


async def all_done(connection: asyncpg.Connection) -> bool:
    return not await connection.fetchval("SELECT count(*) FROM hark.workflow_executions WHERE completed_at IS NULL")


@pytest.mark.parametrize(
    "policy, fired, missed",
    [
        ("skip", [], 180),
        ("last", [180], 179),
        ("all, max_missed: 1000", list(range(1, 181)), 0),
        ("all", list(range(81, 181)), 80),
        ("skip, grace: 10m", list(range(171, 181)), 170),
    ],
)
async def test_three_hours_down_with_a_schedule_of_every_minute(
    database_url: str,
    connection: asyncpg.Connection,
    faked_time: FakedTime,
    policy: str,
    fired: list[int],
    missed: int,
) -> None:
    """The instance comes back ten seconds after the last of 180 slots, and stays for one more."""
    first = faked_time.now + timedelta(seconds=30)
    policy += "" if "grace" in policy else ", grace: 1s"
    text = (EVERY_MINUTE % "KEEP").replace("KEEP", policy)
    async with running_engine(database_url) as tested:
        await tested.apply(text)
        await tested.until(lambda: is_listening(tested))
        await faked_time.go_to(first)
        await tested.until(lambda: settled(connection, first))
    faked_time.now = first + timedelta(minutes=180, seconds=10)
    async with running_engine(database_url) as tested:
        await tested.until(lambda: settled(connection, first + timedelta(minutes=180)))
        await faked_time.go_to(first + timedelta(minutes=181))
        await tested.until(lambda: settled(connection, first + timedelta(minutes=181)))
    after = [slot for slot in await slots(connection) if slot >= first]
    assert after == [first + timedelta(minutes=number) for number in (0, *fired, 181)]
    told = "SELECT data ->> 'missed' FROM hark.events WHERE occurred_at > $1 ORDER BY occurred_at LIMIT 1"
    assert int(await connection.fetchval(told, first)) == missed


def is_listening(tested: EngineUnderTest) -> bool:
    return bool(tested.engine.registry.triggers) and tested.engine.listeners.health()["cron"].attached


async def settled(connection: asyncpg.Connection, moment: datetime) -> bool:
    return bool(await connection.fetchval("SELECT count(*) > 0 FROM hark.schedules WHERE settled_until >= $1", moment))


async def test_slots_come_by_the_clock_of_the_database(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine's clock is two hours fast."""
    wall = time.time
    monkeypatch.setattr(clock_module.time, "time", lambda: wall() + 7200)
    async with running_engine(database_url) as tested:
        await tested.apply(EVERY_SECOND % "all")
        await wait_for_slots(tested, connection, 2)
        assert tested.engine.clock.skew_s > 7000
    latest = (await slots(connection))[-1]
    assert abs(await connection.fetchval("SELECT now()") - latest) < timedelta(seconds=30)
