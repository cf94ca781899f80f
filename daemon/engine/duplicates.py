"""Events that come more than once: found by their keys, and answered with what became of the first."""

from __future__ import annotations

from collections.abc import Sequence

from hark.daemon.engine.arrivals import Arrival
from hark.daemon.store.database import Connection, sql
from hark.daemon.store.lane import Lane
from hark.workflows.catalogue import Receipt
from hark.workflows.errors import ConflictError, UnavailableError
from hark.workflows.ids import EventId, ExecutionId, TenantId, same_millisecond


class Duplicates:
    """Answers for events whose key was there before."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def answers(self, arrivals: Sequence[Arrival]) -> dict[EventId, Receipt | Exception]:
        """Answer for duplicates; when that cannot be had now, only they are told so: the others are stored."""
        try:
            return await self._look_up(arrivals)
        except UnavailableError as error:
            return {arrival.id: error for arrival in arrivals}

    async def _look_up(self, arrivals: Sequence[Arrival]) -> dict[EventId, Receipt | Exception]:
        """Answer for events whose key was there before, with what became of the first one."""
        keys = {arrival.key for arrival in arrivals if arrival.key is not None}
        if not keys:
            return {}
        rows = await self._lane.fetch("find_event_keys", *zip(*sorted(keys), strict=True))
        holders = {(row["tenant_id"], row["source"], row["key"]): row for row in rows}
        answers: dict[EventId, Receipt | Exception] = {}
        for arrival in arrivals:
            holder = holders.get(arrival.key) if arrival.key else None
            if holder is None:
                answers[arrival.id] = UnavailableError("the key of this event was just given up; send it again")
            elif holder["digest"] != arrival.digest:
                answers[arrival.id] = _conflict(arrival)
            else:
                answers[arrival.id] = await self.receipt_of(arrival.event.tenant_id, EventId(holder["event_id"]))
        return answers

    async def receipt_of(self, tenant_id: TenantId, event_id: EventId) -> Receipt:
        """Answer for a stored event: with what it has started. Raises UnavailableError."""
        rows = await self._lane.fetch("find_executions_of_event", tenant_id, event_id, *same_millisecond(event_id))
        return Receipt(event_id, tuple(ExecutionId(row["id"]) for row in rows), duplicate=True)


def distinct(arrivals: Sequence[Arrival]) -> tuple[list[Arrival], list[EventId]]:
    """Leave out what comes twice; return the rest, and for every arrival which of those stands for it."""
    first_of: dict[tuple[TenantId, str, str], Arrival] = {}
    same_as = []
    for arrival in arrivals:
        first = arrival if arrival.key is None else first_of.setdefault(arrival.key, arrival)
        if first.digest != arrival.digest:
            raise ConflictError(f"the key {arrival.event.dedupe_key!r} comes twice, with different content")
        same_as.append(first.id)
    stands = set(same_as)
    return [arrival for arrival in arrivals if arrival.id in stands], same_as


async def held_before(connection: Connection, arrivals: Sequence[Arrival]) -> dict[EventId, tuple[TenantId, EventId]]:
    """Return which stored events hold the keys of these. Raises ConflictError when one has other content."""
    if not arrivals:
        return {}
    keys = {arrival.key: arrival for arrival in arrivals if arrival.key is not None}
    rows = await connection.fetch(sql("find_event_keys"), *zip(*sorted(keys), strict=True))
    found = {}
    for row in rows:
        arrival = keys[row["tenant_id"], row["source"], row["key"]]
        if row["digest"] != arrival.digest:
            raise _conflict(arrival)
        found[arrival.id] = (arrival.event.tenant_id, EventId(row["event_id"]))
    if len(found) < len(arrivals):
        raise UnavailableError("the key of an event was just given up; send it again")
    return found


def _conflict(arrival: Arrival) -> ConflictError:
    return ConflictError(f"an event with the key {arrival.event.dedupe_key!r} was received before with other content")
