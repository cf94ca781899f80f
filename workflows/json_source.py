"""JSON with places: exactly RFC 8259, and duplicate keys are refused."""

from __future__ import annotations

import re
from json import JSONDecodeError, JSONDecoder
from typing import Any, NoReturn

from hark.workflows.errors import DefinitionError, Problem
from hark.workflows.scalars import check_text, number_problem
from hark.workflows.source import Document, Path, Span, Text

MAX_DEPTH = 64
MAX_NODES = 100_000
TOO_LARGE = f"more than {MAX_DEPTH} levels or {MAX_NODES:,} values"

_STRINGS = JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_WORD = re.compile(r"[A-Za-z_'][\w']*")
_WORDS = {"true": True, "false": False, "null": None}
_HINTS = {
    "Invalid control character at": "write line breaks inside a string as \\n",
    "Unterminated string starting at": 'close the string with "',
}


def read_json(source: Text) -> list[Document]:
    """Read the one value of a JSON text. Raises DefinitionError."""
    return [_Reader(source).read()]


class _Reader:
    """One pass over one text; syntax errors end it, duplicate keys and bad values are collected."""

    def __init__(self, source: Text) -> None:
        self.source = source
        self.text = source.text
        self.spans: dict[Path, Span] = {}
        self.problems: list[Problem] = []
        self.nodes = 0

    def read(self) -> Document:
        start = self._skip(0)
        if start == len(self.text):
            self._fail("the text is empty", 0, "write a workflow, beginning with its id")
        value, end = self._value(start, ())
        self.spans[()] = Span(start, end)
        end = self._skip(end)
        if end < len(self.text):
            self._fail("there is more after the end of the JSON value", end, "a JSON file holds one value")
        if self.problems:
            raise DefinitionError(self.problems)
        return Document(value, self.source, self.spans)

    def _skip(self, at: int) -> int:
        match = _SPACE.match(self.text, at)
        return match.end() if match else at

    def _fail(self, message: str, at: int, hint: str) -> NoReturn:
        raise DefinitionError([*self.problems, self.source.problem(message, at, hint)])

    def _value(self, at: int, path: Path) -> tuple[Any, int]:
        self.nodes += 1
        if len(path) > MAX_DEPTH or self.nodes > MAX_NODES:
            self._fail(
                f"more than {MAX_DEPTH} levels or {MAX_NODES:,} values", at, "divide the workflow and use `call`"
            )
        first = self.text[at : at + 1]
        if first == "{":
            return self._object(at, path)
        if first == "[":
            return self._array(at, path)
        if first == '"':
            return self._string(at, path)
        return self._scalar(at, path)

    def _string(self, at: int, path: Path) -> tuple[str, int]:
        try:
            value, end = _STRINGS.raw_decode(self.text, at)
        except JSONDecodeError as error:
            self._fail(error.msg.removesuffix(" at"), error.pos, _HINTS.get(error.msg, "see RFC 8259 for JSON strings"))
        wrong = check_text(value)
        if wrong:
            self.problems.append(self.source.problem(wrong[0], at, wrong[1], path))
        return value, end

    def _scalar(self, at: int, path: Path) -> tuple[Any, int]:
        number = _NUMBER.match(self.text, at)
        if number:
            value = float(number[0]) if number[1] or number[2] else int(number[0][:400])
            wrong = number_problem(value)
            if wrong:
                self.problems.append(self.source.problem(wrong[0], at, wrong[1], path))
            return value, number.end()
        word = _WORD.match(self.text, at)
        if word and word[0] in _WORDS:
            return _WORDS[word[0]], word.end()
        found = repr(word[0] if word else self.text[at]) if at < len(self.text) else "the end of the text"
        return self._fail(f"expected a JSON value, found {found}", at, _expected(found))

    def _object(self, at: int, path: Path) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        at = self._skip(at + 1)
        while self.text[at : at + 1] != "}":
            if self.text[at : at + 1] != '"':
                self._fail('expected a key in double quotes or "}"', at, "JSON has no trailing commas and no comments")
            key, colon = self._string(at, path)
            colon = self._skip(colon)
            if self.text[colon : colon + 1] != ":":
                self._fail(f'expected ":" after the key "{key}"', colon, 'write "key": value')
            start = self._skip(colon + 1)
            if key in found:
                self.problems.append(duplicate(self.source, key, at, self.spans[*path, key], path))
            found[key], end = self._value(start, (*path, key))
            self.spans[*path, key] = Span(start, end, at)
            at = self._next(end, "}")
        return found, at + 1

    def _array(self, at: int, path: Path) -> tuple[list[Any], int]:
        found: list[Any] = []
        at = self._skip(at + 1)
        while self.text[at : at + 1] != "]":
            item = (*path, len(found))
            value, end = self._value(at, item)
            found.append(value)
            self.spans[item] = Span(at, end)
            at = self._next(end, "]")
        return found, at + 1

    def _next(self, at: int, closing: str) -> int:
        """Return where the next member, or the closing bracket, stands."""
        at = self._skip(at)
        mark = self.text[at : at + 1]
        if mark == closing:
            return at
        if mark != ",":
            self._fail(f'expected "," or "{closing}"', at, "divide members by commas, and close what was opened")
        after = self._skip(at + 1)
        if self.text[after : after + 1] == closing:
            self._fail("a comma before the closing bracket", at, "take the last comma away")
        return after


def duplicate(source: Text, key: str, at: int, first: Span, path: Path) -> Problem:
    """Make the problem of a key that stands twice in one mapping."""
    line = source.place(first.start if first.key is None else first.key).line
    hint = f"it stands on line {line} already; keep one of the two"
    return source.problem(f"duplicate key `{key}`", at, hint, (*path, key))


def _expected(found: str) -> str:
    if found.strip("'\"") in {"None", "True", "False", "NaN", "Infinity", "undefined"}:
        return "JSON has true, false, null, numbers, strings, arrays and objects"
    return "strings stand in double quotes"
