"""What of an execution's record stays when it is run again from one of its steps.

Where a step stands is a chain of hops: the step in its block, then, for a loop, the number of the iteration, then the
step in the block within, and so on. Two chains part at one hop, and that hop says how their steps stand to each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, TypeAlias

from hark.workflows.errors import UnprocessableError
from hark.workflows.shape import blocks
from hark.workflows.steps import verb_of
from hark.workflows.turns import Turns, first_turn_of, loop_of

_SEGMENT = re.compile(r"([^.\[\]]+)(?:\[(\d+)\])?")
_TURN = re.compile(r"\[(\d+)\](?=\.|$)")
_CONTAINERS = frozenset({"if", "switch", "for_each", "while", "parallel", "try"})
_LOOPS = ("for_each", "while")
_RANKS = {"catch": 1, "finally": 2, "on_error": 3}
"""Which of a step's blocks run after which others; those without a rank come first: alternatives, or branches."""


@dataclass(frozen=True, slots=True, eq=False)
class Hop:
    """A step in the block that holds it; `branch` tells which block of the step around it that is."""

    step: Mapping[str, Any]
    branch: str
    rank: int
    position: int
    block: Sequence[Mapping[str, Any]]

    @property
    def id(self) -> str:
        """The step's id."""
        return str(self.step["id"])


Chain: TypeAlias = tuple[Hop | int, ...]


class Relation(Enum):
    """How a step stands to the one from which an execution is run again."""

    BEFORE = auto()
    """It ran first."""
    BESIDE = auto()
    """Neither waits for the other: another branch, another iteration of a parallel loop."""
    AROUND = auto()
    """It holds the other."""
    AFTER = auto()
    """It follows, or is the step itself, or is inside of it."""


