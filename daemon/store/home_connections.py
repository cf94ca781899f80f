"""Connections to the home database for SQL steps, apart from the pool of Hark's own statements."""

from __future__ import annotations

import asyncio

import asyncpg
from asyncpg.pool import PoolAcquireContext

from hark.actions.pooled_connection import make_pool
from hark.actions.sql import prepare_connection
from hark.daemon.store.connecting import connect
from hark.daemon.store.database import Database

_SETTINGS = {
    "application_name": "hark sql",
    "timezone": "UTC",
    "datestyle": "ISO",
    "idle_in_transaction_session_timeout": "5s",
    "tcp_user_timeout": "10s",
    "jit": "off",
}


class HomeConnections:
    """Connections to the home database for SQL steps: the statements and the step's record in one transaction."""

    def __init__(self, database: Database, *, size: int = 5) -> None:
        self._database = database
        self._size = size
        self._pool: asyncpg.Pool | None = None
        self._epoch = 0
        self._opening = asyncio.Lock()

    async def acquire(self) -> PoolAcquireContext[asyncpg.Record]:
        """Return a pool connection; the pool opens at first use."""
        async with self._opening:
            if self._pool is None:
                self._pool = await make_pool(
                    self._database.url,
                    await self._database.way(),
                    _SETTINGS,
                    tables_change=True,
                    min_size=0,
                    max_size=self._size,
                    opener=connect,
                    timeout=10,
                    init=prepare_connection,
                )
            if self._epoch != self._database.epoch:
                self._epoch = self._database.epoch
                await self._pool.expire_connections()
        return self._pool.acquire(timeout=30)

    async def stop(self) -> None:
        """Close the pool; idempotent."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                async with asyncio.timeout(5):
                    await pool.close()
            except TimeoutError:
                pool.terminate()
