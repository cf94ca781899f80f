"""The databases of named connections, for triggers: what it takes to listen to each, and to look at it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import partial
from hashlib import blake2b
from typing import Any, TypeVar

from hark.daemon.engine.ingest import Ingest
from hark.daemon.engine.remote_capture import RemoteCapture
from hark.daemon.engine.strandings import Takings
from hark.daemon.store.capture_program import leads_capture
from hark.daemon.store.capture_site import CaptureSite
from hark.daemon.store.database import Connection, Database
from hark.daemon.store.listening import Listening
from hark.daemon.store.remote_schema import Home, ensure_outbox, find_home, is_made, refusals, refuse_home
from hark.workflows.connections import hint, unknown
from hark.workflows.errors import UnavailableError, UnprocessableError

PATIENCE_S = 2.0
"""How long people wait for a database that may be away."""
_POOL = 3

T = TypeVar("T")


class Remote:
    """One named connection: a pool that opens when it is used, a listening connection, and its row capture."""

    def __init__(self, database: Database, rows: RemoteCapture) -> None:
        self.database = database
        self.rows = rows
        self.notify = Listening(database)

    async def start(self) -> None:
        """Get ready; nothing is connected yet."""
        await self.database.start()
        await self.notify.start()

    async def stop(self) -> None:
        """Close everything; idempotent."""
        await self.notify.stop()
        await self.rows.close()
        await self.database.stop()


class Remotes:
    """All named connections, by name (`RemotesPort`). Owned by the engine."""

    def __init__(
        self,
        database: Database,
        urls: Mapping[str, str],
        ingest: Ingest,
        takings: Takings,
        generation: Callable[[], int],
        watched: Callable[[str], bool],
    ) -> None:
        self._database = database
        self._urls = dict(urls)
        self._ingest = ingest
        self._takings = takings
        self._generation = generation
        self._watched = watched
        self.silent: set[str] = set()
        """Connections that have just kept somebody waiting in vain."""
        self._home: Home | None = None
        self._remotes: dict[str, Remote] = {}

    @property
    def names(self) -> Collection[str]:
        """The names of all connections."""
        return self._urls.keys()

    @property
    def prefix(self) -> str:
        """What the names of all that is ours begin with in other databases: schema, channels, triggers."""
        return self.home.schema

    def marks(self, name: str) -> str:
        """Return the channel on which instances tell each other which messages from there they have stored.

        A copy of the home stores elsewhere, and what another connection to the same database hears is another event:
        neither may be taken for one of us.
        """
        of = f"{self.home.place} {name}".encode()
        return f"{self.prefix}_marks_{blake2b(of, digest_size=8).hexdigest()}"

    @property
    def home(self) -> Home:
        """Which Hark this is."""
        if self._home is None:
            raise UnavailableError("named connections are not started")
        return self._home

    @property
    def backend_pids(self) -> list[int | None]:
        """The server processes at home behind the moves."""
        return [remote.rows.backend_pid for remote in self._remotes.values()]

    async def start(self) -> None:
        """Get ready; no other database is connected to before it is needed."""
        if self._urls:
            self._home = await find_home(self._database)
        for name, url in self._urls.items():
            database = Database(url, pool_size=_POOL, name=name)
            rows = RemoteCapture(
                database,
                self.home,
                self._database,
                self._ingest,
                self._takings,
                self._generation,
                others=self.names,
                watched=partial(self._watched, name),
            )
            self._remotes[name] = remote = Remote(database, rows)
            await remote.start()

    async def stop(self) -> None:
        """Close all connections; idempotent, safe before start."""
        remotes, self._remotes = self._remotes, {}
        await asyncio.gather(*(remote.stop() for remote in remotes.values()))

    def __getitem__(self, name: str) -> Remote:
        """Return one of them. Raises UnprocessableError when there is none of this name."""
        remote = self._remotes.get(name)
        if remote is None:
            raise UnprocessableError(f"{unknown(name)} ({hint(name, self.names)})")
        return remote

    def rows(self, name: str) -> RemoteCapture:
        """Return the row capture of a connection."""
        return self[name].rows

    def notify(self, name: str) -> Listening:
        """Return the listening connection of a connection."""
        return self[name].notify

    async def captured(self) -> Collection[str]:
        """Name the connections where triggers of ours may be, whether or not somebody watches still."""
        return [row["connection"] for row in await self._database.fetch("list_remotes")]

    async def released(self, name: str) -> None:
        """Note that nothing is captured there any more."""
        await self._database.execute("forget_remote", name, self._generation())

    def site(self, name: str) -> CaptureSite:
        """Return where row capture is, at home or there. Raises UnprocessableError."""
        return CaptureSite(self[name].database, self.prefix) if name else CaptureSite(self._database)

    @asynccontextmanager
    async def looking(self, name: str, *, captures: bool = False) -> AsyncIterator[Connection]:
        """Open a transaction on a connection that does not lead home; with row capture made there, if need be.

        Raises UnavailableError.
        """
        with refusals(name):
            async with self._looking(name, captures=captures) as connection:
                yield connection

    @asynccontextmanager
    async def _looking(self, name: str, *, captures: bool) -> AsyncIterator[Connection]:
        async with self[name].database.transaction() as connection:
            if captures:
                leads, watched = await leads_capture(self._database), self._watched(name)
                await ensure_outbox(connection, self.home, name, frozenset(self.names), watched=watched, leads=leads)
            else:
                await refuse_home(connection, self.home, name)
            yield connection

    async def list_watches(
        self, name: str, schema: str | None = None, table: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the tables whose changes are captured there, or one of them, with the state of their triggers."""
        site = self.site(name)
        async with self.looking(name, captures=self._watched(name)) as connection:
            if not await is_made(connection, self.home):
                return []  # who only looks puts nothing there
            return [dict(row) for row in await connection.fetch(site.sql("list_watches"), schema, table)]

    async def list_watch_warnings(self, name: str, *about: Any) -> list[dict[str, Any]]:
        """Return what workflows miss in the tables there; `about` as in the query. Makes nothing there."""
        site = self.site(name)
        async with self.looking(name) as connection:
            if not await is_made(connection, self.home):
                return []
            return [dict(row) for row in await connection.fetch(site.sql("list_watch_warnings"), *about)]

    async def settled(self) -> None:
        """Return when changes from before this moment are events, of all databases where something is captured.

        Waits for as long as it takes. Raises UnavailableError when one of them is away.
        """
        for name in await self.captured():
            if name in self._remotes:
                await self[name].rows.caught_up()


async def patiently(work: Coroutine[Any, Any, T], name: str) -> T:
    """Wait for something in another database for two seconds. Raises UnavailableError; what is stuck ends by itself."""
    task = asyncio.create_task(work, name=f"look at {name}")
    try:
        done, _ = await asyncio.wait([task], timeout=PATIENCE_S)
    finally:
        # Not awaited: a statement that is broken off waits for an answer which may never come.
        task.cancel()
    if not done:
        task.add_done_callback(_ended)
        raise UnavailableError(f"connection {name}: it did not answer within {PATIENCE_S:g} s")
    return task.result()


def _ended(task: asyncio.Task[Any]) -> None:
    """Take note of what became of it, lest it be complained of."""
    if not task.cancelled():
        task.exception()
