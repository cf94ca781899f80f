"""Ids of the database driver's own kind: Python's UUIDs in every respect, and quicker where there are many."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar, cast
from uuid import UUID

from asyncpg.pgproto import pgproto

from hark.workflows.ids import new_bytes

IdT = TypeVar("IdT", bound=UUID)


def driver_id(identifier: IdT) -> IdT:
    """Return an id as the driver would: hashed in a third of the time, written in a tenth, sent as it is.

    An id is sent and looked up a dozen times while its execution runs.
    """
    return cast("IdT", pgproto.UUID(identifier.bytes))


def new_driver_id(now: datetime) -> UUID:
    """Make a random id that sorts by `now`, as the driver would: in half of the time."""
    return cast("UUID", pgproto.UUID(new_bytes(now)))
