"""`string.format(list)` of the `strings` extension: `%s %d %f %e %b %o %x %X` and a precision."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from hark.workflows.cel.numbers import to_double
from hark.workflows.cel.registry import FUNCTIONS, overload
from hark.workflows.cel.text import bounded
from hark.workflows.cel.values import NUMBERS, finalise, mismatch, normalise
from hark.workflows.errors import ExpressionError

_CLAUSE = re.compile(r"%(?:(%)|(?:\.(\d{1,18}))?([sdfebxXo])|)", re.ASCII)
_MAX_PRECISION = 1000


@overload("format", str, list)
def _format(pattern: str, arguments: list[Any]) -> str:
    values = iter(arguments)
    pieces: list[str] = []
    end = length = 0
    for clause in _CLAUSE.finditer(pattern):
        pieces += (pattern[end : clause.start()], _clause(clause, values))
        end = clause.end()
        length += len(pieces[-1]) + len(pieces[-2])
        bounded(length)
    return "".join([*pieces, pattern[end:]])


def _clause(clause: re.Match[str], values: Iterator[Any]) -> str:
    literal, precision, letter = clause.groups()
    if literal:
        return "%"
    if not letter:
        raise ExpressionError("format: unknown clause", hint="known are %s %d %f %e %b %o %x %X and %%")
    digits = 6 if precision is None else int(precision)
    if digits > _MAX_PRECISION:
        raise ExpressionError(f"format: more than {_MAX_PRECISION} digits")
    try:
        return _LETTERS[letter](normalise(next(values)), digits)
    except StopIteration:
        raise ExpressionError("format: more clauses than values") from None


def _text(value: Any, _digits: int) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_text(normalise(item), 0) for item in finalise(value)) + "]"
    if isinstance(value, dict):
        entries = sorted((key, _text(normalise(item), 0)) for key, item in finalise(value).items())
        return "{" + ", ".join(f"{key}: {item}" for key, item in entries) + "}"
    if value is None:
        return "null"
    convert = FUNCTIONS["string"].get((type(value),))
    return str(convert(value)) if convert else str(finalise(value))


def _decimal(value: Any, _digits: int) -> str:
    if type(value) not in NUMBERS:
        raise mismatch("format %d", value)
    return f"{value:f}" if isinstance(value, float) else _text(value, 0)


def _floating(letter: str) -> Callable[[Any, int], str]:
    def write(value: Any, digits: int) -> str:
        if type(value) not in NUMBERS:
            raise mismatch(f"format %{letter}", value)
        return f"{to_double(value):.{digits}{letter}}"

    return write


def _radix(letter: str) -> Callable[[Any, int], str]:
    def write(value: Any, _digits: int) -> str:
        if isinstance(value, int):
            return f"{value:{letter}}"
        if letter not in "xX" or not isinstance(value, str | bytes):
            raise mismatch(f"format %{letter}", value)
        text = (value.encode(errors="replace") if isinstance(value, str) else value).hex()
        return text if letter == "x" else text.upper()

    return write


_LETTERS: dict[str, Callable[[Any, int], str]] = {
    "s": _text,
    "d": _decimal,
    "f": _floating("f"),
    "e": _floating("e"),
    **{letter: _radix(letter) for letter in "bxXo"},
}
