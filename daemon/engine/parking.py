"""Waiting inside an execution: branches park while others work, and unwind together once nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from hark.daemon.engine.outcome import Suspended

HELD_S = 1.0
"""A shorter wait keeps its place in memory; it is on record all the same."""

ResultT = TypeVar("ResultT")


@dataclass(slots=True)
class _Place:
    """A parked branch: when it goes on by itself (None: only when woken), and what it is told then."""

    due_at: datetime | None
    told: asyncio.Future[Suspended | None]
    timer: asyncio.TimerHandle | None


class Parking:
    """Counts the tasks of one execution that work, and holds those that wait.

    Every task has one token. It is free while the task is parked, and while it waits for tasks of its own. When no
    token is taken, nothing can be done before the next due moment: is that more than HELD_S away, all parked tasks are
    told to unwind. Whoever lets a task go on takes the token for it, so the count never falls to zero in between.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._taken = 1
        self._places: list[_Place] = []
        self.news = 0
        """How often somebody has said that there is something to look at."""

    def wake(self) -> None:
        """Let all that wait have another look."""
        self.news += 1
        self._tell(None)

    def is_alone(self, due_at: datetime | None) -> bool:
        """Tell whether a wait until then has to give the execution back: it is long, and nothing else goes on."""
        return self._taken == 1 and not self._places and self._is_far(due_at)

    async def until(self, due_at: datetime) -> Suspended | None:
        """Wait for a moment, whatever news come; Suspended when the execution has to be given back meanwhile."""
        while (due_at - self._now()).total_seconds() > 0:
            suspended = await self.park(due_at, self.news)
            if suspended is not None:
                return suspended
        return None

    async def park(self, due_at: datetime | None, news: int) -> Suspended | None:
        """Wait for a moment, or for news since those that the caller knows.

        None: look again. Suspended: nothing else of the execution works either.
        """
        if self.news != news:
            return None
        if self.is_alone(due_at):
            return Suspended(due_at)
        place = self._place(due_at)
        try:
            self._free()
            return await place.told
        except asyncio.CancelledError:
            self._leave(place)
            raise

    def _place(self, due_at: datetime | None) -> _Place:
        loop = asyncio.get_running_loop()
        place = _Place(due_at, loop.create_future(), None)
        if due_at is not None:
            left = max(0.0, (due_at - self._now()).total_seconds())
            place.timer = loop.call_later(left, self._release, place, None)
        self._places.append(place)
        return place

    def _leave(self, place: _Place) -> None:
        """Take a parked task's token back: it is being cancelled. Who was told to go on has it already."""
        if place in self._places:
            self._release(place, None)

    def _free(self) -> None:
        """Give a token back; the last one decides whether to wait here or to unwind."""
        self._taken -= 1
        if self._taken == 0 and all(self._is_far(place.due_at) for place in self._places):
            self._tell(Suspended(None))

    def _is_far(self, due_at: datetime | None) -> bool:
        return due_at is None or (due_at - self._now()).total_seconds() > HELD_S

    def _tell(self, answer: Suspended | None) -> None:
        for place in list(self._places):
            self._release(place, answer if answer is None else Suspended(place.due_at))

    def _release(self, place: _Place, answer: Suspended | None) -> None:
        self._places.remove(place)
        self._taken += 1
        if place.timer is not None:
            place.timer.cancel()
        if not place.told.done():
            place.told.set_result(answer)

    # ------------------------------------------------------------------ for those who wait for tasks of their own

    def take(self) -> None:
        """Take a token: for a task that is about to begin, or for oneself after waiting."""
        self._taken += 1

    def give(self, count: int = 1) -> None:
        """Give tokens back: one's own before waiting for tasks, or those of tasks that have ended."""
        for _ in range(count):
            self._free()


class Branches(Generic[ResultT]):
    """Tasks of one execution that run side by side; whoever enters it waits for them, or cancels what is left."""

    def __init__(self, parking: Parking) -> None:
        self._parking = parking
        self.running: set[asyncio.Task[ResultT]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        for task in self.running:
            task.cancel()
        cancelled = None
        while left := [task for task in self.running if not task.done()]:
            try:
                await asyncio.wait(left)
            except asyncio.CancelledError as error:
                cancelled = error  # they are ending already: going away before would lose their tokens
        self._parking.give(len(self.running))
        self.running = set()
        if cancelled is not None:
            raise cancelled

    def start(self, work: Coroutine[Any, Any, ResultT], name: str) -> asyncio.Task[ResultT]:
        """Start a task."""
        self._parking.take()
        task = asyncio.create_task(work, name=name)
        self.running.add(task)
        return task

    async def ended(self) -> set[asyncio.Task[ResultT]]:
        """Wait until some have ended, and return them; their tokens are given back once this task has its own."""
        self._parking.give()
        try:
            done, self.running = await asyncio.wait(self.running, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._parking.take()
        self._parking.give(len(done))
        return done
