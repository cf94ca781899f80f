"""`/api/watches`: the tables whose changes start workflows, and whether they are captured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hark.daemon.api.models import Page, WatchRow
from hark.daemon.api.paging import Query
from hark.daemon.api.table import Call, NoBody, Table
from hark.daemon.store.listing import Row, capture_fault
from hark.triggers.table_name import TableName
from hark.workflows.catalogue import ActiveTrigger

table = Table("watches")


@table.add("GET /api/watches", scope="read", answer=Page[WatchRow])
async def list_watches(call: Call[Query, NoBody]) -> dict[str, Any]:
    """List the tables that active workflows watch, and whether their changes are captured."""
    states = {
        TableName(row["schema_name"], row["table_name"]): row for row in await call.services.listing.list_watches()
    }
    triggers = [
        trigger
        for trigger in call.services.engine.registry.triggers
        if trigger.kind == "row" and trigger.tenant_id == call.tenant_id
    ]
    names = sorted({trigger.config.table_name for trigger in triggers})
    rows = [watch(name, (t for t in triggers if t.config.table_name == name), states.get(name)) for name in names]
    return {"items": rows, "next_cursor": None}


def watch(name: TableName, triggers: Iterable[ActiveTrigger], state: Mapping[str, Any] | None) -> Row:
    """Describe one table: who watches it, and what the database says about its triggers."""
    watchers = list(triggers)
    fault = fault_of(state)
    return {
        "table": str(name),
        "operations": sorted({operation for trigger in watchers for operation in trigger.config.operations}),
        "workflows": sorted({trigger.workflow for trigger in watchers}),
        "attached": fault is None,
        "detail": fault or "",
        "backlog": state["backlog"] if state else 0,
        "parked": state["parked"] if state else 0,
    }


def fault_of(state: Mapping[str, Any] | None) -> str | None:
    """Say why changes of a table are not captured, as `list_watches.sql` tells its state; None if they are."""
    return "nothing captures its changes yet" if state is None else capture_fault(state)
