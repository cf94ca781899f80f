"""Ingest: events are matched and stored together with the executions that they start, many in one transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from hashlib import blake2b
from typing import Protocol
from uuid import UUID

import structlog

from hark.daemon.engine.arrivals import Arrival, Batch
from hark.daemon.engine.duplicates import Duplicates, distinct, held_before
from hark.daemon.engine.group_commit import GroupCommit, Memory, Waiter
from hark.daemon.engine.instance import Instance
from hark.daemon.engine.matcher import Match, Matcher, Start
from hark.daemon.engine.payload import encode
from hark.daemon.engine.registry import Registry
from hark.daemon.engine.strandings import Takings
from hark.daemon.store.database import ENGINE_PLANNER, Connection, Database, sql
from hark.daemon.store.ids import new_driver_id
from hark.daemon.store.lane import Lane
from hark.workflows.catalogue import NewEvent, Receipt
from hark.workflows.errors import UnavailableError
from hark.workflows.ids import EventId, TenantId

log = structlog.get_logger(__name__)

ANSWER_S = 10.0
"""A sender that waits longer has given up, or soon will."""
MOST_WAITING_BYTES = 64 * 1024**2
"""What all events together may hold that are taken in and not stored yet; one more is let in below that."""
_PAUSE_S = 0.3
_MOST_TOGETHER = 16
"""Batches that are stored or wait for it; each may be as large as a request."""
_ATTEMPTS = 3
"""How often one flush is tried when the database goes away under it. The ids are the same: what is there stays."""
_BEFORE = timedelta(seconds=5)
"""By how much longer ago something may have been erased: a transaction that ends it tells when it began."""


class Capacity(Protocol):
    """Where started executions run: the executor, as ingest sees it."""

    def reserve(self, most: int) -> int:
        """Take up to `most` free places; return how many."""
        ...

    def give_back(self, count: int) -> None:
        """Return places that were not used."""
        ...

    def launch(self, match: Match, start: Start, now: datetime) -> None:
        """Run an execution that is stored as claimed by this instance; uses one reserved place."""
        ...

    def queued(self) -> None:
        """Note that executions were stored which wait for a free place."""
        ...

    def put_off(self, moment: datetime) -> None:
        """Note that an execution was stored which may start at a moment."""
        ...

    async def room(self, wanted: int, since: float) -> int:
        """Return for how many executions there is room, from 1 to `wanted`; waits for a moment when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Taken:
    """Events that lie in somebody's open transaction: after its end one of these two is called, exactly once."""

    committed: Callable[[], None]
    """The executions run here now."""
    abandoned: Callable[[], None]
    """The places that were kept for them are free again."""


@asynccontextmanager
async def taking(connection: Connection) -> AsyncIterator[list[Taken]]:
    """Open a transaction; what is put into the list is told how it has ended."""
    taken: list[Taken] = []
    try:
        async with connection.transaction():
            yield taken
    except BaseException:
        for one in taken:
            one.abandoned()
        raise
    for one in taken:
        one.committed()


