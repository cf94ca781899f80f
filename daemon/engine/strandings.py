"""Executions that are on record as running here and do not: found, and given back.

An answer of the database that was lost after its COMMIT leaves them: a claim, an event stored together with what it
starts. Nobody else may take them while this instance lives.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from uuid import UUID

import structlog

from hark.daemon.store.database import Database

log = structlog.get_logger(__name__)

AFTER_S = 40.0
"""Longer than any statement may take: what is being stored or claimed right now is not stranded."""


class Strandings:
    """Compares the record with what runs, every time it is asked."""

    def __init__(self, database: Database, runs_here: Callable[[UUID], bool]) -> None:
        self._database = database
        self._runs_here = runs_here
        self._since: dict[UUID, float] = {}

    async def release(self, licence: UUID) -> int:
        """Give back what has not run for long enough; return how many. Raises UnavailableError."""
        now = time.monotonic()
        owned = [row["id"] for row in await self._database.fetch("list_owned", licence)]
        self._since = {one: self._since.get(one, now) for one in owned if not self._runs_here(one)}
        stranded = [one for one, since in self._since.items() if now - since >= AFTER_S and not self._runs_here(one)]
        if not stranded:
            return 0
        released = await self._database.fetch("release_stranded", licence, stranded)
        log.warning("execution.stranded", executions=len(released))
        return len(released)
