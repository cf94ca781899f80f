"""What a run leaves according to the reference: records, effects, events, memory, calls, and how sure each of it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


class Certainty(IntEnum):
    """How sure something is, where the language leaves open what else had begun when something ended."""

    SURE = 0
    MAYBE = 1
    """There just as said, or not at all: a turn that may not have begun."""
    CUT = 2
    """As said, or given up, or not there: what lost a race, ran out of time, or waited when the execution stopped."""


@dataclass
class At:
    """Where a run stands: what must have happened before, and how sure it is that it comes so far."""

    past: frozenset[str] = frozenset()
    """Paths of the effects that were over before what comes next begins."""
    certainty: Certainty = Certainty.SURE
    gives_up: bool = False
    """Something beside it stops the execution, so that whatever waits may be given up."""

    def fork(self, at_least: Certainty = Certainty.SURE, *, gives_up: bool = False) -> At:
        """Return a place for a piece that runs beside others."""
        return At(self.past, max(self.certainty, at_least), gives_up or self.gives_up)

    def waits(self) -> None:
        """Pass over something that waits."""
        if self.gives_up:
            self.certainty = Certainty.CUT

    def join(self, pieces: Sequence[At], *, ended: bool = False) -> None:
        """Go on after pieces that are over; where one of them `ended` the whole, what becomes of that is sure."""
        self.past = self.past.union(*(piece.past for piece in pieces))
        if self.gives_up or not ended:
            self.certainty = max([self.certainty, *(piece.certainty for piece in pieces)])


@dataclass
class Scope:
    """What expressions see, and where the run stands."""

    inputs: Mapping[str, Any]
    vars: dict[str, Any] = field(default_factory=dict)
    context: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, Any] = field(default_factory=dict)
    names: Mapping[str, Any] = field(default_factory=dict)
    at: At = field(default_factory=At)

    def inner(self, at: At, *, own_vars: bool = False, **names: Any) -> Scope:
        """Return a turn's scope: it sees the steps outside and keeps its own to itself."""
        held = dict(self.vars) if own_vars else self.vars
        return Scope(self.inputs, held, self.context, dict(self.steps), {**self.names, **names}, at)

    def beside(self, at: At, *, own_vars: bool = False) -> Scope:
        """Return a branch's scope: it shares the steps with the others."""
        held = dict(self.vars) if own_vars else self.vars
        return Scope(self.inputs, held, self.context, self.steps, self.names, at)

    def copied(self) -> Scope:
        """Return a scope to rehearse in."""
        at = At(self.at.past, self.at.certainty, self.at.gives_up)
        return Scope(self.inputs, dict(self.vars), dict(self.context), dict(self.steps), self.names, at)

    def with_names(self, **names: Any) -> Scope:
        """Return a scope that sees more names and stands in the same place."""
        return Scope(self.inputs, self.vars, self.context, self.steps, {**self.names, **names}, self.at)


class AtLeast(dict[str, Any]):
    """An output of which only these fields are known beforehand."""


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
    """A step failed and nothing has handled it yet. `...` is a message that only the engine knows."""

    kind: str
    message: Any
    step: Any
    attempt: Any = 1


@dataclass(frozen=True)
class Stop:
    """A `stop` step was reached."""

    status: str
    output: Any
    reason: str


End = Failure | Stop | None


@dataclass
class Record:
    """What a step leaves."""

    status: str
    output: Any
    attempt: int
    error: Failure | None
    certainty: Certainty


@dataclass
class Effect:
    """A step that does something outside: how often it tries, and what was over before."""

    attempts: int
    before: frozenset[str]
    certainty: Certainty


@dataclass
class Emitted:
    """An event that is published."""

    type: str
    data: Any
    certainty: Certainty


@dataclass
class Called:
    """Executions of another workflow: one for each attempt."""

    flow: Any
    inputs: Mapping[str, Any]
    attempts: int
    certainty: Certainty
    cut: bool = False
    """Whether the caller ends them."""
    retries: int = 0


class Trace:
    """Everything that a run leaves, by path."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.effects: dict[str, Effect] = {}
        self.events: dict[str, Emitted] = {}
        self.calls: dict[str, Called] = {}
        self.memory: dict[str, tuple[Any, Certainty]] = {}
