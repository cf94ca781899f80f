"""The syntax tree of a CEL expression, macros already expanded, as the library's checker leaves it.

Every node has `offset`, the position of its token in the source (characters from 0). `read_tree` decodes what
`cel.Expression.serialize()` gives: a `google.protobuf.Any` around a `cel.expr.CheckedExpr` or `ParsedExpr`. Source of
the field numbers: syntax.proto and checked.proto in https://github.com/google/cel-spec
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from hark.workflows.cel import wire
from hark.workflows.cel.values import Uint

Literal: TypeAlias = "bool | int | float | str | bytes | None"


@dataclass(frozen=True, slots=True)
class Const:
    """A literal."""

    value: Literal
    offset: int


@dataclass(frozen=True, slots=True)
class Ident:
    """A name: a root of the scope, a variable of a macro, or a type."""

    name: str
    offset: int


@dataclass(frozen=True, slots=True)
class Select:
    """`operand.field`; as `test` it is `has(operand.field)`."""

    operand: Node
    field: str
    test: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Call:
    """A function or operator: `function(args)` or `target.function(args)`. Operators are named such as `_==_`."""

    function: str
    target: Node | None
    args: tuple[Node, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class ListNode:
    """`[a, ?b]`; `optional` holds the indices of elements written with `?`."""

    elements: tuple[Node, ...]
    optional: frozenset[int]
    offset: int


@dataclass(frozen=True, slots=True)
class MapNode:
    """`{key: value, ?key: optional}`: triples of key, value and whether it was written with `?`.

    `message` names a protobuf message when the literal makes one.
    """

    entries: tuple[tuple[Node, Node, bool], ...]
    message: str
    offset: int


@dataclass(frozen=True, slots=True)
class Comprehension:
    """What `all`, `exists`, `map`, `filter`, `cel.bind` and their kin expand to: a fold over `range`.

    With `variable2`, `variable` holds the index or key and `variable2` the value.
    """

    variable: str
    variable2: str
    range: Node
    accumulator: str
    initial: Node
    condition: Node
    step: Node
    result: Node
    offset: int


Node: TypeAlias = "Const | Ident | Select | Call | ListNode | MapNode | Comprehension"


def read_tree(serialized: bytes) -> Node:
    """Decode the tree of a serialised expression."""
    any_message = wire.read_message(serialized)
    body = wire.read_message(wire.raw(any_message, 2))
    checked = wire.text(any_message, 1).endswith("CheckedExpr")
    expression, source_info = (4, 5) if checked else (2, 3)
    info = wire.read_message(wire.raw(body, source_info))
    offsets = {wire.signed(entry, 1): wire.integer(entry, 2) for entry in wire.messages(info, 4)}
    return _Reader(offsets).node(wire.raw(body, expression))


class _Reader:
    def __init__(self, offsets: dict[int, int]) -> None:
        self._offsets = offsets
        self._kinds: dict[int, Callable[[wire.Message, int], Node]] = {
            3: _constant,
            4: lambda message, offset: Ident(wire.text(message, 1), offset),
            5: self._select,
            6: self._call,
            7: self._list,
            8: self._map,
            9: self._comprehension,
        }

    def node(self, data: bytes) -> Node:
        message = wire.read_message(data)
        offset = self._offsets.get(wire.signed(message, 2), 0)
        for field in message:
            if field in self._kinds:
                return self._kinds[field](wire.read_message(wire.raw(message, field)), offset)
        raise ValueError("a node of unknown kind")

    def _field(self, message: wire.Message, field: int) -> Node:
        return self.node(wire.raw(message, field))

    def _fields(self, message: wire.Message, field: int) -> tuple[Node, ...]:
        return tuple(self.node(value) for value in message.get(field, []) if isinstance(value, bytes))

    def _select(self, message: wire.Message, offset: int) -> Node:
        return Select(self._field(message, 1), wire.text(message, 2), bool(wire.integer(message, 3)), offset)

    def _call(self, message: wire.Message, offset: int) -> Node:
        target = self._field(message, 1) if 1 in message else None
        return Call(wire.text(message, 2), target, self._fields(message, 3), offset)

    def _list(self, message: wire.Message, offset: int) -> Node:
        return ListNode(self._fields(message, 1), frozenset(wire.packed(message, 2)), offset)

    def _map(self, message: wire.Message, offset: int) -> Node:
        return MapNode(tuple(self._entries(message)), wire.text(message, 1), offset)

    def _entries(self, message: wire.Message) -> Iterator[tuple[Node, Node, bool]]:
        for entry in wire.messages(message, 2):
            key = self._field(entry, 3) if 3 in entry else Const(wire.text(entry, 2), 0)
            yield key, self._field(entry, 4), bool(wire.integer(entry, 5))

    def _comprehension(self, message: wire.Message, offset: int) -> Node:
        return Comprehension(
            variable=wire.text(message, 1),
            variable2=wire.text(message, 8),
            range=self._field(message, 2),
            accumulator=wire.text(message, 3),
            initial=self._field(message, 4),
            condition=self._field(message, 5),
            step=self._field(message, 6),
            result=self._field(message, 7),
            offset=offset,
        )


def _constant(message: wire.Message, offset: int) -> Const:
    for field in message:
        if field in _LITERALS:
            return Const(_LITERALS[field](message, field), offset)
    return Const(None, offset)


_LITERALS: dict[int, Callable[[wire.Message, int], Literal]] = {
    2: lambda message, field: bool(wire.integer(message, field)),
    3: wire.signed,
    4: lambda message, field: Uint(wire.integer(message, field)),
    5: wire.double,
    6: wire.text,
    7: wire.raw,
}


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes directly under `node`, in the order of the source."""
    match node:
        case Select(operand=operand):
            return (operand,)
        case Call(target=target, args=args):
            return args if target is None else (target, *args)
        case ListNode(elements=elements):
            return elements
        case MapNode(entries=entries):
            return tuple(part for key, value, _ in entries for part in (key, value))
        case Comprehension():
            return (node.range, node.initial, node.condition, node.step, node.result)
        case _:
            return ()
