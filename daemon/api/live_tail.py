"""What live tails have in common: how they are asked, and what they tell."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple, Protocol
from uuid import UUID

from hark.daemon.store.listing import Row

LOOK_BACK = timedelta(seconds=10)
"""So long may a row be committed after the moment that its id tells."""


class Told(NamedTuple):
    """One server-sent event. `place` is what a listener gives back after a break, to go on from there."""

    name: str
    row: Row
    place: UUID | None = None


class Tail(Protocol):
    """One listener's place in something that goes on."""

    more: bool
    """Whether the last look left something over."""

    async def look(self) -> Sequence[Told]:
        """Return what is new since the last look. Raises UnavailableError when the database is away."""
        ...
