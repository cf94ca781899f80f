"""A reference interpreter: what a workflow has to do, said as simply as it can be said.

Steps are small values that know both how they are written in the language and what they mean. It runs one step after
the other, knows no database, no crash and no time; whatever the engine does side by side has to come out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Scope:
    """What expressions see."""

    inputs: Mapping[str, Any]
    vars: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, Any] = field(default_factory=dict)
    names: Mapping[str, Any] = field(default_factory=dict)

    def inner(self, **names: Any) -> Scope:
        """Return a loop iteration's scope: it sees the steps outside and keeps its own to itself."""
        return Scope(self.inputs, self.vars, dict(self.steps), {**self.names, **names})

    def with_names(self, **names: Any) -> Scope:
        """Return a scope that sees more names."""
        return Scope(self.inputs, self.vars, self.steps, {**self.names, **names})


@dataclass(frozen=True)
class Expr:
    """An expression: its CEL text, and what it gives."""

    text: str
    value: Callable[[Scope], Any]

    @property
    def template(self) -> str:
        """Write it where a value is expected."""
        return "${{ " + self.text + " }}"


@dataclass(frozen=True)
class Failure:
    """A step failed and nothing has handled it yet."""

    kind: str
    message: str


@dataclass(frozen=True)
class Stop:
    """A `stop` step was reached."""

    status: str
    output: Any


End = Failure | Stop | None


@dataclass
class Record:
    """What a step leaves."""

    status: str
    output: Any = None


class Trace:
    """Everything that a run leaves: the record of its steps by path, and the attempts of those with an effect."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.attempts: dict[str, int] = {}


@dataclass(frozen=True)
class Step:
    """What every step has."""

    id: str
    guard: Expr | None = field(default=None, kw_only=True)
    continue_on_error: bool = field(default=False, kw_only=True)
    on_error: Sequence[Step] = field(default=(), kw_only=True)
    needs: Sequence[str] | None = field(default=None, kw_only=True)

    def written(self) -> dict[str, Any]:
        """Write the step as the language has it."""
        step: dict[str, Any] = {"id": self.id, **self.verb()}
        if self.guard is not None:
            step["if"] = self.guard.text
        if self.continue_on_error:
            step["continue_on_error"] = True
        if self.on_error:
            step["on_error"] = write(self.on_error)
        if self.needs is not None:
            step["needs"] = list(self.needs)
        return step

    def verb(self) -> dict[str, Any]:
        """Write what is the verb's own."""
        raise NotImplementedError

    def run(self, trace: Trace, scope: Scope, prefix: str) -> End:
        """Do what the step does, on record; handle its failure as it says."""
        path = prefix + self.id
        if self.guard is not None and not self.guard.value(scope):
            return self._ended(trace, scope, path, Record("skipped"))
        end, output = self.act(trace, scope, path)
        self._ended(trace, scope, path, Record("failed" if isinstance(end, Failure) else "completed", output))
        if isinstance(end, Failure):
            if self.on_error:
                return run_block(self.on_error, trace, scope.with_names(error=end), prefix)
            return None if self.continue_on_error else end
        return end

    def act(self, trace: Trace, scope: Scope, path: str) -> tuple[End, Any]:
        """Do what the verb does; return how it ended and its output."""
        raise NotImplementedError

    def _ended(self, trace: Trace, scope: Scope, path: str, record: Record) -> None:
        trace.records[path] = record
        scope.steps[self.id] = record.output


@dataclass(frozen=True)
class Set(Step):
    """Define a variable."""

    name: str
    value: Expr

    def verb(self) -> dict[str, Any]:
        return {"set": {self.name: self.value.template}}

    def act(self, trace: Trace, scope: Scope, path: str) -> tuple[End, Any]:
        scope.vars[self.name] = self.value.value(scope)
        return None, {self.name: scope.vars[self.name]}


