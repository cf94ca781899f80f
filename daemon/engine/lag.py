"""How far the instances are behind: what waits to become events or to be run, and for how long the oldest has."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from hark.daemon.engine.figures import Figure
from hark.daemon.store.database import Database

_AGES = {"row_changes": "row_changes_age_s", "execution_ends": "ends_age_s"}


class Lag:
    """What the last look found, for the whole database. An age grows on while nobody can look."""

    def __init__(self, database: Database, floor: Callable[[], int]) -> None:
        self._database = database
        self._floor = floor
        self._records: dict[str, float] = dict.fromkeys(_AGES, 0.0)
        self._since: dict[str, float | None] = dict.fromkeys((*_AGES, "claimable"))
        """The monotonic moment from which the oldest waits; None while none does."""

    async def look(self) -> None:
        """Look, in bounded time. Raises UnavailableError."""
        (row,) = await self._database.fetch("get_lag", self._floor())
        now = time.monotonic()
        self._records = {"row_changes": row["row_changes"], "execution_ends": row["ends"]}
        ages = {source: row[column] for source, column in _AGES.items()} | {"claimable": row["claimable_age_s"]}
        self._since = {source: None if age is None else now - max(age, 0.0) for source, age in ages.items()}

    def figures(self) -> Iterator[Figure]:
        """Give them as metrics."""
        yield Figure(
            "unmatched_records", "What is captured or noted and is no event yet, to 10,000.", "source", self._records
        )
        yield Figure(
            "unmatched_oldest_age_seconds",
            "For how long the oldest of it has waited.",
            "source",
            {source: self._age(source) for source in _AGES},
        )

    def stats(self) -> dict[str, float]:
        """Return the figure that has no label."""
        return {"executions_claimable_oldest_age_seconds": self._age("claimable")}

    def _age(self, source: str) -> float:
        since = self._since[source]
        return 0.0 if since is None else time.monotonic() - since
