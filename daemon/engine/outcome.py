"""How a step, a block or a whole execution can end otherwise than by going on: as values, not as exceptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hark.daemon.engine.typed_steps import MisfitError
from hark.workflows.errors import ActionError, ExpressionError


@dataclass(frozen=True, slots=True)
class Stopped:
    """A `stop` step was reached."""

    status: str
    reason: str | None
    output: Any
    step: str
    """The path of the step."""

    def view(self) -> dict[str, Any]:
        """Return it as it goes on record: as the output of the step, and of a part."""
        return {"status": self.status, "reason": self.reason, "output": self.output}


@dataclass(frozen=True, slots=True)
class Suspended:
    """Everything that can be done now is done; it goes on at `due_at`, None for when it is woken and no sooner."""

    due_at: datetime | None

    def by(self, moment: datetime) -> Suspended:
        """Return the same, ended at a moment at the latest."""
        return Suspended(moment if self.due_at is None else min(self.due_at, moment))


@dataclass(frozen=True, slots=True)
class Failed:
    """A step failed for good, and nothing has handled it yet."""

    kind: str
    message: str
    step: str
    attempt: int = 1
    retryable: bool = False
    retry_after_s: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    final: bool = False
    """No `retry.when` repeats it."""

    def view(self) -> dict[str, Any]:
        """Return what expressions see as `error`, and what goes on record."""
        view: dict[str, Any] = {"class": self.kind, "message": self.message, "step": self.step, "attempt": self.attempt}
        if self.details:
            view["details"] = self.details
        return view

    @classmethod
    def from_view(cls, view: dict[str, Any]) -> Failed:
        """Read a recorded failure back."""
        return cls(
            view["class"], view["message"], view["step"], view.get("attempt", 1), details=view.get("details", {})
        )


Outcome = Stopped | Suspended | Failed | None
"""None: go on with the next step."""


def failure(error: BaseException, step: str, attempt: int = 1) -> Failed:
    """Describe an exception as a failure of a step."""
    match error:
        case ActionError():
            return Failed(
                error.error_class,
                str(error),
                step,
                attempt,
                error.retryable,
                error.retry_after_s,
                error.details,
                isinstance(error, MisfitError),
            )
        case ExpressionError():
            return Failed("expression_error", str(error), step, attempt)
        case TimeoutError():
            return Failed("timeout", "the attempt took longer than its timeout", step, attempt, retryable=True)
        case _:
            return Failed("internal_error", f"{type(error).__name__}: {error}", step, attempt)


def merged(outcomes: list[Outcome]) -> Outcome:
    """Return the outcome of branches that ran side by side.

    A stop does not wait for what waits. A failure counts once all that had begun has ended, and then before a stop.
    """
    failures = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
    stops = [outcome for outcome in outcomes if isinstance(outcome, Stopped)]
    waits = [outcome for outcome in outcomes if isinstance(outcome, Suspended)]
    if stops and not failures:
        return stops[0]
    if waits:
        return Suspended(min((wait.due_at for wait in waits if wait.due_at is not None), default=None))
    return failures[0] if failures else None


def mocked_failure(failures: Mapping[str, Any], name: str, path: str) -> Failed:
    """Return the failure that a test says a step has; it is not tried again."""
    said = failures[name]
    return Failed(said["class"], said["message"], path, final=True)
