"""SQL for actions, on asyncpg: statements with JSON-typed values, and the named connections to other databases."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any

import asyncpg

from hark.actions.pooled_connection import make_pool
from hark.actions.pooler import find_way
from hark.actions.sql_codecs import register_codecs, to_argument, to_json
from hark.workflows.catalogue import Sql
from hark.workflows.connections import hint, spelled, unknown
from hark.workflows.errors import ActionError

__all__ = ["AsyncpgSql", "NamedConnections", "named_connections", "prepare_connection"]

_PASSING_CLASSES = frozenset({"08", "40", "53", "57", "58"})
"""SQLSTATE classes that another attempt may not meet again: connection, rollback, resources, shutdown, system."""
_READ_ONLY = "25006"
_PASSING_STATES = frozenset({_READ_ONLY, "55P03"})
"""Read-only transaction (a failover is going on) and lock not available."""
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.IdleSessionTimeoutError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.exceptions.TransactionTimeoutError,
)
"""What the server says when it ends the session. Which of it arrives, and whether asyncpg says InterfaceError or
InternalClientError instead, depends on how far it had read what was sent: the class of the action's error does not."""
_DETAILS = {
    "sqlstate": "sqlstate",
    "schema": "schema_name",
    "table": "table_name",
    "column": "column_name",
    "constraint": "constraint_name",
    "detail": "detail",
    "hint": "hint",
    "position": "position",
}
_CLOSE_S = 10.0
_MARK = "SELECT set_config(m.name, m.value, true) FROM unnest($1::text[], $2::text[]) AS m (name, value)"
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": 25_000}
"""Seconds, but for the last: milliseconds from when data was sent that nobody has acknowledged."""
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


async def prepare_connection(connection: Any) -> None:
    """Make a connection fit for SQL actions, once, before it is used for them (a pool's `init`)."""
    _notice_silence(connection._transport.get_extra_info("socket"))  # noqa: SLF001 - asyncpg has no option for it
    await register_codecs(connection)


def _notice_silence(end: Any) -> None:
    """Let the kernel find out within half a minute that a server has gone without a word.

    A statement may work for hours and say nothing, so that no time-out of ours would do.
    """
    if end.family == socket.AF_UNIX:
        return
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE.items():
        if hasattr(socket, option):  # not every system has all of them
            end.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


