"""Lanes: connections of the engine's own, each for one purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

from hark.daemon.store.database import Database, sql
from hark.daemon.store.outages import AWAY, IN_THE_WAY, closed
from hark.workflows.errors import UnavailableError

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_DAY_US = 24 * 60 * 60 * 1_000_000


class Lane:
    """One connection for one purpose, opened when needed and opened anew after it broke.

    A lane serves one call at a time; who shares one takes turns.
    """

    def __init__(self, database: Database, name: str, settings: Mapping[str, str] | None = None) -> None:
        self._database = database
        self._name = name
        self._settings = settings
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._epoch = 0
        self._turn = asyncio.Lock()

    @property
    def backend_pid(self) -> int | None:
        """The server process behind the lane, while it is open; None where each transaction has another one."""
        connection = self._connection
        if not self._database.keeps_sessions:
            return None
        return None if connection is None or connection.is_closed() else connection.get_server_pid()

    @property
    def is_taken(self) -> bool:
        """Whether somebody uses it."""
        return self._turn.locked()

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """Hand out the connection. Whatever leaves it unusable closes it; the next call opens another."""
        async with self._turn:
            with self._database.translated(*IN_THE_WAY):
                connection = await self._open()
                try:
                    yield connection
                except AWAY:
                    self.cut()
                    raise
                except RuntimeError as error:
                    # uvloop refuses to write to a connection whose end it has seen and asyncpg has not been told of.
                    if not connection.is_closed():
                        raise
                    self.cut()
                    raise UnavailableError("the database is not available: the connection was closed") from error
                except asyncio.CancelledError:
                    # asyncpg cancels the statement, but an answer may be on its way: nobody else may read it.
                    self.cut()
                    raise

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Run a named query on the lane, prepared once per connection."""
        async with self.connection() as connection:
            return await connection.fetch(sql(query), *args)

    def cut(self) -> None:
        """Drop the connection at once, without asking the server."""
        connection, self._connection = self._connection, None
        if connection is not None and not connection.is_closed():
            connection.terminate()

    async def stop(self) -> None:
        """Close the connection once it is free; idempotent."""
        async with self._turn:
            connection, self._connection = self._connection, None
            if connection is not None and not connection.is_closed():
                await closed(connection)

    async def _open(self) -> asyncpg.Connection[asyncpg.Record]:
        if self._epoch != self._database.epoch:
            self.cut()
        if self._connection is None or self._connection.is_closed():
            self._epoch = self._database.epoch
            connection = await self._database.open(self._name, self._settings)
            try:
                # The driver's own way with times takes a microsecond each, as long as all else of a row together.
                await connection.set_type_codec(
                    "timestamptz", schema="pg_catalog", format="tuple", encoder=_sent_time, decoder=_read_time
                )
            except BaseException:
                connection.terminate()
                raise
            self._connection = connection
        return self._connection


def _sent_time(moment: datetime) -> tuple[int]:
    """Write a time as PostgreSQL does: in microseconds since 2000."""
    since = moment - _EPOCH
    return (since.days * _DAY_US + since.seconds * 1_000_000 + since.microseconds,)


def _read_time(sent: tuple[int]) -> datetime:
    return _EPOCH + timedelta(microseconds=sent[0])
