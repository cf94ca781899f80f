"""The home database and those of named connections: a pool, connections for one purpose, and the statements by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog
from asyncpg import exceptions as pg

from hark.actions.pooled_connection import Way, make_pool, open_connection
from hark.actions.pooler import find_way
from hark.daemon.store.connecting import connect
from hark.daemon.store.holds import Hold, TransactionHold
from hark.daemon.store.outages import IN_THE_WAY, closed, translated
from hark.triggers.by_connection import where
from hark.workflows.errors import UnavailableError

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:  # asyncpg's classes are generic for the type checker only
    Connection = asyncpg.Connection
Record = asyncpg.Record
Session = int | datetime

log = structlog.get_logger(__name__)

_NOT_LET_IN: tuple[type[BaseException], ...] = (
    pg.InvalidAuthorizationSpecificationError,
    pg.InvalidCatalogNameError,
)
"""What a database says of whose password or name is wrong; another one may set that right while Hark runs."""

_HOME_ANSWERS_S = (15.0, 30.0)
"""How long a statement may take on the pool, and on a connection of its own."""
_OTHER_ANSWERS_S = (10.0, 10.0)
"""The same where the network may go dark at any time, and no statement is a long one."""
_OTHER_CONNECT_S = 4.0
_OTHER_IDLE_S = 30.0

_IDLE = "idle_in_transaction_session_timeout"
PLAIN_STRINGS = {"standard_conforming_strings": "on"}
"""A backslash in Hark's statements and functions is a backslash."""
_SERVER_SETTINGS = {
    "search_path": "hark, pg_catalog",
    "timezone": "UTC",
    _IDLE: "5s",
    "tcp_user_timeout": "10s",
    "lock_timeout": "10s",
    "jit": "off",
    # An old database may have it otherwise, for its applications.
    **PLAIN_STRINGS,
}

ENGINE_PLANNER = {
    # Prepared on an empty table, the update from unnest() keeps a sequential plan for ever without these.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
}
JOINING_PLANNER = {**ENGINE_PLANNER, "enable_hashjoin": "on"}
"""For statements that join two sets of rows which came with them: as nested loops that would be quadratic."""
PER_TRANSACTION = (
    "a pooler that works per transaction stands before the database: Hark looks every half second for what it would "
    "else be told at once, `notify` triggers hear nothing, and each statement takes three round trips"
)
PER_TRANSACTION_BUT_HEARD = (
    "a pooler that works per transaction stands before the database, past which a connection listens: each statement "
    "takes three round trips"
)
POOL_PLANNER = {
    # A plan that was made while a table was empty would be kept: a list then took half a minute.
    "plan_cache_mode": "force_custom_plan",
}


@cache
def sql(name: str) -> str:
    """Return the text of `queries/<name>.sql`."""
    return (resources.files("hark.daemon.store") / "queries" / f"{name}.sql").read_text(encoding="utf-8")


