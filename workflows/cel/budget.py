"""The budget of one evaluation: what keeps a hostile expression from holding up the process."""

from __future__ import annotations

from typing import Any

from hark.workflows.cel.lookup import Frame
from hark.workflows.errors import ExpressionError

MAX_STEPS = 50_000
"""How much work one evaluation may do: an iteration is one step; so are 256 characters or 16 elements looked at."""
BUDGET = "@budget"


class Budget:
    """Counts the work of one evaluation down."""

    __slots__ = ("left",)

    def __init__(self) -> None:
        self.left = MAX_STEPS

    def spend(self, steps: int) -> None:
        """Take `steps` off. Raises ExpressionError when they are used up."""
        self.left -= steps
        if self.left < 0:
            raise ExpressionError(f"the expression takes too much work: more than {MAX_STEPS} steps")


SIZED = frozenset({str, bytes, list, dict})


def charge(frame: Frame, *values: Any) -> None:
    """Pay for looking at large values. The containers in a container count too: comparing goes all the way down."""
    budget = frame[BUDGET]
    for value in values:
        if type(value) in SIZED and value:
            budget.spend(_steps(value, budget.left))


def charge_search(frame: Frame, item: Any, container: Any) -> None:
    """Pay for `item in container`: nothing for a map, little for text, which is found quickly."""
    if type(container) is list:
        budget = frame[BUDGET]
        budget.spend(len(container) >> 8 if type(item) is str else _steps(container, budget.left))


def _steps(value: Any, limit: int) -> int:
    """Count the characters and elements in a value in steps, down to where they exceed `limit`."""
    characters = elements = 0
    stack = [value]
    while stack and (characters >> 8) + (elements >> 4) <= limit:
        value = stack.pop()
        if isinstance(value, str | bytes):
            characters += len(value)
        elif isinstance(value, dict):
            elements += len(value)
            stack += value.values()
        elif isinstance(value, list | tuple):
            elements += len(value)
            stack += value
    return (characters >> 8) + (elements >> 4)
