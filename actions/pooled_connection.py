"""Connections that reach PostgreSQL directly or through a pooler such as pgbouncer, whichever way that one works.

A pooler takes no start-up parameters beyond a few. One that works *per session* keeps a server for each client, which
can be set up after it has been connected. One that works *per transaction* hands out another server for each: nothing
of a session is there a moment later, neither settings nor prepared statements, locks or LISTEN, and what is left behind
there meets somebody else. Then every statement is in a transaction, which begins with the settings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg
from asyncpg import exceptions as pg

from hark.actions.tls_files import UnusableFileError, unusable_file

if TYPE_CHECKING:
    _Connection = asyncpg.Connection[asyncpg.Record]
else:  # asyncpg's classes are generic for the type checker only
    _Connection = asyncpg.Connection

Opener = Callable[..., Awaitable[Any]]


async def connect(url: str | None = None, **options: Any) -> Any:
    """Connect as `asyncpg.connect` does. Raises what that raises, but UnusableFileError for a file of encryption."""
    try:
        return await asyncpg.connect(url, **options)
    except OSError as error:
        fault = await asyncio.to_thread(unusable_file, url or "")
        if fault:
            raise UnusableFileError(fault) from error
        raise


class Way(StrEnum):
    """How a program reaches its database."""

    DIRECT = "direct"
    """Nothing, or nothing that one would notice."""
    SESSION = "session"
    """A pooler that keeps a server for each client as long as that is connected."""
    TRANSACTION = "transaction"
    """A pooler that keeps a server for the length of a transaction."""

    @classmethod
    def said(cls, word: str) -> Way | None:
        """Return the way that a setting says: `none`, `session` or `transaction`; None for `auto`."""
        return None if word == "auto" else cls.DIRECT if word == "none" else cls(word)


_NOT_THROUGH_A_POOLER = frozenset({"application_name", "tcp_user_timeout"})
"""Settings of the connection itself: the first goes with the start-up, the other is the pooler's own affair."""
_LATER = {"default_transaction_read_only": "transaction_read_only"}
"""What is a default of a session, by what it is called within a transaction that has begun."""
_UNDONE_WITHIN_S = 5.0
REMEDY = "HARK_DATABASE_POOLER=transaction works through every pooler"
POOLER_ERRORS = (pg.DuplicatePreparedStatementError, pg.InvalidSQLStatementNameError)
"""What prepared statements come to on servers that are not the ones on which they were prepared."""


def explain(error: BaseException) -> str:
    """Return what an error says, and where a pooler is behind it, that, and what to do."""
    said = str(error) or type(error).__name__
    if isinstance(error, POOLER_ERRORS):
        return f"{said}: a pooler that works per transaction stands before the database; {REMEDY}"
    if isinstance(error, pg.ProtocolViolationError) and "startup parameter" in said:
        return f"{said}: a pooler stands before the database, and takes no settings with the start-up; {REMEDY}"
    return said


def script_of(settings: Mapping[str, str], way: Way) -> str:
    """Write the settings as SET statements. Unlike set_config() they leave open how the transaction shall be."""
    return " ".join(_statements(settings, way))


def _statements(settings: Mapping[str, str], way: Way) -> Iterator[str]:
    local = way is Way.TRANSACTION
    for name, value in settings.items():
        if name not in _NOT_THROUGH_A_POOLER:
            items = ", ".join("'" + item.replace("'", "''") + "'" for item in value.split(", "))
            yield f"SET {'LOCAL ' if local else ''}{_LATER.get(name, name) if local else name} = {items};"


class SessionConnection(_Connection):
    """A connection through a pooler that works per session: its settings are made after the start."""

    script = ""

    def get_reset_query(self) -> str:
        """Return what a pool does between two users: what the start-up would have set has to be set again."""
        return f"{super().get_reset_query()}\n{self.script}"


