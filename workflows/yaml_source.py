"""YAML 1.2 with places: the part of it that means the same as JSON.

Anchors, aliases, tags, merge keys, duplicate keys and keys that are no strings are refused: an alias can make a small
file huge, and the rest reads differently from one YAML reader to the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from hark.workflows.errors import DefinitionError, Problem
from hark.workflows.json_source import MAX_DEPTH, MAX_NODES, TOO_LARGE, duplicate
from hark.workflows.scalars import check_text, join_surrogates, number_problem, resolve
from hark.workflows.source import Document, Path, Span, Text
from hark.workflows.yaml_errors import explain

_LEADING_ZERO = re.compile(r"[-+]?0\d+")
_ALIAS_HINT = "write the value out where it is needed; `vars` and `set` hold what several steps share"


def read_yaml(source: Text) -> list[Document]:
    """Read all documents of a YAML text; empty ones are left out. Raises DefinitionError."""
    documents = list(_documents(source))
    if not documents:
        raise DefinitionError([source.problem("the text is empty", 0, "write a workflow, beginning with its id")])
    return documents


def _documents(source: Text) -> Iterator[Document]:
    builder = _Builder(source)
    events = _events(source)
    while not isinstance(event := next(events), StreamEndEvent):
        if isinstance(event, NodeEvent):
            value = builder.build(event, events)
            if value is not None:
                yield Document(value, source, builder.spans, (), tuple(builder.warnings))
        elif isinstance(event, DocumentEndEvent):
            if builder.problems:
                raise DefinitionError(builder.problems)
            builder = _Builder(source)


def _events(source: Text) -> Iterator[Event]:
    try:
        yield from YAML(typ="safe", pure=True).parse(source.text)
    except (MarkedYAMLError, ReaderError) as error:
        raise DefinitionError([explain(error, source)]) from error
    except (YAMLError, ValueError, OverflowError) as error:  # such as the escape "\UFFFFFFFF", which names no character
        raise DefinitionError([source.problem(f"not valid YAML: {error}", 0, "see docs/language.md")]) from error


class _Builder:
    """Builds the value of one document from its events; collects what is wrong but does not hinder going on."""

    def __init__(self, source: Text) -> None:
        self.source = source
        self.spans: dict[Path, Span] = {}
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self.nodes = 0

    def build(self, event: Event, events: Iterator[Event], path: Path = (), key: int | None = None) -> Any:
        """Build the node that begins with `event`, taking the rest of it from `events`."""
        start = event.start_mark.index
        self._admit(event, path, start)
        if isinstance(event, ScalarEvent):
            self.spans[path] = Span(start, event.end_mark.index, key, event.style == "|")
            return self._scalar(event, path)
        self.spans[path] = Span(start, start, key)
        if isinstance(event, MappingStartEvent):
            return self._mapping(events, path)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(events, path)
        return None

    def _admit(self, event: Event, path: Path, start: int) -> None:
        """Refuse what only a bomb would need, and note what this language leaves out of YAML."""
        self.nodes += 1
        if len(path) > MAX_DEPTH or self.nodes > MAX_NODES:
            raise DefinitionError([self.source.problem(TOO_LARGE, start, "divide the workflow and use `call`")])
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor:
            what = f"alias *{anchor}" if isinstance(event, AliasEvent) else f"anchor &{anchor}"
            self._note(f"the {what} is not accepted", start, _ALIAS_HINT, path)
        if tag:
            tag = str(tag).replace("tag:yaml.org,2002:", "!!")
            self._note(f"the tag {tag} is not accepted", start, "take it away; quotes make a string", path)

    def _note(self, message: str, at: int, hint: str, path: Path) -> None:
        if len(self.problems) < 100:
            self.problems.append(self.source.problem(message, at, hint, path))

    def _mapping(self, events: Iterator[Event], path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(events), MappingEndEvent):
            at = event.start_mark.index
            key = self._key(event, events, path, at)
            if key in found:
                self._duplicate(key, at, path)
            found[key] = self.build(next(events), events, (*path, key), at)
        return found

    def _duplicate(self, key: str, at: int, path: Path) -> None:
        if len(self.problems) < 100:
            self.problems.append(duplicate(self.source, key, at, self.spans[*path, key], path))

    def _key(self, event: Event, events: Iterator[Event], path: Path, at: int) -> str:
        if not isinstance(event, ScalarEvent):
            self.build(event, events, (*path, "?"))
            self._note("a key must be a string", at, "write `key: value`", path)
            return "?"
        self._admit(event, path, at)
        value = self._text(event, path) if event.style else resolve(event.value)
        if value == "<<" and not event.style:
            self._note("the merge key << is not accepted", at, _ALIAS_HINT, path)
        if not isinstance(value, str):
            name = event.value or "null"
            self._note(f"the key {name} is not a string", at, f'put it in quotes: "{name}"', path)
            return name
        return value

    def _sequence(self, events: Iterator[Event], path: Path) -> list[Any]:
        found: list[Any] = []
        while not isinstance(event := next(events), SequenceEndEvent):
            found.append(self.build(event, events, (*path, len(found))))
        return found

    def _scalar(self, event: ScalarEvent, path: Path) -> Any:
        if event.style:
            return self._text(event, path)
        value = resolve(event.value)
        if isinstance(value, str):
            return self._text(event, path)
        wrong = number_problem(value)
        if wrong:
            self._note(f"{event.value}: {wrong[0]}", event.start_mark.index, wrong[1], path)
        if _LEADING_ZERO.fullmatch(event.value):
            self.warnings.append(self._leading_zero(event, value, path))
        return value

    def _leading_zero(self, event: ScalarEvent, value: Any, path: Path) -> Problem:
        place = self.source.place(event.start_mark.index)
        hint = "put it in quotes to keep it as text"
        return Problem(f"{event.value} is read as the number {value}", path, hint, place, self.source.file, "warning")

    def _text(self, event: ScalarEvent, path: Path) -> str:
        value = join_surrogates(str(event.value))
        wrong = check_text(value)
        if wrong:
            self._note(wrong[0], event.start_mark.index, wrong[1], path)
        return value
