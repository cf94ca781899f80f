"""Waiting for the ends of executions: told at once of those that end here, and found by looking of the others."""

from __future__ import annotations

import asyncio
from uuid import UUID

from hark.daemon.store.database import Database
from hark.workflows.errors import UnavailableError
from hark.workflows.ids import TenantId

_AWAY_S = 0.3
"""How soon a database that was away is asked again for what somebody waits for."""
_ELSEWHERE_S = 1.0
"""How often it is looked whether another instance has ended it."""


class AwaitedEnds:
    """Who waits for the end of which execution."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[UUID, list[asyncio.Future[str]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def tell(self, execution_id: UUID, status: str) -> None:
        """Tell those who wait for it that an execution has ended."""
        for future in self._waiting.pop(execution_id, ()):
            if not future.done():
                future.set_result(status)

    async def wait(self, tenant_id: TenantId, execution_id: UUID, timeout_s: float) -> str | None:
        """Wait until an execution has ended; returns its status, None when the time is over first.

        It is looked for once at least, and no look is broken off: that would cancel its statement. A database that is
        away for a moment costs time alone; raises UnavailableError when it still is at the end.
        """
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(execution_id, []).append(future)
        try:
            return await self._look_until_ended(tenant_id, execution_id, timeout_s, future)
        finally:
            self._no_longer_waits(execution_id, future)

    async def _look_until_ended(
        self, tenant_id: TenantId, execution_id: UUID, timeout_s: float, told: asyncio.Future[str]
    ) -> str | None:
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while True:
            try:
                state = await self._database.fetchrow("get_execution_state", tenant_id, execution_id)
            except UnavailableError:
                if (left := until - loop.time()) <= 0:
                    raise
                await asyncio.sleep(min(left, _AWAY_S))
                continue
            if state is not None and state["completed_at"] is not None:
                return str(state["status"])
            if (left := until - loop.time()) <= 0:
                return None
            done, _ = await asyncio.wait([told], timeout=min(left, _ELSEWHERE_S))
            if not done and loop.time() >= until:
                return None

    def _no_longer_waits(self, execution_id: UUID, future: asyncio.Future[str]) -> None:
        waiting = self._waiting.get(execution_id, [])
        if future in waiting:
            waiting.remove(future)
        if not waiting:
            self._waiting.pop(execution_id, None)
