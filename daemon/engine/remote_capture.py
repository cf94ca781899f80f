"""Row capture on the database of a named connection (`RowPort`): its changes are moved to the home database.

There are two commits, first at home, then there. What lies between is settled by `hark.moved_changes` at home: the
names of changes whose events are stored, written in the same transaction. A change that comes again, after a crash or
an answer that was lost, is taken out of the outbox and nothing else. It is forgotten once the other database has let go
of it for good, and not by time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import structlog

from hark.daemon.engine.ingest import Ingest, taking
from hark.daemon.engine.row_capture import EventsOf, RowCapture
from hark.daemon.engine.strandings import Takings
from hark.daemon.store.capture_program import leads_capture
from hark.daemon.store.capture_site import CaptureSite
from hark.daemon.store.database import ENGINE_PLANNER, Connection, Database, sql
from hark.daemon.store.lane import Lane
from hark.daemon.store.remote_schema import Home, OtherNameError, Outbox, ensure_outbox, refusals
from hark.daemon.store.row_outbox import take_row_changes
from hark.triggers.capture_plan import CapturePlan
from hark.triggers.row_changes import RowChange
from hark.triggers.row_port import Drained, Installed, Part, Picture
from hark.triggers.table_name import TableName
from hark.workflows.errors import UnavailableError

if TYPE_CHECKING:
    import asyncpg

log = structlog.get_logger(__name__)

TIDY_S = 60.0
_AT_ONCE = 1000
_LOOK_S = 0.05
_CONFIRM_S = 3.0
"""Less than the five seconds after which the home database ends a transaction in which nothing happens."""


class Moved(NamedTuple):
    """What names a change: a database that is restored from a backup gives out the same ids again, at another time."""

    id: int
    occurred_at: datetime


class RemoteCapture(RowCapture):
    """Moves row changes to the home database, and keeps the triggers that capture them.

    Instances take turns by a lock in the other database; that is for the order of events and for speed. That nothing
    doubles is up to `moved_changes` alone: whoever stores the same change waits there for the other's transaction. It
    may be forgotten there by then, so after that the other database is asked whether it still holds the change for us.
    """

    def __init__(
        self,
        database: Database,
        home: Home,
        home_database: Database,
        ingest: Ingest,
        takings: Takings,
        generation: Callable[[], int],
        *,
        others: Collection[str],
        watched: Callable[[], bool],
    ) -> None:
        site = CaptureSite(database, home.schema, self._may_change)
        super().__init__(database, ingest, takings, generation, site=site)
        self._home = home
        self._home_database = home_database
        self._home_lane = Lane(home_database, f"row moves {database.name}", ENGINE_PLANNER)
        self._others = frozenset(others)
        self._watched = watched
        self._is_others = False
        """Whether other instances capture there under another name, and nobody watches under this one."""
        self._seen: Outbox | None = None
        self._outbox: UUID | None = None
        self._let_go: list[Moved] = []
        """Changes of which the other database has let go, and which are to be forgotten at home."""
        self._tidied_at = 0.0

    @property
    def backend_pid(self) -> int | None:
        """The server process at home behind the moves."""
        return self._home_lane.backend_pid

    async def lag(self) -> tuple[int, float | None]:
        """Count what waits in the outbox, and tell for how long."""
        with refusals(self._database.name):
            return await super().lag()

    async def look(self, tables: Collection[TableName]) -> Picture:
        """Look at tables, after making sure that row capture is there."""
        generation = self._generation()
        with refusals(self._database.name):
            try:
                async with self._database.transaction() as connection:
                    await self._ensure(connection)
            except OtherNameError:
                self._is_others = True
                return Picture(generation, {})
            picture = await super().look(tables)
        return Picture(generation, picture.tables)

    async def install(
        self, plans: Sequence[CapturePlan], generation: int, *, patience_s: float, part: Part | None = None
    ) -> Installed:
        """Make the database capture exactly what the plans say."""
        if self._is_others:
            return Installed()
        with refusals(self._database.name):
            return await super().install(plans, generation, patience_s=patience_s, part=part)

    async def _may_change(self, connection: Connection, generation: int) -> bool:
        """Tell whether the triggers are still ours to change, and the plans for them are not old.

        Other instances may have taken over under another name since the look at the tables: they want the triggers that
        nobody wants under this one.
        """
        ours = await connection.fetchval(
            self._site.sql("is_outbox_ours"), self._outbox, self._home.place, self._database.name
        )
        return bool(ours and await self._home_database.fetchval("get_generation") == generation)

    async def is_empty(self) -> bool:
        """Tell whether no change waits to become an event through this connection."""
        return self._is_others or await super().is_empty()

    async def caught_up(self) -> None:
        """Return when changes from before this moment are events, but for those that were put aside."""
        async with self._connected() as connection:
            await self._ensure(connection)
            last = await connection.fetchval(self._site.sql("last_row_change"))
        while True:
            async with self._connected() as connection:
                if await connection.fetchval(self._site.sql("is_captured_taken"), last):
                    return
            await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        """Close the connections, after forgetting at home what can be; idempotent."""
        if self._lane.is_taken:
            self._lane.cut()  # by somebody who waits for an answer that does not come
        with suppress(UnavailableError):
            await self._forget()
        await self._home_lane.stop()
        await super().close()

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        with refusals(self._database.name):
            async with self._lane.connection() as connection:
                yield connection

    async def _ensure(self, connection: Connection) -> None:
        leads, watched = await leads_capture(self._home_database), self._watched()
        outbox = await ensure_outbox(
            connection, self._home, self._database.name, self._others, watched=watched, leads=leads
        )
        self._is_others = False
        if outbox != self._seen:
            # Made anew, or restored, maybe under a session that goes on: its ids have begun again.
            self._seen, self._outbox, self._let_go = outbox, outbox.identity, []
            self._floor, self._mark = 0, None
        await self._home_database.execute("note_remote", self._database.name, self._outbox)

    async def _adopt(self, connection: Connection) -> None:
        if await self._database.session_of(connection) != self._session:
            await self._ensure(connection)
            self._tidied_at = 0.0
        await super()._adopt(connection)

    # ------------------------------------------------------------------ the move

    async def _drain(self, events_of: EventsOf, limit: int) -> Drained:
        try:
            return await self._take_in(events_of, limit)
        except OtherNameError:
            return Drained(0, more=False)

    async def _take_in(self, events_of: EventsOf, limit: int) -> Drained:
        failure: Exception | None = None
        async with self._connected() as connection:
            await self._adopt(connection)
            try:
                await connection.execute("BEGIN")
                changes, more = await self._take_out(connection, limit)
                failure = await self._failure(connection, changes, events_of) if changes else None
                if failure is None:
                    await self._commit(connection)
            except BaseException:
                # Whatever it was: what the next one begins must not be part of a transaction that is still open.
                self._lane.cut()
                raise
        if failure is not None:
            self._lane.cut()
            raise failure
        self._let_go += _named(changes)
        if not more:
            await self._forget()
            await self._tidy()
        return Drained(len(changes), more)

    async def _take_out(self, connection: Connection, limit: int) -> tuple[list[RowChange], bool]:
        """Take changes out of the outbox, if no other instance is just at it."""
        turn = await connection.fetchrow(
            self._site.sql("try_to_move"), self._site.schema, self._outbox, self._home.place, self._database.name
        )
        if turn is None or not turn["ours"]:
            self._session = None  # as if it were another server: all is looked at anew
            return [], False
        if not turn["mine"]:
            return [], False
        await self._offer(connection, limit)
        changes, more, _ = await take_row_changes(connection, self._floor, limit, self._site.schema)
        self._offered = [change.id for change in changes]
        return changes, more

    async def _failure(
        self, connection: Connection, changes: Sequence[RowChange], events_of: EventsOf
    ) -> Exception | None:
        """Store the events; return what kept the home database from it, which is not this connection's error."""
        try:
            await self._store(connection, changes, events_of)
        except Exception as error:  # noqa: BLE001 - raised where it is not taken for one of the other database
            return error
        return None

    async def _store(self, there: Connection, changes: Sequence[RowChange], events_of: EventsOf) -> None:
        """Store the events of those changes of which there are none yet, and which ones these are."""
        with self._takings.under_way():
            async with self._home_lane.connection() as connection, taking(connection) as taken:
                await self._forget_on(connection)
                new = await connection.fetch(sql("keep_moved"), self._outbox, *_pairs(_named(changes)))
                await self._confirm(there)
                wanted = {row["change_id"] for row in new}
                events = [event for change in changes if change.id in wanted for event in events_of(change)]
                if events:
                    taken.append(await self._ingest.take_within(connection, events, since=new[0]["now"]))
            self._let_go.clear()

    async def _confirm(self, there: Connection) -> None:
        """Make sure that the changes are still held for us, now that others have to wait for our names of them.

        Who was frozen since they were taken may have lost them to another instance, which has moved them and forgotten
        their names at home: then they look new.
        """
        with refusals(self._database.name), self._database.translated():
            await there.fetchval("SELECT 1", timeout=_CONFIRM_S)

    @staticmethod
    async def _commit(connection: Connection) -> None:
        await connection.execute("COMMIT")

    # ------------------------------------------------------------------ what is in doubt

    async def _forget(self) -> None:
        """Forget at home what the other database has let go of."""
        if self._let_go:
            async with self._home_lane.connection() as connection:
                await self._forget_on(connection)
            self._let_go.clear()

    async def _forget_on(self, connection: Connection) -> None:
        if self._let_go:
            await connection.execute(sql("forget_moved"), self._outbox, *_pairs(self._let_go))

    async def _tidy(self) -> None:
        """Forget what others, or this instance, did not come to forget: all that is in the outbox no more.

        A change that is in it is seen whoever is about to delete it; one that is not seen was deleted for good.
        """
        if time.monotonic() - self._tidied_at < TIDY_S:
            return
        after = 0
        while True:
            rows = await self._home_lane.fetch("list_moved", self._outbox, after, _AT_ONCE)
            kept = [Moved(row["change_id"], row["occurred_at"]) for row in rows]
            async with self._connected() as connection:
                there = await connection.fetch(self._site.sql("find_row_changes"), [one.id for one in kept])
            found = {Moved(row["id"], row["occurred_at"]) for row in there}
            self._let_go += [one for one in kept if one not in found]
            await self._forget()
            if len(rows) < _AT_ONCE:
                break
            after = kept[-1].id
        self._tidied_at = time.monotonic()


def _named(changes: Iterable[RowChange]) -> list[Moved]:
    return [Moved(change.id, change.occurred_at) for change in changes]


def _pairs(names: Sequence[Moved]) -> tuple[list[int], list[datetime]]:
    ordered = sorted(names)  # in one order everywhere, or two instances with the same changes deadlock
    return [one.id for one in ordered], [one.occurred_at for one in ordered]
