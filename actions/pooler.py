"""Finding out what stands before a database: nothing, or a pooler, and how that one works.

A pooler gives its clients a number of its own where a server gives that of its process. How it works is found out by
trying, and only what is proven is believed: what works through a pooler per transaction works in every case.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from asyncpg import exceptions as pg

from hark.actions.pooled_connection import Opener, Way, connect, open_connection

HEARD_WITHIN_S = 1.0
_PATIENCE_S = 3.0
"""For a second server: a pooler per session may have one alone."""


async def find_way(url: str, timeout_s: float = 10.0, *, opener: Opener = connect) -> Way:
    """Find out what stands before a database. Raises what `opener` raises when it cannot be reached."""
    async with _connected(url, timeout_s, opener) as first:
        if await _server(first) == first.get_server_pid():
            return Way.DIRECT
        try:
            async with asyncio.timeout(_PATIENCE_S), _connected(url, timeout_s, opener) as second:
                return await _between(first, second)
        except (OSError, TimeoutError, pg.PostgresError, pg.InterfaceError):
            return Way.TRANSACTION


async def _between(first: Any, second: Any) -> Way:
    """Find out how a pooler works, by two of its clients."""
    had = await _server(first)
    async with second.transaction():
        held = await second.fetchval("SELECT pg_backend_pid()")
        # Per session the first one would still have it. While the second holds another one, the first may get a third.
        if held == had or await _server(first) != had:
            return Way.TRANSACTION
    return Way.SESSION if await _hears(first, second) else Way.TRANSACTION


async def _hears(first: Any, second: Any) -> bool:
    """Tell whether one that does nothing is sent what another one notifies; per transaction it has no server then."""
    channel = f"hark_{uuid.uuid4().hex}"
    heard = asyncio.Event()
    # That of the plain connection: the one here knows that it is good for nothing.
    await asyncpg.Connection.add_listener(first, channel, lambda *_: heard.set())
    try:
        await second.execute("SELECT pg_notify($1, '')", channel)
        async with asyncio.timeout(HEARD_WITHIN_S):
            await heard.wait()
    except TimeoutError:
        return False
    finally:
        await first.execute(f"UNLISTEN {channel}")
    return True


async def _server(connection: Any) -> int:
    pid: int = await connection.fetchval("SELECT pg_backend_pid()")
    return pid


@asynccontextmanager
async def _connected(url: str, timeout_s: float, opener: Opener) -> AsyncIterator[Any]:
    connection = await open_connection(
        url, Way.TRANSACTION, {}, opener=opener, timeout=timeout_s, command_timeout=timeout_s
    )
    try:
        yield connection
    finally:
        await _closed(connection)


async def _closed(connection: Any) -> None:
    try:
        await connection.close(timeout=2)
    except (OSError, TimeoutError, pg.PostgresError, pg.InterfaceError):
        connection.terminate()