@dataclass(frozen=True)
class Probe(Step):
    """Have an effect outside: say something, or fail so many times."""

    say: Expr
    fails: int = 0
    retries: int = 0

    def verb(self) -> dict[str, Any]:
        config: dict[str, Any] = {"say": self.say.template}
        if self.fails:
            config |= {"fail": f"{self.id} broke", "times": self.fails}
        step: dict[str, Any] = {"action": "probe", "with": config}
        if self.retries:
            retry = {"retries": self.retries, "delay": "1ms", "jitter": "none"}
            step["retry"] = {**retry, "when": 'error.class == "probed"'}
        return step

    def act(self, trace: Trace, scope: Scope, path: str) -> tuple[End, Any]:
        trace.attempts[path] = min(self.fails, self.retries) + 1
        if self.fails > self.retries:
            return Failure("probed", f"{self.id} broke"), None
        return None, self.say.value(scope)


@dataclass(frozen=True)
class If(Step):
    """Take one of two branches."""

    condition: Expr
    then: Sequence[Step]
    otherwise: Sequence[Step]

    def verb(self) -> dict[str, Any]:
        return {"if": self.condition.text, "then": write(self.then), "else": write(self.otherwise)}

    def act(self, trace: Trace, scope: Scope, path: str) -> tuple[End, Any]:
        branch = "then" if self.condition.value(scope) else "else"
        end = run_block(self.then if branch == "then" else self.otherwise, trace, scope, prefix_of(path))
        return end, None if isinstance(end, Failure) else {"branch": branch}


@dataclass(frozen=True)
class Switch(Step):
    """Take the first case that fits; a case is a value, a list of values, or a condition."""

    subject: Expr
    cases: Sequence[tuple[Any, Sequence[Step]]]
    default: Sequence[Step]

    def verb(self) -> dict[str, Any]:
        cases = [
            {"when": fits.text, "do": write(do)} if isinstance(fits, Expr) else {"value": fits, "do": write(do)}
            for fits, do in self.cases
        ]
        return {"switch": self.subject.text, "cases": cases, "default": write(self.default)}

    def act(self, trace: Trace, scope: Scope, path: str) -> tuple[End, Any]:
        value = self.subject.value(scope)
        taken, block = None, self.default
        for number, (fits, do) in enumerate(self.cases):
            if (
                fits.value(scope)
                if isinstance(fits, Expr)
                else value in fits
                if isinstance(fits, list)
                else value == fits
            ):
                taken, block = number, do
                break
        end = run_block(block, trace, scope, prefix_of(path))
        return end, None if isinstance(end, Failure) else {"case": taken}


@dataclass(frozen=True)
class ForEach(Step):
    """Do something for every item."""

    items: Sequence[Any]
    name: str
    do: Sequence[Step]
    parallel: int = 1

    def verb(self) -> dict[str, Any]:
        return {"for_each": list(self.items), "as": self.name, "do": write(self.do), "parallel": self.parallel}

    def act(self, trace: Trace, scope: Scope, path: str) -> tuple[End, Any]:
        outputs: list[Any] = [None] * len(self.items)
        for index, item in enumerate(self.items):
            inner = scope.inner(**{self.name: item, "index": index})
            end = run_block(self.do, trace, inner, f"{path}[{index}].")
            if isinstance(end, Failure):
                return end, None
            outputs[index] = inner.steps.get(self.do[-1].id)
            if end is not None:
                return end, outputs
        return None, outputs


@dataclass(frozen=True)
class While(Step):
    """Repeat while a counter, which its last step raises, is below a bound."""

    counter: str
    bound: int
    do: Sequence[Step]

    def verb(self) -> dict[str, Any]:
        return {"while": f"vars.{self.counter} < {self.bound}", "do": write(self.do), "max_iterations": self.bound + 1}

    def act(self, trace: Trace, scope: Scope, path: str) -> tuple[End, Any]:
        index = 0
        while scope.vars[self.counter] < self.bound:
            end = run_block(self.do, trace, scope.inner(index=index), f"{path}[{index}].")
            if end is not None:
                return end, None if isinstance(end, Failure) else {"iterations": index}
            index += 1
        return None, {"iterations": index}


