"""The table of functions: by name, then by the classes of the arguments, the receiver first.

An implementation takes and returns normalised values (see `values`) and raises ExpressionError. Its messages never
hold the values themselves: those may be secrets.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Implementation = Callable[..., Any]
Overloads = dict[tuple[type, ...] | int, Implementation]
"""Implementations by the classes of the arguments, or by their number alone when any class will do."""

FUNCTIONS: dict[str, Overloads] = {}

_F = TypeVar("_F", bound=Implementation)


def overload(name: str, *types: type) -> Callable[[_F], _F]:
    """Register an implementation of `name` for arguments of exactly these classes."""

    def register(implementation: _F) -> _F:
        FUNCTIONS.setdefault(name, {})[types] = implementation
        return implementation

    return register


def overload_any(name: str, count: int) -> Callable[[_F], _F]:
    """Register an implementation of `name` for `count` arguments of any class."""

    def register(implementation: _F) -> _F:
        FUNCTIONS.setdefault(name, {})[count] = implementation
        return implementation

    return register
