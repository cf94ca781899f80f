"""Comparisons of a column with a constant that its type can never equal, as after the type was changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hark.triggers.capture_filters import bare_type
from hark.triggers.row_config import RowConfig
from hark.workflows.catalogue import ActiveTrigger
from hark.workflows.cel.paths import path_of
from hark.workflows.cel.tree import Call, Const, ListNode, Node
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import ROOTS, compile_expression
from hark.workflows.pushdown import ROW_SCOPE, column_of

if TYPE_CHECKING:
    from hark.triggers.capture_plan import Column, Table

_KINDS: Mapping[str, str] = {
    **dict.fromkeys(("smallint", "integer", "bigint", "numeric", "real", "double precision"), "a number"),
    **dict.fromkeys(("text", "character varying", "character", "uuid", "date", "interval", "inet", "bytea"), "a text"),
    **dict.fromkeys(("timestamp without time zone", "timestamp with time zone"), "a text"),
    **dict.fromkeys(("time without time zone", "time with time zone"), "a text"),
    "boolean": "true or false",
}
"""What a type is in JSON; of others nothing is said."""
_COMPARES = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"})


def mismatches(trigger: ActiveTrigger, table: Table) -> Iterator[str]:
    """Say which columns a trigger compares with what they cannot be, each once; for people."""
    columns = {column.name: column for column in table.columns}
    for name, value in dict.fromkeys(_compared(trigger)):
        kind = _kind_of_column(columns[name]) if name in columns else None
        wanted = _kind_of_constant(value)
        if kind is not None and wanted is not None and kind != wanted:
            yield f"compares column {name} of {table.name}, which is {columns[name].type}, with {wanted}"


def _compared(trigger: ActiveTrigger) -> Iterator[tuple[str, Any]]:
    """Yield columns with one constant of each type that they are compared with."""
    config: RowConfig = trigger.config
    for values in (config.from_, config.to):
        for name, value in (values or {}).items():
            yield from ((name, _example(one)) for one in (value if isinstance(value, list) else [value]))
    if trigger.when is not None:
        try:
            node = compile_expression(trigger.when, ROOTS).node
        except ExpressionError:
            return  # said elsewhere, with its place
        yield from ((name, _example(value)) for name, value in _comparisons(node))


def _comparisons(node: Node) -> Iterator[tuple[str, Any]]:
    match node:
        case Call(function="@in", args=(item, ListNode(elements=elements))):
            pairs = [(item, element) for element in elements]
        case Call(function=function, args=(left, right)) if function in _COMPARES:
            pairs = [(left, right), (right, left)]
        case Call(args=args):
            for arg in args:
                yield from _comparisons(arg)
            return
        case _:
            return
    for item, literal in pairs:
        name = _column(item)
        if name is not None and isinstance(literal, Const):
            yield name, literal.value


def _column(node: Node) -> str | None:
    read = path_of(node, ROW_SCOPE)
    found = None if read is None else column_of(read.parts)
    return None if found is None else found[1]


def _example(value: Any) -> Any:
    """Return one value for all of its type: a list may hold thousands."""
    return type(value)() if isinstance(value, str | bool | int | float) else None


def _kind_of_constant(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true or false"
    return "a text" if isinstance(value, str) else "a number" if isinstance(value, int | float) else None


def _kind_of_column(column: Column) -> str | None:
    return "a text" if column.typtype == "e" else _KINDS.get(bare_type(column.type))
