"""Random workflows: blocks, the steps that hold no others, and what they read of each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from support.model.base import Step
from support.model.containers import Container, If
from support.model.flow import Flow
from support.model.outside import Approve, Call, WaitFor
from support.model.steps import LONG, Emit, Probe, Remember, Set, StopHere, Typed, Wait
from support.model.trace import Expr

DEEPEST = 3
EARLY = 4
"""How many events are published before a workflow starts, for those that look back."""

Ends = frozenset[str]
"""How a block may end before its last step: `fail`, `stop`."""
NEVER: Ends = frozenset()
FAILS: Ends = frozenset({"fail"})
STOPS: Ends = frozenset({"stop"})


class Drawing:
    """Draws one workflow. Ids, variables and keys are numbered, so that nothing is named twice."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any], name: str, *, steps: int, calls: int) -> None:
        self.draw = draw
        self._name = name
        self._count = 0
        self._left = steps
        self._calls_left = calls
        self._flows: list[Flow] = []
        self._answers: dict[str, bool] = {}
        self._coming: dict[str, str] = {}
        self.shares_vars = False
        """Inside of turns that run side by side and share the variables, so that none may be read there."""
        self._changes_vars = True
        self._changes_memory = True
        """Whether nothing else may write there: only then may something be written a second time."""

    def flow(self) -> Flow:
        """Draw a whole workflow."""
        known = [Expr("inputs.n", lambda scope: scope.inputs["n"])]
        cut_short = self.one_in(15)
        if cut_short:
            with self.beside():  # nobody knows how far it comes, so nothing is written twice
                steps = [*self._block(known, 0, NEVER), Wait(self.new_id("wait"), LONG)]
        else:
            steps = self._block(known, 0, frozenset({"fail", "stop"}))
            if self.one_in(4) and all(step.needs is None for step in steps):
                steps = [*steps, self.stopped_twice(known)]
        on_error = self.handler(known[:1], DEEPEST, frozenset({"fail", "stop"})) if self.one_in(3) else []
        output = {f"out{n}": self.draw(st.sampled_from(known)) for n in range(self.draw(st.integers(0, 3)))}
        said = (tuple(self._flows), self._answers, self._coming)
        return Flow(self._name, steps, on_error, output or None, cut_short, *said)

    # ------------------------------------------------------------------ blocks

    def block(self, known: Sequence[Expr], depth: int, ends: Ends) -> list[Step]:
        """Draw the steps of a block."""
        return self._block(list(known), depth, ends)

    def handler(self, known: Sequence[Expr], depth: int, ends: Ends) -> list[Step]:
        """Draw the steps that run after a failure, and see it."""
        steps = self.block(known, depth, ends)
        if self.one_in(2):
            error = Expr("error.class", lambda scope: scope.names["error"].kind)
            steps.insert(0, Probe(self.new_id("probe"), error))
        return steps

    def _block(self, known: list[Expr], depth: int, ends: Ends) -> list[Step]:
        """Draw steps, and add to what is known what they give."""
        if self.one_in(5):
            return self._graph(known, depth, ends)
        steps: list[Step] = []
        for _ in range(self.draw(st.integers(2, 5) if depth == 0 else st.integers(1, 3))):
            self._left -= 1
            if self._room(depth) and not self.shares_vars and self.one_in(8):
                steps += self.repeating(known, depth, ends)
            else:
                steps.append(self._step(known, depth, ends))
        return steps

    def _graph(self, known: list[Expr], depth: int, ends: Ends) -> list[Step]:
        """Draw steps with needs, of which one may end the block."""
        steps: list[Step] = []
        gains: dict[str, list[Expr]] = {}
        with self.beside():
            for number in range(self.draw(st.integers(2, 4))):
                self._left -= 1
                needs = [step.id for step in steps if self.one_in(2)]
                if number and self.one_in(4):
                    needs = [steps[-1].id]
                seen = [*known, *(expr for name in needs for expr in gains[name])]
                before = len(seen)
                step = self._step(seen, depth, NEVER)
                gains[step.id] = seen[before:] + [expr for name in needs for expr in gains[name]]
                follows = number > 0 and needs == [steps[-1].id] and self.one_in(2)
                steps.append(replace(step, needs=None if follows else needs))
        known += [expr for step in steps for expr in gains[step.id] if expr not in known]
        if ends and self.one_in(2):
            needs = [step.id for step in steps if self.one_in(3)]
            steps.append(replace(self.ender(known[:1], ends), needs=needs))
        return steps

    @contextmanager
    def beside(self, *, shares_vars: bool | None = None, own_vars: bool = False) -> Iterator[None]:
        """Draw something that runs beside something else."""
        held = self.shares_vars, self._changes_vars, self._changes_memory
        if shares_vars is not None:
            self.shares_vars = shares_vars
        self._changes_vars, self._changes_memory = own_vars, False
        yield
        self.shares_vars, self._changes_vars, self._changes_memory = held

    # ------------------------------------------------------------------ steps

    def _step(self, known: list[Expr], depth: int, ends: Ends) -> Step:
        """Draw one step and add what it gives to what is known."""
        if ends and self.one_in(8):
            return self._guarded(self.ender(known, ends), known)
        handled = self.one_in(6)
        if self._room(depth) and self.one_in(2):
            step = self.holding(known, depth, ends | FAILS if handled else ends)
        else:
            step = self._plain(known)
        if not isinstance(step, Set) and (handled or (may_fail(step) and "fail" not in ends)):
            step = self._handled(step, known, depth)
        if self.one_in(6):
            step = self._guarded(step, known)
        known += self._gives(step)
        return step

    def holding(self, known: Sequence[Expr], depth: int, ends: Ends) -> Step:
        """Draw a step that holds others."""
        raise NotImplementedError

    def repeating(self, known: Sequence[Expr], depth: int, ends: Ends) -> list[Step]:
        """Draw a step that repeats others, and what it begins with."""
        raise NotImplementedError

    def stopped_twice(self, known: Sequence[Expr]) -> Step:
        """Draw a step in which two stops are reached, and in which something follows that may be broken off."""
        raise NotImplementedError

    def _gives(self, step: Step) -> list[Expr]:
        """Return what later steps of the block may read."""
        if step.guard is not None:
            return []
        if isinstance(step, Set) and not self.shares_vars:
            name = step.name
            return [Expr(f"vars.{name}", lambda scope: scope.vars[name])]
        if isinstance(step, Remember):
            key = step.key
            return [Expr(f"context.{key}", lambda scope: scope.context[key])]
        if isinstance(step, Probe) and not may_fail(step):
            return [Expr(f"steps.{step.id}.output", lambda scope: scope.steps[step.id])]
        return []

    def _plain(self, known: Sequence[Expr]) -> Step:
        kinds = [self._set, self._probe, self._probe, self._typed, self._wait, self._emit, self._remember]
        kinds += [self._wait_for, self._approve]
        kinds += [self._call] if self._calls_left > 0 else []
        step: Step = self.draw(st.sampled_from(kinds))(known)
        return step

    def _handled(self, step: Step, known: Sequence[Expr], depth: int) -> Step:
        if self.one_in(2):
            return replace(step, continue_on_error=True)
        return replace(step, on_error=self.handler(known, max(depth, DEEPEST - 1) + 1, NEVER))

    def _guarded(self, step: Step, known: Sequence[Expr]) -> Step:
        return step if isinstance(step, If) else replace(step, guard=self.condition(known))

    def ender(self, known: Sequence[Expr], ends: Ends) -> Step:
        """Draw a step that ends the block."""
        if self.draw(st.sampled_from(sorted(ends))) == "fail":
            return self.failing(known)
        status = self.draw(st.sampled_from(["completed", "failed", "skipped"]))
        return StopHere(self.new_id("stop"), status, self.number(known))

    def failing(self, known: Sequence[Expr]) -> Step:
        """Draw a step that fails; all of them say the same, so that it does not matter which of several counts."""
        return Probe(self.new_id("probe"), self.number(known), 1)

    def _set(self, known: Sequence[Expr]) -> Step:
        variables = [one.text.removeprefix("vars.") for one in known if one.text.startswith("vars.v")]
        if variables and self._changes_vars and self.one_in(2):
            return Set(self.new_id("set"), self.draw(st.sampled_from(variables)), self.number(known))
        return Set(self.new_id("set"), self.new_id("v"), self.number(known))

    def _remember(self, known: Sequence[Expr]) -> Step:
        keys = [one.text.removeprefix("context.") for one in known if one.text.startswith("context.")]
        if not self._changes_memory:
            return Remember(self.new_id("remember"), self.new_id("k"), constant(self.draw(st.integers(0, 9))))
        key = self.draw(st.sampled_from(keys)) if keys and self.one_in(2) else self.new_id("k")
        return Remember(self.new_id("remember"), key, self.number(known))

    def _probe(self, known: Sequence[Expr]) -> Step:
        retries = self.draw(st.integers(0, 2))
        fails = self.draw(st.integers(0, retries + 1)) if self.one_in(3) else 0
        say = self.number(known)
        return Probe(self.new_id("probe"), say, fails, retries, repeats=not self.one_in(6), hangs=self.one_in(20))

    def _typed(self, known: Sequence[Expr]) -> Step:
        declares = self.draw(st.sampled_from(["inputs", "outputs"]))
        return Typed(self.new_id("typed"), self.number(known), self.draw(st.integers(-1, 9)), declares)

    def _wait(self, known: Sequence[Expr]) -> Step:
        return Wait(self.new_id("wait"), self.draw(st.sampled_from(["0s", "1ms", "20ms"])))

    def _emit(self, known: Sequence[Expr]) -> Step:
        name = self.new_id("emit")
        if self.one_in(3):
            key = "${{ execution.id }}-" + name
            return Emit(name, f"{self._name}_{name}", constant(self.draw(st.integers(0, 9))), key)
        return Emit(name, f"{self._name}_{name}", self.number(known))

    def _wait_for(self, known: Sequence[Expr]) -> Step:
        kind = self.draw(st.sampled_from(["past", "coming", "never"]))
        name = self.new_id("wait_for")
        step = WaitFor(name, kind, f"{self._name}_PAST", self.draw(st.integers(0, EARLY - 1)))
        if kind == "coming":
            self._coming[step.awaited] = name
        return step

    def _approve(self, known: Sequence[Expr]) -> Step:
        step = Approve(self.new_id("approve"), self.draw(st.sampled_from([True, True, False, None])))
        if step.answer is not None:
            self._answers[step.id] = step.answer
        return step

    def _call(self, known: Sequence[Expr]) -> Step:
        self._calls_left -= 1
        name = f"{self._name}_C{len(self._flows) + 1}"
        flow = type(self)(self.draw, name, steps=self.draw(st.integers(1, 5)), calls=self._calls_left).flow()
        self._flows.append(flow)
        kind = self.draw(st.sampled_from(["waits", "waits", "repeats", "detaches"]))
        retries = self.draw(st.integers(1, 2)) if kind == "repeats" else 0
        return Call(self.new_id("call"), flow, self.number(known), retries, kind == "detaches")

    # ------------------------------------------------------------------ values

    def number(self, known: Sequence[Expr]) -> Expr:
        left = self.draw(st.sampled_from(known))
        add = self.draw(st.integers(0, 5))
        return constant(add) if self.one_in(3) else Expr(f"{left.text} + {add}", lambda scope: left.value(scope) + add)

    def condition(self, known: Sequence[Expr]) -> Expr:
        left = self.draw(st.sampled_from(known))
        bound = self.draw(st.integers(-1, 6))
        return Expr(f"{left.text} < {bound}", lambda scope: left.value(scope) < bound)

    def _room(self, depth: int) -> bool:
        return depth < DEEPEST and self._left > 0

    def new_id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"

    def one_in(self, count: int) -> bool:
        return bool(self.draw(st.integers(1, count)) == count)


def constant(value: int) -> Expr:
    return Expr(str(value), lambda _: value)


def may_fail(step: Step) -> bool:
    """Tell whether a step can fail by what it says itself, whatever it holds."""
    match step:
        case Container():
            fails = step.cut_short or step.overflows
        case Probe():
            fails = step.hangs or step.fails > (step.retries if step.repeats else 0)
        case Approve():
            fails = not step.answer
        case WaitFor():
            fails = step.kind == "never"
        case Call():
            fails = not step.detach
        case _:
            fails = isinstance(step, Typed)
    return fails