@dataclass(frozen=True)
class Parallel(Step):
    """Run branches, which must not depend on each other."""

    branches: Mapping[str, Sequence[Step]]

    def verb(self) -> dict[str, Any]:
        return {"parallel": {name: write(do) for name, do in self.branches.items()}}

    def act(self, trace: Trace, scope: Scope, path: str) -> tuple[End, Any]:
        ends = [run_block(do, trace, scope, prefix_of(path)) for do in self.branches.values()]
        failed = next((end for end in ends if isinstance(end, Failure)), None)
        if failed is not None:
            return failed, None
        return None, {name: scope.steps.get(do[-1].id) for name, do in self.branches.items() if do}


@dataclass(frozen=True)
class Try(Step):
    """Handle a failure, and do something in any case."""

    body: Sequence[Step]
    catch: Sequence[Step]
    last: Sequence[Step]

    def verb(self) -> dict[str, Any]:
        parts = {"try": self.body, "catch": self.catch, "finally": self.last}
        return {name: write(block) for name, block in parts.items() if block or name == "try"}

    def act(self, trace: Trace, scope: Scope, path: str) -> tuple[End, Any]:
        prefix = prefix_of(path)
        end = run_block(self.body, trace, scope, prefix)
        caught = False
        if isinstance(end, Failure) and self.catch:
            caught, end = True, run_block(self.catch, trace, scope.with_names(error=end), prefix)
        last = run_block(self.last, trace, scope, prefix)
        end = last if last is not None else end
        return end, None if isinstance(end, Failure) else {"caught": caught}


@dataclass(frozen=True)
class Wait(Step):
    """Pass some time."""

    duration: str

    def verb(self) -> dict[str, Any]:
        return {"wait": self.duration}

    def act(self, trace: Trace, scope: Scope, path: str) -> tuple[End, Any]:
        return None, ...


@dataclass(frozen=True)
class Emit(Step):
    """Publish an event."""

    type: str
    data: Expr

    def verb(self) -> dict[str, Any]:
        return {"emit": {"type": self.type, "data": {"n": self.data.template}}}

    def act(self, trace: Trace, scope: Scope, path: str) -> tuple[End, Any]:
        return None, ...


@dataclass(frozen=True)
class StopHere(Step):
    """End the execution."""

    status: str
    output: Expr

    def verb(self) -> dict[str, Any]:
        return {"stop": self.status, "reason": f"{self.id} said so", "output": self.output.template}

    def act(self, trace: Trace, scope: Scope, path: str) -> tuple[End, Any]:
        output = self.output.value(scope)
        return Stop(self.status, output), {"status": self.status, "reason": f"{self.id} said so", "output": output}


def write(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Write a block as the language has it."""
    return [step.written() for step in steps]


def prefix_of(path: str) -> str:
    """Return what leads the paths beside a step."""
    head, dot, _ = path.rpartition(".")
    return head + dot


def run_block(steps: Sequence[Step], trace: Trace, scope: Scope, prefix: str) -> End:
    """Run steps in order; those of a graph were written in an order that its needs allow."""
    for step in steps:
        end = step.run(trace, scope, prefix)
        if end is not None:
            return end
    return None


@dataclass(frozen=True)
class Flow:
    """A workflow, and what it has to come to."""

    steps: Sequence[Step]
    on_error: Sequence[Step]

    def written(self, name: str) -> dict[str, Any]:
        """Write the workflow; the event `name` starts it."""
        return {
            "id": name.lower(),
            "name": name,
            "triggers": [{"type": "event", "event": name}],
            "steps": write(self.steps),
            "on_error": write(self.on_error),
        }

    def run(self, inputs: Mapping[str, Any]) -> tuple[End, Trace]:
        """Run it; return how it ended and what it left."""
        trace, scope = Trace(), Scope(inputs)
        end = run_block(self.steps, trace, scope, "")
        if isinstance(end, Failure) and self.on_error:
            handled = run_block(self.on_error, trace, scope.with_names(error=end), "")
            end = handled if isinstance(handled, Stop) else end
        return end, trace
