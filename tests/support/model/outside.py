"""The steps that wait for others: for events, for people, for other workflows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from support.model.base import Done, Step
from support.model.trace import AtLeast, Called, Certainty, Expr, Failure, Scope, Trace


@dataclass(frozen=True)
class WaitFor(Step):
    """Wait for an event: of the past, published when the test sees that it is waited for, or one that never comes."""

    kind: str
    """`past`, `coming` or `never`."""
    early: str
    """The type of the events of the past; their data count `n` from 0."""
    least: int = 0

    @property
    def awaited(self) -> str:
        """The type of the event that it waits for."""
        return self.early if self.kind == "past" else f"{self.early}_{self.id}"

    def verb(self) -> dict[str, Any]:
        if self.kind == "past":
            return {"wait_for": {"event": self.awaited, "when": f"event.data.n >= {self.least}", "lookback": "1h"}}
        spec = {"event": self.awaited, "when": f'event.data.step == "{self.id}"'}
        return {"wait_for": spec if self.kind == "coming" else {**spec, "timeout": "30ms"}}

    def act(self, trace: Trace, scope: Scope, path: str) -> Done:
        scope.at.waits()
        if self.kind == "never":
            return Done(Failure("timeout", f"no event {self.awaited} that fits has come in time", path))
        return Done(output=AtLeast({"data": {"n": self.least} if self.kind == "past" else {"step": self.id}}))


@dataclass(frozen=True)
class Approve(Step):
    """Ask people; the test answers as the step's `answer` says, None is never."""

    answer: bool | None

    def verb(self) -> dict[str, Any]:
        form = {"reason": {"type": "string", "default": "none"}}
        spec: dict[str, Any] = {"message": f"{self.id}?", "form": form}
        return {"approve": spec if self.answer is not None else {**spec, "timeout": "30ms"}}

    def act(self, trace: Trace, scope: Scope, path: str) -> Done:
        scope.at.waits()
        if self.answer is None:
            return Done(Failure("timeout", "nobody has answered in time", path))
        if not self.answer:
            return Done(Failure("rejected", f"tester rejected it: {self.id}", path))
        said = {"approved": True, "by": "tester", "comment": self.id, "form": {"reason": "none"}}
        return Done(output=AtLeast(said))


@dataclass(frozen=True)
class Call(Step):
    """Call another workflow; what it has to come to it says itself."""

    flow: Any
    """A `Flow`."""
    n: Expr
    retries: int = 0
    detach: bool = False
    cut: bool = False
    """It is given less time than it needs."""

    def verb(self) -> dict[str, Any]:
        step: dict[str, Any] = {"call": self.flow.name.lower(), "with": {"n": self.n.template}}
        if self.detach:
            step["detach"] = True
        if self.cut:
            step["timeout"] = "30ms"
        if self.retries:
            step["retry"] = {"retries": self.retries, "delay": "1ms", "jitter": "none"}
        return step

    def act(self, trace: Trace, scope: Scope, path: str) -> Done:
        inputs: Mapping[str, Any] = {"n": self.n.value(scope)}
        if self.detach:
            trace.calls[path] = Called(self.flow, inputs, 1, scope.at.certainty)
            return Done(output=...)
        outcome = self.flow.run(inputs)
        failed = outcome.failure
        made = 1 + (self.retries if self.cut or failed else 0)
        scope.at.waits()
        certainty = scope.at.certainty
        cut = self.cut or certainty is Certainty.CUT
        trace.calls[path] = Called(self.flow, inputs, made, certainty, cut, self.retries)
        if self.cut:
            message = "the called execution took longer than the step's timeout"
            return Done(Failure("timeout", message, path, made), attempt=made)
        if failed is not None:
            return Done(Failure(failed.kind, failed.message, path, made), attempt=made)
        return Done(output=outcome.output)
