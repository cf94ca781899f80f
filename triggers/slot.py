"""A slot: one due time of a schedule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Slot:
    """One due time; `note` says what daylight saving or the calendar did to it, if anything."""

    utc: datetime
    local: datetime
    note: str = ""


class Slots(Protocol):
    """What yields slots: a cron expression, an interval, moments."""

    def after(self, moment: datetime) -> Iterator[Slot]:
        """Yield the slots after a moment, in order, perhaps without end; perhaps some before it too."""
        ...
