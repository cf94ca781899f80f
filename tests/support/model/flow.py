"""A whole workflow: how it is written, and what it has to come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from support.model.base import Step, run_block, write
from support.model.containers import SHORT
from support.model.trace import At, Certainty, End, Expr, Failure, Scope, Stop, Trace


@dataclass(frozen=True)
class Outcome:
    """What an execution has to come to."""

    status: str
    output: Any
    failure: Failure | None
    trace: Trace


@dataclass(frozen=True, repr=False)
class Flow:
    """A workflow."""

    name: str
    """In capitals it is the type of the event that starts it, in small letters its id."""
    steps: Sequence[Step]
    on_error: Sequence[Step] = ()
    output: Mapping[str, Expr] | None = None
    cut_short: bool = False
    """It takes longer than its own timeout allows."""
    calls: Sequence[Flow] = ()
    """The workflows that it calls."""
    answers: Mapping[str, bool] = field(default_factory=dict)
    """How its questions are answered, by step."""
    coming: Mapping[str, str] = field(default_factory=dict)
    """The types of the events that it waits for until they come, and the steps that do."""

    def __repr__(self) -> str:
        """Show what to read where a test has failed: the workflows as they were applied."""
        return "\n".join(orjson.dumps(flow.written()).decode() for flow in self.all())

    def all(self) -> Iterator[Flow]:
        """Give the workflow and all that it may call."""
        yield self
        for flow in self.calls:
            yield from flow.all()

    def written(self) -> dict[str, Any]:
        """Write the workflow."""
        flow: dict[str, Any] = {
            "id": self.name.lower(),
            "name": self.name,
            "inputs": {"n": {"type": "integer", "required": True}},
            "triggers": [{"type": "event", "event": self.name}],
            "steps": write(self.steps),
            "on_error": write(self.on_error),
        }
        if self.output is not None:
            flow["output"] = {name: expr.template for name, expr in self.output.items()}
        return {**flow, "timeout": SHORT} if self.cut_short else flow

    def run(self, inputs: Mapping[str, Any]) -> Outcome:
        """Say what it has to come to."""
        trace = Trace()
        scope = Scope(inputs, at=At(certainty=Certainty.CUT if self.cut_short else Certainty.SURE))
        end = run_block(self.steps, trace, scope, "")
        if self.cut_short:
            late = Failure("timeout", "it took longer than the workflow's timeout", None)
            return Outcome("timeout", None, late, trace)
        if isinstance(end, Failure) and self.on_error:
            handled = run_block(self.on_error, trace, scope.with_names(error=end), "")
            end = handled if isinstance(handled, Stop) else end
        return self._outcome(end, scope, trace)

    def _outcome(self, end: End, scope: Scope, trace: Trace) -> Outcome:
        match end:
            case Failure():
                return Outcome("failed", None, end, trace)
            case Stop(status="failed"):
                return Outcome("failed", None, Failure("stopped", end.reason, ""), trace)
            case Stop():
                return Outcome(end.status, end.output, None, trace)
            case None:
                given = self.output
                output = None if given is None else {name: expr.value(scope) for name, expr in given.items()}
                return Outcome("completed", output, None, trace)
