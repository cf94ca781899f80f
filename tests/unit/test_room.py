"""Room for arrivals: held back for a moment while all places are taken, never when others wait already."""

from __future__ import annotations

import asyncio
from typing import Any

from hark.daemon.engine.executor import HOLD_S, Executor, Signals

NOBODY: Any = None


def executor(places: int, *, backlogged: bool = False) -> Executor:
    """Make an executor that nothing runs in."""
    signals = Signals(
        due=lambda _: None,
        queued=lambda: None,
        freed=lambda: None,
        backlogged=lambda: backlogged,
        ended=lambda _, __: None,
    )
    return Executor(NOBODY, NOBODY, NOBODY, places=places, handed={}, masker=NOBODY, vault=NOBODY, signals=signals)


def now() -> float:
    """Tell the loop's time."""
    return asyncio.get_running_loop().time()


async def test_as_many_go_as_there_are_places() -> None:
    assert await executor(places=3).room(5, now()) == 3
    assert await executor(places=9).room(5, now()) == 5


async def test_without_a_place_they_wait_until_one_is_free() -> None:
    full = executor(places=2)
    full.reserve(2)
    waiting = asyncio.create_task(full.room(5, now()))
    await asyncio.sleep(0.01)
    assert not waiting.done()
    full.give_back(1)
    assert await waiting == 1


async def test_they_do_not_wait_long() -> None:
    full = executor(places=1)
    full.reserve(1)
    began = now()
    assert await full.room(5, began) == 5
    assert now() - began >= HOLD_S / 2
    assert await full.room(5, began) == 5
    assert now() - began < 10 * HOLD_S


async def test_behind_others_that_wait_in_the_database_they_do_not_wait_here() -> None:
    full = executor(places=1, backlogged=True)
    full.reserve(1)
    assert await asyncio.wait_for(full.room(5, now()), HOLD_S / 2) == 5


async def test_nobody_waits_for_an_executor_that_stops() -> None:
    full = executor(places=1)
    full.reserve(1)
    await full.drain(0)
    assert await asyncio.wait_for(full.room(5, now()), HOLD_S / 2) == 5


def test_new_ones_take_no_place_while_others_wait_for_one_in_the_database() -> None:
    assert executor(places=3, backlogged=True).reserve(2) == 0
    assert executor(places=3).reserve(2) == 2