class AsyncpgSql:
    """An open transaction on a connection that `prepare_connection` was called for; whoever opened it ends it."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._timeout_s: float | None = None

    async def fetch(
        self, sql: str, *args: Any, max_rows: int | None = None, timeout_s: float | None = None
    ) -> list[dict[str, Any]]:
        """Run one statement and return its rows as JSON values; with `max_rows`, the server stops there."""
        with self._reported():
            await self._limit(timeout_s)
            values = [to_argument(value) for value in args]
            if max_rows is None:
                records = await self._connection.fetch(sql, *values)
            else:
                cursor = await self._connection.cursor(sql, *values)
                records = await cursor.fetch(max_rows)
        return [{name: to_json(value) for name, value in record.items()} for record in records]

    async def execute(self, sql: str, *args: Any, timeout_s: float | None = None) -> int:
        """Run one statement that returns no rows; return how many it changed."""
        with self._reported():
            await self._limit(timeout_s)
            status = await self._connection.execute(sql, *[to_argument(value) for value in args])
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def _limit(self, timeout_s: float | None) -> None:
        """Let the server itself end the statement, should this process be frozen when its time is up."""
        if timeout_s is not None and timeout_s != self._timeout_s:
            milliseconds = str(max(1, round(timeout_s * 1000)))
            await self._connection.execute("SELECT set_config('statement_timeout', $1, true)", milliseconds)
            self._timeout_s = timeout_s

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            raise sql_error(error) from error
        except RuntimeError as error:
            # uvloop refuses to write to a connection whose end it has seen and asyncpg has not been told of.
            if not self._connection.is_closed():
                raise
            raise sql_error(error) from error


_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


def sql_error(error: Exception, where: str = "") -> ActionError:
    """Make the action's error: a class such as `sql_unique_violation`; details hold the SQLSTATE and what it names.

    Whatever tells that the connection is gone is `sql_connection`. `where` goes before the message.
    """
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate:
        lost = isinstance(error, _LOST)
        return ActionError(
            f"{where}{error}",
            error_class="sql_connection" if lost else f"sql_{_word(error)}",
            retryable=lost or _may_pass(error),
            details={key: value for key, name in _DETAILS.items() if (value := getattr(error, name, None))},
        )
    if isinstance(error, asyncpg.UnsupportedClientFeatureError):
        hint = "write to_jsonb(value) or value::text to read it, :name::text::its_type to write it"
        return ActionError(f"{error}: {hint}", error_class="sql_unsupported", retryable=False)
    if isinstance(error, ValueError):  # asyncpg could not write an argument for its parameter
        return ActionError(f"{where}{error}", error_class="sql_invalid_value", retryable=False)
    message = f"{where}the database is away: {str(error) or type(error).__name__}"
    return ActionError(message, error_class="sql_connection")


def _word(error: asyncpg.PostgresError) -> str:
    return _CAMEL.sub("_", type(error).__name__.removesuffix("Error")).lower()


def _may_pass(error: asyncpg.PostgresError) -> bool:
    state = error.sqlstate or ""
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return True  # a table changed under a prepared statement: the next attempt prepares it anew
    return state[:2] in _PASSING_CLASSES or state in _PASSING_STATES


class NamedConnections:
    """Databases beside the home database, by name. Pools open at first use; `aclose` closes them."""

    def __init__(self, urls: Mapping[str, str], *, max_size: int = 4, connect_timeout_s: float = 10.0) -> None:
        self._urls = dict(urls)
        self._max_size = max_size
        self._connect_timeout_s = connect_timeout_s
        self._pools: dict[str, asyncpg.Pool[Any]] = {}
        self._opening: dict[str, asyncio.Task[asyncpg.Pool[Any]]] = {}

    def __call__(self, name: str, marks: Mapping[str, str] | None = None) -> AbstractAsyncContextManager[Sql]:
        """Give a transaction on a connection: committed at the end of the block, rolled back by an exception.

        `marks` are settings of the transaction by name, which tell those who capture its changes where these come from.
        """
        return self._transaction(spelled(name), marks or {})

    @asynccontextmanager
    async def _transaction(self, name: str, marks: Mapping[str, str]) -> AsyncIterator[Sql]:
        try:
            async with (await self._pool(name)).acquire() as connection, connection.transaction():
                if marks:
                    await connection.execute(_MARK, [*marks], [*marks.values()])
                yield AsyncpgSql(connection)
        except _FAILURES as error:
            raise sql_error(error, f"connection {name}: ") from error
        except ActionError as error:
            if error.details.get("sqlstate") == _READ_ONLY and name in self._pools:
                # It has become a standby, or is fenced off: the next attempt may be led to the new primary.
                await self._pools[name].expire_connections()
            raise

    async def _pool(self, name: str) -> asyncpg.Pool[Any]:
        if name not in self._urls:
            message = f"{unknown(name)} ({hint(name, self._urls)})"
            raise ActionError(message, error_class="sql_connection_unknown", retryable=False)
        if name in self._pools:
            return self._pools[name]
        # One attempt for all who want it by now, each of whom may be cancelled; nobody waits for another database.
        opening = self._opening.get(name)
        if opening is None:
            opening = self._opening[name] = asyncio.create_task(self._open(name), name=f"connection {name}")
            opening.add_done_callback(lambda done: self._opened(name, done))
        return await asyncio.shield(opening)

    def _opened(self, name: str, opening: asyncio.Task[asyncpg.Pool[Any]]) -> None:
        del self._opening[name]
        if not opening.cancelled() and opening.exception() is None:
            self._pools[name] = opening.result()

    async def _open(self, name: str) -> asyncpg.Pool[Any]:
        url = self._urls[name]
        way = await find_way(url, self._connect_timeout_s)
        return await make_pool(
            url,
            way,
            {"application_name": "hark", "datestyle": "ISO"},
            tables_change=True,
            min_size=0,
            max_size=self._max_size,
            timeout=self._connect_timeout_s,
            init=prepare_connection,
        )

    async def aclose(self) -> None:
        """Close all pools; idempotent. Statements that still run have `_CLOSE_S` to end."""
        for opening in self._opening.values():
            opening.cancel()
        pools, self._pools = self._pools, {}
        await asyncio.gather(*(_close(pool) for pool in pools.values()))


async def _close(pool: asyncpg.Pool[Any]) -> None:
    try:
        await asyncio.wait_for(pool.close(), _CLOSE_S)
    except TimeoutError:
        pool.terminate()


def named_connections(urls: Mapping[str, str]) -> NamedConnections:
    """Return the connect function for databases by name."""
    return NamedConnections(urls)
