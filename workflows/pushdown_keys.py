"""What a condition asks of columns by equality or order, so that thousands of conditions can be checked as few.

What it asks by equality are texts, of which all conditions together are one look into a set; by order it is a bound, of
which the widest stands for all. The contract is that of push-down: a row for which the condition holds has, in each of
the columns returned, one of its texts, and keeps to each of its bounds. It may hold for fewer rows than do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from hark.workflows.cel.tree import Call, Const, ListNode, Node
from hark.workflows.expressions import Expression
from hark.workflows.pushdown import Translator

MOST_BYTES = 200
"""Longer texts are no keys."""

Keys = dict[str, frozenset[str]]
Bounds = dict[tuple[str, bool], "Bound"]
"""By column, and whether it is bounded from below."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A comparison of a column with a constant, of the kind of all that are made of this column."""

    value: Decimal | str
    open: bool
    """The constant itself is outside."""
    sql: str


def widest(bounds: Iterable[Bound], *, below: bool) -> Bound:
    """Return the one that every row keeps to which keeps to any of them."""
    if below:
        return min(bounds, key=lambda one: (one.value, one.open))
    return max(bounds, key=lambda one: (one.value, not one.open))


def bounds_of(expression: Expression, columns: Mapping[str, str], *, operation: str) -> Bounds:
    """Return how the condition bounds columns by constants; `columns` and `operation` are those of `to_sql`."""
    translator = Translator.of(columns, operation)
    found: Bounds = {}
    for operand in _operands(expression.node):
        bound, sql = translator.bound_of(operand), translator.condition(operand, negated=False)
        if bound is not None and sql is not None:
            column, symbol, value = bound
            found[column, symbol.startswith(">")] = Bound(value, len(symbol) == 1, sql)
    return found


def keys_of(expression: Expression, columns: Mapping[str, str], *, operation: str) -> Keys:
    """Return the columns that the condition compares with constants, as SQL of type text, each with its texts.

    `columns` and `operation` are those of `to_sql`. A column that is compared several times has the texts of one of the
    comparisons.
    """
    translator = Translator.of(columns, operation)
    return {column: texts for operand in _operands(expression.node) for column, texts in _keys(translator, operand)}


def _operands(node: Node) -> Iterator[Node]:
    """Yield all that must hold together."""
    match node:
        case Call(function="_&&_", args=args):
            for arg in args:
                yield from _operands(arg)
        case _:
            yield node


def _keys(translator: Translator, node: Node) -> Iterator[tuple[str, frozenset[str]]]:
    match node:
        case Call(function="_==_", args=(Const() as literal, item) | (item, Const() as literal)):
            elements: tuple[Node, ...] = (literal,)
        case Call(function="@in", args=(item, ListNode(elements=elements, optional=optional))) if not optional:
            pass
        case _:
            return
    texts = [translator.text_of(item, element) for element in elements]
    column = translator.as_text(item)
    if column is not None and all(text is not None and len(text.encode()) <= MOST_BYTES for text in texts):
        yield column, frozenset(text for text in texts if text is not None)
