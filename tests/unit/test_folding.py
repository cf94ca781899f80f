"""Folding against a table in memory, whose flushes see no more of themselves than a statement does."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hark.daemon.engine import folding
from hark.daemon.engine.folding import Folding, highest_seq, join_vars, size_of, turns_of, vars_of
from hark.daemon.engine.records import StepRecord
from hark.workflows.turns import FOLD, Turns

COUNT = 30
OPEN = 4


class Ledger:
    """An execution with one loop, whose turns each set a variable and may have a step that fails."""

    def __init__(self, kept_turns: int) -> None:
        self.kept_turns = kept_turns
        self.rows: dict[str, StepRecord] = {}
        self.most = 0
        self.crash()

    # ------------------------------------------------------------------ as folding sees it

    @property
    def mark(self) -> int:
        return self.committed + 1 if self._steps or self._gone else self.committed

    def now(self) -> datetime:
        return datetime.now(UTC)

    def fold(self, record: StepRecord, gone: Iterable[str]) -> None:
        self._steps[record.path] = record
        self._gone += gone

    # ------------------------------------------------------------------ as the walk does

    def crash(self) -> None:
        """Lose what is not committed, and begin a walk anew."""
        self._steps: dict[str, StepRecord] = {}
        self._gone: list[str] = []
        self.committed = 0
        self.seq = max((highest_seq(row) for row in self.rows.values()), default=-1) + 1
        self.folding = Folding(self)
        self.known, remains = self.folding.restore(self.rows)
        assert not remains
        self.loop = self.folding.loop("each", "")
        self.outputs = self.loop.outputs(COUNT)
        self.ahead = [*self.loop.ahead(COUNT)]
        for number in [number for number in self.ahead if f"each[{number}].set" in self.known]:
            self.ahead.remove(number)
            self.run(number)

    def run(self, number: int, *, fails: bool = False) -> None:
        """Run a turn, or answer from the record."""
        path = f"each[{number}]"
        with self.loop.turn(number) as turn:
            known = self.known.get(f"{path}.set")
            if known is None:
                if fails:
                    self._record(StepRecord(f"{path}.bad", self._next(), "action", "failed"))
                values = {"last": number, f"of{number % 10}": number}
                known = StepRecord(
                    f"{path}.set", self._next(), "set", "completed", output=orjson.dumps(values).decode()
                )
                self._record(known)
                self.folding.note_set(f"{path}.", known.seq, values)
            self.outputs[number] = number * 10
            self.loop.done(turn)

    def commit(self) -> None:
        """Write what is noted: what is removed is what was there before."""
        gone = {path for path in self.rows if any(path == one or path.startswith(one + ".") for one in self._gone)}
        self.rows = {path: row for path, row in self.rows.items() if path not in gone} | self._steps
        self._steps, self._gone = {}, []
        self.committed += 1
        self.most = max(self.most, len(self.rows))

    def _record(self, record: StepRecord) -> None:
        self._steps[record.path] = record
        self.folding.note(record)

    def _next(self) -> int:
        self.seq += 1
        return self.seq - 1


@settings(max_examples=40)
@given(
    keep=st.integers(1, 6),
    ops=st.lists(st.tuples(st.integers(0, OPEN - 1), st.booleans(), st.sampled_from("....ccccx")), min_size=COUNT),
)
def test_every_turn_is_on_record_once_and_nothing_of_it_is_lost(keep: int, ops: list[tuple[int, bool, str]]) -> None:
    ledger, failed, last = Ledger(keep), set(), {}
    for which, fails, then in ops:
        if not ledger.ahead:
            break
        number = ledger.ahead.pop(min(which, len(ledger.ahead) - 1))
        ledger.run(number, fails=fails)
        failed = (failed | {number}) if fails else failed - {number}
        last[number] = ledger.seq
        match then:
            case "c":
                ledger.commit()
            case "x":
                ledger.crash()
    ledger.commit()
    folds = [row for row in ledger.rows.values() if row.verb == FOLD]
    folded = [number for fold in folds for number in turns_of(fold)]
    shown = [int(path[5 : path.index("]")]) for path in ledger.rows if path.endswith(".set")]
    done = [number for number in range(COUNT) if number not in ledger.ahead]
    assert sorted(folded + shown) == done, "each turn is on record, or folded away, and not both"
    said = [orjson.loads(fold.output or "{}") for fold in folds]
    assert sum(one["failed"] for one in said) == len(failed & set(folded))
    assert sum(one["completed"] for one in said) == len(set(folded) - failed)

    vars_: dict[str, tuple[int, int]] = {}
    for row in ledger.rows.values():
        join_vars(vars_, vars_of(row))
    in_order = sorted(done, key=last.__getitem__)
    expected = {name: number for number in in_order for name in (f"of{number % 10}", "last")}
    assert {name: value for name, (_, value) in vars_.items()} == expected

    ledger.crash()
    assert ledger.outputs == [number * 10 if number in done else None for number in range(COUNT)]


def test_what_is_on_record_does_not_grow_with_the_turns() -> None:
    ledger = Ledger(5)
    for number in range(COUNT):
        ledger.ahead.remove(number)
        ledger.run(number, fails=number % 2 == 1)
        ledger.commit()
    assert ledger.most <= 3 * 2 * 6
    assert Turns(each for row in ledger.rows.values() if row.verb == FOLD for each in turns_of(row).ranges).first == 0


def test_of_large_turns_fewer_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the execution up loads them, and their variables are held until they are folded."""
    monkeypatch.setattr(folding, "MOST_KEPT", 400)
    ledger = Ledger(1000)
    for number in range(COUNT):
        ledger.ahead.remove(number)
        ledger.run(number)
        ledger.commit()
    assert sum(size_of(row) for row in ledger.rows.values() if row.verb == "set") <= 450
    assert sum(len(turns_of(row)) for row in ledger.rows.values() if row.verb == FOLD) >= 10
