"""Folding away the turns of long loops: what the workflow still needs of them goes into one record, and their own go.

A loop keeps the latest of its turns on record, and the latest of those in which a step failed. Earlier ones it folds:
how many there were, what they set and what they gave is one row in their place, so that neither the table nor whoever
takes the execution up has more to carry the longer it runs. The row and the removal of theirs are part of one flush,
the next one. Only turns of which everything is committed are folded: a statement may not write and remove the same row.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

import orjson

from hark.daemon.engine.payload import encode
from hark.daemon.engine.records import StepRecord
from hark.workflows.turns import FOLD, Turns, fold_path, loop_of

MOST_TEXT = 1024 * 1024
"""Characters of what the turns of one fold give; what is beyond waits for the next."""
SMALL = 16 * 1024
"""A fold of this size is taken into the next one whatever that one's."""
MOST_KEPT = 8 * 1024 * 1024
"""Characters of inputs and outputs that the kept turns of a loop may have; where they have more, fewer are kept."""
NO_TURNS = Turns()


class Book(Protocol):
    """Where folds are noted: an execution, as folding sees it."""

    kept_turns: int

    @property
    def seq(self) -> int:
        """The number of the next step that is reached."""
        ...

    @property
    def mark(self) -> int:
        """What has to be committed so that all that is noted by now is."""
        ...

    @property
    def committed(self) -> int:
        """Up to which mark all is committed."""
        ...

    def now(self) -> datetime:
        """Tell the time."""
        ...

    def fold(self, record: StepRecord, gone: Iterable[str]) -> None:
        """Note a fold, and the paths of the turns and folds that it replaces."""
        ...


Vars = dict[str, tuple[int, Any]]
"""By name: the number of the step that set it last, and the value."""


def join_vars(into: Vars, more: Mapping[str, Sequence[Any]]) -> None:
    """Take variables in; of two values of one that counts which was set last."""
    for name, (seq, value) in more.items():
        if name not in into or into[name][0] <= seq:
            into[name] = seq, value


@dataclass(slots=True, eq=False)
class Turn:
    """What is kept in mind of a turn until it is folded away; also entered as a context while it runs."""

    path: str
    seq: int
    loop: Loop | None = None
    index: int = 0
    weight: int = 1
    """How many turns are on record in it, itself among them."""
    size: int = 0
    """Characters of the inputs and outputs that are on record in it."""
    failed: bool = False
    vars: Vars = field(default_factory=dict)
    mark: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        if self.loop is not None:
            self.loop.leave(self)

    def note(self, record: StepRecord) -> None:
        """Take in a step of it that is on record from before."""
        self.seq = min(self.seq, record.seq)
        self.size += size_of(record)
        self.failed = self.failed or record.status == "failed" or (record.verb == FOLD and _Fold.of(record).failed > 0)
        join_vars(self.vars, vars_of(record))

    def around(self) -> Iterator[Turn]:
        """Yield the turn and those around it."""
        turn: Turn | None = self
        while turn is not None:
            yield turn
            turn = turn.loop.outer if turn.loop is not None else None


def size_of(record: StepRecord) -> int:
    """Return how many characters a step's input and output have."""
    return len(record.input or "") + len(record.output or "")


def vars_of(record: StepRecord) -> Mapping[str, Sequence[Any]]:
    """Return what a step on record, or the steps of a fold, have set."""
    if record.verb == FOLD:
        found: dict[str, Sequence[Any]] = orjson.loads(record.input or "{}")["vars"]
        return found
    if record.verb == "set" and record.status == "completed" and record.output is not None:
        return {name: (record.seq, value) for name, value in orjson.loads(record.output).items()}
    return {}


@dataclass(slots=True)
class _Fold:
    """Turns that are folded away."""

    turns: Turns
    seq: int
    """That of the first step of all."""
    failed: int = 0
    """How many of them had a step that failed."""
    vars: Vars = field(default_factory=dict)
    size: int = 0
    mark: int = 0

    @classmethod
    def of(cls, record: StepRecord) -> _Fold:
        """Read a fold back."""
        said = orjson.loads(record.output or "{}")
        fold = cls(Turns(said["turns"]), record.seq, said["failed"], size=len(record.input or ""))
        join_vars(fold.vars, vars_of(record))
        return fold

    def add(self, turn: Turn) -> None:
        """Take a turn in."""
        self.seq = min(self.seq, turn.seq)
        self.failed += turn.failed
        join_vars(self.vars, turn.vars)

    def join(self, other: _Fold) -> None:
        """Take another fold in."""
        self.turns |= other.turns
        self.seq = min(self.seq, other.seq)
        self.failed += other.failed
        join_vars(self.vars, other.vars)


