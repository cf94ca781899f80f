"""Due times looked for within a deadline: the same as without one, and an end to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from hark.daemon.engine.due_times import latest_due
from hark.triggers.slot import Slot
from hark.triggers.slots import Schedule, build

UNTIL = datetime(2026, 11, 3, 7, 30, tzinfo=UTC)


def never() -> bool:
    return False


@pytest.mark.parametrize("schedule", ["* * * * *", "0 9 * * 1", "0 0 29 2 *", "30 7 3 11 *"])
@pytest.mark.parametrize("most", [7, 1000])
async def test_they_are_those_that_there_are(schedule: str, most: int) -> None:
    built = build(schedule, "Europe/Berlin")
    for span in (timedelta(seconds=1), timedelta(days=3), timedelta(days=15 * 365)):
        slots = built.between(UNTIL - span, UNTIL, most)
        assert await latest_due(built, UNTIL - span, UNTIL, most, never) == (slots, len(slots) < most)


async def test_the_latest_are_told_when_the_time_is_up() -> None:
    asked = 0

    def is_over() -> bool:
        nonlocal asked
        asked += 1
        return asked > 100

    built = build("0 * * * *", "UTC")
    found, complete = await latest_due(built, UNTIL - timedelta(days=365), UNTIL, 1000, is_over)
    assert (complete, 0 < len(found) < 100) == (False, True)
    assert found == built.between(UNTIL - timedelta(days=365), UNTIL, len(found))


async def test_who_is_cancelled_leaves_no_thread_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    walking, ended = asyncio.Event(), asyncio.Event()
    end = time.monotonic() + 20  # also of a thread that nobody stops
    loop, within = asyncio.get_running_loop(), Schedule.within

    def watched(schedule: Schedule, after: datetime, until: datetime) -> Iterator[Slot]:
        try:
            while time.monotonic() < end:
                loop.call_soon_threadsafe(walking.set)
                yield from within(schedule, after, until)
        finally:
            loop.call_soon_threadsafe(ended.set)

    monkeypatch.setattr(Schedule, "within", watched)
    task = asyncio.create_task(latest_due(build("* * * * *", "UTC"), UNTIL - timedelta(1), UNTIL, 9, never))
    await walking.wait()
    task.cancel()
    async with asyncio.timeout(5):
        await ended.wait()
    assert (await asyncio.gather(task, return_exceptions=True))[0].__class__ is asyncio.CancelledError
