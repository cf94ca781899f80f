"""Random workflows: the steps that hold others, with what may end them, and whole workflows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from hypothesis import strategies as st

from support.model.base import Step
from support.model.containers import ForEach, If, Parallel, Switch, Try, While
from support.model.drawing import FAILS, NEVER, STOPS, Drawing, Ends, constant
from support.model.flow import Flow
from support.model.steps import LONG, Probe, Set, StopHere, Wait
from support.model.trace import Expr

_names = count(1)

TRUE = Expr("true", lambda _: True)


class Writer(Drawing):
    """Draws one workflow with steps in steps."""

    def holding(self, known: Sequence[Expr], depth: int, ends: Ends) -> Step:
        if self.one_in(10):
            return self._cut_short(known, depth)
        kinds = [self._if, self._switch, self._for_each, self._for_each, self._parallel, self._race, self._try]
        step: Step = self.draw(st.sampled_from(kinds))(known, depth, ends)
        return step

    def _if(self, known: Sequence[Expr], depth: int, ends: Ends) -> Step:
        then, otherwise = (self.block(known, depth + 1, ends) for _ in range(2))
        return If(self.new_id("if"), self.condition(known), then, otherwise if self.one_in(2) else ())

    def _switch(self, known: Sequence[Expr], depth: int, ends: Ends) -> Step:
        kinds = [st.integers(-2, 4), st.lists(st.integers(-2, 4), min_size=1, max_size=3), st.none()]
        cases = []
        for _ in range(self.draw(st.integers(1, 3))):
            fits = self.draw(st.one_of(kinds))
            cases.append((self.condition(known) if fits is None else fits, self.block(known, depth + 1, ends)))
        default = self.block(known, depth + 1, ends) if self.one_in(2) else ()
        return Switch(self.new_id("switch"), self.number(known), cases, default)

    def _try(self, known: Sequence[Expr], depth: int, ends: Ends) -> Step:
        handles = self.draw(st.sampled_from(["catch", "finally", "both"]))
        catches = handles != "finally"
        body = self.block(known, depth + 1, ends | FAILS if catches else ends)
        if catches and self.one_in(2):
            body = [*body, self.failing(known)]
        catch = self.handler(known, depth + 1, ends) if catches else ()
        last = self.block(known, depth + 1, ends if self.one_in(3) else NEVER) if handles != "catch" else ()
        return Try(self.new_id("try"), body, catch, last)

    def stopped_twice(self, known: Sequence[Expr]) -> Step:
        first, second = self.ender(known, STOPS), self.ender(known, STOPS)
        last = [Probe(self.new_id("probe"), self.number(known)) for _ in range(3)]
        return Try(self.new_id("try"), [Try(self.new_id("try"), [first], (), [second])], (), last)

    # ------------------------------------------------------------------ loops

    def _for_each(self, known: Sequence[Expr], depth: int, ends: Ends) -> Step:
        parallel = self.draw(st.sampled_from([1, 1, 2, 5]))
        distribute = self.one_in(4)
        name = self.new_id("item")
        source, items = self._items()
        if parallel == 1 and not distribute:
            do = self.block([*known, *self._of_turn(name, items)], depth + 1, ends)
            return ForEach(self.new_id("each"), source, items, name, do, most=self._most(items))
        shares = not distribute
        seen = [one for one in known if not ((shares or self.shares_vars) and one.text.startswith("vars."))]
        with self.beside(shares_vars=shares, own_vars=distribute):
            do = self.block([*seen, *self._of_turn(name, items)], depth + 1, NEVER)
        if isinstance(items, list) and ends and self.one_in(2):
            do = [*do, *self._ending_turn(known, ends, items, parallel)]
        return ForEach(self.new_id("each"), source, items, name, do, parallel, distribute, self._most(items))

    def _items(self) -> tuple[Any, Any]:
        """Draw what a loop goes over: as it is written, and what it is."""
        numbers = self.draw(st.lists(st.integers(-3, 9), max_size=4))
        match self.draw(st.sampled_from(["list", "list", "list", "expression", "mapping", "no list"])):
            case "expression":
                return f"{numbers}", numbers
            case "mapping":
                return "{" + ", ".join(f'"k{n}": {n}' for n in sorted(set(numbers))) + "}", {
                    f"k{n}": n for n in sorted(set(numbers))
                }
            case "no list" if self.one_in(3):
                return "inputs.n", 0
        return numbers, numbers

    def _of_turn(self, name: str, items: Any) -> list[Expr]:
        index = Expr("index", lambda scope: scope.names["index"])
        if isinstance(items, dict):
            return [index, Expr(f"{name}.value", lambda scope: scope.names[name]["value"])]
        return [index, Expr(name, lambda scope: scope.names[name])] if isinstance(items, list) else [index]

    def _most(self, items: Any) -> int:
        if not isinstance(items, list | dict) or not items or not self.one_in(10):
            return 100
        return max(1, len(items) - 1)

    def _ending_turn(self, known: Sequence[Expr], ends: Ends, items: Sequence[Any], parallel: int) -> list[Step]:
        """Draw what ends the loop in one of its turns; others may wait for ever if all turns have begun by then."""
        last = self.draw(st.integers(0, 3))
        ender = self.ender(known[:1], ends)
        steps = [replace(ender, guard=Expr(f"index == {last}", lambda scope: bool(scope.names["index"] == last)))]
        if isinstance(ender, StopHere) and last < len(items) <= parallel and self.one_in(2):
            others = Expr(f"index != {last}", lambda scope: bool(scope.names["index"] != last))
            steps.append(Wait(self.new_id("wait"), LONG, guard=others))
        return steps

    def repeating(self, known: Sequence[Expr], depth: int, ends: Ends) -> list[Step]:
        counter = self.new_id("n")
        begin = Set(self.new_id("set"), counter, constant(0))
        count = Expr(f"vars.{counter}", lambda scope: scope.vars[counter])
        more = Expr(f"vars.{counter} + 1", lambda scope: scope.vars[counter] + 1)
        do = self.block([*known, count], depth + 1, ends)
        is_graph = any(step.needs is not None for step in do)
        # What is counted with is read by all of them: it changes after all of them.
        do.append(Set(self.new_id("set"), counter, more, needs=[step.id for step in do] if is_graph else None))
        bound = self.draw(st.integers(0, 3))
        most = max(1, bound - 1) if "fail" in ends and self.one_in(5) else 100
        return [begin, While(self.new_id("while"), counter, bound, do, most)]

    # ------------------------------------------------------------------ side by side

    def _branches(self, known: Sequence[Expr], depth: int, *, distribute: bool, least: int) -> dict[str, list[Step]]:
        branches = {}
        for _ in range(self.draw(st.integers(least, 3))):
            with self.beside(own_vars=distribute):
                branches[self.new_id("branch")] = self.block(known, depth + 1, NEVER)
        return branches

    def _parallel(self, known: Sequence[Expr], depth: int, ends: Ends) -> Step:
        distribute = self.one_in(4)
        branches = self._branches(known, depth, distribute=distribute, least=1)
        first = next(iter(branches))
        if ends and self.one_in(2):
            ender = self.ender(known[:1], ends)
            branches[first].append(ender)
            for name in [name for name in branches if name != first and self.one_in(2)]:
                stops = isinstance(ender, StopHere)
                branches[name].append(Wait(self.new_id("wait"), LONG) if stops else self.failing(known[:1]))
        return Parallel(self.new_id("parallel"), branches, distribute=distribute)

    def _race(self, known: Sequence[Expr], depth: int, ends: Ends) -> Step:
        distribute = self.one_in(4)
        branches = self._branches(known, depth, distribute=distribute, least=2)
        kind = self.draw(st.sampled_from(["one", "one", "open", *(["none"] if "fail" in ends else [])]))
        winner = next(iter(branches)) if kind == "one" else None
        stuck = set()
        for name, do in branches.items():
            if name == winner:
                if "stop" in ends and self.one_in(3):
                    do.append(self.ender(known[:1], ends - FAILS))
            elif kind == "none" or (kind == "one" and self.one_in(2)):
                do.append(self.failing(known[:1]))
            elif kind == "one":
                do.append(Wait(self.new_id("wait"), LONG))
                stuck.add(name)
        return Parallel(self.new_id("race"), branches, True, frozenset(stuck), distribute)

    # ------------------------------------------------------------------ what takes too long

    def _cut_short(self, known: Sequence[Expr], depth: int) -> Step:
        """Draw a step that holds what never ends, and has a timeout."""
        with self.beside():
            block = [*self.block(known, depth + 1, NEVER), Wait(self.new_id("wait"), LONG)]
        distribute = self.one_in(4)
        match self.draw(st.sampled_from(["if", "switch", "for_each", "parallel", "try"])):
            case "if":
                return If(self.new_id("if"), TRUE, block, (), cut_short=True)
            case "switch":
                return Switch(self.new_id("switch"), constant(1), [(1, block)], (), cut_short=True)
            case "for_each":
                name = self.new_id("item")
                parallel = self.draw(st.integers(1, 2))
                return ForEach(self.new_id("each"), [1, 2], [1, 2], name, block, parallel, distribute, cut_short=True)
            case "parallel":
                branches = {self.new_id("branch"): block}
                return Parallel(self.new_id("parallel"), branches, distribute=distribute, cut_short=True)
        catch = self.handler(known, depth + 1, NEVER)
        return Try(self.new_id("try"), block, catch, (), cut_short=True)


@st.composite
def flows(draw: Callable[[st.SearchStrategy[Any]], Any], steps: int = 26, calls: int = 2) -> Flow:
    """Draw a workflow, under a name that no other has."""
    return Writer(draw, f"FLOW{next(_names)}", steps=steps, calls=calls).flow()
