"""The steps that hold no others and need nobody outside: how they are written, and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from support.model.base import Done, Step
from support.model.trace import Effect, Emitted, Expr, Failure, Scope, Stop, Trace

LONG = "1h"
"""A wait that no test sees the end of: something else has to end it."""


@dataclass(frozen=True)
class Set(Step):
    """Define a variable."""

    name: str
    value: Expr

    def verb(self) -> dict[str, Any]:
        return {"set": {self.name: self.value.template}}

    def act(self, trace: Trace, scope: Scope, path: str) -> Done:
        scope.vars[self.name] = self.value.value(scope)
        return Done(output={self.name: scope.vars[self.name]})


@dataclass(frozen=True)
class Remember(Step):
    """Write to the context."""

    key: str
    value: Expr

    def verb(self) -> dict[str, Any]:
        return {"remember": {self.key: self.value.template}}

    def act(self, trace: Trace, scope: Scope, path: str) -> Done:
        scope.context[self.key] = self.value.value(scope)
        known = trace.memory.get(self.key)
        certainty = scope.at.certainty if known is None else min(scope.at.certainty, known[1])
        trace.memory[self.key] = (scope.context[self.key], certainty)
        return Done(output={self.key: scope.context[self.key]})


@dataclass(frozen=True)
class Probe(Step):
    """Have an effect outside: say something, fail so many times, or never come back."""

    say: Expr
    fails: int = 0
    retries: int = 0
    blame: str = "it broke"
    repeats: bool = True
    """Whether `retry.when` wants another attempt."""
    hangs: bool = False

    def verb(self) -> dict[str, Any]:
        config: dict[str, Any] = {"say": self.say.template}
        if self.fails:
            config |= {"fail": self.blame, "times": self.fails}
        step: dict[str, Any] = {"action": "probe", "with": config}
        if self.hangs:
            config["hold"] = True
            step["timeout"] = "20ms"
        if self.retries:
            when = 'error.class in ["probed", "timeout"]' if self.repeats else 'error.class == "another"'
            step["retry"] = {"retries": self.retries, "delay": "1ms", "jitter": "none", "when": when}
        return step

    def act(self, trace: Trace, scope: Scope, path: str) -> Done:
        fails = 1000 if self.hangs else self.fails
        most = 1 + (self.retries if self.repeats else 0)
        made = min(fails + 1, most)
        if made > 1 or self.hangs:
            scope.at.waits()
        note_effect(trace, scope, path, made)
        if fails < made:
            return Done(output=self.say.value(scope), attempt=made)
        kind, message = ("timeout", "the attempt took longer than 0.02 s") if self.hangs else ("probed", self.blame)
        return Done(Failure(kind, message, path, made), attempt=made)


@dataclass(frozen=True)
class Typed(Step):
    """Say a number that the step declares: as what goes in, or as what comes out."""

    say: Expr
    most: int
    declares: str

    def verb(self) -> dict[str, Any]:
        retry = {"retries": 2, "delay": "1ms", "when": "true"}
        number = {"type": "integer", "maximum": self.most}
        if self.declares == "inputs":
            inputs = {"say": number, "times": {"type": "integer", "default": 0}}
            return {"action": "probe", "with": {"say": self.say.template}, "inputs": inputs, "retry": retry}
        outputs = {"number": number, "kind": {"type": "string", "default": "plain"}}
        return {"action": "probe", "with": {"say": {"number": self.say.template}}, "outputs": outputs, "retry": retry}

    def act(self, trace: Trace, scope: Scope, path: str) -> Done:
        said = self.say.value(scope)
        if self.declares == "inputs":
            if said > self.most:
                return Done(Failure("inputs_invalid", ..., path, 0), attempt=0)
            note_effect(trace, scope, path, 1)
            return Done(output=said)
        note_effect(trace, scope, path, 1)
        if said > self.most:
            return Done(Failure("output_invalid", ..., path))
        return Done(output={"number": said, "kind": "plain"})


def note_effect(trace: Trace, scope: Scope, path: str, attempts: int) -> None:
    """Note that something was done outside."""
    trace.effects[path] = Effect(attempts, scope.at.past, scope.at.certainty)
    scope.at.past |= {path}


@dataclass(frozen=True)
class Wait(Step):
    """Pass some time."""

    duration: str

    def verb(self) -> dict[str, Any]:
        return {"wait": self.duration}

    def act(self, trace: Trace, scope: Scope, path: str) -> Done:
        scope.at.waits()
        return Done(output=...)


@dataclass(frozen=True)
class Emit(Step):
    """Publish an event; with a key it is the same event however often."""

    type: str
    data: Expr
    key: str | None = None

    def verb(self) -> dict[str, Any]:
        emitted = {"type": self.type, "data": {"n": self.data.template}}
        return {"emit": {**emitted, "key": self.key} if self.key else emitted}

    def act(self, trace: Trace, scope: Scope, path: str) -> Done:
        known = trace.events.get(self.key or path)
        certainty = scope.at.certainty if known is None else min(known.certainty, scope.at.certainty)
        trace.events[self.key or path] = Emitted(self.type, {"n": self.data.value(scope)}, certainty)
        return Done(output=...)


@dataclass(frozen=True)
class StopHere(Step):
    """End the execution."""

    status: str
    output: Expr

    def verb(self) -> dict[str, Any]:
        return {"stop": self.status, "reason": f"{self.id} said so", "output": self.output.template}

    def act(self, trace: Trace, scope: Scope, path: str) -> Done:
        stop = Stop(self.status, self.output.value(scope), f"{self.id} said so")
        return Done(stop, {"status": stop.status, "reason": stop.reason, "output": stop.output})
