"""SIGKILL at any moment, again and again, under load; the seed is in the report's head."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from support.faults.length import LONG, some
from support.faults.processes import Instance, Nursery
from support.faults.site import Site, site

KINDS = ("chain", "pause", "loop", "branches", "mail", "once", "call", "parts", "limited", "memory", "news", "asks")


async def one_with_work(place: Site, choice: random.Random, spared: Instance | None) -> Instance:
    """Return an instance that runs and has executions in its hands."""
    async with asyncio.timeout(60):
        while True:
            victims = [one for one in place.instances if one.runs and one is not spared]
            choice.shuffle(victims)
            for victim in victims:
                if await place.may_die(victim):
                    return victim
            await asyncio.sleep(0.02)


async def kill_and_restart(place: Site, choice: random.Random, kills: int, spared: Instance | None) -> None:
    """Kill instances with work in hand; each is started again after a while."""
    async with asyncio.TaskGroup() as restarts:
        for _ in range(kills):
            await asyncio.sleep(choice.uniform(0.2, 1.0))
            victim = await one_with_work(place, choice, spared)
            await victim.kill()
            restarts.create_task(start_later(victim, choice.uniform(0, 1.0)))


async def start_later(instance: Instance, pause_s: float) -> None:
    """Start it again."""
    await asyncio.sleep(pause_s)
    await instance.start()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", some("random kills", [1, 2, 4], 1))
async def test_random_kills_under_load(
    nursery: Nursery, empty_database: str, choice: random.Random, tell: Callable[[str], None], count: int
) -> None:
    """With four instances one is spared: it has to be as it was before."""
    kills = 100 if LONG else 3
    names = ("one", "two", "three", "four")[:count]
    async with site(nursery, empty_database, names) as place:
        spared = place.one if count == 4 else None
        async with place.load(40, KINDS, choice):
            await asyncio.sleep(1.5)
        await place.judge()
        before = {} if spared is None else {spared: spared.footprint()}
        async with place.load(12, KINDS, choice) as load:
            await kill_and_restart(place, choice, kills, spared)
        await place.judge()
        assert sum(one.lives for one in place.instances) == kills + count
        assert load.taken > kills
        assert place.repeated
        tell(f"{kills} kills, {len(place.sent)} events; {await place.settled(before)}")
