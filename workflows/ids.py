"""Identifiers: time-ordered UUIDs in the layout of version 7 (RFC 9562), made or derived here."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from random import getrandbits
from typing import NewType
from uuid import UUID

TenantId = NewType("TenantId", UUID)
WorkflowId = NewType("WorkflowId", UUID)
EventId = NewType("EventId", UUID)
ExecutionId = NewType("ExecutionId", UUID)
InstanceId = NewType("InstanceId", UUID)

DEFAULT_TENANT = TenantId(UUID("00000000-0000-7000-8000-000000000001"))
"""The tenant that everything belongs to until others are made."""


def _layout(milliseconds: int, tail: int) -> UUID:
    """Lay 48 bits of Unix time and 74 free bits out as a version 7 UUID."""
    return UUID(int=milliseconds << 80 | 0x7 << 76 | tail >> 62 << 64 | 0b10 << 62 | tail & ((1 << 62) - 1))


def new_bytes(now: datetime) -> bytes:
    """Make the bytes of a random id that sorts by `now`, to the microsecond.

    The 12 bits after the version hold the fraction of the millisecond (RFC 9562, 6.2, method 3): what one execution
    writes within a millisecond stays in order.
    """
    milliseconds, microseconds = divmod(int(now.timestamp() * 1_000_000), 1000)
    first = milliseconds << 16 | 0x7000 | microseconds * 4096 // 1000
    # Ids are no secrets, and the generator is seeded by the kernel, anew after a fork.
    return first.to_bytes(8, "big") + (0b10 << 62 | getrandbits(62)).to_bytes(8, "big")


def new_id(now: datetime) -> UUID:
    """Make a random id that sorts by `now`, see `new_bytes`."""
    return UUID(bytes=new_bytes(now))


def derived_id(ancestor: UUID, *parts: object) -> UUID:
    """Make the one id that `parts` have under `ancestor`; it sorts with its ancestor, in the same millisecond.

    The same arguments always give the same id, which is what makes "one event starts a workflow once" a primary key.
    """
    named = ancestor.bytes
    for part in parts:
        text = str(part).encode()
        named += len(text).to_bytes(4, "big") + text
    return _layout(milliseconds_of(ancestor), int.from_bytes(blake2b(named, digest_size=10).digest(), "big") >> 6)


def execution_id(event: EventId, workflow: WorkflowId, ordinal: int = 0) -> ExecutionId:
    """Return the identity of an execution: (workflow, event, ordinal)."""
    return ExecutionId(derived_id(event, workflow, ordinal))


def milliseconds_of(identifier: UUID) -> int:
    """Return the Unix time in milliseconds that is written into an id."""
    return identifier.int >> 80


def time_of(identifier: UUID) -> datetime:
    """Return the time that is written into an id, in UTC."""
    return datetime.fromtimestamp(milliseconds_of(identifier) / 1000, UTC)


def floor_of(moment: datetime) -> UUID:
    """Return the smallest id of `moment`'s millisecond: the lower bound of a range by time."""
    return UUID(int=int(moment.timestamp() * 1000) << 80)


def same_millisecond(identifier: UUID) -> tuple[UUID, UUID]:
    """Return the range [from, to) of all ids with the same time: where everything derived from an id lies."""
    milliseconds = milliseconds_of(identifier)
    return UUID(int=milliseconds << 80), UUID(int=(milliseconds + 1) << 80)