class TransactionConnection(_Connection):
    """A connection through a pooler that works per transaction: no statement is outside one, nothing is left behind.

    Statements are described once and parsed each time, without a name: one round trip, on whichever server. Around a
    statement alone come BEGIN, together with the settings, and COMMIT.
    """

    script = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The driver would switch it off and on for the session, to ask about types; that is somebody else's later.
        self._server_caps = self._server_caps._replace(jit=False)  # type: ignore[has-type]

    def get_reset_query(self) -> str:
        """Return nothing: what belongs to a session does not exist, and would be that of somebody else."""
        return ""

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109 - the driver's
        """Run statements as one transaction with the settings, or as part of the open one."""
        if args or self.is_in_transaction():
            return await super().execute(query, *args, timeout=timeout)
        if query.startswith("BEGIN"):
            return await super().execute(f"{query.rstrip(';')}; {self.script}", timeout=timeout)
        return await super().execute(f"{self.script} {query}".lstrip(), timeout=timeout)

    async def add_listener(self, channel: str, callback: Any) -> None:
        """Refuse: notifications go to a server, and that is another client's a moment later."""
        raise pg.InterfaceError(f"a pooler that works per transaction cannot listen to {channel}")

    async def _execute(self, *args: Any, **kwargs: Any) -> Any:
        return await self._within(super()._execute, *args, **kwargs)  # type: ignore[misc]

    async def _executemany(self, *args: Any, **kwargs: Any) -> Any:
        return await self._within(super()._executemany, *args, **kwargs)  # type: ignore[misc]

    async def _within(self, run: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Run a statement within the open transaction, or else within one of its own."""
        if self.is_in_transaction():
            return await run(*args, **kwargs)
        try:
            await self.execute("BEGIN;")
            result = await run(*args, **kwargs)
            await super().execute("COMMIT;")
        except BaseException:
            await self._undo()
            raise
        return result

    async def _undo(self) -> None:
        """Leave no transaction open; a connection on which that fails is of no more use."""
        if self.is_closed():
            return
        try:
            await super().execute("ROLLBACK;", timeout=_UNDONE_WITHIN_S)
        except asyncio.CancelledError:
            self.terminate()
            raise
        except Exception:  # noqa: BLE001 - what led here is raised
            self.terminate()

    async def _get_statement(
        self, query: str, *args: Any, named: Any = False, use_cache: bool = True, **kwargs: Any
    ) -> Any:
        # A cursor asks for a name, and reads the user's own tables: those may be others by the next time.
        use_cache = use_cache and not named
        statement = await super()._get_statement(  # type: ignore[misc]
            query, *args, named="", use_cache=use_cache, **kwargs
        )
        statement.mark_unprepared()
        return statement


_CLASSES: dict[Way, type[SessionConnection | TransactionConnection]] = {
    Way.SESSION: SessionConnection,
    Way.TRANSACTION: TransactionConnection,
}


async def _open_pooled(
    *args: Any, way: Way, script: str, opener: Opener, **options: Any
) -> asyncpg.Connection[asyncpg.Record]:
    options["connection_class"] = _CLASSES[way]
    connection: Any = await opener(*args, **options)
    connection.script = script
    if way is Way.SESSION and script:
        try:
            await connection.execute(script)
        except BaseException:
            connection.terminate()
            raise
    return connection  # type: ignore[no-any-return]


def _first_words(settings: Mapping[str, str]) -> dict[str, str]:
    """Return what every pooler takes with the start-up.

    The driver says `'utf-8'`, which no server calls it: pgbouncer set it anew before each transaction. What comes last
    holds. One name for all connections is for the same reason.
    """
    return {"application_name": settings.get("application_name", "hark").partition(" ")[0], "client_encoding": "UTF8"}


async def open_connection(
    url: str, way: Way, settings: Mapping[str, str], *, opener: Opener = connect, **options: Any
) -> asyncpg.Connection[asyncpg.Record]:
    """Open a connection on which the settings hold; `opener` takes the options of `asyncpg.connect`."""
    if way is Way.DIRECT:
        connection: asyncpg.Connection[asyncpg.Record] = await opener(url, server_settings=dict(settings), **options)
        return connection
    options["server_settings"] = _first_words(settings)
    return await _open_pooled(url, way=way, script=script_of(settings, way), opener=opener, **options)


def make_pool(
    url: str,
    way: Way,
    settings: Mapping[str, str],
    *,
    opener: Opener = connect,
    tables_change: bool = False,
    **options: Any,
) -> asyncpg.Pool[Any]:
    """Make a pool of such connections, as `asyncpg.create_pool` does; to be awaited.

    With `tables_change` a statement may mean something else by the next time: then it is described anew each time
    where no server notices.
    """
    if way is Way.DIRECT:
        options |= {"connect": opener, "server_settings": dict(settings)}
    else:
        options |= {
            "connect": partial(_open_pooled, way=way, script=script_of(settings, way), opener=opener),
            "connection_class": _CLASSES[way],
            "server_settings": _first_words(settings),
        }
    if way is Way.TRANSACTION and tables_change:
        options["statement_cache_size"] = 0
    pool: asyncpg.Pool[Any] = asyncpg.create_pool(url, **options)
    return pool
