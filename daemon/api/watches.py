"""`/api/watches`: the tables whose changes start workflows, and whether they are captured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hark.daemon.api.models import Page, WatchRow
from hark.daemon.api.paging import Query
from hark.daemon.api.services import Services
from hark.daemon.api.table import Call, NoBody, Table
from hark.daemon.store.listing import Row, capture_fault
from hark.triggers.capture_plan import watchers_of
from hark.triggers.table_name import TableName
from hark.workflows.catalogue import ActiveTrigger
from hark.workflows.ids import TenantId

table = Table("watches")


@table.add("GET /api/watches", scope="read", answer=Page[WatchRow])
async def list_watches(call: Call[Query, NoBody]) -> dict[str, Any]:
    """List the tables that active workflows watch, and whether their changes are captured."""
    states = {
        TableName(row["schema_name"], row["table_name"]): row for row in await call.services.listing.list_watches()
    }
    watchers = _watchers(call.services, call.tenant_id)
    rows = [watch(name, watchers[name], states.get(name)) for name in sorted(watchers)]
    return {"items": rows, "next_cursor": None}


async def watch_of(services: Services, tenant_id: TenantId, name: TableName) -> Row:
    """Describe one table, also one that no workflow watches."""
    states = await services.listing.list_watches(name.schema, name.name)
    return watch(name, _watchers(services, tenant_id).get(name, ()), states[0] if states else None)


def _watchers(services: Services, tenant_id: TenantId) -> dict[TableName, list[ActiveTrigger]]:
    return watchers_of(
        trigger
        for trigger in services.engine.registry.triggers
        if trigger.kind == "row" and trigger.tenant_id == tenant_id
    )


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
        "key": state["key"] if state else [],
        "filtered": state["filtered"] if state else [],
    }


def fault_of(state: Mapping[str, Any] | None) -> str | None:
    """Say why changes of a table are not captured, as `list_watches.sql` tells its state; None if they are."""
    return "nothing captures its changes yet" if state is None else capture_fault(state)
