"""Calls: the closures that evaluate arguments, choose the implementation by their classes, and run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hark.workflows.cel.budget import SIZED, charge, charge_search
from hark.workflows.cel.lookup import Frame, Run
from hark.workflows.cel.registry import Implementation, Overloads
from hark.workflows.cel.values import contains, mismatch

_CHEAP = frozenset({"size", "type", "dyn", "first", "last", "value", "hasValue", "optional.of"})
"""Functions that take no longer for a large value."""
_SPELLINGS = {"-_": "-", "!_": "!", "math.@max": "math.greatest", "math.@min": "math.least", "_?_:_": "?:"}


def spelling(function: str) -> str:
    """Return a function or operator as it is written in an expression: `_+_` is `+`."""
    return _SPELLINGS.get(function, function.strip("_").lstrip("@"))


def call(function: str, overloads: Overloads, runs: list[Run], *, metered: bool) -> Run:
    """Return the closure that calls `function` with what `runs` give, paying for it when `metered`."""
    kinds = _METERED if metered and function not in _CHEAP else _FREE
    return kinds.get(len(runs), kinds[0])(spelling(function), overloads, runs)


def _choose(name: str, overloads: Overloads, values: list[Any]) -> Implementation:
    implementation = overloads.get(tuple(map(type, values))) or overloads.get(len(values))
    if implementation is None:
        raise mismatch(name, *values)
    return implementation


def _call(name: str, overloads: Overloads, runs: list[Run]) -> Run:
    def run(frame: Frame) -> Any:
        values = [run(frame) for run in runs]
        return _choose(name, overloads, values)(*values)

    return run


def _call1(name: str, overloads: Overloads, runs: list[Run]) -> Run:
    (argument,) = runs

    def run(frame: Frame) -> Any:
        value = argument(frame)
        return (overloads.get((type(value),)) or _choose(name, overloads, [value]))(value)

    return run


def _call2(name: str, overloads: Overloads, runs: list[Run]) -> Run:
    left, right = runs

    def run(frame: Frame) -> Any:
        a, b = left(frame), right(frame)
        return (overloads.get((type(a), type(b))) or _choose(name, overloads, [a, b]))(a, b)

    return run


def _metered_call(name: str, overloads: Overloads, runs: list[Run]) -> Run:
    def run(frame: Frame) -> Any:
        values = [run(frame) for run in runs]
        implementation = _choose(name, overloads, values)
        if not SIZED.isdisjoint(map(type, values)):
            charge(frame, *values)
        result = implementation(*values)
        if type(result) in SIZED:
            charge(frame, result)
        return result

    return run


def _metered_call2(name: str, overloads: Overloads, runs: list[Run]) -> Run:
    left, right = runs

    def run(frame: Frame) -> Any:
        a, b = left(frame), right(frame)
        kinds = (type(a), type(b))
        implementation = overloads.get(kinds) or _choose(name, overloads, [a, b])
        if kinds[0] in SIZED or kinds[1] in SIZED:
            charge(frame, a, b)
        result = implementation(a, b)
        if type(result) in SIZED:
            charge(frame, result)
        return result

    return run


_Shape = Callable[[str, Overloads, list[Run]], Run]
_FREE: dict[int, _Shape] = {0: _call, 1: _call1, 2: _call2}
_METERED: dict[int, _Shape] = {0: _metered_call, 2: _metered_call2}


def relation(compare: Callable[[Any, Any], bool], left: Run, right: Run, *, metered: bool) -> Run:
    """Return the closure that compares two values, paying for it when `metered`."""
    if not metered:
        return lambda frame: compare(left(frame), right(frame))

    def run(frame: Frame) -> bool:
        a, b = left(frame), right(frame)
        if type(a) in SIZED and type(b) in SIZED:
            charge(frame, a, b)
        return compare(a, b)

    return run


def membership(item: Run, container: Run, *, metered: bool) -> Run:
    """Return `item in container`, paying for the search when `metered`."""

    def run(frame: Frame) -> bool:
        a, b = item(frame), container(frame)
        if metered:
            charge_search(frame, a, b)
        return contains(b, a)

    return run
