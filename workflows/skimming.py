"""Skimming conditions: what their equalities compare, read without the CEL library, which takes twenty times as long.

It splits a condition into tokens and follows `&&`, `||`, `!` and parentheses; every other operand counts as a whole and
says nothing. Whatever it does say, the library says too, for a condition that can be compiled: a test holds it to that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]
Literal: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Equality:
    """For a condition to hold, one of these values has to stand at this path."""

    path: Path
    values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Skimmed:
    """The operands of the top-level `&&` that are equalities; `sure` when a thorough reader would find no more."""

    equalities: tuple[Equality, ...]
    sure: bool


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<path>(?:event|new|old)(?:\.[A-Za-z_][A-Za-z0-9_]*|\["[^"\\\x00-\x1f\x7f]*"\]|\[[0-9]{1,9}\])+)(?![\w.(\[])
    | (?P<text>"[^"\\\x00-\x1f\x7f]*"(?!")|'[^'\\\x00-\x1f\x7f]*'(?!'))
    | (?P<number>(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,17})?)(?![\w.])
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*(?!["'\w]))
    | (?P<sign>&&|\|\||[=!<>]=|\.\?|\[\?|[-+*/%<>!?:.,()\[\]{}](?!/))
    )""",
    re.ASCII | re.VERBOSE,
)
# What CEL has besides is no token: escapes, raw, long and byte strings, other numbers, comments.
_WORDS = {"true": True, "false": False, "null": None}
_OPEN, _CLOSE = frozenset({"(", "[", "{", "[?"}), frozenset({")", "]", "}"})
_PART = re.compile(r'\.(\w+)|\["([^"]*)"\]|\[(\d+)\]', re.ASCII)

_Token: TypeAlias = tuple[str, str]
_Operand: TypeAlias = "Equality | None"


def skim(source: str) -> Skimmed:
    """Return the equalities that must hold for a condition to hold, as far as they are plainly written."""
    tokens = _tokens(source)
    if tokens is None:
        return Skimmed((), sure=False)
    operands = _level(tokens)
    return Skimmed(tuple(one for one in operands if one is not None), sure=True)


def _tokens(source: str) -> list[_Token] | None:
    """Split a condition; None when there is something in it that has to be read by the rules of CEL."""
    found: list[_Token] = []
    position, end = 0, len(source.rstrip())
    while position < end:
        token = _TOKEN.match(source, position)
        if token is None or token.lastgroup is None:
            return None
        found.append((token.lastgroup, token[token.lastgroup]))
        position = token.end()
    return found


def _level(tokens: list[_Token]) -> list[_Operand]:
    """Read what stands between a pair of parentheses: the operands of its `&&`, None for those that say nothing."""
    choices: list[list[_Operand]] = [[]]
    for term, joint in _terms(tokens):
        choices[-1] += _operands(term)
        if joint == "?":
            return [None]
        if joint == "||":
            choices.append([])
    return choices[0] if len(choices) == 1 else [_either(choices)]


def _terms(tokens: list[_Token]) -> Iterator[tuple[list[_Token], str]]:
    """Cut tokens at the `&&`, `||` and `?` that are not in brackets; each part with what follows it."""
    term: list[_Token] = []
    depth = 0
    for kind, text in tokens:
        if kind == "sign":
            depth += (text in _OPEN) - (text in _CLOSE)
            if depth == 0 and text in {"&&", "||", "?"}:
                yield term, text
                term = []
                continue
        term.append((kind, text))
    yield term, ""


def _operands(term: list[_Token]) -> list[_Operand]:
    if term and term[0] == ("sign", "(") and _closes_at_the_end(term):
        return _level(term[1:-1])
    return [_equality(term)]


def _closes_at_the_end(term: list[_Token]) -> bool:
    depth = 0
    for place, (kind, text) in enumerate(term):
        depth += kind == "sign" and (text in _OPEN) - (text in _CLOSE)
        if depth == 0:
            return place == len(term) - 1
    return False


def _either(choices: list[list[_Operand]]) -> _Operand:
    """One of several: an equality when all are about the same path."""
    singles = [choice[0] for choice in choices if len(choice) == 1 and choice[0] is not None]
    if len(singles) < len(choices) or len({one.path for one in singles}) > 1:
        return None
    return Equality(singles[0].path, tuple(value for one in singles for value in one.values))


def _equality(term: list[_Token]) -> _Operand:
    """Read `path`, `!path`, `path == literal`, `literal == path` and `path in [literal, …]`."""
    match term:
        case [("path", path)]:
            return Equality(_path(path), (True,))
        case [("sign", "!"), ("path", path)]:
            return Equality(_path(path), (False,))
        case [("path", path), ("sign", "=="), *rest] | [*rest, ("sign", "=="), ("path", path)]:
            values = _literals(rest)
            return Equality(_path(path), values) if values is not None and len(values) == 1 else None
        case [("path", path), ("word", "in"), ("sign", "["), *inner, ("sign", "]")]:
            values = _literals(inner)
            return Equality(_path(path), values) if values is not None else None
        case _:
            return None


def _literals(tokens: list[_Token]) -> tuple[Literal, ...] | None:
    """Read literals with commas between them; None when something else is among them."""
    values: list[Literal] = []
    rest = tokens
    while rest:
        match rest:
            case [("sign", "-"), ("number", text), *rest]:
                values.append(-_number(text))
            case [("number", text), *rest]:
                values.append(_number(text))
            case [("text", text), *rest]:
                values.append(text[1:-1])
            case [("word", ("true" | "false" | "null") as word), *rest]:
                values.append(_WORDS[word])
            case _:
                return None
        if rest and rest.pop(0) != ("sign", ","):
            return None
    return tuple(values)


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _path(text: str) -> Path:
    root = text[:3]  # event, new or old
    root = "event" if root == "eve" else root
    parts = (int(index) if index else name or key for name, key, index in _PART.findall(text))
    return (root, *parts)
