"""What the daemon offers to the `row` trigger kind: `RowPort`, under the name `row` in `ListenerContext.ports`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from hark.triggers.capture_plan import CapturePlan, Table
from hark.triggers.row_changes import RowChange
from hark.triggers.table_name import TableName
from hark.workflows.catalogue import NewEvent


@dataclass(frozen=True, slots=True)
class Picture:
    """The watched tables as the database has them, and the generation of active workflows they were asked for."""

    generation: int
    tables: Mapping[TableName, Table]


@dataclass(frozen=True, slots=True)
class Part:
    """Some tables alone, watched or not any more, and where they have or had triggers. The others stay as they are."""

    tables: Sequence[TableName]
    relations: Collection[int]


@dataclass(slots=True)
class Installed:
    """What became of bringing the triggers on the tables in line with the plans.

    `busy` tables were locked by others for longer than this may wait; `problems` says of each table what keeps it from
    being captured; `placed` and `removed` name the triggers that were changed.
    """

    current: bool = True
    """False when the active workflows have changed meanwhile: then the rest was not done."""
    busy: set[str] = field(default_factory=set)
    problems: dict[str, str] = field(default_factory=dict)
    placed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


class Drained(NamedTuple):
    """How many records of the outbox were done with, and whether others were left in it."""

    records: int
    more: bool


class RowPort(Protocol):
    """The outbox and the triggers that fill it. Every call raises UnavailableError when the database is away."""

    async def look(self, tables: Collection[TableName]) -> Picture:
        """Look at tables; those that do not exist are not in the picture."""
        ...

    async def install(
        self, plans: Sequence[CapturePlan], generation: int, *, patience_s: float, part: Part | None = None
    ) -> Installed:
        """Make the database capture exactly this; a lock is waited for `patience_s` at most, lest writers queue up.

        Without a `part` the plans are those of all tables, and nothing else is captured.
        """
        ...

    async def drain(self, events_of: Callable[[RowChange], Iterable[NewEvent]]) -> Drained:
        """Turn the oldest changes into events, in one transaction."""
        ...

    async def want_wakeups(self, *, wanted: bool) -> int | None:
        """Have writers send a NOTIFY on `hark_rows`, or not.

        Returns None when that was so already, else a horizon for `is_past`: writers that were at work before may still
        act by the old wish.
        """
        ...

    async def is_past(self, horizon: int) -> bool:
        """Tell whether all transactions from before the horizon have ended."""
        ...

    @property
    def can_wake(self) -> bool:
        """Whether writers may NOTIFY at all: it would fail the PREPARE TRANSACTION of a two-phase commit.

        Known once the outbox has been drained.
        """
        ...

    async def is_empty(self) -> bool:
        """Tell whether no change waits to become an event."""
        ...

    async def close(self) -> None:
        """Give connections back; idempotent."""
        ...
