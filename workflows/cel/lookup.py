"""Reading paths out of a scope: the innermost work of every expression, so each shape has its own closure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from hark.workflows.cel.paths import Parts, dotted
from hark.workflows.cel.values import normalise, spoken_type
from hark.workflows.counting import counted
from hark.workflows.errors import ExpressionError, MissingFieldError

Frame: TypeAlias = Mapping[str, Any]
Run: TypeAlias = Callable[[Frame], Any]

MISSING = object()
_READY = frozenset({str, int, float, bool, type(None), list, dict})


def step(container: Any, part: str | int) -> Any:
    """Return what `container` holds under a key or at an index, or MISSING."""
    if isinstance(part, str):
        if type(container) is dict or isinstance(container, Mapping):
            return container.get(part, MISSING)
    elif type(container) is list or isinstance(container, tuple):
        return container[part] if 0 <= part < len(container) else MISSING
    elif type(container) is dict:
        return container.get(part, MISSING)
    return MISSING


def find(frame: Frame, parts: tuple[str | int, ...]) -> Any:
    """Return what stands at a path, or MISSING. Never raises."""
    value: Any = frame
    for part in parts:
        value = step(value, part)
        if value is MISSING:
            return MISSING
    return normalise(value)


def reader(parts: tuple[str | int, ...]) -> Run:
    """Return a closure that reads a path, and raises MissingFieldError when it is not there."""
    if any(isinstance(part, int) for part in parts) or len(parts) not in _READERS:
        return _any_reader(parts)
    return _READERS[len(parts)](parts)


def _any_reader(parts: tuple[str | int, ...]) -> Run:
    def read(frame: Frame) -> Any:
        value = find(frame, parts)
        if value is MISSING:
            raise missing(frame, parts)
        return value

    return read


# Below, indexing something that is no mapping raises TypeError, also for text, as the parts are strings.


def _reader1(parts: tuple[Any, ...]) -> Run:
    (a,) = parts

    def read(frame: Frame) -> Any:
        try:
            value = frame[a]
        except KeyError:
            raise missing(frame, parts) from None
        return value if type(value) in _READY else normalise(value)

    return read


def _reader2(parts: tuple[Any, ...]) -> Run:
    a, b = parts

    def read(frame: Frame) -> Any:
        try:
            value = frame[a][b]
        except (KeyError, TypeError):
            raise missing(frame, parts) from None
        return value if type(value) in _READY else normalise(value)

    return read


def _reader3(parts: tuple[Any, ...]) -> Run:
    a, b, c = parts

    def read(frame: Frame) -> Any:
        try:
            value = frame[a][b][c]
        except (KeyError, TypeError):
            raise missing(frame, parts) from None
        return value if type(value) in _READY else normalise(value)

    return read


def _reader4(parts: tuple[Any, ...]) -> Run:
    a, b, c, d = parts

    def read(frame: Frame) -> Any:
        try:
            value = frame[a][b][c][d]
        except (KeyError, TypeError):
            raise missing(frame, parts) from None
        return value if type(value) in _READY else normalise(value)

    return read


_READERS: dict[int, Callable[[tuple[Any, ...]], Run]] = {1: _reader1, 2: _reader2, 3: _reader3, 4: _reader4}


def missing(frame: Frame, parts: tuple[str | int, ...]) -> MissingFieldError:
    """Build the error for a path that is not there; it names the first part that is missing, and why."""
    value: Any = frame
    for index, part in enumerate(parts):
        inner = step(value, part)
        if inner is MISSING:
            return _missing_part(parts[: index + 1], value if index else None)
        value = inner
    return _missing_part(parts, None)


def _missing_part(parts: Parts, holder: Any) -> MissingFieldError:
    path = dotted(parts)
    message = f"{path} is missing"
    if len(parts) > 1:
        kind = holder_kind(holder)
        if isinstance(holder, list | tuple) and isinstance(parts[-1], int):
            message += f": the list has {counted(len(holder), 'element')}"
        elif kind != "map":
            message += f": {dotted(parts[:-1])} is a {kind}" if kind != "null" else f": {dotted(parts[:-1])} is null"
    return MissingFieldError(message, path=path)


def holder_kind(holder: Any) -> str:
    """Name the type of a value of the scope, whatever it is."""
    try:
        return spoken_type(normalise(holder))
    except ExpressionError:
        return type(holder).__name__
