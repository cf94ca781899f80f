"""Events on their way into the record, and the rows of one flush: what is stored of them and of what they start."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from hark.daemon.engine.matcher import Match, Start
from hark.workflows.catalogue import NewEvent, Receipt
from hark.workflows.ids import EventId, ExecutionId, TenantId


@dataclass(slots=True)
class Arrival:
    """An event on its way into the record, with everything that can be computed before the flush."""

    event: NewEvent
    id: EventId
    data: str
    explicit: Callable[[EventId], Start] | None = None
    """Makes the one execution of an event that is addressed to one workflow; such an event is not matched."""
    digest: bytes = b""
    licence: UUID | None = None
    """Of what an execution publishes or calls: that under which it runs. With it, its wish to do so is gone."""

    @property
    def key(self) -> tuple[TenantId, str, str] | None:
        """What must be unique, if the event has a dedupe key."""
        event = self.event
        return None if event.dedupe_key is None else (event.tenant_id, event.source, event.dedupe_key)


@dataclass(slots=True)
class Batch:
    """The rows of one flush, and what is to be launched after its commit."""

    instance: UUID
    now: datetime
    keys: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[tuple[Any, ...]] = field(default_factory=list)
    parents: set[tuple[UUID, UUID]] = field(default_factory=set)
    executions: list[tuple[Any, ...]] = field(default_factory=list)
    refusals: list[tuple[Any, ...]] = field(default_factory=list)
    launches: list[tuple[Match, Start]] = field(default_factory=list)
    claimed: set[UUID] = field(default_factory=set)
    limited: list[tuple[Match, Start]] = field(default_factory=list)
    locks: set[tuple[UUID, UUID]] = field(default_factory=set)
    went_to: dict[UUID, UUID | None] = field(default_factory=dict)
    """Of starts that made no execution of their own: the one that they joined, None when they were refused."""
    due_at: datetime | None = None
    """When the first of those may start that limits have put off."""
    queued: bool = False
    """Whether some executions found no place here."""

    def arguments(self, generation: int) -> list[Any]:
        """Return the parameters of ingest_events.sql but the last."""
        keys = sorted(self.keys)  # in one order everywhere, or two instances with the same keys deadlock
        parents = zip(*sorted(self.parents), strict=True) if self.parents else ((), ())
        locks = zip(*sorted(self.locks), strict=True) if self.locks else ((), ())
        return [self.instance, generation, keys, self.events, *parents, self.executions, self.refusals, *locks]

    @property
    def is_alone(self) -> bool:
        """Whether there are events, and nothing that belongs to them: no keys, and nothing that they start."""
        return bool(self.events) and not self.keys and not self.executions

    def receipt(self, match: Match) -> Receipt:
        """Tell a sender which executions its event has started or joined."""
        ids = [self.went_to.get(start.id, start.id) for part in match.all() for start in part.starts]
        return Receipt(match.event_id, tuple([ExecutionId(found) for found in ids if found is not None]))

    def receipts(self, matches: Sequence[Match], keyed: set[UUID]) -> dict[EventId, Receipt | Exception]:
        """Answer for what was stored; what is missing was there before."""
        return {
            match.event_id: self.receipt(match)
            for match in matches
            if match.event.dedupe_key is None or match.event_id in keyed
        }

    @classmethod
    def of(
        cls,
        arrivals: Sequence[Arrival],
        matches: Sequence[Match],
        instance: UUID,
        now: datetime,
        reserve: Callable[[int], int],
    ) -> Batch:
        """Make the rows of events and of what they start; `reserve` takes places for that, as many as there are."""
        wanted = sum(len(part.starts) for match in matches for part in match.all())
        free = reserve(wanted) if wanted else 0
        batch = cls(instance, now, queued=free < wanted)
        for arrival, match in zip(arrivals, matches, strict=True):
            gate = batch._hold_key(arrival)
            for part in match.all():
                free = batch._add(part, arrival.data, gate, free)
        return batch

    def _hold_key(self, arrival: Arrival) -> UUID | None:
        """Add the key of an event, if it has one; return what the rest of its rows depends on then."""
        event = arrival.event
        if event.dedupe_key is None:
            return None
        expires = self.now + event.dedupe_ttl
        key = (event.tenant_id, event.source, event.dedupe_key, arrival.id, arrival.digest, expires)
        self.keys.append(key)
        return arrival.id

    def _add(self, match: Match, data: str, gate: UUID | None, free: int) -> int:
        """Add one event with its executions and refusals; return how many free places are left."""
        event = match.event
        subject_kind, subject_id = match.subject or event.subject or (None, None)
        # What somebody listens to under another name has not been in vain, so it is matched too.
        matched = bool(match.starts or match.derived)
        self.events.append((
            event.tenant_id, match.event_id, event.kind, event.type, event.source, event.route, subject_kind,
            subject_id, data, event.occurred_at or self.now, event.dedupe_key, event.depth, event.caused_by,
            matched, match.passed_over or None, event.also_caused_by or None, gate,
        ))  # fmt: skip
        for start in match.starts:
            if free:
                self.launches.append((match, start))
            self.executions.append(_execution_row(start, match, self.now, gate, claimed=bool(free)))
            self.parents.add((start.workflow.tenant_id, start.workflow.id))
            if start.limits is not None:
                self.limited.append((match, start))
                self.locks.update((start.workflow.tenant_id, lock) for lock in start.limits.locks)
            free -= bool(free)
        for refusal in match.refusals:
            self.refusals.append((
                event.tenant_id, match.event_id, refusal.workflow_id, refusal.trigger_id, refusal.reason,
                refusal.detail, gate,
            ))  # fmt: skip
        return free


def _execution_row(start: Start, match: Match, now: datetime, gate: UUID | None, *, claimed: bool) -> tuple[Any, ...]:
    workflow, event = start.workflow, match.event
    subject_kind, subject_id = start.subject or (None, None)
    deadline = now + workflow.timeout if workflow.timeout is not None else None
    return (
        workflow.tenant_id, start.id, workflow.id, start.version or workflow.version, match.event_id, start.ordinal,
        start.trigger_id, event.kind, "running" if claimed else "pending", start.mode, workflow.priority, deadline,
        event.depth, start.origin_id, start.parent_id, start.parent_path, subject_kind, subject_id, start.encoded,
        start.variables, start.sealed,
        orjson.dumps(start.metadata).decode() if start.metadata else None,
        None if start.limits is None else start.limits.encoded, gate,
    )  # fmt: skip
