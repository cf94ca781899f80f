"""Webhook paths: `leads/{id}` as a template, and the table that finds the template of a concrete path."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote

from hark.workflows.ids import TenantId

_SEGMENT = re.compile(r"[^/{}?#%\\\s\x00-\x1f\x7f]+")
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,99})\}")
_MOST_SEGMENTS = 20
_LONGEST = 500

HookT = TypeVar("HookT")


def normalise_path(text: str) -> str:
    """Return a path template without slashes around it. Raises ValueError that says what would be right."""
    path = text.strip().strip("/")
    segments = path.split("/")
    if not path or len(path) > _LONGEST or len(segments) > _MOST_SEGMENTS:
        raise ValueError(f"a path has 1 to {_MOST_SEGMENTS} segments and at most {_LONGEST} characters: leads/{{id}}")
    for segment in segments:
        _check_segment(segment)
    names = parameters(path)
    if len(set(names)) < len(names):
        raise ValueError("a path names each parameter once")
    return path


def parameters(template: str) -> tuple[str, ...]:
    """Return the names of a template's parameters in order."""
    return tuple(match[1] for match in map(_PARAMETER.fullmatch, template.split("/")) if match)


def shape(template: str) -> str:
    """Return a template without its parameters' names: those of one shape take the same paths."""
    return "/".join("{}" if _PARAMETER.fullmatch(segment) else segment for segment in template.split("/"))


@dataclass(slots=True)
class _Node(Generic[HookT]):
    literals: dict[str, _Node[HookT]] = field(default_factory=dict)
    parameter: _Node[HookT] | None = None
    hook: tuple[str, HookT] | None = None


class PathTable(Generic[HookT]):
    """Finds what is filed under the template of a path, per tenant; a literal segment goes before a parameter."""

    def __init__(self, hooks: Iterable[tuple[TenantId, str, HookT]] = ()) -> None:
        self._roots: dict[TenantId, _Node[HookT]] = {}
        for tenant_id, template, hook in hooks:
            self._add(self._roots.setdefault(tenant_id, _Node()), template, hook)

    def find(self, tenant_id: TenantId, raw_path: str) -> tuple[HookT, dict[str, str]] | None:
        """Return what is filed for a path, still percent-encoded, and its parameters, decoded.

        The path is split before it is decoded, so that an encoded slash is part of a parameter.
        """
        root = self._roots.get(tenant_id)
        segments = [unquote(segment) for segment in raw_path.strip("/").split("/")]
        if root is None or len(segments) > _MOST_SEGMENTS:
            return None
        values: list[str] = []
        found = _descend(root, segments, 0, values)
        return (found[1], dict(zip(parameters(found[0]), values, strict=True))) if found else None

    @staticmethod
    def _add(node: _Node[HookT], template: str, hook: HookT) -> None:
        for segment in template.split("/"):
            if _PARAMETER.fullmatch(segment):
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literals.setdefault(segment, _Node())
        node.hook = template, hook


def _descend(node: _Node[HookT], segments: list[str], index: int, values: list[str]) -> tuple[str, HookT] | None:
    """Look for the hook of `segments[index:]` under a node; leaves the parameters' values in `values`."""
    if index == len(segments):
        return node.hook
    child = node.literals.get(segments[index])
    if child is not None and (found := _descend(child, segments, index + 1, values)):
        return found
    if node.parameter is not None and segments[index]:
        values.append(segments[index])
        if found := _descend(node.parameter, segments, index + 1, values):
            return found
        values.pop()
    return None


def _check_segment(segment: str) -> None:
    if segment in ("", ".", ".."):
        raise ValueError("a path has no empty segment and no . or ..")
    if not _SEGMENT.fullmatch(segment) and not _PARAMETER.fullmatch(segment):
        raise ValueError(f"{segment!r} is no segment of a path: write plain text, or a parameter such as {{id}}")
