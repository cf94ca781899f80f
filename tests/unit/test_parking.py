"""Waiting inside an execution: every wait ends on time, or all unwind together, whatever the tree of branches."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.timewarp import START, WarpLoop

from hark.daemon.engine.outcome import Outcome, Suspended, merged
from hark.daemon.engine.parking import HELD_S, Branches, Parking
from hark.daemon.engine.side_by_side import run_bounded, run_race

Tree = Any
"""("work", seconds) | ("wait", seconds) | ("all", width, trees) | ("race", trees) | ("line", trees)"""

_seconds = st.sampled_from([0.0, 0.3, 0.9, 1.5, 5.0, 60.0, 61.0])
_leaves = st.tuples(st.sampled_from(["work", "wait"]), _seconds)
trees = st.recursive(
    _leaves,
    lambda inner: st.one_of(
        st.tuples(st.just("all"), st.integers(2, 3), st.lists(inner, min_size=1, max_size=4)),
        st.tuples(st.just("race"), st.lists(inner, min_size=1, max_size=3)),
        st.tuples(st.just("line"), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=10,
)


@dataclass
class Walker:
    """Walks over a tree like the interpreter, with what is on record from earlier walks."""

    loop: WarpLoop
    ended: dict[tuple[int, ...], float] = field(default_factory=dict)
    due: dict[tuple[int, ...], float] = field(default_factory=dict)
    working: int = 0
    unwound_while_working: bool = False
    begun: dict[tuple[int, ...], float] = field(default_factory=dict)

    async def walk(self, parking: Parking, tree: Tree, path: tuple[int, ...]) -> Outcome:
        if path in self.ended:
            return None
        outcome = await self._walk(parking, tree, path)
        if outcome is None:
            self.ended[path] = self.loop.time()
        return outcome

    async def _walk(self, parking: Parking, tree: Tree, path: tuple[int, ...]) -> Outcome:
        match tree:
            case ("work", seconds):
                self.working += 1
                try:
                    await asyncio.sleep(seconds)
                finally:
                    self.working -= 1
                return None
            case ("wait", seconds):
                due = self.due.setdefault(path, self.loop.time() + seconds)
                suspended = await parking.until(START + timedelta(seconds=due))
                if suspended is None:
                    assert self.loop.time() == pytest.approx(due, abs=1e-3)
                self.unwound_while_working |= suspended is not None and self.working > 0
                return suspended
            case ("all", width, parts):
                return await run_bounded(
                    parking, lambda index: self.walk(parking, parts[index], (*path, index)), range(len(parts)), width
                )
            case ("race", parts):
                names = [str(index) for index in range(len(parts))]
                outcome, _ = await run_race(
                    parking, lambda index: self.walk(parking, parts[index], (*path, index)), names
                )
                return outcome
            case ("line", parts):
                for index, part in enumerate(parts):
                    outcome = await self.walk(parking, part, (*path, index))
                    if outcome is not None:
                        return outcome
        return None


def length(tree: Tree) -> float:
    """How long a tree takes when everything goes on as soon as it can."""
    match tree:
        case ("work" | "wait", seconds):
            return float(seconds)
        case ("all", width, parts):
            workers = [0.0] * width
            for part in parts:
                first = workers.index(min(workers))
                workers[first] += length(part)
            return max(workers)
        case ("race", parts):
            return min(map(length, parts))
        case ("line", parts):
            return sum(map(length, parts))
    raise AssertionError(tree)


@given(trees)
def test_a_tree_takes_as_long_as_it_would_without_ever_being_given_back(tree: Tree) -> None:
    loop = WarpLoop()
    walker = Walker(loop)

    async def run() -> int:
        walks = 0
        while True:
            walks += 1
            parking = Parking(loop.now)
            outcome = await walker.walk(parking, tree, ())
            assert parking._taken == 1, "every token but one's own has been given back"
            assert not parking._places
            assert not walker.working
            if outcome is None:
                return walks
            assert isinstance(outcome, Suspended)
            assert outcome.due_at is not None
            left = (outcome.due_at - loop.now()).total_seconds()
            assert left > HELD_S, "it is given back only when it is worth it"
            await asyncio.sleep(left)

    walks = loop.run(run())
    assert not walker.unwound_while_working
    # Equal ends may be taken in another order by the workers of a bounded loop.
    assert walks <= 1 + len(walker.due)
    assert loop.time() <= length(tree) + 0.01 or "all" in str(tree)


def test_a_race_that_is_cancelled_while_it_cancels_the_others_loses_no_token() -> None:
    loop = WarpLoop()
    inner = ("race", [("work", 0.0), ("work", 0.3)])
    parking = Parking(loop.now)
    assert loop.run(Walker(loop).walk(parking, ("race", [("race", [("work", 0.0)]), inner]), ())) is None
    assert parking._taken == 1


def test_a_branch_goes_on_while_another_one_works() -> None:
    loop = WarpLoop()
    walker = Walker(loop)
    tree = ("all", 2, [("line", [("wait", 10.0), ("work", 1.0)]), ("work", 600.0)])
    assert loop.run(walker.walk(Parking(loop.now), tree, ())) is None
    assert walker.ended[0, 1] == pytest.approx(11)
    assert loop.time() == pytest.approx(600)


def test_news_between_looking_and_parking_are_not_missed() -> None:
    loop = WarpLoop()

    async def run() -> None:
        parking = Parking(loop.now)
        news = parking.news
        parking.wake()
        assert await parking.park(None, news) is None
        assert await parking.park(None, parking.news) == Suspended(None)

    loop.run(run())


def test_news_let_those_look_that_wait_for_them_and_no_timer_ends_early() -> None:
    loop = WarpLoop()

    async def run() -> float:
        parking = Parking(loop.now)

        async def look() -> Outcome:
            return await parking.park(None, parking.news)

        async def pause() -> Outcome:
            return await parking.until(START + timedelta(seconds=0.9))

        async with Branches[Outcome](parking) as branches:
            looking, pausing = branches.start(look(), "look"), branches.start(pause(), "pause")
            await asyncio.sleep(0.2)
            parking.wake()
            done = await branches.ended()
            assert done == {looking}
            assert looking.result() is None
            woken_at = loop.time()
            assert await branches.ended() == {pausing}
            assert merged([pausing.result()]) is None
        return woken_at

    assert loop.run(run()) == pytest.approx(0.2)
    assert loop.time() == pytest.approx(0.9)


@given(st.lists(_leaves, min_size=1, max_size=5), _seconds)
def test_whoever_is_cancelled_leaves_no_token_behind(leaves: list[Tree], after: float) -> None:
    loop = WarpLoop()
    parking = Parking(loop.now)
    walker = Walker(loop)

    async def run() -> None:
        work = walker.walk(parking, ("all", 5, leaves), ())
        try:
            async with asyncio.timeout(after):
                await work
        except TimeoutError:
            pass
        assert parking._taken == 1
        assert not parking._places

    loop.run(run())
