"""The step that waits for an event: it looks through what is stored, and again whenever something may have come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from hark.daemon.engine.looks import BATCH
from hark.daemon.engine.outcome import Failed, Outcome, Suspended, failure
from hark.daemon.engine.pauses import seconds_of
from hark.daemon.engine.payload import encode
from hark.daemon.engine.program import Node, WaitForWork
from hark.daemon.engine.records import StepRecord
from hark.daemon.engine.run import Frame, Run
from hark.daemon.engine.step_record import begin_step, end_step
from hark.workflows.cel.paths import path_of
from hark.workflows.cel.tree import Call, Const
from hark.workflows.cel.tree import Node as Tree
from hark.workflows.errors import ExpressionError, FencedError, HarkError
from hark.workflows.expressions import Expression
from hark.workflows.ids import floor_of
from hark.workflows.requirements import conjuncts

Key = tuple[tuple[str, ...], str]
"""A place in an event's data, and what has to stand there as text."""

LOOKS_S = (0.25, 35.0)
"""When it looks again by itself, after it began: an event that was being stored meanwhile did not see that it waits. No
statement takes longer than the second."""
IN_FLIGHT = timedelta(seconds=75)
"""How far behind the last look a scan goes back: an event may become visible 30 s after the time in its id, and the
last look that was a scan may be 35 s older."""
_STEADY = frozenset({"inputs", "steps", "execution", "item", "index"})
"""What does not change while a step waits, unlike variables and the context."""
_LONGEST_KEY = 500
_EXACT = 2**53