class _Kept:
    """Turns that are done and on record, the earliest first, with what they add up to."""

    def __init__(self) -> None:
        self._turns: deque[Turn] = deque()
        self._weight = 0
        self._size = 0

    @property
    def first(self) -> Turn:
        """The earliest."""
        return self._turns[0]

    def exceeds(self, weight: int, size: int) -> bool:
        """Tell whether they are too many or too large, the last one apart."""
        return len(self._turns) > 1 and (self._weight > weight or self._size > size)

    def add(self, turn: Turn) -> None:
        """Take one in."""
        self._turns.append(turn)
        self._weight += turn.weight
        self._size += turn.size

    def pop(self) -> Turn:
        """Take out the earliest."""
        turn = self._turns.popleft()
        self._weight -= turn.weight
        self._size -= turn.size
        return turn


class Loop:
    """The turns of one loop while it runs: which are folded away, which are done, and which of those are next to go."""

    def __init__(self, path: str, folding: Folding, outer: Turn | None, folds: Sequence[StepRecord]) -> None:
        self.path = path
        self.outer = outer
        self._folding = folding
        self._folds = [_Fold.of(record) for record in folds]
        self._folded = Turns(each for fold in self._folds for each in fold.turns.ranges)
        self._given = {
            number: value
            for record, fold in zip(folds, self._folds, strict=True)
            for number, value in zip(fold.turns, orjson.loads(record.input or "{}").get("outputs", ()), strict=False)
        }
        self._outputs: list[Any] | None = None
        self._done = _Kept()
        self._failed = _Kept()

    def outputs(self, count: int) -> list[Any]:
        """Return the list of what the turns give; of those that are folded away it has that already."""
        self._outputs = [self._given.get(number) for number in range(count)] if self._given else [None] * count
        return self._outputs

    def ahead(self, end: int) -> Iterator[int]:
        """Yield the turns before `end` that are not folded away."""
        return self._folded.others(end)

    def turn(self, index: int) -> Turn:
        """Begin a turn, or go on with one."""
        return self._folding.begin(self, index)

    def leave(self, turn: Turn) -> None:
        """Note that a turn is not being run any more, whatever came of it."""
        self._folding.open.pop(turn.path + ".", None)

    def done(self, turn: Turn) -> None:
        """Note that a turn is done and the loop goes on; fold the earliest ones when there are many."""
        book = self._folding.book
        turn.mark = book.mark
        self._done.add(turn)
        keep = book.kept_turns
        if self._done.exceeds(keep + keep // 5, MOST_KEPT):
            gone = self._overdue(keep)
            if gone:
                self._fold(gone)

    def _overdue(self, keep: int) -> list[Turn]:
        """Take out the turns that are to be folded; those with failures are kept for longer."""
        committed, gone, size = self._folding.book.committed, list[Turn](), 0
        # More than is due, so that folding is not for every turn; but the last one stays.
        while self._done.exceeds(keep, MOST_KEPT // 2) and self._done.first.mark <= committed and size < MOST_TEXT:
            turn = self._done.pop()
            if turn.failed:
                self._failed.add(turn)
                if not self._failed.exceeds(keep, MOST_KEPT):
                    continue
                turn = self._failed.pop()
            size += self._size(turn.index)
            gone.append(turn)
        return gone

    def _fold(self, gone: Sequence[Turn]) -> None:
        fold = _Fold(Turns((turn.index, turn.index) for turn in gone), gone[0].seq)
        for turn in gone:
            fold.add(turn)
        book = self._folding.book
        paths = [turn.path for turn in gone] + self._absorb(fold, book.committed)
        record = self._record(fold)
        for turn in self.outer.around() if self.outer is not None else ():
            turn.weight -= sum(each.weight for each in gone)
            turn.size += size_of(record) - sum(each.size for each in gone)
        book.fold(record, paths)
        fold.size, fold.mark = len(record.input or ""), book.mark  # only now: the fold itself has to be committed too
        self._folds.append(fold)

    def _absorb(self, fold: _Fold, committed: int) -> list[str]:
        """Take earlier folds into a new one; returns their paths.

        Where turns give something, only such as are not much larger: each output is written again but a few times, and
        the number of folds grows with the logarithm of that of the turns. Of a `while` one remains.
        """
        paths: list[str] = []
        size = sum(self._size(number) for number in fold.turns)
        while self._folds and self._folds[-1].mark <= committed:
            earlier = self._folds[-1]
            path = fold_path(self.path, earlier.turns)
            large = self._outputs is not None and earlier.size > max(2 * size, SMALL)
            # A turn that fills a gap would be filed where it replaces: one row cannot be written and removed at once.
            if large or fold_path(self.path, fold.turns | earlier.turns) in {path, *paths}:
                break
            self._folds.pop()
            paths.append(path)
            fold.join(earlier)
            size += earlier.size
        return paths

    def _size(self, number: int) -> int:
        return len(encode(self._outputs[number])) if self._outputs is not None else 0

    def _record(self, fold: _Fold) -> StepRecord:
        needed: dict[str, Any] = {"seq": self._folding.book.seq - 1, "vars": fold.vars}
        if self._outputs is not None:
            needed["outputs"] = [self._outputs[number] for number in fold.turns]
        said = {"turns": fold.turns.ranges, "completed": len(fold.turns) - fold.failed, "failed": fold.failed}
        return StepRecord(
            fold_path(self.path, fold.turns), fold.seq, FOLD, "completed", input=encode(needed), output=encode(said),
            completed_at=self._folding.book.now(),
        )  # fmt: skip


class Folding:
    """What an execution has to know of its loops to fold them."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self.open: dict[str, Turn] = {}
        """The turns that run, by the prefix of their steps' paths."""
        self._folds: dict[str, list[StepRecord]] = {}
        self._folded: dict[str, Turns] = {}
        """What is on record as folded away from before, by loop."""
        self._known: dict[str, Turn] = {}
        """Of turns that are on record from before: what is known of them, by path, until they are gone on with."""

    def restore(self, known: Mapping[str, StepRecord]) -> tuple[dict[str, StepRecord], list[str]]:
        """Take in what is on record; returns it without what is folded away, and paths of remains to be removed.

        Remains are turns beside a fold that has them. They come of a flush that was written again because the answer
        to its COMMIT was lost, after somebody else had folded them.
        """
        remains = self._sort([record for record in known.values() if record.verb == FOLD])
        steps = {path: record for path, record in known.items() if record.verb != FOLD}
        if self._folds:
            hidden = [path for path in steps if self._is_folded(path)]
            remains += hidden
            for path in hidden:
                del steps[path]
        gone = frozenset(remains)
        for path, record in known.items():
            if "[" in path and path not in gone:
                self._restore_turns(path, record)
        return steps, remains

    def _sort(self, folds: Iterable[StepRecord]) -> list[str]:
        """File folds by their loops; returns the paths of those whose turns another one has too."""
        remains = []
        for turns, record in sorted(((turns_of(fold), fold) for fold in folds), key=lambda each: -len(each[0])):
            loop = loop_of(record.path)
            if turns.first in self._folded.get(loop, NO_TURNS):
                remains.append(record.path)
            else:
                self._folded[loop] = self._folded.get(loop, NO_TURNS) | turns
                self._folds.setdefault(loop, []).append(record)
        return remains

    def _is_folded(self, path: str) -> bool:
        return any(
            int(turn[len(loop_of(turn)) + 1 : -1]) in self._folded.get(loop_of(turn), NO_TURNS)
            for turn in turns_around(path)
        )

    def _restore_turns(self, path: str, record: StepRecord) -> None:
        outer: list[Turn] = []
        for place in turns_around(path):
            turn = self._known.get(place)
            if turn is None:
                turn = self._known[place] = Turn(place, record.seq)
                for each in outer:
                    each.weight += 1
            turn.note(record)
            outer.append(turn)

    def records(self) -> Iterator[StepRecord]:
        """Yield the folds that are on record from before."""
        for records in self._folds.values():
            yield from records

    # ------------------------------------------------------------------ while it runs

    def loop(self, path: str, prefix: str) -> Loop:
        """Begin a loop, or go on with it; `prefix` leads the paths of the steps beside it."""
        return Loop(path, self, self.open.get(prefix), self._folds.pop(path, ()))

    def begin(self, loop: Loop, index: int) -> Turn:
        """Begin a turn, or go on with one that is on record."""
        path = f"{loop.path}[{index}]"
        turn = self._known.pop(path, None)
        if turn is None:
            turn = Turn(path, self.book.seq)
            for outer in loop.outer.around() if loop.outer is not None else ():
                outer.weight += 1
        turn.loop, turn.index = loop, index
        self.open[path + "."] = turn
        return turn

    def note_set(self, prefix: str, seq: int, values: Mapping[str, Any]) -> None:
        """Note what a step has set."""
        innermost = self.open.get(prefix)
        for turn in innermost.around() if innermost is not None else ():
            turn.vars.update({name: (seq, value) for name, value in values.items()})

    def note(self, record: StepRecord) -> None:
        """Note how a step has ended, as far as its turn is concerned."""
        path = record.path
        innermost = self.open.get(f"{path}." if path[-1] == "]" else path[: path.rfind(".") + 1])
        for turn in innermost.around() if innermost is not None else ():
            turn.size += size_of(record)
            turn.failed = turn.failed or record.status == "failed"


def turns_of(fold: StepRecord) -> Turns:
    """Return the turns that a fold has."""
    return Turns(orjson.loads(fold.output or "{}")["turns"])


def highest_seq(record: StepRecord) -> int:
    """Return the highest number of a step on record, or of those that a fold has."""
    return int(orjson.loads(record.input or "{}")["seq"]) if record.verb == FOLD else record.seq


def turns_around(path: str) -> Iterator[str]:
    """Yield the turns that a path leads through, outermost first: `a[0]` and `a[0].b[2]` of `a[0].b[2].mail`."""
    end = path.find("]")
    while end >= 0:
        if path[path.rfind("[", 0, end) + 1 : end].isdigit():  # a fold has two numbers
            yield path[: end + 1]
        end = path.find("]", end + 1)
