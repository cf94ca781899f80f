"""What every step has, and how blocks of steps run: in order, or as their `needs` allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from support.model.trace import At, Certainty, End, Expr, Failure, Record, Scope, Stop, Trace


@dataclass(frozen=True)
class Done:
    """How a verb came out."""

    end: End = None
    output: Any = None
    attempt: int = 1


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
            return self._ended(trace, scope, path, "skipped", Done())
        done = self.act(trace, scope, path)
        failed = isinstance(done.end, Failure)
        self._ended(trace, scope, path, "failed" if failed else "completed", done)
        if failed:
            if self.on_error:
                return run_block(self.on_error, trace, scope.with_names(error=done.end), prefix)
            return None if self.continue_on_error else done.end
        return done.end

    def act(self, trace: Trace, scope: Scope, path: str) -> Done:
        """Do what the verb does."""
        raise NotImplementedError

    def _ended(self, trace: Trace, scope: Scope, path: str, status: str, done: Done) -> None:
        error = done.end if isinstance(done.end, Failure) else None
        output = None if error else done.output
        trace.records[path] = Record(status, output, done.attempt, error, scope.at.certainty)
        scope.steps[self.id] = output


def write(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Write a block as the language has it."""
    return [step.written() for step in steps]


def prefix_of(path: str) -> str:
    """Return what leads the paths beside a step."""
    head, dot, _ = path.rpartition(".")
    return head + dot


def run_block(steps: Sequence[Step], trace: Trace, scope: Scope, prefix: str) -> End:
    """Run steps in order, or as their `needs` allow."""
    if any(step.needs is not None for step in steps):
        return run_graph(steps, trace, scope, prefix)
    for step in steps:
        end = step.run(trace, scope, prefix)
        if end is not None:
            return end
    return None


def run_graph(steps: Sequence[Step], trace: Trace, scope: Scope, prefix: str) -> End:
    """Run steps as their `needs` allow; they are written in an order that does so.

    Where one ends the block, what needs it never begins, what it needs is over, and the others may have begun.
    """
    needs = needs_of(steps)
    last, end = _first_end(steps, scope.copied(), prefix)
    before = _all_before(last, needs) if last else set()
    ats: dict[str, At] = {}
    ended: set[str] = set()
    for step in steps:
        if not needs[step.id] <= ended:
            continue
        at = scope.at.fork(
            Certainty.MAYBE if last and step.id not in before | {last} else Certainty.SURE,
            gives_up=isinstance(end, Stop) and step.id not in before | {last},
        )
        at.join([ats[name] for name in needs[step.id]])
        ats[step.id] = at
        if step.run(trace, scope.beside(at), prefix) is None:
            ended.add(step.id)
    scope.at.join(list(ats.values()), ended=last is not None)
    return end


def needs_of(steps: Sequence[Step]) -> dict[str, set[str]]:
    """Return what each step needs; one without `needs` follows the one before it."""
    needs: dict[str, set[str]] = {}
    before: set[str] = set()
    for step in steps:
        needs[step.id] = before if step.needs is None else set(step.needs)
        before = {step.id}
    return needs


def _first_end(steps: Sequence[Step], scope: Scope, prefix: str) -> tuple[str | None, End]:
    for step in steps:
        end = step.run(Trace(), scope, prefix)
        if end is not None:
            return step.id, end
    return None, None


def _all_before(name: str, needs: dict[str, set[str]]) -> set[str]:
    return needs[name].union(*(_all_before(one, needs) for one in needs[name]))
