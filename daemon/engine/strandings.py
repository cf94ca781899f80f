"""Executions that are on record as running here and do not: found, and given back.

An answer of the database that was lost after its COMMIT leaves them: a claim, an event stored together with what it
starts. Nobody else may take them while this instance lives.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import UUID

import structlog

from hark.daemon.store.database import Database

log = structlog.get_logger(__name__)

Version = tuple[UUID, int]
"""An execution, and the transaction that wrote its row last: what was given up and taken again is another one."""


class Takings:
    """What is under way that may bring executions here, from before its statement until what it has brought runs."""

    def __init__(self) -> None:
        self._begun: dict[object, float] = {}

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Enclose a statement that takes executions, and their launch."""
        token = object()
        self._begun[token] = time.monotonic()
        try:
            yield
        finally:
            del self._begun[token]

    @property
    def since(self) -> float:
        """When the oldest of them began."""
        return min(self._begun.values(), default=math.inf)


class Strandings:
    """Compares the record with what runs, every time it is asked.

    What was on record as running here at one look and did not run was brought by a taking that was under way then, or
    whose answer was lost. Once none is left that began before that look, the first has launched it.
    """

    def __init__(self, database: Database, takings: Takings, runs_here: Callable[[UUID], bool]) -> None:
        self._database = database
        self._takings = takings
        self._runs_here = runs_here
        self._since: dict[Version, float] = {}

    @property
    def suspects(self) -> bool:
        """Whether the last look has found any: then it pays to look again soon."""
        return bool(self._since)

    async def release(self, licence: UUID) -> int:
        """Give back what was seen before and does not run yet; return how many. Raises UnavailableError."""
        rows = await self._database.fetch("list_owned", licence)
        now, owned = time.monotonic(), [(row["id"], row["written_by"]) for row in rows]
        self._since = {one: self._since.get(one, now) for one in owned if not self._runs_here(one[0])}
        oldest = self._takings.since
        stranded = [one for one, seen in self._since.items() if seen < now and seen < oldest]
        if not stranded:
            return 0
        ids, versions = zip(*stranded, strict=True)
        released = await self._database.fetch("release_stranded", licence, ids, versions)
        log.warning("execution.stranded", executions=len(released))
        return len(released)
