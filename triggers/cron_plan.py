"""Which of the due slots of a cron trigger fire, and as what event: pure, the listener carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

from hark.triggers.cron_config import CronConfig
from hark.triggers.ports import TriggerKey
from hark.workflows.catalogue import ActiveTrigger, NewEvent
from hark.workflows.ids import WorkflowId

REMEMBERED = timedelta(days=7)
"""So long the key of a slot is kept from being used again, whatever becomes of its event."""


def route_of(workflow_id: WorkflowId, trigger_id: str) -> str:
    """Return the route of one trigger: a slot concerns it alone."""
    return f"cron:{workflow_id}/{trigger_id}"


def source_of(trigger: ActiveTrigger) -> str:
    """Return what the events of a trigger name as their source."""
    return f"cron:{trigger.workflow}/{trigger.id}"


@dataclass(frozen=True, slots=True)
class Due:
    """A slot, and when it is to fire: later by its jitter."""

    slot: datetime
    at: datetime


@dataclass(frozen=True, slots=True)
class Firing:
    """A slot that fires; `missed` slots since the one that fired before did not."""

    slot: datetime
    missed: int


def due_of(key: TriggerKey, slot: datetime, jitter: timedelta) -> Due:
    """Add a slot's jitter: drawn from a hash, so that every instance draws the same."""
    if not jitter:
        return Due(slot, slot)
    digest = blake2b(f"{key.workflow_id}/{key.trigger_id}/{slot.isoformat()}".encode(), digest_size=7).digest()
    return Due(slot, slot + jitter * (int.from_bytes(digest, "big") / 2**56))


def choose(dues: Sequence[Due], now: datetime, config: CronConfig) -> list[Firing]:
    """Say which of the slots that are due fire, in order; the others are passed over.

    A slot may come as late as the longest jitter allows: by a shorter one of its own it waits for those before it.
    """
    on_time = sum(now - due.slot <= config.jitter + config.grace for due in dues)
    late = len(dues) - on_time
    made_up_for = {"skip": 0, "last": 0 if on_time else min(late, 1), "all": min(late, config.max_missed)}
    first = late - made_up_for[config.missed]
    return [Firing(due.slot, first if index == 0 else 0) for index, due in enumerate(dues[first:])]


def slot_event(trigger: ActiveTrigger, firing: Firing, previous: datetime | None) -> NewEvent:
    """Make the event of a slot: the same whichever instance makes it, by its key and its fingerprint."""
    slot = utc_text(firing.slot)
    return NewEvent(
        tenant_id=trigger.tenant_id,
        kind="cron",
        type="cron.due",
        source=source_of(trigger),
        route=route_of(trigger.workflow_id, trigger.id),
        data={
            "schedule": trigger.config.shown,
            "slot": slot,
            "previous_slot": utc_text(previous) if previous else None,
            "missed": firing.missed,
        },
        occurred_at=firing.slot,
        dedupe_key=slot,
        dedupe_ttl=REMEMBERED,
        fingerprint=slot.encode(),
    )


def utc_text(moment: datetime) -> str:
    """Write a moment as ISO 8601 in UTC: `2026-03-29T01:00:00Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
