"""A hundred thousand rows of random transactions, while the daemons that capture them are killed again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from random import Random
from uuid import UUID

import pytest
from support import capture_storm
from support.capture_storm import Storm
from support.database import connected
from support.faults import length
from support.faults.processes import BESIDE, Instance, Nursery, instances
from support.faults.server import own_server

from hark.client import HarkClient

ROWS = 100_000
KILLS = 20
_CHANGES = "SELECT count(*) FROM public.journal WHERE op <> 'insert' OR new ->> 'ver' = '0'"
"""Without the second halves of updates that moved a row to another partition."""


@pytest.mark.skipif(not length.LONG, reason="takes minutes: HARK_FAULTS=long")
@pytest.mark.timeout(1500)
async def test_a_hundred_thousand_rows_are_captured_each_once_while_daemons_are_killed(
    nursery: Nursery, choice: Random, tell: Callable[[str], None]
) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(own_server(options={"max_prepared_transactions": "50"}))
        url = await server.start()
        connection = await stack.enter_async_context(connected(url))
        await connection.execute(capture_storm.SCHEMA)
        daemons = await stack.enter_async_context(instances(nursery, url, ["one", "two"], {}, BESIDE))
        for one in daemons:
            await one.start()
        async with HarkClient(daemons[0].url, daemons[0].headers["Authorization"].removeprefix("Bearer ")) as client:
            await client.apply({"storm.yaml": capture_storm.WORKFLOWS})
        began, storm = time.monotonic(), Storm(url, choice)
        killer = asyncio.create_task(_kill(daemons, choice))
        while await connection.fetchval(_CHANGES) < ROWS or _kills(daemons) < KILLS:
            assert not killer.done(), killer.result()
            await storm.rage(500, writers=8)
        wrote_s = time.monotonic() - began
        killer.cancel()
        await asyncio.gather(killer, return_exceptions=True)
        for one in daemons:
            if not one.runs:
                await one.begin()
        await capture_storm.emptied(connection, 120)
        _, rows = await capture_storm.check(connection, 0, UUID(int=0))
        times = f"{wrote_s:.0f} s, until all was checked {time.monotonic() - began:.0f} s"
        tell(f"{rows:,} rows, {dict(storm.ended)}, {_kills(daemons)} kills, {times}")
        assert rows >= ROWS


def _kills(daemons: Sequence[Instance]) -> int:
    """Count the processes that have ended so far: none ends but by a kill."""
    return sum(one.lives - one.runs for one in daemons)


async def _kill(daemons: Sequence[Instance], dice: Random) -> None:
    """Kill one or both, at whatever they are doing, and start them again after a while, for good."""
    while True:
        await asyncio.sleep(dice.random() * 5)
        chosen = dice.sample(daemons, dice.choice([1, 1, 2]))
        for one in chosen:
            await one.kill()
        await asyncio.sleep(dice.random())
        for one in chosen:
            await one.begin()