class Map:
    """Where the steps of a definition stand."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self._hops: dict[str, tuple[Hop, ...]] = {}
        self._add(definition.get("steps") or (), (), "", 0)
        self._add(definition.get("on_error") or (), (), "on_error", _RANKS["on_error"])

    def _add(self, block: Sequence[Mapping[str, Any]], around: tuple[Hop, ...], branch: str, rank: int) -> None:
        for position, step in enumerate(block):
            hops = (*around, Hop(step, branch, rank, position, block))
            self._hops[step["id"]] = hops
            for path, inner in blocks(step):
                self._add(inner, hops, "/".join(map(str, path)), _RANKS.get(str(path[0]), 0))

    def chain(self, path: str) -> Chain | None:
        """Return where the step with a path such as `each[3].mail` stands; None when there is none such."""
        segments = [_SEGMENT.fullmatch(part) for part in path.split(".")]
        if not all(segments):
            return None
        parts = [(part[1], part[2]) for part in segments if part]
        numbers = {name: int(number) for name, number in parts if number is not None}
        hops = self._hops.get(parts[-1][0])
        if hops is None:
            return None
        chain: list[Hop | int] = []
        for hop, following in zip(hops, (*hops[1:], None), strict=True):
            chain.append(hop)
            if (following is not None and following.branch == "do" and _is_loop(hop)) or (
                following is None and hop.id in numbers
            ):
                if hop.id not in numbers:
                    return None
                chain.append(numbers.pop(hop.id))
        return None if numbers or path != path_of(chain) else tuple(chain)


def _is_loop(hop: Hop) -> bool:
    return any(verb in hop.step for verb in _LOOPS)


def path_of(chain: Iterable[Hop | int]) -> str:
    """Return the path of the last step of a chain: its id, led by the iterations that it is in."""
    prefix, name = "", ""
    for hop in chain:
        if isinstance(hop, int):
            prefix, name = f"{prefix}{name}[{hop}].", ""
        else:
            name = hop.id
    return prefix + name if name else prefix[:-1]


def relation(target: Chain, other: Chain) -> Relation:
    """Say how the other step stands to the target."""
    around: Hop | None = None
    for at, it in zip(target, other, strict=False):
        if isinstance(at, int) or isinstance(it, int):
            if at != it:
                return _between_iterations(around, at, it)
        elif at.id != it.id or at.branch != it.branch:
            return _between_steps(around, at, it)
        else:
            around = it
    if len(other) >= len(target):
        return Relation.AFTER
    following = target[len(other)]
    handled = isinstance(following, Hop) and following.branch == "on_error"
    # A turn of a `while` is on record with its decision, a step whose handlers run as failed: both stay as they are.
    return Relation.BEFORE if handled or isinstance(other[-1], int) else Relation.AROUND


def _between_iterations(loop: Hop | None, at: Hop | int, it: Hop | int) -> Relation:
    if isinstance(at, Hop) or isinstance(it, Hop):  # one of them handles the failure of the loop
        return Relation.AFTER if isinstance(at, int) else Relation.BEFORE
    if loop is not None and "for_each" in loop.step and loop.step.get("parallel", 1) > 1:
        return Relation.BESIDE
    return Relation.BEFORE if it < at else Relation.AFTER


def _between_steps(around: Hop | None, at: Hop, it: Hop) -> Relation:
    if at.rank != it.rank:
        return Relation.BEFORE if it.rank < at.rank else Relation.AFTER
    if at.branch != it.branch:
        side_by_side = around is not None and at.branch.startswith("parallel/") and not around.step.get("race")
        return Relation.BESIDE if side_by_side else Relation.AFTER
    if any("needs" in step for step in at.block):
        return Relation.AFTER if at.id in _needed_by(it) else Relation.BESIDE
    return Relation.BEFORE if it.position < at.position else Relation.AFTER


def _needed_by(hop: Hop) -> set[str]:
    """Return the ids of all steps of its block that a step waits for, directly or through others."""
    needs = {step["id"]: step.get("needs") or () for step in hop.block}
    found: set[str] = set()
    ahead = [hop.id]
    while ahead:
        new = set(needs.get(ahead.pop(), ())) - found
        found |= new
        ahead.extend(new)
    return found


@dataclass(frozen=True, slots=True)
class Recorded:
    """A step on record, as far as a plan needs it."""

    path: str
    verb: str
    status: str
    folded: Turns | None = None
    """Of a fold: the turns that it has."""


@dataclass(slots=True)
class ReplayPlan:
    """The paths that stay on record, and of these the ones that are entered again with the decision they made."""

    kept: list[str] = field(default_factory=list)
    reopened: list[str] = field(default_factory=list)
    folds: dict[str, list[Turns]] = field(default_factory=dict)
    """Of what stays, the turns that are folded away, by loop."""

    def keeps(self, path: str) -> bool:
        """Tell whether what a step did stays: it is on record, or folded away with its turn."""
        return path in self.kept or any(
            number in turns for loop, number in _turns_in(path) for turns in self.folds.get(loop, ())
        )


def plan_replay(definition: Mapping[str, Any], record: Sequence[Recorded], from_step: str) -> ReplayPlan:
    """Plan to run an execution again from a step, by the definition that it ran with.

    What ran before the step stays as it is, what holds it is entered again, what follows is dropped. Beside it, in
    other branches, what completed stays, and what failed or was broken off runs again. Raises UnprocessableError, also
    where turns of a loop would have to be told apart that are folded away together.
    """
    chart = Map(definition)
    target = chart.chain(from_step)
    _check_not_folded(record, from_step)
    if target is None or all(one.path != from_step for one in record):
        raise UnprocessableError(f"from_step: {from_step!r} is no step that this execution has reached")
    plan = ReplayPlan()
    for one in record:
        if one.folded is not None:
            _plan_fold(plan, chart, target, one, from_step)
            continue
        chain = chart.chain(one.path)
        if chain is None or not all(owner in plan.kept for owner in _handled(chain)):
            continue
        stands = relation(target, chain)
        if stands is Relation.AFTER:
            continue
        ended = {"completed", "skipped"} | ({"failed"} if stands is Relation.BEFORE else set())
        if stands is not Relation.AROUND and one.status in ended:
            plan.kept.append(one.path)
        elif one.verb in _CONTAINERS:
            plan.reopened.append(one.path)
    return plan


def _check_not_folded(record: Iterable[Recorded], from_step: str) -> None:
    """Raise UnprocessableError when the step from which to go on is in a turn that is folded away."""
    turns = dict(_turns_in(from_step))
    for one in record:
        if one.folded is not None and turns.get(loop_of(one.path), -1) in one.folded:
            raise _folded(one, from_step)


def _folded(fold: Recorded, from_step: str) -> UnprocessableError:
    loop, turns = loop_of(fold.path), fold.folded
    last = turns.last if turns else 0
    return UnprocessableError(
        f"from_step: {from_step!r} cannot be gone on from: turns {turns} of {loop!r} are folded away, and what each of "
        f"them did is not on record any more; replay from a turn after {last}, or from {loop!r}"
    )


def _plan_fold(plan: ReplayPlan, chart: Map, target: Chain, fold: Recorded, from_step: str) -> None:
    """Plan what becomes of turns that are folded away: all stay, or all are dropped."""
    chain, turns = chart.chain(first_turn_of(fold.path)), fold.folded
    if chain is None or not turns or not all(owner in plan.kept for owner in _handled(chain)):
        return
    stands = {relation(target, (*chain[:-1], number)) for number in (turns.first, turns.last)}
    if len(stands) > 1:
        raise _folded(fold, from_step)
    if stands & {Relation.BEFORE, Relation.BESIDE}:
        plan.kept.append(fold.path)
        plan.folds.setdefault(loop_of(fold.path), []).append(turns)


def _turns_in(path: str) -> Iterator[tuple[str, int]]:
    """Yield the turns that a path leads through, each as the path of its loop and its number."""
    for found in _TURN.finditer(path):
        yield path[: found.start()], int(found[1])


def _handled(chain: Chain) -> Iterator[str]:
    """Yield the paths of the steps by whose failure a step runs: without that on record it does not."""
    for number, hop in enumerate(chain):
        if number and isinstance(hop, Hop) and hop.branch == "on_error":
            yield path_of(chain[:number])


def check_version(plan: ReplayPlan, old: Mapping[str, Any], new: Mapping[str, Any], from_step: str) -> None:
    """Check that what stays on record means the same in another version. Raises UnprocessableError naming the step."""
    before, after = Map(old), Map(new)
    target = after.chain(from_step)
    if target is None:
        raise UnprocessableError(f"version: it has no step {from_step!r}")
    for path in (*plan.kept, *plan.reopened):
        was, now = (chart.chain(first_turn_of(path)) for chart in (before, after))
        if was is None or now is None or _place(was) != _place(now):
            raise UnprocessableError(
                f"version: step {path!r}, which ran before {from_step!r}, is not there, or is another one; "
                "replay from an earlier step, or from the start"
            )
        if relation(target, now) is Relation.AFTER:
            raise UnprocessableError(f"version: step {path!r} comes after {from_step!r} there; replay from {path!r}")


def _place(chain: Chain) -> list[Any]:
    """Return what has to be the same of a place: each step on the way, its verb, and the block it is in."""
    return [hop if isinstance(hop, int) else (hop.id, hop.branch, verb_of(dict(hop.step))) for hop in chain]
