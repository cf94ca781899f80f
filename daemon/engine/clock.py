"""The time: the database's clock, followed from this process so that reading it costs nothing."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from hark.workflows.errors import HarkError

SLOWEST_S = 1.0
"""A reading that took longer says too little: it may be wrong by half of that."""


class DatabaseClock:
    """The database's clock as last seen, carried on by the monotonic clock of this machine.

    A step of the local wall clock does not move it. `observe` is called with every heartbeat.
    """

    def __init__(self) -> None:
        self._offset_s = time.time() - time.monotonic()
        self.skew_s = 0.0
        """How far the local wall clock is ahead of the database's."""

    def observe(self, database_now: datetime, sent: float, received: float) -> None:
        """Take a reading of the database's clock that was made between two monotonic moments."""
        if database_now.tzinfo is None:
            raise HarkError("a time without a zone is not a time")
        if received - sent > SLOWEST_S:
            return
        self._offset_s = database_now.timestamp() - (sent + received) / 2
        self.skew_s = time.time() - time.monotonic() - self._offset_s

    def now(self) -> datetime:
        """Return the time, aware, in UTC."""
        return datetime.fromtimestamp(time.monotonic() + self._offset_s, UTC)
