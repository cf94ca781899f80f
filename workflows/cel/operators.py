"""The operators that do not evaluate all their operands, and the literals of lists and maps."""

from __future__ import annotations

from typing import Any

from hark.workflows.cel.access import present
from hark.workflows.cel.lookup import Frame, Run
from hark.workflows.cel.values import Maybe, map_key, mismatch
from hark.workflows.errors import ExpressionError


def logic(left: Run, right: Run, *, decisive: bool) -> Run:
    """Return `&&` (decisive is False) or `||` (True): a decisive side wins over an error on the other."""
    neutral = not decisive

    def run(frame: Frame) -> Any:
        try:
            value = left(frame)
        except ExpressionError:
            if right(frame) is decisive:
                return decisive
            raise
        if value is decisive:
            return decisive
        other = right(frame)
        if other is decisive:
            return decisive
        if value is neutral and other is neutral:
            return neutral
        raise mismatch("||" if decisive else "&&", value, other)

    return run


def negation(operand: Run) -> Run:
    """Return `!`."""

    def run(frame: Frame) -> bool:
        value = operand(frame)
        if value is True or value is False:
            return not value
        raise mismatch("!", value)

    return run


def conditional(condition: Run, then: Run, otherwise: Run) -> Run:
    """Return `condition ? then : otherwise`."""

    def run(frame: Frame) -> Any:
        value = condition(frame)
        if value is True:
            return then(frame)
        if value is False:
            return otherwise(frame)
        raise mismatch("?:", value)

    return run


def equals_literal(operand: Run, literal: str | None, *, negated: bool) -> Run:
    """Compare with text or null without a look at types: nothing of another type equals them."""
    if literal is None:
        return (lambda frame: operand(frame) is not None) if negated else (lambda frame: operand(frame) is None)
    if negated:
        return lambda frame: bool(operand(frame) != literal)
    return lambda frame: bool(operand(frame) == literal)


def must_be_optional(operand: Run) -> Run:
    """Let only optionals through."""

    def run(frame: Frame) -> Maybe:
        value = operand(frame)
        if type(value) is Maybe:
            return value
        raise mismatch("orValue", value)

    return run


def or_value(optional: Run, default: Run) -> Run:
    """Return `optional.orValue(default)`."""

    def run(frame: Frame) -> Any:
        value = optional(frame)
        return value.value if value.present else default(frame)

    return run


def or_optional(optional: Run, other: Run) -> Run:
    """Return `optional.or(other)`."""

    def run(frame: Frame) -> Any:
        value = optional(frame)
        return value if value.present else other(frame)

    return run


def list_literal(elements: list[Run], optional: frozenset[int]) -> Run:
    """Return `[a, ?b]`; `optional` holds the indices of those that are left out when absent."""
    if not optional:
        return lambda frame: [element(frame) for element in elements]

    def run(frame: Frame) -> list[Any]:
        items = []
        for index, element in enumerate(elements):
            value = element(frame)
            if index not in optional:
                items.append(value)
            elif present(value):
                items.append(value.value)
        return items

    return run


def map_literal(entries: list[tuple[Run, Run, bool]]) -> Run:
    """Return `{key: value, ?key: optional}`."""

    def run(frame: Frame) -> dict[str | int, Any]:
        built: dict[str | int, Any] = {}
        for key_run, value_run, optional in entries:
            key, value = map_key(key_run(frame)), value_run(frame)
            if key in built:
                raise ExpressionError("the map would have the same key twice")
            if not optional:
                built[key] = value
            elif present(value):
                built[key] = value.value
        return built

    return run
