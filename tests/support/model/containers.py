"""The steps that hold others, and what it means that something runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from support.model.base import Done, Step, prefix_of, run_block, write
from support.model.trace import AtLeast, Certainty, End, Expr, Failure, Scope, Stop, Trace

SHORT = "40ms"

Piece = Callable[[Trace, Scope], End]


def rehearsed(piece: Piece, scope: Scope) -> End:
    """Return how a piece ends, without leaving anything."""
    return piece(Trace(), scope.copied())


def ender(ends: Sequence[End]) -> int | None:
    """Return which of several pieces ends the whole; whoever wrote the workflow made sure that it is clear."""
    found = [number for number, end in enumerate(ends) if end is not None]
    said = {(type(ends[number]), getattr(ends[number], "message", None)) for number in found}
    assert len(said) <= 1, "the language does not say which of these ends counts"
    return found[0] if found else None


def blamed(ends: Sequence[End]) -> End:
    """Return the end that counts; of failures that say the same it is open which one it is."""
    failures = [end for end in ends if isinstance(end, Failure)]
    if len(failures) > 1:
        return Failure(failures[0].kind, failures[0].message, ..., ...)
    return next((end for end in ends if end is not None), None)


@dataclass(frozen=True)
class Container(Step):
    """A step that holds others."""

    cut_short: bool = field(default=False, kw_only=True)
    """What it holds takes longer than its timeout allows."""

    @property
    def overflows(self) -> bool:
        """Whether it is given more than it may take."""
        return False

    def written(self) -> dict[str, Any]:
        return {**super().written(), **({"timeout": SHORT} if self.cut_short else {})}

    def act(self, trace: Trace, scope: Scope, path: str) -> Done:
        if not self.cut_short:
            return self.hold(trace, scope, path)
        self.hold(trace, scope.beside(scope.at.fork(Certainty.CUT)), path)
        scope.at.waits()
        return Done(Failure("timeout", "the attempt took longer than its timeout", path))

    def hold(self, trace: Trace, scope: Scope, path: str) -> Done:
        """Run what it holds."""
        raise NotImplementedError


@dataclass(frozen=True)
class If(Container):
    """Take one of two branches."""

    condition: Expr
    then: Sequence[Step]
    otherwise: Sequence[Step]

    def verb(self) -> dict[str, Any]:
        return {"if": self.condition.text, "then": write(self.then), "else": write(self.otherwise)}

    def hold(self, trace: Trace, scope: Scope, path: str) -> Done:
        branch = "then" if self.condition.value(scope) else "else"
        end = run_block(self.then if branch == "then" else self.otherwise, trace, scope, prefix_of(path))
        return Done(end, {"branch": branch})


@dataclass(frozen=True)
class Switch(Container):
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

    def hold(self, trace: Trace, scope: Scope, path: str) -> Done:
        value = self.subject.value(scope)
        taken, block = None, self.default
        for number, (wanted, do) in enumerate(self.cases):
            if self._fits(wanted, value, scope):
                taken, block = number, do
                break
        return Done(run_block(block, trace, scope, prefix_of(path)), {"case": taken})

    @staticmethod
    def _fits(wanted: Any, value: Any, scope: Scope) -> bool:
        if isinstance(wanted, Expr):
            return bool(wanted.value(scope))
        return value in wanted if isinstance(wanted, list) else bool(value == wanted)


@dataclass(frozen=True)
class ForEach(Container):
    """Do something for every item."""

    source: Any
    """What is written: a list, or an expression."""
    items: Any
    """What it gives: a list, a mapping, or something else."""
    name: str
    do: Sequence[Step]
    parallel: int = 1
    distribute: bool = False
    most: int = 100

    @property
    def overflows(self) -> bool:
        return not isinstance(self.items, list | dict) or len(self.items) > self.most

    def verb(self) -> dict[str, Any]:
        step = {"for_each": self.source, "as": self.name, "do": write(self.do), "max_items": self.most}
        step |= {"parallel": self.parallel} if self.parallel > 1 else {}
        return {**step, "distribute": True} if self.distribute else step

    def hold(self, trace: Trace, scope: Scope, path: str) -> Done:
        items = self.items
        if isinstance(items, dict):
            items = [{"key": key, "value": value} for key, value in items.items()]
        if not isinstance(items, list):
            return Done(Failure("no_list", ..., path))
        if len(items) > self.most:
            return Done(Failure("too_many_items", ..., path))
        if self.distribute and items:
            scope.at.waits()
        outputs: list[Any] = [None] * len(items)

        def turn(index: int) -> Piece:
            def run(trace: Trace, scope: Scope) -> End:
                inner = scope.inner(scope.at, own_vars=self.distribute, **{self.name: items[index], "index": index})
                end = run_block(self.do, trace, inner, f"{path}[{index}].")
                outputs[index] = inner.steps.get(self.do[-1].id)
                return end

            return run

        turns = [turn(index) for index in range(len(items))]
        end = self._in_turn(turns, trace, scope) if self.parallel == 1 else self._beside(turns, trace, scope)
        return Done(end, ... if isinstance(end, Stop) else outputs)

    @staticmethod
    def _in_turn(turns: Sequence[Piece], trace: Trace, scope: Scope) -> End:
        for turn in turns:
            end = turn(trace, scope)
            if end is not None:
                return end
        return None

    def _beside(self, turns: Sequence[Piece], trace: Trace, scope: Scope) -> End:
        """Run turns side by side: those before the one that ends the loop have begun, those after it perhaps."""
        ends = [rehearsed(turn, scope) for turn in turns]
        last = ender(ends)
        certainties = [
            Certainty.MAYBE if last is not None and number > last else Certainty.SURE for number in range(len(turns))
        ]
        run_beside(turns, trace, scope, certainties, ends, parts=self.distribute)
        return blamed(ends)


def run_beside(
    pieces: Sequence[Piece],
    trace: Trace,
    scope: Scope,
    certainties: Sequence[Certainty],
    ends: Sequence[End],
    *,
    parts: bool,
) -> None:
    """Run pieces side by side. Where one of them stops the execution, what waits in the others is given up."""
    stops = any(isinstance(end, Stop) for end in ends)
    ats = []
    for piece, certainty, end in zip(pieces, certainties, ends, strict=True):
        beside_stop = stops and end is None
        # A part that works is something that the whole waits for.
        at = scope.at.fork(Certainty.CUT if beside_stop and parts else certainty, gives_up=beside_stop)
        piece(trace, scope.beside(at))
        ats.append(at)
    scope.at.join(ats, ended=ender(ends) is not None)


@dataclass(frozen=True)
class While(Container):
    """Repeat while a counter, which its last step raises, is below a bound."""

    counter: str
    bound: int
    do: Sequence[Step]
    most: int = 100

    @property
    def overflows(self) -> bool:
        return self.bound > self.most

    def verb(self) -> dict[str, Any]:
        return {"while": f"vars.{self.counter} < {self.bound}", "do": write(self.do), "max_iterations": self.most}

    def hold(self, trace: Trace, scope: Scope, path: str) -> Done:
        index = 0
        while scope.vars[self.counter] < self.bound:
            if index == self.most:
                return Done(Failure("too_many_iterations", ..., path))
            end = run_block(self.do, trace, scope.inner(scope.at, index=index), f"{path}[{index}].")
            if end is not None or self.cut_short:
                return Done(end, {"iterations": index})
            index += 1
        return Done(output={"iterations": index})


@dataclass(frozen=True)
class Parallel(Container):
    """Run branches, which must not depend on each other."""

    branches: Mapping[str, Sequence[Step]]
    race: bool = False
    stuck: frozenset[str] = frozenset()
    """Branches of a race that end only if something ends them."""
    distribute: bool = False

    def verb(self) -> dict[str, Any]:
        step: dict[str, Any] = {"parallel": {name: write(do) for name, do in self.branches.items()}}
        step |= {"race": True} if self.race else {}
        return {**step, "distribute": True} if self.distribute else step

    def hold(self, trace: Trace, scope: Scope, path: str) -> Done:
        def branch(do: Sequence[Step]) -> Piece:
            def run(trace: Trace, scope: Scope) -> End:
                inner = scope.beside(scope.at, own_vars=self.distribute)
                return run_block(do, trace, inner, prefix_of(path))

            return run

        if self.distribute:
            scope.at.waits()
        pieces = [branch(do) for do in self.branches.values()]
        ends = [rehearsed(piece, scope) for piece in pieces]
        if self.race:
            return self._raced(pieces, ends, trace, scope)
        run_beside(pieces, trace, scope, [Certainty.SURE] * len(pieces), ends, parts=self.distribute)
        outputs = {name: scope.steps.get(do[-1].id) for name, do in self.branches.items() if do}
        end = blamed(ends)
        return Done(end, ... if isinstance(end, Stop) else outputs)

    def _raced(self, pieces: Sequence[Piece], ends: Sequence[End], trace: Trace, scope: Scope) -> Done:
        """Let the first that completes win, and cancel the others; where several may, it is open which."""
        names = list(self.branches)
        arriving = [
            number
            for number, end in enumerate(ends)
            if names[number] not in self.stuck and not isinstance(end, Failure)
        ]
        sure = arriving if len(arriving) == 1 else [] if arriving else range(len(pieces))
        ats = []
        for number, piece in enumerate(pieces):
            at = scope.at.fork(Certainty.SURE if number in sure else Certainty.CUT)
            piece(trace, scope.beside(at))
            ats += [at] if number in sure else []
        scope.at.join(ats)
        scope.at.waits()  # whatever they hold
        if not arriving:
            return Done(blamed(ends))
        winner = names[arriving[0]] if len(arriving) == 1 else ...
        return Done(ends[arriving[0]], {"winner": winner})


@dataclass(frozen=True)
class Try(Container):
    """Handle a failure, and do something in any case."""

    body: Sequence[Step]
    catch: Sequence[Step]
    last: Sequence[Step]

    def verb(self) -> dict[str, Any]:
        parts = {"try": self.body, "catch": self.catch, "finally": self.last}
        return {name: write(block) for name, block in parts.items() if block or name == "try"}

    def act(self, trace: Trace, scope: Scope, path: str) -> Done:
        prefix = prefix_of(path)
        end, caught = self._tried(trace, scope, path), None
        if isinstance(end, Failure) and self.catch:
            caught = end
            end = run_block(self.catch, trace, scope.with_names(error=end), prefix)
        last = run_block(self.last, trace, scope, prefix)
        return Done(last if last is not None else end, {"caught": caught and seen(caught)})

    def _tried(self, trace: Trace, scope: Scope, path: str) -> End:
        """Run what is tried: the timeout is its own."""
        if not self.cut_short:
            return run_block(self.body, trace, scope, prefix_of(path))
        run_block(self.body, trace, scope.beside(scope.at.fork(Certainty.CUT)), prefix_of(path))
        scope.at.waits()
        return Failure("timeout", "the attempt took longer than its timeout", path)


def seen(failure: Failure) -> AtLeast:
    """Return a failure as expressions see it, and as it is on record."""
    return AtLeast(
        {"class": failure.kind, "message": failure.message, "step": failure.step, "attempt": failure.attempt}
    )
