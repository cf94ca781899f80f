"""What is kept about webhooks beside their events: refusals, and what arrives at paths that are being tried out."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from hark.daemon.store.database import Database, Record
from hark.daemon.store.listing import FIRST_ID, Row, Span, row_of, rows_of
from hark.workflows.ids import TenantId

MOST_UNKNOWN = 200
"""Paths on which nobody listens that refusals are kept of; anybody can ask for any path."""
MOST_ARRIVALS = 100
"""Requests that one test shows."""

Refusal = tuple[TenantId, str, int, int, str, str, str]
"""Tenant, path, status, how many, and of the last one detail, method and client."""


class HookRecords:
    """Reads and writes them. Stateless."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def note_refusals(self, refusals: Sequence[Refusal]) -> None:
        """Add to what has been refused."""
        if refusals:
            await self._database.execute("note_hook_refusals", *zip(*refusals, strict=True))
            await self._database.execute("prune_hook_refusals", MOST_UNKNOWN)

    async def list_refusals(self, tenant_id: TenantId, path: str | None, limit: int) -> list[Row]:
        """Return what was refused within the last day, the latest first."""
        return rows_of(await self._database.fetch("list_hook_refusals", tenant_id, path, limit))

    async def list_last_deliveries(self, tenant_id: TenantId, routes: Sequence[str]) -> dict[str, Row]:
        """Return the latest event of each route, by route."""
        rows = await self._database.fetch("list_last_deliveries", tenant_id, routes)
        return {row["route"]: row_of(row) for row in rows}

    async def list_deliveries(self, tenant_id: TenantId, route: str, span: Span) -> list[Row]:
        """Return a page of the events of a route, newest first, each with what it started."""
        rows = await self._database.fetch("list_deliveries", tenant_id, span.before, span.since, route, span.limit)
        return rows_of(rows, "executions")

    async def open_test(self, tenant_id: TenantId, path: str, duration: timedelta) -> Row:
        """Open a path for trying out."""
        row = await self._database.fetchrow("open_hook_test", tenant_id, path, duration)
        assert row is not None  # noqa: S101 - an upsert without a condition
        return row_of(row)

    async def list_tests(self) -> list[Record]:
        """Return the paths that are open for trying out, of all tenants."""
        return await self._database.fetch("list_hook_tests")

    async def note_arrival(self, tenant_id: TenantId, path: str, identifier: UUID, data: str) -> bool:
        """Keep what arrived at a path that is open; tells whether it was kept."""
        found = await self._database.fetchval("note_hook_arrival", tenant_id, path, identifier, data, MOST_ARRIVALS)
        return found is not None

    async def list_arrivals(self, tenant_id: TenantId, path: str, after: UUID | None) -> list[Row]:
        """Return what has arrived after an id, the oldest first."""
        rows = await self._database.fetch("list_hook_arrivals", tenant_id, path, after or FIRST_ID, MOST_ARRIVALS)
        return rows_of(rows, "data")

    async def prune(self) -> None:
        """Let go what is over."""
        await self._database.execute("prune_hook_refusals", MOST_UNKNOWN)
        await self._database.execute("prune_hook_tests")


def plain_text(text: Any, longest: int) -> str:
    """Make of anything that a stranger has sent a text that can be stored."""
    raw = str(text)[:longest].encode("utf-8", "replace").decode()
    return raw.replace("\0", "\N{REPLACEMENT CHARACTER}")
