"""Cancelling an execution, wherever it runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import orjson

from hark.daemon.engine.executor import Executor
from hark.daemon.store.database import Database
from hark.daemon.store.listening import Listening
from hark.workflows.errors import ConflictError, NotFoundError
from hark.workflows.ids import TenantId, new_id


class Canceller:
    """Puts the wish on record, and tells whoever runs the execution."""

    def __init__(
        self,
        database: Database,
        executor: Executor,
        listening: Listening,
        *,
        now: Callable[[], datetime],
        on_ended: Callable[[UUID, str], None],
    ) -> None:
        self._database = database
        self._executor = executor
        self._listening = listening
        self._now = now
        self._on_ended = on_ended

    async def cancel(self, tenant_id: TenantId, execution_id: UUID, *, reason: str = "") -> str:
        """Cancel an execution; returns its status, `running` while its instance still has to hear.

        Raises NotFoundError, ConflictError when it has ended.
        """
        status = await self._put_on_record(tenant_id, execution_id, reason)
        if status != "running":
            self._on_ended(execution_id, status)
        elif not self._executor.interrupt(execution_id, "cancelled"):
            await self._listening.send("hark_cancel", str(execution_id))
        return status

    async def _put_on_record(self, tenant_id: TenantId, execution_id: UUID, reason: str) -> str:
        error = orjson.dumps({"class": "cancelled", "message": reason or "it was cancelled"}).decode()
        row = await self._database.fetchrow("cancel_execution", tenant_id, execution_id, error)
        if row is None:
            state = await self._database.fetchrow("get_execution_state", tenant_id, execution_id)
            if state is None:
                raise NotFoundError(f"there is no execution {execution_id}")
            raise ConflictError(f"execution {execution_id} has already ended: {state['status']}")
        detail = orjson.dumps({"reason": reason}).decode() if reason else None
        note = new_id(self._now())
        await self._database.execute(
            "note_timeline", tenant_id, execution_id, note, "execution.cancel_requested", detail
        )
        return str(row["status"])