class Ingest:
    """The way in: every event of every source passes here, and is acknowledged after its commit."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        matcher: Matcher,
        instance: Instance,
        capacity: Capacity,
        takings: Takings,
        *,
        now: Callable[[], datetime],
        limit: int = 20_000,
    ) -> None:
        self._database = database
        self._registry = registry
        self._matcher = matcher
        self._instance = instance
        self._capacity = capacity
        self._takings = takings
        self._now = now
        self._lane = Lane(database, "ingest", ENGINE_PLANNER)
        self._duplicates = Duplicates(self._lane)
        self._together = 0
        self._group: GroupCommit[Arrival, Receipt] = GroupCommit(
            "ingest",
            self._write,
            limit=limit,
            patience_s=ANSWER_S,
            memory=Memory(lambda arrival: len(arrival.data), MOST_WAITING_BYTES),
            admit=capacity.room,
        )

    def start(self) -> None:
        """Start to take events in."""
        self._group.start()

    async def stop(self) -> None:
        """Store what was submitted, then stop; idempotent."""
        await self._group.stop()
        await self._lane.stop()

    @property
    def backlog(self) -> int:
        """Events that wait for the next flush."""
        return len(self._group)

    @property
    def backend_pid(self) -> int | None:
        """The server process behind the connection."""
        return self._lane.backend_pid

    async def take(
        self,
        event: NewEvent,
        *,
        explicit: Callable[[EventId], Start] | None = None,
        licence: UUID | None = None,
    ) -> Receipt:
        """Store an event; return after the commit. `licence`: that of the execution which publishes it or calls.

        Raises UnprocessableError when the data cannot be stored, ConflictError when the key came with other data,
        UnavailableError when the database is away or too much is waiting. After that it may still be stored: a sender
        with a delivery id that repeats it is answered with what became of it.
        """
        arrival = self.arrival(event, explicit=explicit)
        arrival.licence = licence
        return await self._group.submit(arrival)

    def submit(self, event: NewEvent, waiter: Waiter[Receipt]) -> None:
        """Take an event in for somebody who is told after the commit; raises, and tells, what `take` raises."""
        self._group.submit_for(self.arrival(event), waiter)

    def arrival(
        self, event: NewEvent, *, explicit: Callable[[EventId], Start] | None = None, at: datetime | None = None
    ) -> Arrival:
        """Prepare an event for the flush; its id has the time that it is now, or another."""
        data = encode(event.data, "the event's data")
        arrival = Arrival(event, EventId(new_driver_id(at or self._now())), data, explicit)
        if event.dedupe_key is not None:
            arrival.digest = blake2b(event.fingerprint or data.encode(), digest_size=16).digest()
        return arrival

    async def take_within(
        self, connection: Connection, events: Sequence[NewEvent], *, since: datetime | None = None
    ) -> Taken:
        """Store events in the caller's open transaction; the caller says afterwards how that ended, see `taking`.

        With `since` their ids are in the order of the events, and begin with that moment: this process follows the
        database's clock from afar, and two processes differ by more than lies between two changes of one row.
        """
        batch, _, _ = await self._store(connection, self._in_order(events, since))
        return self._taken(batch)

    def _in_order(self, events: Sequence[NewEvent], since: datetime | None) -> list[Arrival]:
        moments = (since and since + timedelta(microseconds=number) for number in range(len(events)))
        return [self.arrival(event, at=at) for event, at in zip(events, moments, strict=True)]

    async def take_from_outbox(
        self, connection: Connection, events: Sequence[NewEvent], changes: Sequence[int], *, since: datetime | None
    ) -> bool:
        """Store events and take the changes that they were made from out of the outbox, in one statement of its own.

        `since` is that of `take_within`.
        Returns False, and nothing is done, when somebody else has taken one of them, or is about to.
        """
        try:
            batch, _, _ = await self._store(connection, self._in_order(events, since), changes)
        except _TakenElsewhereError:
            return False
        self._launch(batch, batch.claimed)
        return True

    async def take_all(self, events: Sequence[NewEvent]) -> list[Receipt]:
        """Store events in one transaction of their own, all of them or none; return after the commit.

        Raises what `take` raises: for one that cannot be stored none is. What was there before is answered as it was.
        """
        if not events:
            return []
        if self._together >= _MOST_TOGETHER:
            raise UnavailableError("too many batches are being stored", overloaded=True)
        self._together += 1
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._take_all([self.arrival(event) for event in events])
        except TimeoutError as error:
            raise UnavailableError("the database does not answer") from error
        finally:
            self._together -= 1

    # ------------------------------------------------------------------ the flush

    async def _write(self, arrivals: Sequence[Arrival]) -> Sequence[Receipt | Exception]:
        first_of: dict[tuple[TenantId, str, str], Arrival] = {}
        unique = []
        for arrival in arrivals:
            key = arrival.key
            if key is None or first_of.setdefault(key, arrival) is arrival:
                unique.append(arrival)
        with self._takings.under_way():
            outcome = await self._commit_at_last(unique)
        known = await self._duplicates.answers([a for a in arrivals if a.id not in outcome])
        return [outcome.get(arrival.id) or known[arrival.id] for arrival in arrivals]

    async def _take_all(self, arrivals: Sequence[Arrival]) -> list[Receipt]:
        unique, same_as = distinct(arrivals)
        with self._takings.under_way():
            async with self._lane.connection() as connection, taking(connection) as taken:
                batch, matches, keyed = await self._store(connection, unique)
                taken.append(self._taken(batch))
                before = await held_before(connection, [a for a in unique if a.key and a.id not in keyed])
        receipts = {match.event_id: batch.receipt(match) for match in matches if match.event_id not in before}
        for identifier, (tenant_id, event_id) in before.items():
            receipts[identifier] = await self._duplicates.receipt_of(tenant_id, event_id)
        return [receipts[identifier] for identifier in same_as]

    async def _commit_at_last(self, arrivals: Sequence[Arrival]) -> dict[EventId, Receipt | Exception]:
        began = time.monotonic()
        try:
            return await self._commit(arrivals)
        except UnavailableError:
            await asyncio.sleep(_PAUSE_S)
        for _ in range(_ATTEMPTS - 2):
            try:
                return await self._commit_again(arrivals, began)
            except UnavailableError:
                await asyncio.sleep(_PAUSE_S)
        return await self._commit_again(arrivals, began)

    async def _commit(self, arrivals: Sequence[Arrival]) -> dict[EventId, Receipt | Exception]:
        async with self._lane.connection() as connection:
            batch, matches, keyed = await self._store(connection, arrivals)
        self._launch(batch, batch.claimed)
        return batch.receipts(matches, keyed)

    async def _commit_again(self, arrivals: Sequence[Arrival], began: float) -> dict[EventId, Receipt | Exception]:
        """Store what may be there although nobody was told; not what may have been erased since the first attempt."""
        tenants = list({arrival.event.tenant_id for arrival in arrivals})
        stored: tuple[Batch, list[Match], set[UUID]] | None = None
        try:
            async with self._lane.connection() as connection, connection.transaction():
                await connection.execute(sql("lock_erasures"))
                since = timedelta(seconds=time.monotonic() - began) + _BEFORE
                if not await connection.fetchval(sql("was_anything_erased"), tenants, since):
                    stored = await self._store(connection, arrivals, again=True)
            if stored is None:
                return await self._what_became_of([a for a in arrivals if a.key is None])
            launched = await self._owned(stored[0]) if stored[0].launches else set()
        except BaseException:
            if stored is not None:
                self._capacity.give_back(len(stored[0].launches))
            raise
        batch, matches, keyed = stored
        self._launch(batch, launched)
        return batch.receipts(matches, keyed)

    async def _what_became_of(self, arrivals: Sequence[Arrival]) -> dict[EventId, Receipt | Exception]:
        """Answer for events without a key: for those that are there, and for the others that nobody knows."""
        ids = [arrival.id for arrival in arrivals]
        rows = await self._lane.fetch("find_stored", [arrival.event.tenant_id for arrival in arrivals], ids)
        stored = {EventId(row["id"]): row["tenant_id"] for row in rows}
        lost = UnavailableError(
            "the database went away while this event was stored, and a subject was erased meanwhile; whether the event "
            "was stored cannot be told. Send it again if it still has to be heard"
        )
        return {one: await self._duplicates.receipt_of(stored[one], one) if one in stored else lost for one in ids}

    async def _store(
        self, connection: Connection, arrivals: Sequence[Arrival], changes: Sequence[int] = (), *, again: bool = False
    ) -> tuple[Batch, list[Match], set[UUID]]:
        """Match and write; anew with a fresh registry when the active workflows have changed meanwhile.

        `again`: they may be there already.
        """
        while True:
            now = self._now()
            # Whoever takes the execution over asks again; by then it may have ended, and nobody would end its call.
            arrivals = [arrival for arrival in arrivals if arrival.licence in {None, self._instance.id}]
            matches = [self._match(arrival, now) for arrival in arrivals]
            batch = Batch.of(arrivals, matches, self._instance.id, now, self._capacity.reserve)
            generation = self._registry.generation
            if batch.is_alone and not changes and not again:
                keyed = await _insert_alone(connection, batch, generation)
            else:
                # A step whose execution was taken over calls again, and finds what it has called.
                new = not again and all(arrival.explicit is None for arrival in arrivals)
                query = _new_events() if new else sql("ingest_events")
                keyed = await self._insert(connection, query, batch, generation, changes)
            if keyed is not None:
                return batch, matches, keyed
            await self._registry.refresh()
            if self._registry.generation == generation:
                # What came from outside is nobody's yet: it is taken under the next licence, and no sender hears of it.
                fenced = self._instance.fenced(batch.instance)
                raise UnavailableError("this instance takes up its work anew") from fenced

    async def _insert(
        self, connection: Connection, query: str, batch: Batch, generation: int, changes: Sequence[int]
    ) -> set[UUID] | None:
        """Write a batch; return whose keys were new, None when instance or generation do not hold any more."""
        try:
            row = await connection.fetchrow(query, *batch.arguments(generation), changes)
        except BaseException:
            self._capacity.give_back(len(batch.launches))
            raise
        if row is not None and row["generation"] is not None:
            started = set(row["started"])
            batch.claimed = {start.id for _, start in batch.launches if start.id in started}
            batch.due_at = row["due_at"]
            await self._follow_limited(connection, batch, set(row["stored"]))
            return set(row["keyed"])
        self._capacity.give_back(len(batch.launches))
        if row is not None and not row["complete"]:
            raise _TakenElsewhereError
        return None

    async def _follow_limited(self, connection: Connection, batch: Batch, stored: set[UUID]) -> None:
        """See what became of starts that are not stored as they were: refused, joined to others, put off or queued."""
        lost = [(match, start) for match, start in batch.limited if start.id not in stored]
        if lost:
            rows = await connection.fetch(
                sql("find_starts"),
                [start.workflow.tenant_id for _, start in lost],
                [start.id for _, start in lost],
                [match.event_id for match, _ in lost],
                [start.workflow.id for _, start in lost],
                [start.trigger_id or match.event.kind for match, start in lost],
            )
            batch.went_to = {row["id"]: row["execution_id"] for row in rows}

    def _match(self, arrival: Arrival, now: datetime) -> Match:
        if arrival.explicit is not None:
            return Match(arrival.event, arrival.id, starts=[arrival.explicit(arrival.id)])
        return self._matcher.match(arrival.event, arrival.id, now)

    def _taken(self, batch: Batch) -> Taken:
        return Taken(lambda: self._launch(batch, batch.claimed), lambda: self._capacity.give_back(len(batch.launches)))

    def _launch(self, batch: Batch, claimed: set[UUID]) -> None:
        for match, start in batch.launches:
            if start.id in claimed:
                self._capacity.launch(match, start, batch.now)
        self._capacity.give_back(len(batch.launches) - len(claimed))
        if batch.due_at is not None:
            self._capacity.put_off(batch.due_at)
        if batch.queued:
            self._capacity.queued()

    async def _owned(self, batch: Batch) -> set[UUID]:
        """After an attempt whose answer was lost: what of this batch is stored as claimed by this instance."""
        rows = await self._lane.fetch(
            "find_owned",
            batch.instance,
            [start.workflow.tenant_id for _, start in batch.launches],
            [start.id for _, start in batch.launches],
        )
        return {row["id"] for row in rows}


class _TakenElsewhereError(Exception):
    """A change in the outbox is not there any more, or somebody is at it."""


@cache
def _new_events() -> str:
    """Return ingest_events.sql for what cannot be stored yet: its ids were just drawn, or follow from such ids.

    ON CONFLICT has PostgreSQL look up the ancestors of each index of a partition, at each statement: a fifth of it.
    """
    return sql("ingest_events").replace("\n    ON CONFLICT (tenant_id, id) DO NOTHING", "")


async def _insert_alone(connection: Connection, batch: Batch, generation: int) -> set[UUID] | None:
    """Do as `_insert` does, in half of the time, with events that nothing belongs to."""
    arguments = batch.instance, generation, batch.events, batch.refusals
    tag = await connection.execute(sql("ingest_events_alone"), *arguments)
    return None if tag == "INSERT 0 0" else set()
