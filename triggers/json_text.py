"""JSON from outside, checked to be what PostgreSQL's jsonb and the expressions can hold."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from hark.workflows.errors import dotted_path

DEEPEST = 200
"""Levels of nesting. orjson writes 254; the difference is for what the value is wrapped in later."""
_WRAPPING = 54
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_SMALLEST, _GREATEST = -(2**63), 2**63 - 1

Path = tuple[str | int, ...]


def read_json(raw: bytes) -> Any:
    """Read one JSON document in UTF-8; of a repeated key the last value counts, as in jsonb.

    Raises ValueError that says what cannot be stored and where: bad syntax, U+0000, lone surrogates, integers beyond 64
    bits, numbers beyond double precision, deep nesting.
    """
    raw = raw.removeprefix(b"\xef\xbb\xbf")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"{error.msg} (line {error.lineno}, column {error.colno})") from None
    if raw.count(b"[") + raw.count(b"{") > DEEPEST and _is_too_deep(value):
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    if b"\\u0000" in raw:
        refuse_nul(value)
    if _LONG_NUMBER.search(raw):
        _refuse_long_integers(raw)
    return value


def refuse_nul(value: Any) -> None:
    """Raise ValueError that says where a string or key holds U+0000."""
    for path, part in _parts(value):
        if isinstance(part, str) and "\0" in part:
            raise ValueError(f"{_where(path)} holds the character U+0000, which cannot be stored")


def _is_too_deep(value: Any) -> bool:
    """Let orjson find out, at its speed."""
    for _ in range(_WRAPPING):
        value = [value]
    try:
        orjson.dumps(value)
    except orjson.JSONEncodeError:
        return True
    return False


def _refuse_long_integers(raw: bytes) -> None:
    """Read once more with Python's own reader, which keeps integers whole where orjson makes them floats."""
    for path, part in _parts(json.loads(raw)):
        if type(part) is int and not _SMALLEST <= part <= _GREATEST:
            raise ValueError(f"{_where(path)} is an integer beyond 64 bits; send it as a string")


def _parts(value: Any) -> Iterator[tuple[Path, Any]]:
    """Yield every scalar and every key, with the path that leads to it."""
    stack: list[tuple[Path, Any]] = [((), value)]
    while stack:
        path, part = stack.pop()
        if isinstance(part, dict):
            yield from ((path, key) for key in part)
            stack.extend(((*path, key), child) for key, child in reversed(part.items()))
        elif isinstance(part, list):
            stack.extend(((*path, index), child) for index, child in reversed(list(enumerate(part))))
        else:
            yield path, part


def _where(path: Path) -> str:
    return dotted_path(path).replace("\0", "\\u0000")[:200] or "it"
