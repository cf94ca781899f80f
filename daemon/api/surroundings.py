"""What there is beside workflows and executions: catalogue, schedules, hooks, watches, instances, figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import Field

from hark.daemon.api.models import (
    ActionEntry,
    HookRow,
    InstanceRow,
    Page,
    Slot,
    Stats,
    TriggerEntry,
)
from hark.daemon.api.paging import Moment, Query
from hark.daemon.api.table import Call, NoBody, Table
from hark.daemon.store.listing import Row
from hark.triggers import slots
from hark.workflows.errors import NotFoundError, UnprocessableError

table = Table("surroundings")

_MOST_SLOTS = 1000


class SchedulesQuery(Query):
    """Due times: of a schedule that is given, or of the active workflows."""

    expression: str | None = Field(default=None, max_length=500)
    timezone: str = "UTC"
    after: Moment | None = None
    next: int | None = Field(default=None, ge=1, le=_MOST_SLOTS)
    """How many: of the given schedule 10, of each active trigger 1, unless said otherwise."""
    workflow: str | None = None


@table.add("GET /api/schedules", scope="read", answer=Page[Slot], query=SchedulesQuery)
async def list_schedules(call: Call[SchedulesQuery, NoBody]) -> dict[str, Any]:
    """List the next due times of a cron expression, or of the active workflows."""
    query = call.query
    after = query.after or call.services.engine.now()
    if query.expression is not None:
        return {"items": next_slots(query.expression, query.timezone, after, query.next or 10), "next_cursor": None}
    rows = [
        {**slot, "workflow": trigger["workflow"], "trigger_id": trigger["trigger_id"], "schedule": _text(schedule),
         "timezone": zone}
        for trigger in await call.services.listing.list_triggers(call.tenant_id, "cron")
        if query.workflow in (None, trigger["workflow"], str(trigger["workflow_id"]))
        for schedule, zone in [(trigger["config"]["schedule"], trigger["config"].get("timezone", "UTC"))]
        for slot in next_slots(schedule, zone, after, query.next or 1)
    ]  # fmt: skip
    return {"items": sorted(rows, key=lambda row: (row["utc"], row["workflow"])), "next_cursor": None}


def next_slots(expression: str | Sequence[str], timezone: str, after: datetime, count: int) -> list[Row]:
    """Return the next due times after a moment. Raises UnprocessableError for a bad schedule, zone or moment."""
    try:
        found = slots.slots_after(expression, timezone, after, count)
    except ValueError as error:
        raise UnprocessableError(str(error)) from error
    return [{"utc": slot.utc, "local": slot.local, "note": slot.note} for slot in found]


def _text(schedule: str | Sequence[str]) -> str:
    return schedule if isinstance(schedule, str) else "; ".join(schedule)


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


@table.add("GET /api/hooks", scope="read", answer=Page[HookRow])
async def list_hooks(call: Call[Query, NoBody]) -> dict[str, Any]:
    """List the paths on which active workflows take webhooks."""
    base = call.services.settings.base_url
    rows = [
        {
            "path": trigger.config.path,
            "url": f"{base}/hooks/{trigger.config.path}",
            "methods": list(trigger.config.methods),
            "auth": trigger.config.auth.type,
            "workflow": trigger.workflow,
            "trigger_id": trigger.id,
        }
        for trigger in call.services.engine.registry.triggers
        if trigger.kind == "webhook" and trigger.tenant_id == call.tenant_id
    ]
    return {"items": sorted(rows, key=lambda row: (row["path"], row["workflow"])), "next_cursor": None}


@table.add("GET /api/instances", scope="read", answer=Page[InstanceRow])
async def list_instances(call: Call[Query, NoBody]) -> dict[str, Any]:
    """List the daemon processes on this database."""
    return {"items": await call.services.listing.list_instances(), "next_cursor": None}


@table.add("GET /api/stats", scope="read", answer=Stats)
async def get_stats(call: Call[Query, NoBody]) -> Row:
    """Return how much there is."""
    row = await call.services.listing.get_stats(call.tenant_id)
    return {**row, "engine": dict(call.services.engine.stats())}
