"""Row capture (`RowPort`), on the home database: the outbox becomes events, the triggers follow the workflows."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import structlog

from hark.daemon.engine.ingest import Ingest, taking
from hark.daemon.engine.strandings import Takings
from hark.daemon.store.capture_program import leads_capture
from hark.daemon.store.capture_site import CaptureSite
from hark.daemon.store.capture_triggers import describe_tables, install
from hark.daemon.store.database import Connection, Database, Session, sql
from hark.daemon.store.lane import Lane
from hark.daemon.store.row_outbox import peek_row_changes, take_row_changes
from hark.triggers.capture_plan import CapturePlan
from hark.triggers.row_changes import RowChange
from hark.triggers.row_port import Drained, Installed, Part, Picture
from hark.triggers.table_name import TableName
from hark.workflows.catalogue import NewEvent
from hark.workflows.errors import FencedError, UnavailableError

if TYPE_CHECKING:
    import asyncpg

log = structlog.get_logger(__name__)

EventsOf = Callable[[RowChange], Iterable[NewEvent]]

MOST_RECORDS = 200
FEW_RECORDS = 8
"""So few are read first, and taken by the statement that stores their events: a transaction is two trips more."""
FLOOR_S = 1.0
_PLANNER = {
    # The outbox is empty whenever it is analysed: without this, a plan for an empty table reads all of a full one.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}


@dataclass(frozen=True, slots=True)
class _Mark:
    """All ids up to `last_id` were given out to transactions below `next`."""

    last_id: int
    next: int


class RowCapture:
    """Takes row changes in, and keeps the triggers that capture them. Its drains take turns on one connection.

    The outbox is read from a floor: below it every transaction has ended and every record is gone. Otherwise each read
    would pass over all that was deleted since the oldest snapshot in the database was taken, a backup's for example.
    """

    def __init__(
        self,
        database: Database,
        ingest: Ingest,
        takings: Takings,
        generation: Callable[[], int],
        *,
        site: CaptureSite | None = None,
    ) -> None:
        self._site = site or CaptureSite(database)
        self._database = self._home_database = self._site.database
        self._ingest = ingest
        self._takings = takings
        self._generation = generation
        self._lane = Lane(self._database, "row capture", _PLANNER)
        self._session: Session | None = None
        self._two_phase = True
        self._floor = 0
        self._mark: _Mark | None = None
        self._looked_at = 0.0
        self._singly = 0
        self._quiet = True
        """The outbox had few changes the last time."""
        self._offered: list[int] = []
        """What was last taken out of the outbox, be it for good or not."""

    @property
    def backend_pid(self) -> int | None:
        """The server process behind the drains."""
        return self._lane.backend_pid

    @property
    def can_wake(self) -> bool:
        """Whether writers may NOTIFY."""
        return not self._two_phase

    async def lag(self) -> tuple[int, float | None]:
        """Count what waits in the outbox, to 10,000, and tell for how many seconds the oldest has."""
        async with self._database.transaction() as connection:
            (row,) = await connection.fetch(self._site.sql("get_outbox_lag"), self._floor)
        return row["records"], row["age_s"]

    async def look(self, tables: Collection[TableName]) -> Picture:
        """Look at tables."""
        generation = self._generation()  # before anything is awaited: it is that of the caller's triggers
        async with self._database.transaction() as connection:
            return Picture(generation, await describe_tables(connection, tables, self._site.schema))

    async def install(
        self, plans: Sequence[CapturePlan], generation: int, *, patience_s: float, part: Part | None = None
    ) -> Installed:
        """Make the database capture exactly what the plans say."""
        leads = await leads_capture(self._home_database)
        return await install(self._site, plans, generation, patience_s=patience_s, part=part, leads=leads)

    async def drain(self, events_of: EventsOf) -> Drained:
        """Turn the oldest changes into events."""
        if self._singly:
            self._singly -= 1
            return await self._drain_one(events_of)
        try:
            drained = await self._drain(events_of, MOST_RECORDS)
        except (UnavailableError, FencedError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns one of them
            # One of them cannot be stored, and must not keep the others: from here on they go one by one.
            log.warning("row.batch_split", error=str(error))
            self._singly = MOST_RECORDS
            return await self.drain(events_of)
        if drained.records and time.monotonic() - self._looked_at > FLOOR_S:
            await self._raise_floor()
        return drained

    async def want_wakeups(self, *, wanted: bool) -> int | None:
        """Have writers NOTIFY, or not; None when that was so, else the horizon behind which all know."""
        async with self._connected() as connection:
            if not await connection.fetchval(self._site.sql("set_capture_wakeups"), int(wanted)):
                return None
            # A statement of its own: who read the old flag has had a transaction id before it was changed.
            bounds = await connection.fetch(self._site.sql("row_change_bounds"), self._floor)
        return int(bounds[0]["next"])

    async def is_past(self, horizon: int) -> bool:
        """Tell whether all transactions below the horizon have ended."""
        async with self._connected() as connection:
            bounds = await connection.fetch(self._site.sql("row_change_bounds"), self._floor)
        return bool(bounds[0]["oldest"] >= horizon)

    async def is_empty(self) -> bool:
        """Tell whether no change waits to become an event."""
        async with self._connected() as connection:
            return not await connection.fetchval(self._site.sql("has_row_changes"))

    async def close(self) -> None:
        """Close the connection; idempotent."""
        await self._lane.stop()

    def _connected(self) -> AbstractAsyncContextManager[asyncpg.Connection[asyncpg.Record]]:
        """Hand out the connection to where the outbox is."""
        return self._lane.connection()

    async def _adopt(self, connection: Connection) -> None:
        """On a new session, whose server may be another one than before, nothing is known."""
        session = await self._database.session_of(connection)
        if session != self._session:
            self._two_phase = await connection.fetchval(sql("get_two_phase"))
            self._floor, self._mark = 0, None
            self._session = session

    async def _drain(self, events_of: EventsOf, limit: int) -> Drained:
        with self._takings.under_way():
            return await self._take_in(events_of, limit)

    async def _take_in(self, events_of: EventsOf, limit: int) -> Drained:
        async with self._connected() as connection:
            # Where each statement has a transaction of its own anyway, one for all is less.
            if self._quiet and limit == MOST_RECORDS and self._database.keeps_sessions:
                drained = await self._take_few(connection, events_of)
                if drained is not None:
                    return drained
            async with taking(connection) as taken:
                await self._adopt(connection)
                await self._offer(connection, limit)
                found = await take_row_changes(connection, self._floor, limit)
                self._offered = [change.id for change in found.changes]
                events = [event for change in found.changes for event in events_of(change)]
                if events:
                    taken.append(await self._ingest.take_within(connection, events, since=found.at))
        self._quiet = len(found.changes) <= FEW_RECORDS
        return Drained(len(found.changes), found.more)

    async def _offer(self, connection: Connection, limit: int) -> None:
        """Note which change is about to be taken alone, for it may be one that cannot even be read."""
        if limit == 1:
            (bounds,) = await connection.fetch(self._site.sql("row_change_bounds"), self._floor)
            self._offered = [] if bounds["first_id"] is None else [bounds["first_id"]]

    async def _take_few(self, connection: Connection, events_of: EventsOf) -> Drained | None:
        """Take what is there, if that is little and nobody else is at it; otherwise nothing is done."""
        await self._adopt(connection)
        found = await peek_row_changes(connection, self._floor, FEW_RECORDS)
        if not found.changes:
            return None if found.more else Drained(0, more=False)
        events = [event for change in found.changes for event in events_of(change)]
        ids = [change.id for change in found.changes]
        if not events or not await self._ingest.take_from_outbox(connection, events, ids, since=found.at):
            return None
        return Drained(len(ids), more=False)

    async def _drain_one(self, events_of: EventsOf) -> Drained:
        """Take the oldest change alone: if need be without its rows, and if even that fails put it aside."""
        try:
            return await self._drain(events_of, 1)
        except (UnavailableError, FencedError):
            raise
        except Exception as error:  # noqa: BLE001 - logged below if it stays
            reason = str(error)
        try:
            return await self._drain(lambda change: events_of(_without_rows(change, reason)), 1)
        except (UnavailableError, FencedError):
            raise
        except Exception:
            log.exception("row.change_parked")
        async with self._connected() as connection:
            await connection.execute(self._site.sql("park_row_change"), self._offered, reason)
        return Drained(1, more=True)

    async def _raise_floor(self) -> None:
        """Raise the floor to the last mark once all transactions from before it have ended; set a new mark."""
        self._looked_at = time.monotonic()
        async with self._connected() as connection:
            last_id = await connection.fetchval(self._site.sql("last_row_change"))
            bounds = (await connection.fetch(self._site.sql("row_change_bounds"), self._floor))[0]
        if last_id < self._floor:  # the ids began anew
            self._floor, self._mark = 0, None
        elif self._mark is None:
            self._mark = _Mark(last_id, bounds["next"])
        elif bounds["oldest"] >= self._mark.next:
            first = bounds["first_id"]
            self._floor = max(self._floor, self._mark.last_id if first is None else min(self._mark.last_id, first - 1))
            self._mark = _Mark(last_id, bounds["next"])


def _without_rows(change: RowChange, reason: str) -> RowChange:
    return replace(change, old=(), new=(), error=f"the rows cannot be stored: {reason}"[:1000])
