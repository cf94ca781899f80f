"""Loops: the closures behind `all`, `exists`, `map`, `filter`, `cel.bind` and their kin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hark.workflows.cel.budget import BUDGET
from hark.workflows.cel.lookup import Frame, Run
from hark.workflows.cel.values import map_key, mismatch, normalise, spoken_type
from hark.workflows.errors import ExpressionError

LIST = "@list"
"""Ends the key of a list that a macro builds, which may be appended to in place."""


class Loop:
    """Runs a body for each element of a list or key of a map, one step of the budget each.

    `first` and `second` are the keys of its variables in the frame: the element, or the index or key and the element.
    """

    def __init__(self, key: str, *, two: bool, items: Run) -> None:
        self.first = f"{key}.1"
        self.second = f"{key}.2"
        self._built = key
        self._two = two
        self._items = items

    def _pairs(self, frame: Any) -> Iterable[tuple[Any, Any]]:
        items = self._items(frame)
        if type(items) is not list and type(items) is not dict:
            raise ExpressionError(f"a {spoken_type(items)} has no elements to go through")
        if not self._two:
            return zip(items, items, strict=True)
        return items.items() if type(items) is dict else enumerate(items)

    def _each(self, frame: Any) -> Iterator[None]:
        """Bind the variables to one element after the other, and yield for each."""
        first, second, spend = self.first, self.second, frame[BUDGET].spend
        for one, other in self._pairs(frame):
            spend(1)
            frame[first] = normalise(one)
            if self._two:
                frame[second] = normalise(other)
            yield

    def quantify(self, predicate: Run, *, decisive: bool) -> Run:
        """Return `exists` (decided by a true) or `all` (by a false); an error counts only when nothing decides."""

        def run(frame: Frame) -> Any:
            error: ExpressionError | None = None
            for _ in self._each(frame):
                try:
                    value = predicate(frame)
                except ExpressionError as raised:
                    if frame[BUDGET].left < 0:
                        raise
                    error = raised
                    continue
                if value is decisive:
                    return decisive
                if value is not (not decisive):
                    error = mismatch("a condition", value)
            if error is not None:
                raise error
            return not decisive

        return run

    def fold(self, initial: Run, body: Run, result: Run) -> Run:
        """Return the macros that build something, `map` and `filter` among them: none of them ends early."""
        built = self._built

        def run(frame: Any) -> Any:
            frame[built] = initial(frame)
            for _ in self._each(frame):
                frame[built] = body(frame)
            return result(frame)

        return run


def binding(key: str, initial: Run, result: Run) -> Run:
    """Return `cel.bind`: a value under a name."""

    def run(frame: Any) -> Any:
        frame[key] = initial(frame)
        return result(frame)

    return run


def appending(key: str, elements: list[Run]) -> Run:
    """Append to the list that `map`, `filter` or `transformList` builds."""
    (element,) = elements

    def append(frame: Frame) -> Any:
        items = frame[key]
        items.append(element(frame))
        return items

    return append


def inserting(target: Run, *entry: Run) -> Run:
    """Insert into the map that `transformMap` (a key and a value) or `transformMapEntry` (a map) builds."""

    def insert(frame: Frame) -> Any:
        built = target(frame)
        entries = {map_key(entry[0](frame)): entry[1](frame)} if len(entry) == 2 else entry[0](frame)
        if type(entries) is not dict:
            raise mismatch("transformMapEntry", entries)
        if not built.keys().isdisjoint(entries):
            raise ExpressionError("the map would have the same key twice")
        built.update(entries)
        return built

    return insert
