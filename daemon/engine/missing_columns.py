"""The columns that workflows use and that their tables no longer have, as it is on record where the tables are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from hark.daemon.engine.remotes import Remotes, patiently
from hark.daemon.store.database import Database
from hark.triggers.table_name import TableName
from hark.workflows.errors import UnavailableError, UnprocessableError
from hark.workflows.ids import TenantId


class MissingColumns:
    """Tells them, for people: of another database that does not answer soon, that nothing is known."""

    def __init__(self, database: Database, remotes: Remotes) -> None:
        self._database = database
        self._remotes = remotes

    async def of_change(self, tenant_id: TenantId, workflow_id: UUID | None, change: Mapping[str, Any]) -> list[str]:
        """Say what those miss that watch the table of a row change, or one of them; `change` is its event's data."""
        table = TableName(change["schema"], change["table"])
        return await self._at(change.get("connection", ""), tenant_id, workflow_id, table)

    async def of_workflow(self, tenant_id: TenantId, workflow_id: UUID, connections: Iterable[str]) -> list[str]:
        """Say what a workflow misses at home and in the databases that it watches, all of which are asked at once."""
        names = sorted({"", *connections})
        found = await asyncio.gather(*(self._at(name, tenant_id, workflow_id) for name in names))
        return [text for texts in found for text in texts]

    async def _at(
        self, connection: str, tenant_id: TenantId, workflow_id: UUID | None, table: TableName | None = None
    ) -> list[str]:
        about = (tenant_id, workflow_id, *((None, None) if table is None else (table.schema, table.name)))
        if not connection:
            return [row["text"] for row in await self._database.fetch("list_watch_warnings", *about)]
        try:
            rows = await patiently(self._remotes.list_watch_warnings(connection, *about), connection)
        except (UnavailableError, UnprocessableError) as error:
            return [f"whether all columns are there that workflows use is not known: {error}"]
        return [row["text"] for row in rows]
