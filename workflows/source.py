"""A document as it was read: its JSON-typed value, and where in the text each part of it stands."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hark.workflows.errors import Place, Problem

Path = tuple[str | int, ...]

_LINE_BREAK = re.compile(r"\r\n|\r|\n")


class Span(NamedTuple):
    """Offsets into the text: of the value, behind it, and of its key (None for list items and the whole)."""

    start: int
    end: int
    key: int | None = None
    literal: bool = False
    """The value is a YAML block string (`|`)."""


class Text:
    """A source text that knows its lines."""

    def __init__(self, text: str, file: str = "") -> None:
        self.text = text
        self.file = file
        self._starts: list[int] | None = None

    def place(self, offset: int) -> Place:
        """Return line and column, counted from 1, of an offset."""
        if self._starts is None:
            self._starts = [0, *(match.end() for match in _LINE_BREAK.finditer(self.text))]
        line = bisect_right(self._starts, offset)
        return Place(line, offset - self._starts[line - 1] + 1)

    def problem(self, message: str, offset: int, hint: str = "", path: Path = ()) -> Problem:
        """Make a problem that points at an offset."""
        return Problem(message, path, hint, self.place(offset), self.file)

    def inside(self, span: Span, value: str, offset: int) -> int:
        """Return where character `offset` of the string `value`, written at `span`, stands in the text.

        Where the string is not written as it reads (escapes, folded lines) that is its beginning.
        """
        written = self.text[span.start : span.end]
        if span.literal:
            return self._inside_block(span, value, offset)
        for quotes in (0, 1):
            if written[quotes : len(written) - quotes] == value:
                return span.start + quotes + offset
        return span.start

    def _inside_block(self, span: Span, value: str, offset: int) -> int:
        above = value[:offset]
        line = above.count("\n")
        breaks = list(_LINE_BREAK.finditer(self.text, span.start, span.end))
        if line >= len(breaks):
            return span.start
        start = breaks[line].end()
        wanted = value.split("\n")[line]
        found = self.text.find(wanted, start)
        return found + offset - (above.rfind("\n") + 1) if found >= 0 else span.start


@dataclass(frozen=True, slots=True)
class Document:
    """One definition of a source text.

    `value` is JSON-typed; `spans` leads from a path inside `value` to the text. A value that was not read from a text
    has an empty text and no spans.
    """

    value: Any
    text: Text = field(default_factory=lambda: Text(""))
    spans: Mapping[Path, Span] = field(default_factory=dict)
    root: Path = ()
    """Where `value` stands in the text's own value, when that is a list of definitions."""
    warnings: tuple[Problem, ...] = ()

    @property
    def file(self) -> str:
        """The name of the file, empty when there is none."""
        return self.text.file

    def place(self, path: Path, *, key: bool = False, offset: int | None = None) -> Place | None:
        """Return where `path` stands, or the nearest part around it that stands anywhere.

        `key` points at the key instead of the value; `offset` at a character inside a string.
        """
        span, exact = self._span(path)
        if span is None:
            return None
        if key and exact and span.key is not None:
            return self.text.place(span.key)
        if offset is not None and exact:
            value = value_at(self.value, path)
            if isinstance(value, str):
                return self.text.place(self.text.inside(span, value, offset))
        return self.text.place(span.start)

    def _span(self, path: Path) -> tuple[Span | None, bool]:
        for length in range(len(path), -1, -1):
            span = self.spans.get((*self.root, *path[:length]))
            if span is not None:
                return span, length == len(path)
        return None, False


def value_at(value: Any, path: Path) -> Any:
    """Return the value at a path; None when there is nothing."""
    for part in path:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value
