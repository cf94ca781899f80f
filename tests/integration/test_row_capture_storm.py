"""Captured is committed, each change once and in order, whatever writers and instances do at the same time."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support import capture_storm
from support.capture_storm import Storm
from support.database import FAST, connected, fresh_database, make_template, quick_place
from support.engine import EngineUnderTest, running_engine
from support.faults.server import own_server

TIMES = float(os.environ.get("HARK_TEST_EXAMPLES", "1"))
SCHEMA = Path(__file__).resolve().parents[2] / "schema.sql"


class Place:
    """A database on a server with two-phase commit, and up to two instances on it."""

    def __init__(self, url: str, connection: asyncpg.Connection) -> None:
        self.url = url
        self.connection = connection
        self.stacks = [AsyncExitStack(), AsyncExitStack()]
        self.running: list[EngineUnderTest | None] = [None, None]
        self.seq = 0
        self.last_event = UUID(int=0)
        self.storm = Storm(url, Random())

    async def start(self, number: int) -> None:
        """Start an instance, unless it runs."""
        if self.running[number] is None:
            self.running[number] = await self.stacks[number].enter_async_context(running_engine(self.url))

    async def stop(self, number: int) -> None:
        """Stop an instance; harmless when it does not run."""
        self.running[number] = None
        await self.stacks[number].aclose()

    async def cut(self) -> None:
        """End the connections over which the outbox is drained, whatever they are doing."""
        await self.connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name IN ('hark row capture', 'hark listen') AND datname = current_database()"
        )


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    options = {**FAST, "max_prepared_transactions": "20"}
    async with own_server(quick_place(), options) as server:
        base = await server.start()
        template = await make_template(base, SCHEMA.read_text(encoding="utf-8"))
        async with fresh_database(base, template) as url, connected(url) as connection:
            await connection.execute("SET search_path = public")
            await connection.execute(capture_storm.SCHEMA)
            place = Place(url, connection)
            try:
                await place.start(0)
                assert place.running[0] is not None
                await place.running[0].apply(capture_storm.WORKFLOWS)
                yield place
            finally:
                await place.stop(0)
                await place.stop(1)


async def disturb(place: Place, dice: Random) -> None:
    """Do something to the instances while writers write."""
    if dice.random() < 0.7:
        await asyncio.gather(place.start(0), place.start(1))
    for _ in range(dice.randint(1, 4)):
        await asyncio.sleep(dice.random() * 0.1)
        what = dice.choice(["cut", "cut", "cut", "start", "stop"])
        if what == "cut":
            await place.cut()
        else:
            await getattr(place, what)(dice.randrange(2))


@settings(
    max_examples=max(1, round(4 * TIMES)), suppress_health_check=list(HealthCheck),
    phases=[phase for phase in Phase if phase is not Phase.shrink],
)  # fmt: skip
@given(seed=st.integers(0, 2**32))
async def test_captured_is_committed_each_once_and_in_order(place: Place, seed: int) -> None:
    """A seed, not draws: how the writers are woven into each other is nobody's to repeat."""
    place.storm.dice = dice = Random(seed)
    await asyncio.gather(place.storm.rage(30), disturb(place, dice))
    await place.start(0)
    await capture_storm.emptied(place.connection)
    place.seq, _ = await capture_storm.check(place.connection, place.seq, place.last_event)
    place.last_event = await place.connection.fetchval("SELECT max(id::text)::uuid FROM hark.events")
