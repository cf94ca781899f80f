"""Random workflows: every verb, nested, with failures, handlers, guards and graphs, and always one way to end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from support.reference import (
    Emit,
    Expr,
    Flow,
    ForEach,
    If,
    Parallel,
    Probe,
    Set,
    Step,
    StopHere,
    Switch,
    Try,
    Wait,
    While,
)

DEEPEST = 3


class Writer:
    """Draws one workflow. Ids and variables are numbered, so that nothing is set in two places."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw
        self._count = 0
        self._left = 28
        self._side_by_side = False
        """Inside of turns that run side by side: they share the variables, so none may be read there."""
        self._in_order = True
        """Whether nothing runs beside this: only then may a variable be changed."""

    def flow(self) -> Flow:
        """Draw a whole workflow."""
        known = [Expr("inputs.n", lambda scope: scope.inputs["n"])]
        steps = self.graph(known) if self._one_in(4) else self.block(known, 0, may_end=True)
        return Flow(steps, self.block(known, DEEPEST, may_end=False) if self._one_in(3) else ())

    def block(self, known: Sequence[Expr], depth: int, *, may_end: bool) -> list[Step]:
        """Draw steps that follow one another. With `may_end` one may fail for good or stop the execution."""
        known = list(known)
        steps = []
        for _ in range(self._draw(st.integers(1, 4 if depth == 0 else 2))):
            self._left -= 1
            steps += self._steps(known, depth, may_end=may_end)
        return steps

    def graph(self, known: Sequence[Expr]) -> list[Step]:
        """Draw steps with needs; none fails, for what else has begun by then depends on the time."""
        steps: list[Step] = []
        for _ in range(self._draw(st.integers(2, 6))):
            needs = [step.id for step in steps if self._draw(st.booleans())]
            needed = [self._output(step.id) for step in steps if step.id in needs]
            steps.append(replace(self._probe([*known, *needed], may_end=False), needs=needs))
        return steps

    # ------------------------------------------------------------------ steps

    def _steps(self, known: list[Expr], depth: int, *, may_end: bool) -> list[Step]:
        """Draw one step (a `while` comes with the start of its counter) and add what it gives to what is known."""
        plain = [self._set, self._probe, self._probe, self._wait, self._emit]
        holding = [self._if, self._switch, self._for_each, self._parallel, self._try]
        kind = self._draw(st.sampled_from(plain if depth >= DEEPEST or self._left <= 0 else plain + 2 * holding))
        if may_end and self._one_in(12):
            return [self._stop(known)]
        if depth < DEEPEST and self._left > 0 and not self._side_by_side and self._one_in(6):
            return self._while(known, depth, may_end=may_end)
        step: Step = kind(known, may_end=may_end) if kind in plain else kind(known, depth, may_end=may_end)
        step = self._with_extras(step, known, depth)
        if isinstance(step, Set) and step.guard is None and not self._side_by_side:
            name = step.name
            known.append(Expr(f"vars.{name}", lambda scope: scope.vars[name]))
        if isinstance(step, Probe) and step.guard is None and step.fails <= step.retries:
            known.append(self._output(step.id))
        return [step]

    def _with_extras(self, step: Step, known: Sequence[Expr], depth: int) -> Step:
        if self._one_in(6) and not isinstance(step, If):
            step = replace(step, guard=self._condition(known))
        if self._one_in(5) and not isinstance(step, Set):
            if self._one_in(2):
                return replace(step, continue_on_error=True)
            return replace(step, on_error=self.block(known, max(depth, DEEPEST - 1) + 1, may_end=False))
        return step

    def _set(self, known: Sequence[Expr], *, may_end: bool) -> Step:
        variables = [one.text.removeprefix("vars.") for one in known if one.text.startswith("vars.v")]
        if variables and self._in_order and self._one_in(2):
            return Set(self._id("set"), self._draw(st.sampled_from(variables)), self._number(known))
        return Set(self._id("set"), self._id("v"), self._number(known))

    def _probe(self, known: Sequence[Expr], *, may_end: bool) -> Step:
        retries = self._draw(st.integers(0, 2))
        fails = self._draw(st.integers(0, retries)) if self._one_in(3) else 0
        if may_end and self._one_in(8):
            fails = retries + 1
        return Probe(self._id("probe"), self._number(known), fails, retries)

    def _wait(self, known: Sequence[Expr], *, may_end: bool) -> Step:
        return Wait(self._id("wait"), self._draw(st.sampled_from(["0s", "1ms", "20ms"])))

    def _emit(self, known: Sequence[Expr], *, may_end: bool) -> Step:
        return Emit(self._id("emit"), "SOMETHING", self._number(known))

    def _stop(self, known: Sequence[Expr]) -> Step:
        status = self._draw(st.sampled_from(["completed", "failed", "skipped"]))
        return StopHere(self._id("stop"), status, self._number(known))

    def _if(self, known: Sequence[Expr], depth: int, *, may_end: bool) -> Step:
        then, otherwise = (self.block(known, depth + 1, may_end=may_end) for _ in range(2))
        return If(self._id("if"), self._condition(known), then, otherwise if self._one_in(2) else ())

    def _switch(self, known: Sequence[Expr], depth: int, *, may_end: bool) -> Step:
        kinds = [st.integers(-2, 4), st.lists(st.integers(-2, 4), min_size=1, max_size=3), st.none()]
        cases = []
        for _ in range(self._draw(st.integers(1, 3))):
            fits = self._draw(st.one_of(kinds))
            cases.append(
                (self._condition(known) if fits is None else fits, self.block(known, depth + 1, may_end=may_end))
            )
        return Switch(self._id("switch"), self._number(known), cases, self.block(known, depth + 1, may_end=may_end))

    def _for_each(self, known: Sequence[Expr], depth: int, *, may_end: bool) -> Step:
        parallel = self._draw(st.sampled_from([1, 1, 2, 5]))
        name = self._id("item")
        outside = self._side_by_side
        self._side_by_side = outside or parallel > 1
        in_order, self._in_order = self._in_order, self._in_order and parallel == 1
        inner = [
            *(one for one in known if not (self._side_by_side and one.text.startswith("vars."))),
            Expr(name, lambda scope: scope.names[name]),
            Expr("index", lambda scope: scope.names["index"]),
        ]
        do = self.block(inner, depth + 1, may_end=may_end and parallel == 1)
        self._side_by_side, self._in_order = outside, in_order
        items = self._draw(st.lists(st.integers(-3, 9), max_size=4))
        return ForEach(self._id("each"), items, name, do, parallel)

    def _while(self, known: list[Expr], depth: int, *, may_end: bool) -> list[Step]:
        counter = self._id("n")
        begin = Set(self._id("set"), counter, Expr("0", lambda _: 0))
        count = Expr(f"vars.{counter}", lambda scope: scope.vars[counter])
        more = Expr(f"vars.{counter} + 1", lambda scope: scope.vars[counter] + 1)
        do = [*self.block([*known, count], depth + 1, may_end=may_end), Set(self._id("set"), counter, more)]
        return [begin, While(self._id("while"), counter, self._draw(st.integers(0, 3)), do)]

    def _parallel(self, known: Sequence[Expr], depth: int, *, may_end: bool) -> Step:
        names = [self._id("branch") for _ in range(self._draw(st.integers(1, 3)))]
        # One at the most may fail: of two it is the quicker one that counts.
        in_order, self._in_order = self._in_order, False
        branches = {name: self.block(known, depth + 1, may_end=False) for name in names}
        self._in_order = in_order
        if may_end and self._one_in(3):
            probe = Probe(self._id("probe"), self._number(known), 1)
            branches[names[0]] = [*branches[names[0]], probe]
        return Parallel(self._id("parallel"), branches)

    def _try(self, known: Sequence[Expr], depth: int, *, may_end: bool) -> Step:
        body = self.block(known, depth + 1, may_end=may_end)
        if self._one_in(2):
            body = [*body, Probe(self._id("probe"), self._number(known), 1)]
        catch = self.block(known, depth + 1, may_end=may_end)
        last = self.block(known, depth + 1, may_end=False)
        handles = self._draw(st.sampled_from(["catch", "finally", "both"]))
        if handles == "finally" and not may_end:
            handles = "both"
        return Try(self._id("try"), body, catch if handles != "finally" else (), last if handles != "catch" else ())

    # ------------------------------------------------------------------ expressions

    def _number(self, known: Sequence[Expr]) -> Expr:
        left = self._draw(st.sampled_from(known))
        add = self._draw(st.integers(0, 5))
        if self._one_in(3):
            return Expr(str(add), lambda _: add)
        return Expr(f"{left.text} + {add}", lambda scope: left.value(scope) + add)

    def _condition(self, known: Sequence[Expr]) -> Expr:
        left = self._draw(st.sampled_from(known))
        bound = self._draw(st.integers(-1, 6))
        return Expr(f"{left.text} < {bound}", lambda scope: left.value(scope) < bound)

    @staticmethod
    def _output(step: str) -> Expr:
        return Expr(f"steps.{step}.output", lambda scope: scope.steps[step])

    def _id(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"

    def _one_in(self, count: int) -> bool:
        return bool(self._draw(st.integers(1, count)) == 1)


@st.composite
def flows(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Flow:
    """Draw a workflow."""
    return Writer(draw).flow()
