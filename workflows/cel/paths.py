"""The select paths that an expression reads, such as `event.data.items[0].name`.

A path starts at a root of the scope. Its parts are field names and constant indices; `...` (Ellipsis) stands for an
index that is only known when the expression runs, and ends what is known.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from types import EllipsisType
from typing import TypeAlias

from hark.workflows.cel.tree import Call, Comprehension, Const, Ident, Node, Select, children

Part: TypeAlias = "str | int | EllipsisType"
Parts: TypeAlias = tuple[Part, ...]

_INDEX = frozenset({"_[_]", "_[?_]", "_?._"})


@dataclass(frozen=True, slots=True)
class Read:
    """One read of the scope. `guarded`: its absence is no error, because of `has()`, `?.` or `orValue`."""

    parts: Parts
    guarded: bool


def path_of(node: Node, roots: Container[str]) -> Read | None:
    """Return the path that `node` is, when it is nothing but one; `roots` are the names that are not variables.

    `event.?a.b` is a guarded path: after the first `?` the whole chain is optional, as in CEL.
    """
    parts: list[Part] = []
    guarded = False
    while not isinstance(node, Ident):
        match node:
            case Select(operand=operand, field=field, test=False):
                parts.append(field)
            case Call(function=function, target=None, args=(operand, Const(value=part))) if function in _INDEX:
                if not _is_part(part):
                    return None
                parts.append(part)  # type: ignore[arg-type]  # checked by _is_part
                guarded = guarded or function != "_[_]"
            case _:
                return None
        node = operand
    return Read((node.name, *reversed(parts)), guarded) if node.name in roots else None


def _is_part(value: object) -> bool:
    return type(value) is str or (type(value) is int and value >= 0)


def reads(node: Node, roots: frozenset[str]) -> Iterator[Read]:
    """Yield every read of the scope, in the order of the source."""
    read = path_of(node, roots)
    if read is not None:
        yield read
        return
    match node:
        case Select(operand=operand, field=field, test=True) if (inner := path_of(operand, roots)) is not None:
            yield Read((*inner.parts, field), guarded=True)
        case Call(function=function, target=None, args=(operand, index)) if function in _INDEX and (
            (inner := path_of(operand, roots)) is not None
        ):
            yield Read((*inner.parts, ...), inner.guarded or function != "_[_]")
            yield from reads(index, roots)
        case Call(function="orValue", target=target, args=(default,)) if target is not None and (
            (inner := path_of(target, roots)) is not None
        ):
            yield Read(inner.parts, guarded=True)
            yield from reads(default, roots)
        case Comprehension():
            yield from _comprehension_reads(node, roots)
        case _:
            for child in children(node):
                yield from reads(child, roots)


def _comprehension_reads(node: Comprehension, roots: frozenset[str]) -> Iterator[Read]:
    """Read outside of the loop with all roots, inside without those that its variables shadow."""
    yield from reads(node.range, roots)
    yield from reads(node.initial, roots)
    inner = roots - {node.variable, node.variable2, node.accumulator}
    yield from reads(node.condition, inner)
    yield from reads(node.step, inner)
    yield from reads(node.result, roots - {node.accumulator})


def dotted(parts: Parts) -> str:
    """Write a path the way an expression has it: `steps.mail.output["message-id"][0]`."""
    text = ""
    for part in parts:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part is ...:
            text += "[…]"
        elif not text or part.isidentifier():
            text += f".{part}" if text else part
        else:
            escaped = part.replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{escaped}"]'
    return text
