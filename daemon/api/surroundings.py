"""What there is beside workflows and executions: catalogue, hooks, watches, instances, figures."""

from __future__ import annotations

from typing import Any

from hark.daemon.api.models.answer import Page
from hark.daemon.api.models.catalogue import ActionEntry, TriggerEntry
from hark.daemon.api.models.instances import InstanceRow, Stats
from hark.daemon.api.paging import Query
from hark.daemon.api.table import Call, NoBody, Table
from hark.daemon.store.listing import Row
from hark.workflows.errors import NotFoundError

table = Table("surroundings")


@table.add("GET /api/actions", scope="read", answer=Page[ActionEntry])
async def list_actions(call: Call[Query, NoBody]) -> dict[str, Any]:
    """List what steps can do."""
    entries = [action.spec.document() for action in call.services.catalogue.actions.values()]
    return {"items": sorted(entries, key=lambda entry: (entry["category"], entry["type"])), "next_cursor": None}


@table.add("GET /api/actions/{action}", scope="read", answer=ActionEntry)
async def get_action(call: Call[Query, NoBody]) -> Row:
    """Return one action of the catalogue."""
    catalogue = call.services.catalogue
    action = catalogue.action(call.name("action"))
    if action is None:
        hint = catalogue.suggest_action(call.name("action"))
        raise NotFoundError(f"there is no action {call.name('action')!r}; {hint}")
    return action.spec.document()


@table.add("GET /api/triggers", scope="read", answer=Page[TriggerEntry])
async def list_trigger_kinds(call: Call[Query, NoBody]) -> dict[str, Any]:
    """List what can start a workflow."""
    entries = [kind.spec.document() for kind in call.services.catalogue.triggers.values()]
    return {"items": sorted(entries, key=lambda entry: entry["kind"]), "next_cursor": None}


@table.add("GET /api/instances", scope="read", answer=Page[InstanceRow])
async def list_instances(call: Call[Query, NoBody]) -> dict[str, Any]:
    """List the daemon processes on this database."""
    return {"items": await call.services.listing.list_instances(), "next_cursor": None}


@table.add("GET /api/stats", scope="read", answer=Stats)
async def get_stats(call: Call[Query, NoBody]) -> Row:
    """Return how much there is."""
    row = await call.services.listing.get_stats(call.tenant_id)
    return {**row, "engine": dict(call.services.engine.stats())}
