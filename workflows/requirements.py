"""What an event must have for a condition to hold: values at paths, by which a matcher finds conditions.

The contract: when a condition holds for an event, the event has one of the keys of each of its requirements. It may
have them and the condition be false all the same, so whoever is found by them is evaluated as a whole. Only what must
be *true* counts: the operands of the top-level `&&` (an operand that is false or fails keeps the whole from holding).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any, TypeAlias

from hark.workflows.cel.checker import check
from hark.workflows.cel.lookup import MISSING
from hark.workflows.cel.paths import path_of
from hark.workflows.cel.tree import Call, Const, ListNode, Node
from hark.workflows.cel.values import Uint
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import ROOTS
from hark.workflows.skimming import skim

Path: TypeAlias = tuple[str | int, ...]

OTHER = ("other",)
"""The key of every value that no literal equals: lists, maps, timestamps."""
ABSENT = ("absent",)
"""The key of a field that is not there."""
_ATOMS = frozenset({str, int, float, bool, Uint, bytes, NoneType})


def key_of(value: Any) -> Any:
    """Return what is equal for two values when CEL's `==` says that they are, provided that one of them is a literal.

    Python agrees with CEL on numbers of different types, on text and on bytes; only in Python, true is also 1.
    """
    if type(value) in _ATOMS:
        return value
    return ABSENT if value is MISSING else OTHER


@dataclass(frozen=True, slots=True)
class Requirement:
    """An event must have one of these keys at this path; the path starts at `event`, `new` or `old`."""

    path: Path
    keys: frozenset[Any]

    @classmethod
    def of(cls, path: Path, values: Iterable[Any], *extra: Any) -> Requirement:
        """Make the requirement to have one of these values, or one of the `extra` keys."""
        return cls(path, frozenset((*map(key_of, values), *extra)))


def requirements(source: str) -> tuple[Requirement, ...]:
    """Return what a condition requires of an event; nothing when it requires nothing, or cannot be read.

    The library is asked only when nothing was found and there is something in the condition that it alone can read.
    """
    skimmed = skim(source)
    if skimmed.equalities or skimmed.sure:
        return tuple(Requirement.of(one.path, one.values) for one in skimmed.equalities)
    try:
        node = check(source, ROOTS).node
    except ExpressionError:
        return ()
    return tuple(found for part in conjuncts(node) if (found := _requirement(part)) is not None)


def conjuncts(node: Node) -> Iterator[Node]:
    """Yield the operands of the top-level `&&`."""
    if isinstance(node, Call) and node.function == "_&&_":
        for arg in node.args:
            yield from conjuncts(arg)
    else:
        yield node


def _requirement(node: Node) -> Requirement | None:
    """Return what must be so for a node to be true; None when that cannot be said by values at one path."""
    match node:
        case Call(function="_==_", args=(Const(value=value), other) | (other, Const(value=value))):
            return _at(other, (value,))
        case Call(function="@in", args=(item, ListNode(elements=elements))):
            literals = [element.value for element in elements if isinstance(element, Const)]
            return _at(item, literals) if len(literals) == len(elements) else None
        case Call(function="_||_", args=(left, right)):
            return _either(_requirement(left), _requirement(right))
        case Call(function="!_", args=(inner,)):
            return _at(inner, (False,))
        case _:
            return _at(node, (True,))


def _at(node: Node, values: Iterable[Any]) -> Requirement | None:
    read = path_of(node, _EVENT_ROOTS)
    if read is None or read.guarded:
        return None
    path: Path = read.parts  # type: ignore[assignment]  # a path that was read whole has no computed index
    return Requirement.of(path, values)


def _either(left: Requirement | None, right: Requirement | None) -> Requirement | None:
    if left is None or right is None or left.path != right.path:
        return None
    return Requirement(left.path, left.keys | right.keys)


_EVENT_ROOTS = frozenset({"event", "new", "old"})
