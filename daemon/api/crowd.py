"""All connections that wait for no answer: for how long they may stay, and who goes when room is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Protocol

MOST_HELD = 16 * 1024**2
"""Bytes of requests that are not whole yet, of all connections together."""


class Stage(IntEnum):
    """What a connection waits for. The first of these are the first to go."""

    SILENT = 0
    """It has sent nothing yet."""
    HEAD = 1
    """It has sent a part of a request's head."""
    IDLE = 2
    """All that it asked has been answered."""
    LEAVING = 3
    """It is refused, or hung up on: what it still sends is thrown away, so that it sees the answer; then it is cut."""
    BODY = 4
    """It has sent a head and a part of the body."""
    BUSY = 5
    """It waits for its answer: it is in nobody's way, for there are only so many of these."""


class Member(Protocol):
    """A connection."""

    def overdue(self) -> None:
        """Go: it took too long."""
        ...

    def give_way(self) -> None:
        """Go: others need the room."""
        ...


class Crowd:
    """Who waits for what, in the order in which they came. One timer for all: each of its own would cost more."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, spans_s: Mapping[Stage, float], *, most_held: int = MOST_HELD
    ) -> None:
        self._loop = loop
        self._most_held = most_held
        self._spans_s = spans_s
        self._stages: dict[Stage, dict[Member, float]] = {stage: {} for stage in spans_s}
        self._timer: asyncio.TimerHandle | None = None
        self.held_bytes = 0
        """Of requests that are not whole yet."""

    def enter(self, member: Member, stage: Stage) -> None:
        """Note that somebody begins to wait; he is at no other stage."""
        if stage is Stage.BUSY:
            return
        until = self._loop.time() + self._spans_s[stage]
        self._stages[stage][member] = until
        if self._timer is None or until < self._timer.when():
            self._arm(until)

    def leave(self, member: Member, stage: Stage) -> None:
        """Forget somebody who waited, if he did."""
        if stage is not Stage.BUSY:
            self._stages[stage].pop(member, None)

    def make_room(self) -> None:
        """Send away whoever has waited longest for what matters least, if there is anybody."""
        for member in self._by_weight():
            member.give_way()
            return

    def lighten(self) -> None:
        """Send away those whose requests have been coming for longest, until the rest holds no more than it may."""
        while self.held_bytes > self._most_held:
            member = next(self._holding(), None)
            if member is None:
                return
            member.give_way()

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _by_weight(self) -> Iterator[Member]:
        for stage in sorted(self._stages):
            yield from self._stages[stage]

    def _holding(self) -> Iterator[Member]:
        yield from self._stages[Stage.BODY]
        yield from self._stages[Stage.HEAD]

    def _arm(self, moment: float) -> None:
        self.stop()
        self._timer = self._loop.call_at(moment, self._sweep)

    def _sweep(self) -> None:
        self._timer = None
        now = self._loop.time()
        for members in self._stages.values():
            # In the order of their time: all at one stage have equally long.
            due = []
            for member, until in members.items():
                if until > now:
                    break
                due.append(member)
            for member in due:
                member.overdue()
        firsts = [next(iter(members.values())) for members in self._stages.values() if members]
        if firsts:
            self._arm(min(firsts))
