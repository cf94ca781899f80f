"""State tables: the statuses of executions and of step executions, and which of them may follow which.

No status follows itself here; writing one again is no change. What has ended stays as it is, which is what makes a
recorded step never run again: every statement that changes a status names the ones that it may change in its WHERE.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

ExecutionStatus = Literal["pending", "running", "waiting", "completed", "failed", "cancelled", "timeout", "skipped"]
StepStatus = Literal["pending", "running", "waiting", "retrying", "completed", "failed", "skipped", "cancelled"]

_NONE: frozenset[str] = frozenset()

EXECUTION: Final[Mapping[str, frozenset[str]]] = {
    # Claimed; or ended before it began: cancelled, superseded by a later start, out of time.
    "pending": frozenset({"running", "cancelled", "skipped", "timeout"}),
    # Ended by its own steps or from outside; or given back: waiting for something, or for another instance.
    "running": frozenset({"pending", "waiting", "completed", "failed", "cancelled", "timeout", "skipped"}),
    # Claimed again; or ended from outside while nobody held it.
    "waiting": frozenset({"running", "cancelled", "timeout"}),
    "completed": _NONE,
    "failed": _NONE,
    "cancelled": _NONE,
    "timeout": _NONE,
    "skipped": _NONE,
}
STEP: Final[Mapping[str, frozenset[str]]] = {
    "pending": frozenset({"running", "waiting", "retrying", "completed", "failed", "skipped", "cancelled"}),
    "running": frozenset({"waiting", "retrying", "completed", "failed", "cancelled"}),
    # Skipped is a part in which a `stop` was reached: what comes after it is.
    "waiting": frozenset({"running", "retrying", "completed", "failed", "skipped", "cancelled"}),
    "retrying": frozenset({"running", "waiting", "completed", "failed", "cancelled"}),
    "completed": _NONE,
    "failed": _NONE,
    "skipped": _NONE,
    "cancelled": _NONE,
}

ENDED_EXECUTION: Final = frozenset(status for status, following in EXECUTION.items() if not following)
ENDED_STEP: Final = frozenset(status for status, following in STEP.items() if not following)


def statuses(kind: object) -> frozenset[str]:
    """Return the statuses of a kind, ExecutionStatus or StepStatus."""
    return frozenset(get_args(kind))
