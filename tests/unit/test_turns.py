"""Sets of turns, as ranges, against sets of numbers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hark.daemon.engine.folding import turns_around
from hark.workflows.turns import Turns, first_turn_of, fold_path, loop_of

numbers = st.sets(st.integers(0, 40))


def turns(some: set[int]) -> Turns:
    return Turns((number, number) for number in some)


@given(some=numbers, more=numbers, end=st.integers(0, 45))
def test_turns_are_a_set(some: set[int], more: set[int], end: int) -> None:
    both = turns(some) | turns(more)
    assert [*both] == sorted(some | more)
    assert len(both) == len(some | more)
    assert [number for number in range(45) if number in both] == [*both]
    assert [*turns(some).others(end)] == [number for number in range(end) if number not in some]
    assert Turns(both.ranges).ranges == both.ranges
    assert all(later[0] - earlier[1] > 1 for earlier, later in zip(both.ranges, both.ranges[1:], strict=False))


def test_a_fold_is_on_record_under_its_loop() -> None:
    path = fold_path("a[1].each", Turns([(0, 98), (100, 1200)]))
    assert path == "a[1].each[0-1200]"
    assert (loop_of(path), first_turn_of(path)) == ("a[1].each", "a[1].each[0]")
    assert str(Turns([(0, 98), (100, 1200), (7000, 7000)])) == "0-98, 100-1,200, 7,000"


@pytest.mark.parametrize(
    "path, around",
    [
        ("mail", []),
        ("a[0]", ["a[0]"]),
        ("a[0].b[12].mail", ["a[0]", "a[0].b[12]"]),
        ("a[0].b[3-12]", ["a[0]"]),
    ],
)
def test_turns_around_a_step(path: str, around: list[str]) -> None:
    assert [*turns_around(path)] == around
