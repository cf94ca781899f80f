"""Expressions that differ in their texts alone, such as `event.data.customer == "c17"`, are checked once for all.

What stands between quotes has no part in the type check, which is most of the work of reading an expression. Each text
is replaced by another one of the same length, so that every position stays what it is, and put back into the tree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from operator import is_

from hark.workflows.cel.tree import Call, Comprehension, Const, ListNode, MapNode, Node, Select

_MARK = 0xE000
"""The first of the characters for private use: the n-th text is written with the n-th of them."""
_MOST = 1000
_MARKS = re.compile(r"[\ue000-\uf8ff]")
# Whatever is no plain text is left as it stands: raw, byte and long strings, such with escapes, comments.
_TEXT = re.compile(
    r"""(?:\b[rRbB]{1,2})?(?:'{3}.*?'{3}|"{3}.*?"{3})|\b[rRbB]{1,2}(?:'[^'\n]*'|"[^"\n]*")|//[^\n]*"""
    r"""|(?P<plain>"[^"\\\n]+"|'[^'\\\n]+')|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""",
    re.DOTALL,
)


def shape_of(source: str) -> tuple[str, Mapping[str, str]]:
    """Return an expression with its plain texts replaced, and what stood there; nothing when there are none."""
    if _MARKS.search(source):
        return source, {}
    texts: dict[str, str] = {}

    def mark(found: re.Match[str]) -> str:
        text = found["plain"]
        if text is None or len(texts) == _MOST:
            return found[0]
        stands = chr(_MARK + len(texts)) * (len(text) - 2)
        texts[stands] = text[1:-1]
        return f"{text[0]}{stands}{text[0]}"

    return _TEXT.sub(mark, source), texts


def put_back(node: Node, texts: Mapping[str, str]) -> Node:  # noqa: PLR0911 - one for each kind of node
    """Return a tree with the texts in their places; what holds none of them is the same in all trees of a shape."""
    match node:
        case Const(value=str(value)) if value in texts:
            return Const(texts[value], node.offset)
        case Select(operand=operand):
            filled = put_back(operand, texts)
            return node if filled is operand else replace(node, operand=filled)
        case Call(target=target, args=args):
            owner = None if target is None else put_back(target, texts)
            put = tuple([put_back(one, texts) for one in args])
            if owner is target and all(map(is_, put, args)):
                return node
            return Call(node.function, owner, put, node.offset)
        case ListNode(elements=elements):
            return replace(node, elements=tuple(put_back(one, texts) for one in elements))
        case MapNode(entries=entries):
            pairs = tuple((put_back(key, texts), put_back(value, texts), optional) for key, value, optional in entries)
            return replace(node, entries=pairs)
        case Comprehension():
            return replace(
                node,
                range=put_back(node.range, texts),
                initial=put_back(node.initial, texts),
                condition=put_back(node.condition, texts),
                step=put_back(node.step, texts),
                result=put_back(node.result, texts),
            )
        case _:
            return node
