"""Locks of one instance at a time, held by a connection."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from hark.daemon.store.outages import AWAY, translated

if TYPE_CHECKING:
    from hark.daemon.store.database import Connection

_LOCK_PAUSE_S = 0.2


class Hold:
    """Locks that one instance holds at a time, all of them or none, as long as their connection lives."""

    def __init__(self, connection: Connection, locks: tuple[int, ...], *, shared: bool) -> None:
        self._connection = connection
        self._locks = locks
        self._way = "_shared" if shared else ""

    async def take(self, patience_s: float) -> bool:
        """Take them, within some time."""
        until = time.monotonic() + patience_s
        while not await self._take_all():
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(_LOCK_PAUSE_S)
        return True

    async def confirm(self) -> None:
        """Raise UnavailableError when they may be somebody else's by now, for the connection is gone."""
        with translated():
            await self._connection.fetchval("SELECT 1")

    async def let_go(self) -> None:
        """Let go of them all; without the connection that has happened already."""
        with suppress(*AWAY):
            await self._connection.execute("SELECT pg_advisory_unlock_all()")

    async def _take_all(self) -> bool:
        for lock in self._locks:
            if not await self._connection.fetchval(f"SELECT pg_try_advisory_lock{self._way}($1)", lock):
                await self.let_go()  # whoever has taken them the other way round would wait for it
                return False
        return True


class TransactionHold(Hold):
    """The same in a transaction, through a pooler that gives no session: they are let go of with its end."""

    async def let_go(self) -> None:
        """End the transaction."""
        if self._connection.is_in_transaction():
            with suppress(*AWAY):
                await self._connection.execute("ROLLBACK")

    async def _take_all(self) -> bool:
        await self._connection.execute("BEGIN")
        for lock in self._locks:
            if not await self._connection.fetchval(f"SELECT pg_try_advisory_xact_lock{self._way}($1)", lock):
                await self.let_go()
                return False
        return True
