"""Single values of a source text: YAML's core schema, and what no store or expression could hold."""

from __future__ import annotations

import math
import re
from typing import Any

Wrong = tuple[str, str]
"""What is wrong with a value, and what would be right."""

_INT = re.compile(r"[-+]?\d+")
_BASED = re.compile(r"0o([0-7]+)|0x([0-9a-fA-F]+)")
_FLOAT = re.compile(r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_FIRST_OF_OTHERS = frozenset("0123456789+-.~ntfNTF")
_SURROGATE = re.compile("[\ud800-\udfff]")


def resolve(text: str) -> Any:
    """Return what a plain scalar means in the core schema of YAML 1.2: `yes`, `on` and dates are strings.

    Infinity and not-a-number are returned as such, for `number_problem` to refuse.
    """
    if text and text[0] not in _FIRST_OF_OTHERS:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text[:400])
    based = _BASED.fullmatch(text)
    if based:
        return int(based[1] or based[2], 8 if based[1] else 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float(text.replace(".", "", 1)) if _SPECIAL.fullmatch(text) else text


def number_problem(value: Any) -> Wrong | None:
    """Say why a number cannot be kept exactly: whole numbers have 64 bits, and JSON has no infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        return "not a finite number", "write a finite number, or put it in quotes to keep it as text"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "a whole number of more than 64 bits", "put it in quotes to keep it as text"
    return None


def check_text(value: str) -> Wrong | None:
    """Say why a string cannot be kept: PostgreSQL holds no NUL, and half a surrogate pair is no character."""
    if "\0" in value:
        return "the character U+0000 cannot be stored", "take it out, or encode the text as base64"
    if _SURROGATE.search(value):
        return "half of a surrogate pair is no character", "write the character itself, or both halves"
    return None


def join_surrogates(value: str) -> str:
    """Join pairs that were written as two escapes, as JSON does; halves stay for `check_text` to refuse."""
    if not _SURROGATE.search(value):
        return value
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
