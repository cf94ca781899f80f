"""Pieces of an execution that run side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Container, Coroutine, Sequence
from typing import Any

from hark.daemon.engine.outcome import Failed, Outcome, Stopped, Suspended, merged
from hark.daemon.engine.parking import Branches, Parking

YIELD_EVERY = 50
"""A walk over what is on record never waits by itself; others have to get their turn."""

Piece = Callable[[int], Coroutine[Any, Any, Outcome]]


async def run_bounded(
    parking: Parking, one: Piece, numbers: Sequence[int], width: int, begun: Container[int] = frozenset()
) -> Outcome:
    """Run pieces by their numbers, at most `width` at a time; after a failure or a stop no further one begins.

    Those that an earlier walk has `begun` go on all the same.
    """
    if width == 1:
        return await _one_by_one(one, numbers)
    outcomes: list[Outcome] = []
    remaining = iter(numbers)

    async def work() -> None:
        for index in remaining:
            if _is_over(outcomes) and index not in begun:
                continue
            outcome = await one(index)
            if outcome is not None:  # looked through for every piece: of a hundred thousand that go well none is kept
                outcomes.append(outcome)
            if isinstance(outcome, Suspended):
                return  # it keeps its place: another one in it would be one too many
            await _let_others(index)

    async with Branches[None](parking) as branches:
        for _ in range(min(width, len(numbers))):
            branches.start(work(), "branch")
        while branches.running:
            for task in await branches.ended():
                task.result()
    return merged(outcomes)


def _is_over(outcomes: Sequence[Outcome]) -> bool:
    return any(isinstance(each, Failed | Stopped) for each in outcomes)


async def _one_by_one(one: Piece, numbers: Sequence[int]) -> Outcome:
    for index in numbers:
        outcome = await one(index)
        if outcome is not None:
            return outcome
        await _let_others(index)
    return None


async def _let_others(index: int) -> None:
    if index % YIELD_EVERY == YIELD_EVERY - 1:
        await asyncio.sleep(0)


async def run_race(parking: Parking, one: Piece, names: Sequence[str]) -> tuple[Outcome, str | None]:
    """Run all branches; the first that completes wins and the others are cancelled. Returns the winner's name too."""
    outcomes: list[Outcome] = []
    async with Branches[Outcome](parking) as branches:
        tasks = {branches.start(one(index), f"branch {name}"): index for index, name in enumerate(names)}
        while branches.running:
            done = await branches.ended()
            for task in sorted(done, key=tasks.__getitem__):
                outcome = task.result()
                if outcome is None or isinstance(outcome, Stopped):
                    return outcome, names[tasks[task]]
                outcomes.append(outcome)
    waits: list[Outcome] = [outcome for outcome in outcomes if isinstance(outcome, Suspended)]
    return merged(waits or outcomes), None
