"""Reading fields and elements of computed values, plainly, with `has()` and as optionals."""

from __future__ import annotations

from typing import Any

from hark.workflows.cel.lookup import MISSING, Frame, Run, find, step
from hark.workflows.cel.paths import dotted, path_of
from hark.workflows.cel.tree import Node
from hark.workflows.cel.values import ABSENT, NUMBERS, Maybe, map_key, mismatch, normalise, spoken_type
from hark.workflows.errors import ExpressionError, MissingFieldError


def optional_reader(parts: tuple[str | int, ...]) -> Run:
    """Return a closure that reads a path as an optional."""

    def read(frame: Frame) -> Maybe:
        value = find(frame, parts)
        return ABSENT if value is MISSING else Maybe(value, present=True)

    return read


def path_name(node: Node) -> str:
    """Name an operand for messages: its path as far as it is one, with the variables of macros as they are called."""
    read = path_of(node, _ANY_NAME)
    return dotted(read.parts) if read is not None else ""


class _AnyName:
    def __contains__(self, _name: object) -> bool:
        return True


_ANY_NAME = _AnyName()


def _missing_under(holder: str, part: str | int | None) -> MissingFieldError:
    path = f"{holder}[…]" if part is None else holder + dotted(("_", part))[1:]
    return MissingFieldError(f"{path} is missing", path=path)


def field(operand: Run, field: str, holder: str) -> Run:
    """Return `operand.field`; `holder` names the operand in messages. A field of an optional is an optional."""

    def run(frame: Frame) -> Any:
        value = operand(frame)
        if type(value) is Maybe:
            return _within(value, field)
        found = step(value, field)
        if found is MISSING:
            raise _missing_under(holder, field)
        return normalise(found)

    return run


def _within(optional: Maybe, part: str | int) -> Maybe:
    found = step(optional.value, part) if optional.present else MISSING
    return ABSENT if found is MISSING else Maybe(normalise(found), present=True)


def has(operand: Run, field: str) -> Run:
    """Return `has(operand.field)`, false also when the operand itself is missing."""

    def run(frame: Frame) -> bool:
        try:
            value = operand(frame)
        except MissingFieldError:
            return False
        if type(value) is Maybe:
            return bool(_within(value, field).present)
        return step(value, field) is not MISSING

    return run


def at(operand: Run, index: Run, holder: str, *, optional: bool) -> Run:
    """Index a list or map by a value; a part that is missing is named only when it is a number: keys may be secret."""

    def run(frame: Frame) -> Any:
        value, part = operand(frame), index(frame)
        kind = type(value)
        if kind is Maybe:
            return _within(value, map_key(part))
        if kind not in _INDEXABLE or (kind is list and type(part) not in NUMBERS):
            if optional:
                return ABSENT
            raise mismatch("[…]", value, part)
        found = step(value, map_key(part))
        if optional:
            return ABSENT if found is MISSING else Maybe(normalise(found), present=True)
        if found is MISSING:
            raise _missing_under(holder, part if isinstance(part, int) else None)
        return normalise(found)

    return run


_INDEXABLE = frozenset({list, dict})


def present(value: Any) -> bool:
    """Tell whether the optional of a literal, `[?a]` or `{?k: a}`, has a value."""
    if type(value) is not Maybe:
        raise ExpressionError(f"what is written with ? must be an optional, not {spoken_type(value)}")
    return bool(value.present)
