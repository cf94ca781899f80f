"""What happens to all at once, under load: the server crashes, back-ends are ended, connections break, daemons stop."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import asyncpg
import pytest
from support.database import fresh_database, make_template
from support.faults.length import LONG
from support.faults.processes import Form, Instance, Nursery
from support.faults.server import own_server
from support.faults.site import Site, site

from hark.daemon.store.schema import schema_text

KINDS = ("chain", "pause", "loop", "branches", "mail", "once", "call", "parts", "limited", "memory", "news")
TIMES = 10 if LONG else 1
PATIENCE_S = 30.0
Tell = Callable[[str], None]


async def weather(place: Site, choice: random.Random, strike: Callable[[], Awaitable[object]]) -> str:
    """Let something happen again and again under load; what comes of it is judged, and the daemons are as before."""
    async with place.load(30, KINDS, choice):
        await asyncio.sleep(0.5)
    await place.judge()
    before = {one: one.footprint() for one in place.instances}
    lives = [one.pid for one in place.instances]
    async with place.load(15, KINDS, choice):
        for _ in range(TIMES):
            await asyncio.sleep(choice.uniform(0.3, 0.8))
            await strike()
        await asyncio.sleep(0.3)
    await place.judge()
    assert [one.pid for one in place.instances] == lives, "the daemons have lived through it"
    return f"{TIMES} times, {len(place.sent)} events, {place.refused} refused; {await place.settled(before)}"


@pytest.mark.timeout(600)
async def test_the_server_crashes(nursery: Nursery, choice: random.Random, tell: Tell) -> None:
    """With synchronous commits: what it has said it has."""
    async with own_server() as server:
        url = await server.start()
        template = await make_template(url, schema_text())
        async with fresh_database(url, template) as own, site(nursery, own, ("one", "two")) as place:

            async def crash() -> None:
                await server.crash()
                await asyncio.sleep(choice.uniform(0, 0.5))
                await server.start()

            told = await weather(place, choice, crash)
            assert server.recoveries() == TIMES
            tell(f"crashed {told}")


@pytest.mark.timeout(600)
async def test_all_back_ends_are_ended(
    nursery: Nursery, empty_database: str, choice: random.Random, tell: Tell
) -> None:
    async with site(nursery, empty_database, ("one", "two")) as place:
        ended = []

        async def end() -> None:
            ended.append(
                await place.value(
                    "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND application_name LIKE 'hark%'"
                )
            )

        told = await weather(place, choice, end)
        assert all(count >= 2 for count in ended)
        tell(f"{sum(ended)} back-ends ended in {told}")


@pytest.mark.timeout(600)
async def test_all_connections_break(nursery: Nursery, empty_database: str, choice: random.Random, tell: Tell) -> None:
    """The server may not have noticed yet when the daemons are back."""
    async with site(nursery, empty_database, ("one", "two")) as place:
        broken: list[int] = []

        async def cut() -> None:
            broken.append(sum(await asyncio.gather(*(one.proxy.cut_all() for one in place.instances))))

        told = await weather(place, choice, cut)
        assert all(count >= 2 for count in broken)
        tell(f"{sum(broken)} connections broken in {told}")


@pytest.mark.timeout(600)
async def test_work_is_handed_over_under_load(
    nursery: Nursery, empty_database: str, choice: random.Random, tell: Tell
) -> None:
    """SIGTERM: what can end ends, what cannot is given back, and another instance has it at once."""
    async with site(nursery, empty_database, ("one", "two")) as place:
        longest = 0.0
        # What is to be handed over is a `chain`, and the only one: another one's request would be held in its place.
        async with place.load(15, [kind for kind in KINDS if kind != "chain"], choice):
            for turn in range(TIMES):
                leaver, heir = place.instances[turn % 2], place.instances[(turn + 1) % 2]
                longest = max(longest, await hand_over(place, leaver, heir))
                await leaver.start()
        await place.judge()
        assert await place.value("SELECT count(*) FROM hark.workflow_timeline WHERE type = 'execution.reclaimed'") == 0
        tell(f"{TIMES} times, {len(place.sent)} events, at most {longest:.2f} s from SIGTERM to the work's resumption")


async def hand_over(place: Site, leaver: Instance, heir: Instance) -> float:
    """Stop one while it waits for an answer; returns after how many seconds the other one has its execution."""
    held = place.receivers.hold("b", most=1)
    sent = await place.send("chain", to=leaver)
    await asyncio.wait_for(held.arrived.wait(), PATIENCE_S)
    ((execution,), asked) = sent.executions, await place.value("SELECT clock_timestamp()")
    assert await leaver.stop() == 0
    taken = "SELECT max(at) FROM witness.log WHERE execution_id = $1 AND became = 'running' AND writer = $2"
    at = await place.until(taken, execution, heir.writer)
    gave = (
        "SELECT count(*) FROM witness.log"
        " WHERE execution_id = $1 AND was = 'running' AND became = 'pending' AND writer = $2"
    )
    assert await place.value(gave, execution, leaver.writer) == 1
    place.receivers.release()
    seconds: float = (at - asked).total_seconds()
    return seconds


async def test_instances_of_one_host_and_one_configuration_are_two(
    nursery: Nursery, empty_database: str, choice: random.Random
) -> None:
    async with site(nursery, empty_database, ("one", "two"), Form(share_home=True)) as place:
        assert await place.value("SELECT count(DISTINCT id) FROM hark.instances") == 2
        assert await place.value("SELECT count(DISTINCT (host, host_boot)) FROM hark.instances") == 1
        async with place.load(20, KINDS, choice):
            await asyncio.sleep(1)
        await place.judge()
        held = place.receivers.hold("b", most=1)
        await place.send("chain", to=place.instances[1])
        await asyncio.wait_for(held.arrived.wait(), PATIENCE_S)
        await place.instances[1].kill()
        await place.judge()
        writers: list[asyncpg.Record] = await place.pool.fetch(
            "SELECT writer FROM witness.log WHERE what = 'execution' AND became = 'completed' GROUP BY 1"
        )
        assert {row["writer"] for row in writers} == {one.writer for one in place.instances}
