"""Values that remember where in the source they stood while a form is rewritten into another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hark.workflows.source import Path


@dataclass(frozen=True, slots=True)
class Traced:
    """A value and its path in the source.

    `value` is JSON-typed, or a dict or list whose members are Traced themselves, each with a path of its own.
    """

    value: Any
    path: Path = ()

    def fields(self) -> dict[str, Traced]:
        """Return the members of a mapping; nothing when it is none."""
        if not isinstance(self.value, Mapping):
            return {}
        return {key: self._member(key, value) for key, value in self.value.items()}

    def items(self) -> list[Traced]:
        """Return the members of a list; nothing when it is none."""
        if not isinstance(self.value, list):
            return []
        return [self._member(index, value) for index, value in enumerate(self.value)]

    def _member(self, part: str | int, value: Any) -> Traced:
        return value if isinstance(value, Traced) else Traced(value, (*self.path, part))

    def plain(self) -> Any:
        """Return the value without its traces."""
        if isinstance(self.value, Mapping):
            return {key: member.plain() for key, member in self.fields().items()}
        if isinstance(self.value, list):
            return [member.plain() for member in self.items()]
        return self.value

    def parsed(self) -> Traced:
        """Return what a string of JSON holds, when it holds a mapping or list; else the value as it is."""
        if isinstance(self.value, str) and self.value.lstrip()[:1] in {"{", "["}:
            try:
                return Traced(json.loads(self.value), self.path)
            except ValueError:
                return self
        return self

    def put(self, value: Any) -> Traced:
        """Return another value that stands at the same place."""
        return Traced(value, self.path)


class Origins:
    """Leads from paths of a rewritten definition to paths of its source."""

    def __init__(self) -> None:
        self._paths: dict[Path, Path] = {}

    def source(self, path: Path) -> Path:
        """Return where a path came from."""
        for length in range(len(path), -1, -1):
            origin = self._paths.get(path[:length])
            if origin is not None:
                return (*origin, *path[length:])
        return path

    def settle(self, node: Traced) -> Any:
        """Return the plain value of a rewritten definition, remembering where all of it came from."""
        self._paths[()] = node.path
        return self._settle(node, ())

    def _settle(self, node: Traced, at: Path) -> Any:
        if isinstance(node.value, Mapping):
            return {key: self._settle(member, place) for key, member, place in self._moved(node.fields(), at, node)}
        if isinstance(node.value, list):
            members = dict(enumerate(node.items()))
            return [self._settle(member, place) for _, member, place in self._moved(members, at, node)]
        return node.value

    def _moved(self, members: Mapping[Any, Traced], at: Path, node: Traced) -> Iterator[tuple[Any, Traced, Path]]:
        for part, member in members.items():
            place = (*at, part)
            if member.path != (*node.path, part):
                self._paths[place] = member.path
            yield part, member, place
