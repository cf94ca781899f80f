"""A hundred thousand rows of random transactions, while the daemons that capture them are killed again and again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from uuid import UUID

import pytest
from support import capture_storm
from support.capture_storm import Storm
from support.daemon import Daemon, daemon_home
from support.database import connected
from support.faults import length
from support.faults.server import own_server

ROWS = 100_000
KILLS = 20


@pytest.mark.skipif(not length.LONG, reason="takes minutes: HARK_FAULTS=long")
@pytest.mark.timeout(1200)
async def test_a_hundred_thousand_rows_are_captured_each_once_while_daemons_are_killed() -> None:
    dice = length.dice("row capture")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(own_server(options={"max_prepared_transactions": "50"}))
        url = await server.start()
        connection = await stack.enter_async_context(connected(url))
        await connection.execute(capture_storm.SCHEMA)
        daemons = [await stack.enter_async_context(_daemon(url)) for _ in range(2)]
        await _apply(daemons[0])
        began, storm = time.monotonic(), Storm(url, dice)
        killer = asyncio.create_task(_kill(daemons, dice))
        while await connection.fetchval("SELECT count(*) FROM public.journal") < ROWS or _kills(daemons) < KILLS:
            assert not killer.done(), killer.result()
            await storm.rage(500, writers=8)
        wrote_s = time.monotonic() - began
        killer.cancel()
        await asyncio.gather(*(one.start() for one in daemons if one.process is None))
        await capture_storm.emptied(connection, 120)
        _, rows = await capture_storm.check(connection, 0, UUID(int=0))
        times = f"{wrote_s:.0f} s, until all was checked {time.monotonic() - began:.0f} s"
        told = f"{rows:,} rows, {dict(storm.ended)}, {_kills(daemons)} kills, {times}"
        print(told)  # noqa: T201 - for whoever runs the long form
        assert rows >= ROWS


def _kills(daemons: list[_Killed]) -> int:
    return sum(one.kills for one in daemons)


class _Killed(Daemon):
    """A daemon that counts how often it has been killed."""

    kills = 0

    async def kill(self) -> None:
        self.kills += 1
        await super().kill()


@asynccontextmanager
async def _daemon(url: str) -> AsyncIterator[_Killed]:
    async with daemon_home() as home:
        one = _Killed(home, {"HARK_DATABASE_URL": url})
        await one.start()
        try:
            yield one
        finally:
            if one.process is not None:
                await one.kill()


async def _apply(one: Daemon) -> None:
    path = one.data_dir.parent / "storm.yaml"
    path.write_text(capture_storm.WORKFLOWS, encoding="utf-8")
    await one.hark("apply", str(path))


async def _kill(daemons: list[_Killed], dice: Random) -> None:
    """Kill one or both, and start them again after a while, for good."""
    while True:
        await asyncio.sleep(dice.random() * 3)
        chosen = dice.sample(daemons, dice.choice([1, 1, 2]))
        for one in chosen:
            if one.process is not None:
                await one.kill()
        await asyncio.sleep(dice.random() * 2)
        for one in chosen:
            await one.start()
