"""What a cron trigger says, and which of its due slots fire: pure, the listener carries it out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator

from hark.triggers import slots
from hark.triggers.ports import TriggerKey
from hark.workflows.catalogue import ActiveTrigger, Config, NewEvent
from hark.workflows.durations import Duration

COUNTED = 1000
"""How many passed slots are looked at, at most, after a standstill: it bounds the work, and `missed`."""
_REMEMBERED = timedelta(days=7)
_LONGEST_JITTER = timedelta(days=1)


def _real_zone(name: str) -> str:
    return slots.zone(name).key


class CronConfig(Config):
    """When a workflow starts, and what becomes of the times that were missed."""

    schedule: str | Annotated[list[str], Field(min_length=1, max_length=50)]
    """Five fields (minute hour day-of-month month day-of-week), six with seconds first, or `@daily` …; or a list."""
    timezone: Annotated[str, AfterValidator(_real_zone)] = "UTC"
    """IANA name of the zone whose wall clock counts."""
    missed: Literal["skip", "last", "all"] = "last"
    """Which of the slots that nobody could fire are made up for: none, the latest, or all."""
    grace: Duration = Field(default="1m", validate_default=True)
    """A slot no later than this is on time, and fires whatever `missed` says."""
    max_missed: Annotated[int, Field(ge=1, le=COUNTED)] = 100
    """With `missed: all`, the latest so many."""
    jitter: Duration = Field(default="0s", validate_default=True)
    """Fire up to this much after the slot, by an amount that is fixed for each slot. Spreads load."""
    overlap: Literal["allow", "skip", "queue", "restart"] | None = None
    """What happens when an execution is running already; the workflow's `overlap` if absent."""

    @field_validator("schedule")
    @classmethod
    def _fires(cls, schedule: str | list[str]) -> str | list[str]:
        slots.build(schedule, "UTC")
        return schedule

    @field_validator("jitter")
    @classmethod
    def _is_short(cls, jitter: timedelta) -> timedelta:
        if jitter > _LONGEST_JITTER:
            raise ValueError("jitter is at most one day")
        return jitter

    @property
    def text(self) -> str:
        """The schedule on one or several lines."""
        return self.schedule if isinstance(self.schedule, str) else "\n".join(self.schedule)

    def built(self) -> slots.Schedule:
        """Return the schedule, ready to reckon with."""
        return slots.build(self.schedule, self.timezone)


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
    """Say which of the slots that are due fire, in order; the others are passed over."""
    on_time = sum(now - due.at <= config.grace for due in dues)
    late = len(dues) - on_time
    made_up_for = {"skip": 0, "last": 0 if on_time else min(late, 1), "all": min(late, config.max_missed)}
    first = late - made_up_for[config.missed]
    return [Firing(due.slot, first if index == 0 else 0) for index, due in enumerate(dues[first:])]


def slot_event(trigger: ActiveTrigger, firing: Firing, previous: datetime | None, route: str) -> NewEvent:
    """Make the event of a slot: the same whichever instance makes it, by its key and its fingerprint."""
    slot = utc_text(firing.slot)
    return NewEvent(
        tenant_id=trigger.tenant_id,
        kind="cron",
        type="cron.due",
        source=f"cron:{trigger.workflow}/{trigger.id}",
        route=route,
        data={
            "schedule": trigger.config.schedule,
            "slot": slot,
            "previous_slot": utc_text(previous) if previous else None,
            "missed": firing.missed,
        },
        occurred_at=firing.slot,
        dedupe_key=slot,
        dedupe_ttl=_REMEMBERED,
        fingerprint=slot.encode(),
    )


def utc_text(moment: datetime) -> str:
    """Write a moment as ISO 8601 in UTC: `2026-03-29T01:00:00Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
