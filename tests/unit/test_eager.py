"""Coroutines that begin at once behave as if they had been awaited."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hark.daemon.engine.eager import Begun, Done, begin


async def twice(value: Any, log: list[str]) -> Any:
    """Wait twice, note how each wait ended, and return the value."""
    for _ in range(2):
        try:
            await asyncio.sleep(0.001)
            log.append("waited")
        except asyncio.CancelledError:
            log.append("cancelled")
            raise
    return value


async def test_what_does_not_wait_is_done_at_once() -> None:
    async def at_once() -> int:
        return 3

    assert begin(at_once()) == Done(3)


async def test_what_fails_at_once_raises_at_once() -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        begin(fail())


async def test_what_waits_goes_on_and_returns() -> None:
    log: list[str] = []
    begun = begin(twice("value", log))
    assert isinstance(begun, Begun)
    assert await begun.finish() == "value"
    assert log == ["waited", "waited"]


async def test_a_time_out_reaches_the_coroutine_where_it_waits() -> None:
    log: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("left")

    begun = begin(forever())
    assert isinstance(begun, Begun)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await begun.finish()
    assert log == ["left"]


async def test_a_cancelled_task_cancels_what_it_began() -> None:
    log: list[str] = []

    async def whole() -> None:
        begun = begin(twice(1, log))
        assert isinstance(begun, Begun)
        await begun.finish()

    task = asyncio.create_task(whole())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["cancelled"]


async def test_a_coroutine_may_go_on_after_an_error_that_it_handles() -> None:
    async def stubborn() -> str:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "went on"

    async def whole() -> str:
        begun = begin(stubborn())
        assert isinstance(begun, Begun)
        return await begun.finish()

    task = asyncio.create_task(whole())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "went on"
