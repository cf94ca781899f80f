"""A table and its capture, without an engine: triggers as they would be planned, and the outbox as it is drained."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from hark.daemon.store.capture_site import CaptureSite
from hark.daemon.store.capture_triggers import describe_tables, install
from hark.daemon.store.database import Database
from hark.daemon.store.row_outbox import take_row_changes
from hark.triggers.capture_plan import plan_captures
from hark.triggers.row_changes import RowChange, events_of
from hark.triggers.row_config import RowConfig
from hark.triggers.row_port import Installed
from hark.workflows.catalogue import ActiveTrigger, NewEvent
from support.triggers import active

EVERYTHING = ["insert", "update", "delete", "truncate"]


def watch(table: str = "clients", *, when: str | None = None, **fields: Any) -> ActiveTrigger:
    """Make an active `row` trigger; of all operations unless told otherwise."""
    known: dict[str, Any] = {"table": table}
    if "operations" not in fields and "columns" not in fields and "from" not in fields:
        known["operations"] = EVERYTHING
    return active("row", RowConfig.model_validate({**known, **fields}), when=when)


@asynccontextmanager
async def capturing(connection: asyncpg.Connection, database_url: str) -> AsyncIterator[Capture]:
    """Give row capture on a test's database, whose sessions make tables in `public` whatever their user's name."""
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f"ALTER DATABASE {name} SET search_path = public; SET search_path = public")
    database = Database(database_url)
    await database.start()
    try:
        yield Capture(connection, database)
    finally:
        await database.stop()


class Capture:
    """Watches tables of a test's database."""

    def __init__(self, connection: asyncpg.Connection, database: Database) -> None:
        self.connection = connection
        self.database = database

    async def watch(
        self, *triggers: ActiveTrigger, patience_s: float = 1.0, generation: int | None = None
    ) -> Installed:
        """Install exactly what these triggers need."""
        names = {trigger.config.table_name for trigger in triggers}
        plans = plan_captures(triggers, await describe_tables(self.connection, names))
        if generation is None:
            generation = await self.connection.fetchval("SELECT generation FROM hark.registry")
        return await install(CaptureSite(self.database), plans, generation, patience_s=patience_s)

    async def watched(self, *triggers: ActiveTrigger) -> None:
        """Install what these triggers need, and see that nothing was in the way."""
        installed = await self.watch(*triggers)
        assert installed.current
        assert not installed.problems
        assert not installed.busy

    async def changes(self) -> list[RowChange]:
        """Take all that is in the outbox."""
        taken: list[RowChange] = []
        more = True
        while more:
            changes, more, _ = await take_row_changes(self.connection, 0, 200)
            taken += changes
        return taken

    async def events(self) -> list[NewEvent]:
        """Take all that is in the outbox, as events."""
        return [event for change in await self.changes() for event in events_of(change)]

    async def seen(self, key: str = "id") -> list[tuple[Any, ...]]:
        """Take all that is in the outbox, as (operation, key before, key after)."""
        return [
            (data["operation"], *(row and row[key] for row in (data["old"], data["new"])))
            for data in (event.data for event in await self.events())
        ]

    async def triggers(self) -> Sequence[str]:
        """Name the triggers of ours on all tables."""
        rows = await self.connection.fetch(
            "SELECT tgrelid::regclass || ' ' || tgname AS name FROM pg_trigger WHERE tgname LIKE 'hark%' ORDER BY 1"
        )
        return [row["name"] for row in rows]