class Database:
    """Connections to the home database. Owned by the application, which starts and stops it.

    With a `name` it is the database of a named connection: no connection is opened before it is needed, nothing is
    waited for as long as at home, and what is raised when it is away says the name.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        connect_timeout_s: float = 10.0,
        way: Way | None = None,
        listen_url: str | None = None,
        name: str = "",
    ) -> None:
        self.url = url
        self.name = name
        self._listen_url = listen_url
        self._way = way
        self._finding_way = asyncio.Lock()
        self._opening = asyncio.Lock()
        self._pool_size = pool_size
        self._connect_timeout_s = _OTHER_CONNECT_S if name else connect_timeout_s
        self._pool_s, self._own_s = _OTHER_ANSWERS_S if name else _HOME_ANSWERS_S
        # Hark's statements name the schema of everything, and nobody else's schema is to be looked into.
        self._settings = {**_SERVER_SETTINGS, "search_path": "pg_catalog, pg_temp"} if name else _SERVER_SETTINGS
        self._pool: asyncpg.Pool | None = None
        self.epoch = 0
        """Raised when connections from before it are no longer to be used."""

    @property
    def pool(self) -> asyncpg.Pool:
        """The general pool; json and jsonb are text on it."""
        if self._pool is None:
            raise UnavailableError("the database is not connected")
        return self._pool

    @property
    def keeps_sessions(self) -> bool:
        """Whether a connection stays on one server, so that it can listen; as far as is known."""
        return self._way is not Way.TRANSACTION

    @property
    def can_listen(self) -> bool:
        """Whether notifications can be heard; as far as is known."""
        return self.keeps_sessions or self._listen_url is not None

    async def open_listening(self) -> asyncpg.Connection[asyncpg.Record]:
        """Open a connection to listen on, past the pooler where there is a way; the caller closes it.

        Raises UnavailableError, also when that way leads elsewhere, or through such a pooler as well.
        """
        if self.keeps_sessions or self._listen_url is None:
            return await self.open("listen")
        past = Database(self._listen_url, connect_timeout_s=self._connect_timeout_s)
        if await past.way() is Way.TRANSACTION:
            raise UnavailableError("HARK_LISTEN_URL leads through a pooler that works per transaction as well")
        connection = await past.open("listen")
        try:
            with translated():
                await self._check_same(connection)
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _check_same(self, connection: Connection) -> None:
        there = await connection.fetchrow(sql("identify_database"))
        here = await self.fetchrow("identify_database")
        if there != here:
            raise UnavailableError("HARK_LISTEN_URL does not lead to the database of HARK_DATABASE_URL")

    async def way(self) -> Way:
        """Find out, once, what stands before the database. Raises UnavailableError."""
        if self._way is None:
            async with self._finding_way:
                if self._way is None:
                    with self.translated():
                        self._way = await find_way(self.url, self._connect_timeout_s, opener=self._connect)
        return self._way

    async def _connect(self, *args: Any, **options: Any) -> asyncpg.Connection[asyncpg.Record]:
        """Connect to a server that takes writes; where it does not, that is said of this database and no other."""
        try:
            return await connect(*args, **options)
        except UnavailableError as error:
            raise type(error)(f"connection {self.name}: {error}" if self.name else str(error)) from error

    async def start(self) -> None:
        """Open the pool, and say so if a pooler stands before the server. Raises UnavailableError without one.

        That of a named connection opens when it is used.
        """
        if not self.name:
            self._pool = await self._open_pool()

    async def _opened(self) -> asyncpg.Pool:
        """Return the pool."""
        if self._pool is None and self.name:
            async with self._opening:
                if self._pool is None:
                    self._pool = await self._open_pool()
        return self.pool

    async def _open_pool(self) -> asyncpg.Pool:
        way = await self.way()
        about = where(self.name)
        if way is Way.SESSION:
            log.info("database.pooled", pooler=way.value, **about)
        elif way is Way.TRANSACTION:
            means = PER_TRANSACTION_BUT_HEARD if self.can_listen else PER_TRANSACTION
            log.warning("database.pooled", pooler=way.value, means=means, **about)
        with self.translated():
            return await make_pool(
                self.url,
                way,
                {**self._settings, **POOL_PLANNER, "application_name": "hark"},
                # No floor: the driver would refill it in the background, and log each refusal with a traceback. One
                # stays open all the same where somebody asks every few seconds.
                min_size=0,
                init_size=0 if self.name else 1,
                max_size=self._pool_size,
                opener=self._connect,
                timeout=self._connect_timeout_s,
                command_timeout=self._pool_s,
                max_inactive_connection_lifetime=_OTHER_IDLE_S if self.name else 300.0,
                reset=_leave_it,
            )

    async def stop(self) -> None:
        """Close the pool; connections that do not answer are cut after five seconds, to another database after one."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(1 if self.name else 5):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    async def renew(self) -> None:
        """Have every connection replaced before it is used again: it may lead to a server that has been left."""
        self.epoch += 1
        if self._pool is not None:
            await self._pool.expire_connections()

    async def open(self, name: str, settings: Mapping[str, str] | None = None) -> asyncpg.Connection[asyncpg.Record]:
        """Open a connection of its own, named in pg_stat_activity; the caller closes it."""
        # Who is not let in by another database is told of it like of an outage: that may be set right meanwhile.
        with self.translated(*((pg.PostgresError,) if self.name else ())):
            return await open_connection(
                self.url,
                await self.way(),
                {**self._settings, "application_name": f"hark {name}", **(settings or {})},
                opener=self._connect,
                timeout=self._connect_timeout_s,
                command_timeout=self._own_s,
            )

    @contextmanager
    def translated(self, *also: type[BaseException]) -> Iterator[None]:
        """Turn what is raised when this database is away, and what is named, into UnavailableError."""
        with translated(*also, *(_NOT_LET_IN if self.name else ()), name=self.name):
            yield

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Hand out a pool connection in a transaction that commits when the block ends well."""
        with self.translated():
            pool = await self._opened()
            async with pool.acquire(timeout=self._connect_timeout_s) as connection, connection.transaction():
                yield connection

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """Hand out a pool connection in a transaction that cannot write."""
        with self.translated():
            pool = await self._opened()
            async with (
                pool.acquire(timeout=self._connect_timeout_s) as connection,
                connection.transaction(readonly=True),
            ):
                yield connection

    @asynccontextmanager
    async def only_one(self, *locks: int, shared: bool = False, patience_s: float = 0.0) -> AsyncIterator[Hold | None]:
        """Tell in a block whether nobody else, on any instance, is in such a block; nobody gets in while it lasts.

        None when somebody is, also after waiting as long as was said. Those that share it keep out only who does not.
        Who dies in it, or loses its connection, is out of it: `Hold.confirm` tells. The connection is one of its own,
        for a block may last minutes, and many that wait would leave nothing of the pool to others.
        """
        within_one = await self.way() is Way.TRANSACTION  # which then has to be idle for as long as it takes
        connection = await self.open("lock", {_IDLE: "0"} if within_one else None)
        try:
            with self.translated():
                hold = (TransactionHold if within_one else Hold)(connection, locks, shared=shared)
                yield hold if await hold.take(patience_s) else None
                # Closed alone, the server would let go of them a moment later.
                await hold.let_go()
        finally:
            await closed(connection)

    async def session_of(self, connection: Connection) -> Session:
        """Return what is another one whenever the server may be another, or may have been started anew."""
        if self.keeps_sessions:
            return connection.get_server_pid()
        started: datetime = await connection.fetchval("SELECT pg_postmaster_start_time()")
        return started

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Run a named query; return all its rows."""
        with self.translated(*IN_THE_WAY):
            return await (await self._opened()).fetch(sql(query), *args)

    async def fetchrow(self, query: str, *args: Any) -> asyncpg.Record | None:
        """Run a named query; return its first row."""
        with self.translated(*IN_THE_WAY):
            return await (await self._opened()).fetchrow(sql(query), *args)

    async def fetchval(self, query: str, *args: Any) -> Any:
        """Run a named query; return the first column of its first row."""
        with self.translated(*IN_THE_WAY):
            return await (await self._opened()).fetchval(sql(query), *args)

    async def execute(self, query: str, *args: Any) -> str:
        """Run a named query; return the command tag."""
        with self.translated(*IN_THE_WAY):
            return await (await self._opened()).execute(sql(query), *args)


async def _leave_it(_connection: object) -> None:
    """Do nothing with a connection that comes back to the pool; what asyncpg would do is a round trip for each use.

    An open transaction it has rolled back before this. Nothing else is left: all settings here are those of a
    transaction, and locks and LISTEN have connections of their own.
    """
