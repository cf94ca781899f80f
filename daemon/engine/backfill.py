"""Slots that are made up for on request: those of a time that have not fired, each once, whoever asks how often.

A slot is the event that the schedule itself would have stored, under the same key. So what the schedule, another
backfill or an earlier attempt that died has stored is not stored again: a backfill is resumed by asking for it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import takewhile

from hark.daemon.engine.ingest import Ingest
from hark.daemon.engine.registry import Registry
from hark.daemon.engine.retention import Policy
from hark.daemon.store.backfill import Filled, Head, Made, SlotRecord, Wanted
from hark.daemon.store.database import Database
from hark.triggers.cron_plan import REMEMBERED, Firing, slot_event, utc_text
from hark.workflows.catalogue import ActiveTrigger, NewEvent
from hark.workflows.errors import ConflictError, NotFoundError, UnavailableError, UnprocessableError
from hark.workflows.ids import TenantId

MOST_SLOTS = 100_000
"""So many slots may lie in the time that is asked for: they are all computed, and looked up."""
_AT_ONCE = 256
_BREATH = 100
"""So many slots are computed between two turns of the event loop."""
_INSTANT = timedelta(microseconds=1)
_LONGEST_GAP = timedelta(days=5 * 366)


@dataclass(frozen=True, slots=True)
class _Missing:
    """A slot, and the one before it."""

    trigger: ActiveTrigger
    slot: datetime
    previous: datetime | None


class Backfill:
    """Makes up for slots."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        ingest: Ingest,
        *,
        policy: Policy,
        now: Callable[[], datetime],
    ) -> None:
        self._record = SlotRecord(database)
        self._registry = registry
        self._ingest = ingest
        self._policy = policy
        self._now = now

    async def run(self, tenant_id: TenantId, slug: str, wanted: Wanted) -> Filled:
        """Fire the slots of a time that have not fired; the oldest first, `wanted.limit` at the most.

        Raises NotFoundError, ConflictError when the workflow's triggers are off, UnprocessableError for what cannot be
        meant. What one slot meets keeps none of the others from firing.
        """
        head = await active_head(self._record, tenant_id, slug)
        await self._registry.refresh()
        triggers = self._triggers(tenant_id, slug, wanted)
        now = self._now()
        wanted = replace(wanted, until=min(wanted.until, now))
        if wanted.since >= wanted.until:
            raise UnprocessableError("there is no time between `since` and `until`; slots to come are not made up for")
        filled = Filled(unrecorded_before=self._horizon(head, now))
        missing = [one for trigger in triggers for one in await self._missing(trigger, wanted, filled)]
        missing.sort(key=lambda one: (one.slot, one.trigger.id))
        filled.more = len(missing) > wanted.limit
        await self._fire(missing[: wanted.limit], wanted, filled, now)
        return filled

    def _triggers(self, tenant_id: TenantId, slug: str, wanted: Wanted) -> list[ActiveTrigger]:
        found = [
            trigger
            for trigger in self._registry.triggers
            if (trigger.tenant_id, trigger.workflow, trigger.kind) == (tenant_id, slug, "cron")
        ]
        if not found:
            raise UnprocessableError(f"workflow {slug!r} has no schedule that works")
        chosen = [trigger for trigger in found if wanted.trigger in {None, trigger.id}]
        if not chosen:
            names = ", ".join(trigger.id for trigger in found)
            raise UnprocessableError(f"trigger: workflow {slug!r} has no schedule {wanted.trigger!r}; one of: {names}")
        return chosen

    def _horizon(self, head: Head, now: datetime) -> datetime | None:
        """Return before when history may have gone; None when the workflow is younger than that."""
        usual, failed = self._policy.usual, self._policy.failed
        kept = min(head.retention or usual, head.failed_retention or failed)
        if head.kept_count is not None:
            kept = REMEMBERED
        if head.refuses:
            kept = min(kept, self._policy.unmatched)
        horizon = now - max(kept, REMEMBERED)
        return horizon if head.created_at < horizon else None

    async def _missing(self, trigger: ActiveTrigger, wanted: Wanted, filled: Filled) -> list[_Missing]:
        """Return the slots that have not fired, as far as is known; count the others."""
        fired = await self._record.fired(trigger, wanted)
        found = []
        async for one in _slots(trigger, wanted):
            if utc_text(one.slot) in fired:
                filled.already += 1
            elif filled.unrecorded_before is not None and one.slot < filled.unrecorded_before and not wanted.unrecorded:
                filled.unrecorded += 1
            else:
                found.append(one)
        return found

    async def _fire(self, slots: Sequence[_Missing], wanted: Wanted, filled: Filled, now: datetime) -> None:
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(number: int, missing: _Missing) -> Made | None:
            begin = now + wanted.spread * (number / len(slots))
            made = Made(missing.trigger.id, missing.slot, due_at=begin if begin > now else None)
            if wanted.dry_run:
                return made
            event = slot_event(missing.trigger, Firing(missing.slot, 0), missing.previous)
            event.not_before = begin
            async with turn:
                return await self._store(event, made)

        made = await asyncio.gather(*(one(number, missing) for number, missing in enumerate(slots)))
        filled.items = [item for item in made if item is not None]
        filled.already += len(made) - len(filled.items)

    async def _store(self, event: NewEvent, made: Made) -> Made | None:
        """Fire one slot; None when somebody else has fired it meanwhile."""
        try:
            receipt = await self._ingest.take(event)
        except (ConflictError, UnavailableError, UnprocessableError) as error:
            made.refused = str(error)
            return made
        made.event_id, made.executions = receipt.event_id, receipt.executions
        return None if receipt.duplicate else made


async def active_head(record: SlotRecord, tenant_id: TenantId, slug: str) -> Head:
    """Return a workflow whose triggers are on. Raises NotFoundError, ConflictError."""
    head = await record.head(tenant_id, slug)
    if head is None:
        raise NotFoundError(f"there is no workflow {slug!r}")
    if head.status != "active":
        raise ConflictError(f"workflow {slug!r} is {head.status}: only a published one can be backfilled")
    if head.paused_at is not None:
        raise ConflictError(f"workflow {slug!r} is paused: resume it first")
    return head


async def _slots(trigger: ActiveTrigger, wanted: Wanted) -> AsyncIterator[_Missing]:
    """Yield the slots of a time. Raises UnprocessableError when there are too many."""
    schedule = trigger.config.built()
    before = schedule.between(wanted.since - _LONGEST_GAP, wanted.since - _INSTANT, 1)
    previous = before[-1].utc if before else None
    coming = schedule.after(wanted.since - _INSTANT)
    for number, slot in enumerate(takewhile(lambda slot: slot.utc < wanted.until, coming)):
        if number >= MOST_SLOTS:
            raise UnprocessableError(f"there are more than {MOST_SLOTS} slots in that time: ask for a shorter one")
        if number % _BREATH == 0:
            await asyncio.sleep(0)
        utc = slot.utc.astimezone(UTC)
        yield _Missing(trigger, utc, previous)
        previous = utc
