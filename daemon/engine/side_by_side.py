"""Pieces of an execution that run side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from hark.daemon.engine.outcome import Failed, Outcome, Stopped, Suspended, merged

YIELD_EVERY = 50
"""A walk over what is on record never waits by itself; others have to get their turn."""


async def run_bounded(one: Callable[[int], Awaitable[Outcome]], count: int, width: int) -> Outcome:
    """Run `count` pieces, at most `width` at a time; after a failure or a stop no further one begins."""
    if width == 1:
        for index in range(count):
            outcome = await one(index)
            if outcome is not None:
                return outcome
            if index % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(0)
        return None
    outcomes: list[Outcome] = []
    remaining = iter(range(count))

    async def work() -> None:
        for index in remaining:
            outcome = await one(index)
            outcomes.append(outcome)
            # One that waits keeps its place: another one in it would be one too many.
            if isinstance(outcome, Suspended) or any(isinstance(each, Failed | Stopped) for each in outcomes):
                return

    tasks = [asyncio.create_task(work(), name="branch") for _ in range(min(width, count))]
    try:
        for task in tasks:
            await task
    finally:
        await cancel_all(tasks)
    return merged(outcomes)


async def run_race(one: Callable[[int], Coroutine[Any, Any, Outcome]], names: Sequence[str]) -> tuple[Outcome, Any]:
    """Run all branches; the first that completes wins and the others are cancelled."""
    tasks = {asyncio.create_task(one(index), name=f"branch {name}"): name for index, name in enumerate(names)}
    outcomes: list[Outcome] = []
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                outcome = task.result()
                if outcome is None or isinstance(outcome, Stopped):
                    return outcome, {"winner": tasks[task]}
                outcomes.append(outcome)
        waits = [outcome for outcome in outcomes if isinstance(outcome, Suspended)]
        return (merged(list(waits)) if waits else merged(outcomes)), None
    finally:
        await cancel_all(list(pending))


async def cancel_all(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait for them, whatever they answer."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
