"""Numbers of turns of a loop, as ranges; and the paths of those that are folded away together."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

FOLD = "fold"
"""The verb under which turns that are folded away are on record: one row for all of them."""

_FOLDED = re.compile(r"\[(\d+)-\d+\]$")


class Turns:
    """A set of turns, as ascending ranges that neither overlap nor touch."""

    __slots__ = ("_firsts", "ranges")

    def __init__(self, ranges: Iterable[Sequence[int]] = ()) -> None:
        merged: list[tuple[int, int]] = []
        for first, last in sorted((one[0], one[1]) for one in ranges):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        self.ranges = tuple(merged)
        self._firsts = [first for first, _ in merged]

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._firsts, number) - 1
        return at >= 0 and number <= self.ranges[at][1]

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.ranges)

    def __iter__(self) -> Iterator[int]:
        for first, last in self.ranges:
            yield from range(first, last + 1)

    def __or__(self, other: Turns) -> Turns:
        return Turns((*self.ranges, *other.ranges))

    def others(self, end: int) -> Iterator[int]:
        """Yield the turns before `end` that are not among these."""
        begin = 0
        for first, last in self.ranges:
            yield from range(begin, min(first, end))
            begin = last + 1
        yield from range(begin, end)

    @property
    def first(self) -> int:
        """The lowest one; there has to be one."""
        return self.ranges[0][0]

    @property
    def last(self) -> int:
        """The highest one; there has to be one."""
        return self.ranges[-1][1]

    def __str__(self) -> str:
        return ", ".join(f"{first:,}" if first == last else f"{first:,}-{last:,}" for first, last in self.ranges)


def fold_path(loop: str, turns: Turns) -> str:
    """Return under which path turns of a loop are on record that are folded away: `each[0-99]`.

    Folds of a loop have no turn in common, so no two of them begin with the same one.
    """
    return f"{loop}[{turns.first}-{turns.last}]"


def loop_of(path: str) -> str:
    """Return the loop that a fold, or a turn, is of."""
    return path.rpartition("[")[0]


def first_turn_of(path: str) -> str:
    """Return the path of the first turn of a fold, `each[0]` of `each[0-99]`; any other path as it is."""
    return _FOLDED.sub(r"[\1]", path)
