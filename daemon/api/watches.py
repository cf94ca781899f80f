"""`/api/watches`: the tables whose changes start workflows, and whether they are captured."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from hark.daemon.api.models.answer import Page
from hark.daemon.api.models.watches import WatchRow
from hark.daemon.api.paging import Query
from hark.daemon.api.services import Services
from hark.daemon.api.table import Call, NoBody, Table
from hark.daemon.engine.remotes import patiently
from hark.daemon.store.listing import Row, capture_fault
from hark.triggers.table_name import TableName
from hark.workflows.catalogue import ActiveTrigger
from hark.workflows.errors import UnavailableError, UnprocessableError
from hark.workflows.ids import TenantId

table = Table("watches")


@table.add("GET /api/watches", scope="read", answer=Page[WatchRow])
async def list_watches(call: Call[Query, NoBody]) -> dict[str, Any]:
    """List the tables that active workflows watch, and whether their changes are captured."""
    watchers = _watchers(call.services, call.tenant_id)
    connections = sorted({connection for connection, _ in watchers})
    looks = await asyncio.gather(*(_states(call.services, connection) for connection in connections))
    states = dict(zip(connections, looks, strict=True))
    rows = [watch(*key, watchers[key], states[key[0]]) for key in sorted(watchers)]
    return {"items": rows, "next_cursor": None}


async def watch_of(services: Services, tenant_id: TenantId, name: TableName, connection: str = "") -> Row:
    """Describe one table, also one that no workflow watches: what other tenants' workflows do is not told."""
    watchers = _watchers(services, tenant_id).get((connection, name), ())
    return watch(connection, name, watchers, await _states(services, connection, name) if watchers else {})


States = Mapping[TableName, Row]


def _watchers(services: Services, tenant_id: TenantId) -> dict[tuple[str, TableName], list[ActiveTrigger]]:
    """Return who watches what, by connection and table."""
    watchers: dict[tuple[str, TableName], list[ActiveTrigger]] = defaultdict(list)
    for trigger in services.engine.registry.triggers:
        if trigger.kind == "row" and trigger.tenant_id == tenant_id:
            watchers[trigger.config.connection, trigger.config.table_name].append(trigger)
    return watchers


async def _states(services: Services, connection: str, name: TableName | None = None) -> States | str:
    """Look what a database says about the tables that are watched in it; of another one that is away, say so."""
    one = (None, None) if name is None else (name.schema, name.name)
    if not connection:
        return _by_name(await services.listing.list_watches(*one))
    try:
        return _by_name(await patiently(services.engine.remotes.list_watches(connection, *one), connection))
    except (UnavailableError, UnprocessableError) as error:
        return str(error)


def _by_name(rows: Sequence[Mapping[str, Any]]) -> States:
    return {TableName(row["schema_name"], row["table_name"]): dict(row) for row in rows}


def watch(connection: str, name: TableName, watchers: Sequence[ActiveTrigger], states: States | str) -> Row:
    """Describe one table: who watches it, and what its database says about its triggers and columns."""
    state = None if isinstance(states, str) else states.get(name)
    fault = states if isinstance(states, str) else fault_of(state)
    tenants = {str(trigger.tenant_id) for trigger in watchers}
    warnings = orjson.loads(state["warnings"]) if state else []
    return {
        "connection": connection,
        "table": str(name),
        "operations": sorted({operation for trigger in watchers for operation in trigger.config.operations}),
        "workflows": sorted({trigger.workflow for trigger in watchers}),
        "attached": fault is None,
        "detail": fault or "",
        "backlog": state["backlog"] if state else 0,
        "parked": state["parked"] if state else 0,
        "key": state["key"] if state else [],
        "warnings": [one["text"] for one in warnings if one["tenant"] in tenants],
        "filtered": state["filtered"] if state else [],
    }


def fault_of(state: Mapping[str, Any] | None) -> str | None:
    """Say why changes of a table are not captured, as `list_watches.sql` tells its state; None if they are."""
    return "nothing captures its changes yet" if state is None else capture_fault(state)
