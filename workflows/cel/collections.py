"""Functions on lists, maps, sets and optionals, and on values of any type."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hark.workflows.cel.registry import overload, overload_any
from hark.workflows.cel.values import (
    ABSENT,
    MAX_NODES,
    TYPE_NAMES,
    Maybe,
    TypeName,
    comparison,
    contains,
    normalise,
)
from hark.workflows.errors import ExpressionError

_less = comparison("<")
_MAX_CONTAINERS = 1000


def bounded(length: int) -> None:
    """Refuse to build a list of more than MAX_NODES elements."""
    if length > MAX_NODES:
        raise ExpressionError(f"the list would have more than {MAX_NODES} elements")


overload("size", list)(len)
overload("size", dict)(len)
overload("reverse", list)(lambda items: items[::-1])
overload("first", list)(lambda items: Maybe(normalise(items[0]), present=True) if items else ABSENT)
overload("last", list)(lambda items: Maybe(normalise(items[-1]), present=True) if items else ABSENT)
overload_any("dyn", 1)(lambda value: value)
overload_any("type", 1)(lambda value: TypeName(TYPE_NAMES[type(value)]))
overload_any("optional.none", 0)(lambda: ABSENT)
overload_any("optional.of", 1)(lambda value: Maybe(value, present=True))
overload_any("optional.ofNonZeroValue", 1)(lambda value: Maybe(value, present=True) if _is_set(value) else ABSENT)
overload("hasValue", Maybe)(lambda optional: optional.present)


def _is_set(value: Any) -> bool:
    return value.present if isinstance(value, Maybe) else bool(value)


@overload("value", Maybe)
def _value(optional: Maybe) -> Any:
    if not optional.present:
        raise ExpressionError("the optional has no value", hint="use orValue(…)")
    return optional.value


@overload("_+_", list, list)
def _concatenate(a: list[Any], b: list[Any]) -> list[Any]:
    bounded(len(a) + len(b))
    return a + b


@overload("slice", list, int, int)
def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    if not 0 <= start <= end <= len(items):
        raise ExpressionError(f"slice: {start} to {end} is outside of the list")
    return items[start:end]


@overload("flatten", list, int)
def flatten(items: list[Any], depth: int) -> list[Any]:
    """Lift the elements of nested lists, `depth` levels deep."""
    if depth < 0:
        raise ExpressionError("flatten: the depth is negative")
    flat = items
    for _ in range(min(depth, 100)):
        lists = [isinstance(item, list | tuple) for item in flat]
        if not any(lists):
            break
        bounded(sum(len(item) if nested else 1 for item, nested in zip(flat, lists, strict=True)))
        flat = [part for item, nested in zip(flat, lists, strict=True) for part in (item if nested else (item,))]
    return flat


overload("flatten", list)(lambda items: flatten(items, 1))


@overload("lists.range", int)
def _range(count: int) -> list[int]:
    bounded(count)
    return list(range(count))


class _Bag:
    """Elements seen so far; a lookup takes constant time for atoms and compares with every container."""

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._atoms: set[tuple[bool, Any]] = set()
        self._containers: list[Any] = []
        for item in items:
            self.add(normalise(item))

    def __contains__(self, item: Any) -> bool:
        if isinstance(item, list | dict):
            return contains(self._containers, item)
        return (type(item) is bool, item) in self._atoms

    def add(self, item: Any) -> None:
        if not isinstance(item, list | dict):
            self._atoms.add((type(item) is bool, item))
        elif len(self._containers) < _MAX_CONTAINERS:
            self._containers.append(item)
        else:
            raise ExpressionError(f"cannot compare more than {_MAX_CONTAINERS} lists or maps with one another")


@overload("distinct", list)
def _distinct(items: list[Any]) -> list[Any]:
    kept, seen = [], _Bag()
    for item in map(normalise, items):
        if item not in seen:
            seen.add(item)
            kept.append(item)
    return kept


@overload("sets.contains", list, list)
def _sets_contain(items: list[Any], part: list[Any]) -> bool:
    bag = _Bag(items)
    return all(normalise(item) in bag for item in part)


@overload("sets.intersects", list, list)
def _sets_intersect(items: list[Any], other: list[Any]) -> bool:
    bag = _Bag(items)
    return any(normalise(item) in bag for item in other)


@overload("sets.equivalent", list, list)
def _sets_equal(items: list[Any], other: list[Any]) -> bool:
    return _sets_contain(items, other) and _sets_contain(other, items)


@overload("sort", list)
def _sort(items: list[Any]) -> list[Any]:
    return sort_by(items, items)


@overload("@sortByAssociatedKeys", list, list)
def sort_by(items: list[Any], keys: list[Any]) -> list[Any]:
    """Sort `items` by the key at the same position; the keys are all of one type that has an order."""
    wrapped = [_Key(normalise(key)) for key in keys]
    order = sorted(range(len(items)), key=wrapped.__getitem__)
    return [items[index] for index in order]


class _Key:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Key) -> bool:
        return _less(self.value, other.value)
