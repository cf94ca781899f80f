"""The budget of one evaluation: what keeps a hostile expression from holding up the process."""

from __future__ import annotations

from typing import Any

from hark.workflows.cel.lookup import Frame
from hark.workflows.errors import ExpressionError

MAX_STEPS = 50_000
"""How much work one evaluation may do: an iteration is one step, and so are 256 characters or elements looked at."""
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
    for value in values:
        if type(value) in SIZED and value:
            frame[BUDGET].spend(_weight(value, frame[BUDGET].left) >> 8)


def _weight(value: Any, limit: int) -> int:
    """Count the characters and elements in a value, down to where they exceed what `limit` steps pay for."""
    weight, stack = 0, [value]
    while stack and weight >> 8 <= limit:
        value = stack.pop()
        if isinstance(value, str | bytes):
            weight += len(value)
        elif isinstance(value, dict):
            weight += len(value)
            stack += value.values()
        elif isinstance(value, list | tuple):
            weight += len(value)
            stack += value
    return weight