async def run_wait_for(run: Run, node: Node, known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    """Run a `wait_for` step."""
    if run.mode != "production" and node.id in run.mocks:
        mock = run.masked(run.mocks[node.id])
        return end_step(run, node, path, frame, output=mock, begun=begin_step(run, node, known, path))
    try:
        begun = known or _begin(run, node, path, frame)
        search = _Search(run, node.work, begun, frame, _Awaited.read(begun))
        if run.mode != "production":
            return end_step(run, node, path, frame, begun=begun, **await _not_waited(search))
        if known is None:
            run.wait(path, search.awaited.route, search.awaited.key, None)
        event = await search.find(resumed=known is not None)
    except FencedError:
        raise
    except HarkError as error:
        return end_step(run, node, path, frame, failure(error, path), begun=known)
    if isinstance(event, Suspended):
        return event
    run.end_wait(path)
    if event is None:
        message = f"no event {search.awaited.event} that fits has come in time"
        return end_step(run, node, path, frame, Failed("timeout", message, path), begun=begun)
    return end_step(run, node, path, frame, output=_masked(run, event), begun=begun)


def _masked(run: Run, event: dict[str, Any]) -> dict[str, Any]:
    """Return an event that was found without secrets in what its sender has said."""
    return run.masked_in(event, "source", "data", "subject")


@dataclass(frozen=True, slots=True)
class _Awaited:
    """What is waited for, as it is on record."""

    event: str
    since: datetime
    key: Key

    @property
    def route(self) -> str:
        """Return where such events are found."""
        return f"event:{self.event}"

    @classmethod
    def read(cls, record: StepRecord) -> _Awaited:
        """Read it back."""
        said = orjson.loads(record.input or "{}")
        return cls(said["event"], datetime.fromisoformat(said["since"]), (tuple(said["key_path"]), said["key"]))


def _begin(run: Run, node: Node, path: str, frame: Frame) -> StepRecord:
    """Put on record what the step waits for, and that it does."""
    work: WaitForWork = node.work
    now = run.now()
    limits = [seconds_of(limit, frame) for limit in (work.timeout, node.timeout) if limit is not None]
    key_path, key = awaited_key(work.when, frame.scope)
    if run.holds_secret(key):
        key_path, key = (), ""  # it would be on record: all events of the route are looked through instead
    event = run.bare(work.event.render(frame.scope), "`event`")
    if not isinstance(event, str) or not event:
        raise ExpressionError("`event` gives no event type")
    since = now - (work.lookback or timedelta(0))
    said = {"event": event, "since": since.isoformat(), "key_path": key_path, "key": key}
    record = StepRecord(
        path, run.next_seq(), node.verb, "waiting", input=encode(said), started_at=now,
        due_at=now + timedelta(seconds=min(limits)) if limits else None,
    )  # fmt: skip
    run.record(record)
    return record


async def _not_waited(search: _Search) -> dict[str, Any]:
    """Take an event that is stored already, else say that none came in time: in tests and dry runs nobody waits."""
    run, begun = search.run, search.begun
    event = await search.stored()
    if event is not None:
        return {"output": _masked(run, event)}
    run.note_not_waited(begun.path, begun.due_at)
    message = (
        f"no event {search.awaited.event} that fits is stored, and in mode {run.mode} nobody waits: give it a mock"
    )
    return {"failed": Failed("timeout", message, begun.path)}


@dataclass(slots=True)
class _Search:
    """The look-out of one step for its event."""

    run: Run
    work: WaitForWork
    begun: StepRecord
    frame: Frame
    awaited: _Awaited

    async def stored(self) -> dict[str, Any] | None:
        """Return the oldest event of the look-back that fits."""
        await self.run.settle()
        return await self._scan(None)

    async def find(self, *, resumed: bool) -> dict[str, Any] | Suspended | None:
        """Return the event; None when the time is over, Suspended when the execution is given back meanwhile."""
        run, due_at = self.run, self.begun.due_at
        await run.settle()
        scanned = await run.services.scanned_until(run, self.begun.path) if resumed else None
        while True:
            news, now = run.parking.news, run.now()
            event = await self._look(scanned, now)
            if event is not None or (due_at is not None and due_at <= now):
                return event
            scanned = now
            # It rides along with whatever is written next: where it is lost, more is looked through.
            run.wait(self.begun.path, self.awaited.route, self.awaited.key, scanned)
            suspended = await run.parking.park(self._next_look(now), news)
            if suspended is not None:
                return suspended

    def _next_look(self, now: datetime) -> datetime | None:
        coming = [look for look in self._looks() if look > now]
        return min([*coming, *([self.begun.due_at] if self.begun.due_at else [])], default=None)

    async def _look(self, scanned: datetime | None, now: datetime) -> dict[str, Any] | None:
        """Return the event, from what is known to have the key, else from all that is stored where that may be more."""
        if scanned is None or not self.awaited.key[0]:
            return await self._scan(scanned)
        hits = await self.run.services.event_hits(self.run, self.begun.path)
        for event in hits:
            if self._fits(event):
                return event
        due = any(scanned < look <= now for look in self._looks())
        return await self._scan(scanned) if due or len(hits) == BATCH else None

    def _looks(self) -> list[datetime]:
        """Return when everything stored is looked through, whatever wakes the step."""
        began = self.begun.started_at or self.awaited.since
        return [began + timedelta(seconds=after) for after in LOOKS_S]

    async def _scan(self, scanned: datetime | None) -> dict[str, Any] | None:
        """Return the oldest stored event that fits."""
        since = self.awaited.since if scanned is None else max(self.awaited.since, scanned - IN_FLIGHT)
        first = floor_of(since)
        while True:
            rows = await self.run.services.scan_events(self.run, self.awaited.route, first, self.awaited.key)
            for event in rows:
                if self._fits(event):
                    return event
            if len(rows) < BATCH:
                return None
            first = UUID(int=UUID(rows[-1]["id"]).int + 1)

    def _fits(self, event: dict[str, Any]) -> bool:
        if event["id"] == self.frame.scope["event"].get("id"):
            return False  # what started this execution is not what it waits for
        if self.work.when is None:
            return True
        try:
            return self.work.when.holds({**self.frame.scope, "event": event})
        except ExpressionError:
            return False


def awaited_key(when: Expression | None, scope: Mapping[str, Any]) -> Key:
    """Return by what the events that fit can be told from others: an equality that must hold, with a fixed side."""
    if when is None:
        return (), ""
    for node in conjuncts(when.node):
        match node:
            case Call(function="_==_", args=(left, right)):
                for here, there in ((left, right), (right, left)):
                    place, text = _place(here, when.roots), _fixed(there, when.roots, scope)
                    if place is not None and text is not None:
                        return place, text
    return (), ""


def _place(node: Tree, roots: frozenset[str]) -> tuple[str, ...] | None:
    read = path_of(node, roots)
    if read is None or read.guarded or read.parts[:2] != ("event", "data") or len(read.parts) < 3:
        return None
    return tuple(str(part) for part in read.parts[2:])


def _fixed(node: Tree, roots: frozenset[str], scope: Mapping[str, Any]) -> str | None:
    """Return the text of a value that stays as it is while the step waits."""
    if isinstance(node, Const):
        return _text(node.value)
    read = path_of(node, roots)
    if read is None or read.parts[0] not in _STEADY:
        return None
    value: Any = scope
    for part in read.parts:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return _text(value)


def _text(value: object) -> str | None:
    """Return a value as hark.wait_key() does; None where two that are equal could have two texts."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if len(value) <= _LONGEST_KEY and "\0" not in value else None
    return str(value) if isinstance(value, int) and abs(value) < _EXACT else None
