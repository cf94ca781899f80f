"""A task in the background with one owner, who starts and stops it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


async def woken(event: asyncio.Event, patience_s: float) -> bool:
    """Wait for an event for a while; tell whether it came."""
    try:
        async with asyncio.timeout(patience_s):
            return await event.wait()
    except TimeoutError:
        return False


class Background:
    """Runs one coroutine until it is stopped. Safe to stop before start, and twice."""

    def __init__(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._name = name
        self._run = run
        self._task: asyncio.Task[None] | None = None

    @property
    def runs(self) -> bool:
        """Whether it has been started and not stopped."""
        return self._task is not None

    def start(self) -> None:
        """Start it, unless it runs."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=self._name)

    async def stop(self) -> None:
        """Cancel it and wait until it has ended."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
