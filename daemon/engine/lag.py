"""How far the instances are behind: what waits to become events or to be run, and for how long the oldest has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from hark.daemon.engine.figures import Figure
from hark.daemon.engine.remotes import Remotes, patiently
from hark.daemon.engine.row_capture import RowCapture
from hark.daemon.store.database import Database
from hark.workflows.errors import UnavailableError

_ROWS = "row_changes"
_ENDS = "execution_ends"


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What waits somewhere, and the monotonic moment since which the oldest does; None while nothing does."""

    records: int = 0
    since: float | None = None

    @classmethod
    def of(cls, records: int, age_s: float | None) -> _Waiting:
        return cls(records, None if age_s is None else time.monotonic() - max(age_s, 0.0))

    @property
    def age_s(self) -> float:
        """For how long; grows on while nobody can look."""
        return 0.0 if self.since is None else time.monotonic() - self.since


class Lag:
    """What the last look found, for the whole database and those of the named connections where rows are captured."""

    def __init__(self, database: Database, rows: RowCapture, remotes: Remotes) -> None:
        self._database = database
        self._rows = rows
        self._remotes = remotes
        self._waiting = {_ROWS: _Waiting(), _ENDS: _Waiting()}
        self._elsewhere: dict[str, _Waiting] = {}
        self._claimable = _Waiting()

    async def look(self) -> None:
        """Look at home, in bounded time. Raises UnavailableError."""
        (row,) = await self._database.fetch("get_lag")
        self._waiting = {_ROWS: await self._outbox(self._rows), _ENDS: _Waiting.of(row["ends"], row["ends_age_s"])}
        self._claimable = _Waiting.of(0, row["claimable_age_s"])

    async def look_elsewhere(self) -> None:
        """Look at the named connections; of what does not answer soon the last look counts. Raises UnavailableError."""
        names = [name for name in await self._remotes.captured() if name in self._remotes.names]
        self._elsewhere = {name: self._elsewhere.get(name, _Waiting()) for name in names}
        await asyncio.gather(*map(self._look_at, names))

    async def _look_at(self, name: str) -> None:
        with suppress(UnavailableError):
            self._elsewhere[name] = await patiently(self._outbox(self._remotes.rows(name)), name)

    @staticmethod
    async def _outbox(rows: RowCapture) -> _Waiting:
        return _Waiting.of(*await rows.lag())

    def figures(self) -> Iterator[Figure]:
        """Give them as metrics."""
        waiting = self._waiting | {f"{_ROWS}@{name}": found for name, found in self._elsewhere.items()}
        yield Figure(
            "unmatched_records",
            "What is captured or noted and is no event yet, to 10,000.",
            "source",
            {source: found.records for source, found in waiting.items()},
        )
        yield Figure(
            "unmatched_oldest_age_seconds",
            "For how long the oldest of it has waited.",
            "source",
            {source: found.age_s for source, found in waiting.items()},
        )

    def stats(self) -> dict[str, float]:
        """Return the figure that has no label."""
        return {"executions_claimable_oldest_age_seconds": self._claimable.age_s}
