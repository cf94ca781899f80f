"""`/api/hooks`: the paths of webhooks, what came to them, what was refused, and trying them out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
from pydantic import Field

from hark.daemon.api.events import receipt_view
from hark.daemon.api.hook_tests import TEST_PREFIX
from hark.daemon.api.hooks import PREFIX
from hark.daemon.api.models.answer import Page
from hark.daemon.api.models.events import Received
from hark.daemon.api.models.hooks import ArrivalRow, DeliveryRow, HookRefusalRow, HookRow, HookTest
from hark.daemon.api.paging import HistoryQuery, Limit, Query, page
from hark.daemon.api.requests import HookTestBody
from hark.daemon.api.table import Call, NoBody, Table
from hark.daemon.store.hooks import HookRecords
from hark.triggers.webhook import route_of
from hark.triggers.webhook_paths import normalise_path
from hark.workflows.catalogue import NewEvent
from hark.workflows.durations import parse_duration
from hark.workflows.errors import NotFoundError, UnprocessableError
from hark.workflows.ids import DEFAULT_TENANT, EventId

table = Table("hooks")

_LONGEST_TEST = timedelta(hours=1)
_SENT_AGAIN = ("webhook", "event", "row", "notify")


class RefusalsQuery(Query):
    """Which refusals."""

    path: str | None = None
    limit: Limit = 100


class DeliveriesQuery(HistoryQuery):
    """Which deliveries."""

    path: str = Field(min_length=1, max_length=500)
    """As its trigger writes it, such as `leads/{id}`."""


class ArrivalsQuery(Query):
    """What arrived at which test."""

    path: str = Field(min_length=1, max_length=500)
    after: UUID | None = None
    """Only what came after this one."""


@table.add("GET /api/hooks", scope="read", answer=Page[HookRow])
async def list_hooks(call: Call[Query, NoBody]) -> dict[str, Any]:
    """List the paths on which active workflows take webhooks, with their last deliveries and refusals."""
    triggers = [
        trigger
        for trigger in call.services.engine.registry.triggers
        if trigger.kind == "webhook" and trigger.tenant_id == call.tenant_id
    ]
    records = HookRecords(call.services.database)
    routes = sorted({route_of(trigger.config.path) for trigger in triggers})
    last = await records.list_last_deliveries(call.tenant_id, routes)
    refused: dict[str, list[dict[str, Any]]] = {}
    for row in await records.list_refusals(call.tenant_id, None, 1000):
        refused.setdefault(row["path"], []).append(row)
    prefix = await _prefix(call, PREFIX)
    rows = [
        {
            "path": trigger.config.path,
            "url": prefix + trigger.config.path,
            "methods": list(trigger.config.methods),
            "auth": trigger.config.auth.type,
            "workflow": trigger.workflow,
            "trigger_id": trigger.id,
            "last_delivery_at": last.get(route_of(trigger.config.path), {}).get("at"),
            "last_event_id": last.get(route_of(trigger.config.path), {}).get("event_id"),
            "last_outcome": last.get(route_of(trigger.config.path), {}).get("outcome"),
            "refused": sum(row["count"] for row in refused.get(trigger.config.path, ())),
            "last_refusal": next((_said(row) for row in refused.get(trigger.config.path, ())), None),
        }
        for trigger in triggers
    ]
    return {"items": sorted(rows, key=lambda row: (row["path"], row["workflow"])), "next_cursor": None}


def _said(row: dict[str, Any]) -> str:
    return f"{row['status']}: {row['detail']}"


async def _prefix(call: Call[Any, Any], prefix: str) -> str:
    """Return what the addresses of a tenant's webhooks begin with."""
    base = call.services.settings.base_url + prefix
    if call.tenant_id == DEFAULT_TENANT:
        return base
    slugs = {tenant: slug for slug, tenant in (await call.services.listing.list_tenants()).items()}
    return f"{base}{slugs.get(call.tenant_id, '')}/"


@table.add("GET /api/hooks/deliveries", scope="read", answer=Page[DeliveryRow], query=DeliveriesQuery)
async def list_deliveries(call: Call[DeliveriesQuery, NoBody]) -> dict[str, Any]:
    """List what came to a path and was stored, newest first, with what it started."""
    query = call.query
    records = HookRecords(call.services.database)
    rows = await records.list_deliveries(call.tenant_id, route_of(query.path.strip("/")), query.span())
    return page(rows, query.limit)


@table.add("GET /api/hooks/refusals", scope="read", answer=Page[HookRefusalRow], query=RefusalsQuery)
async def list_refusals(call: Call[RefusalsQuery, NoBody]) -> dict[str, Any]:
    """List what was refused within the last day, by path and status; also on paths where nobody listens."""
    query = call.query
    path = None if query.path is None else query.path.strip("/")
    rows = await HookRecords(call.services.database).list_refusals(call.tenant_id, path, query.limit)
    return {"items": rows, "next_cursor": None}


@table.add("POST /api/hooks/tests", scope="write", answer=HookTest, body=HookTestBody, status=201)
async def open_test(call: Call[Query, HookTestBody]) -> dict[str, Any]:
    """Open a path for trying out: what is sent to its address is shown for a while, and starts nothing."""
    try:
        path, duration = normalise_path(call.body.path), parse_duration(call.body.duration)
    except ValueError as error:
        raise UnprocessableError(str(error)) from error
    if not timedelta(seconds=1) <= duration <= _LONGEST_TEST:
        raise UnprocessableError("duration: write 1s to 1h")
    row = await HookRecords(call.services.database).open_test(call.tenant_id, path, duration)
    return {**row, "url": await _prefix(call, TEST_PREFIX) + path}


@table.add("GET /api/hooks/arrivals", scope="write", answer=Page[ArrivalRow], query=ArrivalsQuery)
async def list_arrivals(call: Call[ArrivalsQuery, NoBody]) -> dict[str, Any]:
    """List what has arrived at a path that is being tried out, the oldest first."""
    query = call.query
    rows = await HookRecords(call.services.database).list_arrivals(call.tenant_id, query.path.strip("/"), query.after)
    return {"items": rows, "next_cursor": None}


@table.add("POST /api/events/{event}/redeliver", scope="run", answer=Received, status=202)
async def redeliver_event(call: Call[Query, NoBody]) -> dict[str, Any]:
    """Offer a stored event to the workflows that are active now, as a new event with the same content."""
    event_id = EventId(call.id("event", "event"))
    row = await call.services.listing.get_event(call.tenant_id, event_id)
    if row is None:
        raise NotFoundError(f"there is no event {event_id}")
    if row["kind"] not in _SENT_AGAIN:
        raise UnprocessableError(
            f"an event of the kind {row['kind']!r} is not sent again; retry or replay its execution"
        )
    subject = row["subject"]
    event = NewEvent(
        tenant_id=call.tenant_id,
        kind=row["kind"],
        type=row["type"],
        source=row["source"],
        route=row["route"],
        data=orjson.loads(orjson.dumps(row["data"])),
        subject=(subject["kind"], subject["id"]) if subject else None,
        occurred_at=row["occurred_at"],
        dedupe_key=f"{event_id} again, {uuid4()}",
    )
    return receipt_view(await call.services.engine.emit(event))
