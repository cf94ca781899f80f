"""What executions have left in the database and outside, and the comparison with what they have to come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from hark.daemon.engine.folding import turns_around
from hark.daemon.store.database import Database
from hark.workflows.turns import FOLD, Turns, loop_of
from support.model.flow import Flow, Outcome
from support.model.trace import AtLeast, Called, Certainty, Effect, Failure, Record

_EXECUTIONS = """
SELECT e.id, e.parent_id, e.parent_path, e.part IS NOT NULL AS is_part, e.status, e.output, e.error
FROM hark.workflow_executions AS e JOIN hark.workflows AS w ON w.tenant_id = e.tenant_id AND w.id = e.workflow_id
WHERE w.slug = ANY ($1) ORDER BY e.id
"""
_STEPS = """
SELECT execution_id, path, verb, status, attempt, output, error FROM hark.workflow_steps WHERE execution_id = ANY ($1)
"""
_EVENTS = (
    "SELECT caused_by, type, data FROM hark.events WHERE caused_by = ANY ($1) AND kind = 'event' AND type LIKE '%emit%'"
)
_CONTEXT = "SELECT execution_id, key, value FROM hark.workflow_context WHERE execution_id = ANY ($1)"


@dataclass
class Left:
    """What one execution has left, its parts among it."""

    status: str
    output: Any
    error: Any
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, int]] = field(default_factory=list)
    """The effects in the order in which they happened, with the attempt."""
    keys: dict[str, set[str]] = field(default_factory=dict)
    """The idempotency keys under which they happened."""
    events: Counter[bytes] = field(default_factory=Counter)
    memory: dict[str, Any] = field(default_factory=dict)
    children: dict[str, list[UUID]] = field(default_factory=dict)
    folds: dict[str, Turns] = field(default_factory=dict)
    """Turns that are folded away, by loop."""
    beside: set[str] = field(default_factory=set)
    """Steps that an execution has on record beside the fold of their turn."""

    def has_folded(self, path: str) -> bool:
        """Tell whether a step is in a turn that is folded away."""
        return is_folded(path, self.folds)


def is_folded(path: str, folds: Mapping[str, Turns]) -> bool:
    """Tell whether a step is in one of some turns."""
    turns = [turn.rpartition("[") for turn in turns_around(path)]
    return any(int(number[:-1]) in folds.get(loop, Turns()) for loop, _, number in turns)


async def load(database: Database, flow: Flow, effects: Sequence[tuple[UUID, str, int, str]]) -> Mapping[UUID, Left]:
    """Return what all executions of a workflow and of those that it calls have left; parts are where they belong."""
    pool = database.pool
    rows = await pool.fetch(_EXECUTIONS, [one.name.lower() for one in flow.all()])
    parents = {row["id"]: row["parent_id"] for row in rows if row["is_part"]}
    ids = [row["id"] for row in rows]

    def whole(one: UUID) -> UUID:
        return whole(parents[one]) if one in parents else one

    found = {
        row["id"]: Left(row["status"], read(row["output"]), read(row["error"])) for row in rows if not row["is_part"]
    }
    for row in rows:
        if row["parent_id"] and not row["is_part"]:
            found[whole(row["parent_id"])].children.setdefault(row["parent_path"], []).append(row["id"])
    _take_steps(await pool.fetch(_STEPS, ids), {one: found[whole(one)] for one in ids})
    for row in await pool.fetch(_EVENTS, ids):
        found[whole(row["caused_by"])].events[said(row["type"], read(row["data"]))] += 1
    for row in await pool.fetch(_CONTEXT, ids):
        found[row["execution_id"]].memory[row["key"]] = read(row["value"])
    for execution, path, attempt, key in effects:
        left = found[whole(execution)]
        left.calls.append((path, attempt))
        left.keys.setdefault(path, set()).add(key)
    return found


def _take_steps(steps: Sequence[Mapping[str, Any]], lefts: Mapping[UUID, Left]) -> None:
    """Take in the steps of executions, each into what it belongs to."""
    folds: dict[UUID, dict[str, Turns]] = {}
    for row in steps:
        if row["verb"] == FOLD:
            _add_fold(folds.setdefault(row["execution_id"], {}), row["path"], read(row["output"]))
    for row in steps:
        left, path, own = lefts[row["execution_id"]], row["path"], folds.get(row["execution_id"], {})
        left.folds.update(own)
        if not path.endswith("]"):
            left.steps[path] = {**row, "output": read(row["output"]), "error": read(row["error"])}
        if row["verb"] != FOLD and is_folded(path, own):
            left.beside.add(path)


def _add_fold(folds: dict[str, Turns], path: str, said: Mapping[str, Any]) -> None:
    turns, loop = Turns(said["turns"]), loop_of(path)
    assert said["completed"] + said["failed"] == len(turns), f"{path}: {said}"
    both = folds.get(loop, Turns()) | turns
    assert len(both) == len(folds.get(loop, Turns())) + len(turns), f"two folds of {loop} have the same turns"
    folds[loop] = both


def read(text: str | None) -> Any:
    """Read JSON as it is stored."""
    return None if text is None else orjson.loads(text)


def said(kind: str, data: Any) -> bytes:
    """Return an event as something to count."""
    return orjson.dumps([kind, data])


# ---------------------------------------------------------------------- comparing


def check(found: Mapping[UUID, Left], execution: UUID, outcome: Outcome, *, exact: bool) -> None:
    """Compare an execution with what it has to come to; `exact`: nothing broke, so nothing was attempted twice."""
    left, trace = found[execution], outcome.trace
    assert left.status == outcome.status, f"found {left.status} ({left.error}), expected {outcome.status}"
    if outcome.failure is not None:
        assert_same("error", left.error, view(outcome.failure))
    assert_same("output", left.output, outcome.output)
    _check_steps(left, trace.records)
    _check_effects(left, trace.effects, exact=exact)
    sure = Counter(said(one.type, one.data) for one in trace.events.values() if one.certainty is Certainty.SURE)
    most = Counter(said(one.type, one.data) for one in trace.events.values())
    assert sure <= left.events <= most, f"events: found {left.events}, expected {sure}, at most {most}"
    expected = {
        key: value
        for key, (value, certainty) in trace.memory.items()
        if certainty is Certainty.SURE or key in left.memory
    }
    assert left.memory == expected, f"memory: found {left.memory}, expected {expected}"
    for path, called in trace.calls.items():
        _check_called(found, left, path, called, exact=exact)
    assert left.children.keys() <= trace.calls.keys(), f"nobody calls at {left.children.keys() - trace.calls.keys()}"


def assert_same(what: str, found: Any, expected: Any) -> None:
    """Fail unless a value is as expected."""
    assert matches(found, expected), f"{what}: found {found!r}, expected {expected!r}"


def matches(found: Any, expected: Any) -> bool:
    """Compare a value with what is expected; `...` is what only the engine can know."""
    if expected is ...:
        return True
    if isinstance(expected, AtLeast):
        return isinstance(found, dict) and all(matches(found.get(name), value) for name, value in expected.items())
    if isinstance(expected, dict):
        return isinstance(found, dict) and found.keys() == expected.keys() and matches(found, AtLeast(expected))
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(found) == len(expected)
            and all(matches(*pair) for pair in zip(found, expected, strict=True))
        )
    return bool(found == expected)


def view(failure: Failure) -> AtLeast:
    """Return a failure as it is on record; of an execution that was interrupted no step is to blame."""
    error = AtLeast({"class": failure.kind, "message": failure.message})
    return error if failure.step is None else AtLeast({**error, "step": failure.step, "attempt": failure.attempt})


def _check_steps(left: Left, records: Mapping[str, Record]) -> None:
    found = left.steps
    folded = {path for path in records if left.has_folded(path)}
    assert not left.beside, f"on record beside the fold of its turn: {left.beside}"
    assert found.keys() <= records.keys(), f"nobody expects {found.keys() - records.keys()}"
    sure = {path for path, record in records.items() if record.certainty is Certainty.SURE}
    assert sure <= found.keys() | folded, f"missing: {sure - found.keys() - folded}"
    for path, step in found.items():
        record = records[path]
        if record.certainty is Certainty.CUT and step["status"] == "cancelled":
            continue
        assert step["status"] == record.status, f"{path}: found {step}, expected {record}"
        assert step["attempt"] == record.attempt, f"{path}: found {step}, expected {record}"
        assert_same(f"output of {path}", step["output"], record.output)
        if record.error is not None:
            assert_same(f"error of {path}", step["error"], view(record.error))


def _check_effects(left: Left, effects: Mapping[str, Effect], *, exact: bool) -> None:
    made = Counter(path for path, _ in left.calls)
    assert made.keys() <= effects.keys(), f"nobody does {made.keys() - effects.keys()}"
    for path, effect in effects.items():
        least = effect.attempts if effect.certainty is Certainty.SURE else 0
        assert least <= made[path], f"{path} was done {made[path]} times: {effect}"
        if exact:
            allowed = {effect.attempts} if effect.certainty is Certainty.SURE else {0, effect.attempts}
            allowed |= set(range(effect.attempts)) if effect.certainty is Certainty.CUT else set()
            assert made[path] in allowed, f"{path} was done {made[path]} times: {effect}"
        attempts = {attempt for one, attempt in left.calls if one == path}
        assert attempts <= set(range(1, effect.attempts + 1)), f"{path} made the attempts {attempts}: {effect}"
    assert all(len(keys) == 1 for keys in left.keys.values()), "all attempts of a step share one idempotency key"
    _check_order([path for path, _ in left.calls], effects)


def _check_order(calls: Sequence[str], effects: Mapping[str, Effect]) -> None:
    """See that what has to be over before something begins was over, and was never done again."""
    first = {path: number for number, path in reversed([*enumerate(calls)])}
    last = {path: number for number, path in enumerate(calls)}
    early = [(one, path) for path in first for one in effects[path].before if one in last and last[one] > first[path]]
    assert not early, f"too early, in {calls}: {early}"


def _check_called(found: Mapping[UUID, Left], left: Left, path: str, called: Called, *, exact: bool) -> None:
    children: Iterable[UUID] = left.children.get(path, [])
    step = left.steps.get(path)
    if not children and step is not None and step["output"] and "execution_id" in (step["output"] or {}):
        children = [UUID(step["output"]["execution_id"])]
    number = len(list(children))
    if step is None and not children and left.has_folded(path):
        return  # one that nobody waits for: only the step's record named it
    least = called.attempts if called.certainty is Certainty.SURE else 0
    assert least <= number, f"{path} called {number} times, expected {called}"
    # What was given up when its instance was lost has been cancelled once, and then called anew.
    most = called.attempts if exact or called.certainty is not Certainty.CUT else 1 + called.retries
    assert number <= most, f"{path} called {number} times, expected {called}"
    for child in children:
        if not called.cut:
            check(found, child, called.flow.run(called.inputs), exact=exact)
