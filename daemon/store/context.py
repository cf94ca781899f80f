"""What executions remember, for people and programs outside: read at any time, changed while they run."""

from __future__ import annotations

from hark.daemon.store.database import Database, Record
from hark.daemon.store.listing import Row, row_of, rows_of
from hark.workflows.counting import counted
from hark.workflows.errors import ConflictError, NotFoundError, UnprocessableError
from hark.workflows.ids import ExecutionId, TenantId

MOST_KEYS = 1000
LONGEST_KEY = 200


class ContextStore:
    """The key-value store of executions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self, tenant_id: TenantId, execution_id: ExecutionId) -> list[Row]:
        """Return all that an execution remembers, by key."""
        return rows_of(await self._read(tenant_id, execution_id, None), "value")

    async def get(self, tenant_id: TenantId, execution_id: ExecutionId, key: str) -> Row:
        """Return one key. Raises NotFoundError."""
        rows = await self._read(tenant_id, execution_id, key)
        if not rows:
            raise NotFoundError(f"execution {execution_id} remembers nothing under {key!r}")
        return row_of(rows[0], "value")

    async def set(self, tenant_id: TenantId, execution_id: ExecutionId, key: str, value: str, by: str) -> Row:
        """Set a key to a value, given as JSON text; returns what `get` would.

        Raises NotFoundError, ConflictError once the execution has ended, UnprocessableError for a key that is too long
        or one too many.
        """
        if not 1 <= len(key) <= LONGEST_KEY:
            raise UnprocessableError(f"key: it has {counted(len(key), 'character')}; 1 to {LONGEST_KEY} are possible")
        row = await self._database.fetchrow("set_context", tenant_id, execution_id, key, value, by, MOST_KEYS)
        open_ = _still_open(row, execution_id)
        if open_["key"] is None:
            raise UnprocessableError(f"execution {execution_id} remembers {MOST_KEYS} keys already; delete some first")
        written = row_of(open_, "value")
        return {name: written[name] for name in ("key", "value", "updated_at", "updated_by")}

    async def delete(self, tenant_id: TenantId, execution_id: ExecutionId, key: str) -> None:
        """Forget a key. Raises NotFoundError, also for the key, and ConflictError once the execution has ended."""
        row = _still_open(await self._database.fetchrow("delete_context", tenant_id, execution_id, key), execution_id)
        if row["key"] is None:
            raise NotFoundError(f"execution {execution_id} remembers nothing under {key!r}")

    async def _read(self, tenant_id: TenantId, execution_id: ExecutionId, key: str | None) -> list[Record]:
        return await self._database.fetch("list_context", tenant_id, execution_id, key, MOST_KEYS)


def _still_open(row: Record | None, execution_id: ExecutionId) -> Record:
    if row is None:
        raise NotFoundError(f"there is no execution {execution_id}")
    if row["ended"]:
        raise ConflictError(f"execution {execution_id} has already ended: {row['status']}; its context stays as it is")
    return row
