"""What a condition asks of columns by equality, as texts: thousands of such conditions are one look into a set.

The contract is that of push-down: a row for which the condition holds has, in each of the columns returned, one of its
texts. It may hold for fewer rows than have one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hark.workflows.cel.tree import Call, Const, ListNode, Node
from hark.workflows.expressions import Expression
from hark.workflows.pushdown import Translator

MOST_BYTES = 200
"""Longer texts are no keys."""

Keys = dict[str, frozenset[str]]


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
