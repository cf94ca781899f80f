"""`/api/events`: publishing events, CloudEvents too, and looking at what became of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import ConfigDict, Field, ValidationError

from hark.daemon.api.models.answer import Page
from hark.daemon.api.models.events import EventDetail, EventSummary, Received
from hark.daemon.api.models.subjects import Subject
from hark.daemon.api.paging import HistoryQuery, Query, page
from hark.daemon.api.problems import refusal_of
from hark.daemon.api.requests import NewEventBody
from hark.daemon.api.table import Call, NoBody, Table, read_json
from hark.daemon.store.listing import Row
from hark.triggers.cloudevents import (
    BATCH,
    STRUCTURED,
    checked_cloudevent,
    content_of,
    mode_of,
    read_cloudevents,
    subject_pair,
)
from hark.triggers.event import published
from hark.triggers.webhook_request import joined_headers
from hark.workflows.catalogue import NewEvent, Receipt
from hark.workflows.errors import NotFoundError, UnprocessableError
from hark.workflows.ids import EventId, TenantId

table = Table("events")

_LONGEST_SUBJECT = 500


class _CloudEventBody(NewEventBody):
    """A CloudEvent, held to the limits of any event, under the names of its own; extensions are left out."""

    model_config = ConfigDict(extra="ignore")

    source: str = Field(min_length=1, max_length=200)
    subject: str | None = None
    key: str = Field(alias="id", min_length=1, max_length=500)
    occurred_at: datetime | None = Field(default=None, alias="time")


class EventsQuery(HistoryQuery):
    """Which events."""

    type: str | None = None
    kind: str | None = None
    route: str | None = None
    """The key under which workflows are found, such as `row:public.clients`."""
    matched: bool | None = None
    """Whether it started anything."""


@table.add(
    "POST /api/events",
    scope="emit",
    answer=Received,
    body=NewEventBody,
    status=202,
    media=("application/json", STRUCTURED, BATCH),
)
async def publish_event(call: Call[Query, NoBody]) -> dict[str, Any]:
    """Publish an event: as JSON, or as a CloudEvent in structured, batch (all or nothing) or binary mode."""
    headers = joined_headers(call.request.headers.items())
    mode = mode_of(headers) or ("binary" if headers.keys() & {"ce-id", "ce-type"} else None)
    if mode is None:
        return receipt_view(await call.services.engine.emit(_event(call)))
    events = [from_cloudevent(call.tenant_id, event) for event in read_cloudevents(mode, headers, call.raw)]
    if mode == "batch":
        return {"items": [receipt_view(receipt) for receipt in await call.services.engine.emit_all(events)]}
    return receipt_view(await call.services.engine.emit(events[0]))


def receipt_view(receipt: Receipt) -> dict[str, Any]:
    """Return what became of an event as the API shows it."""
    return {"event_id": receipt.event_id, "executions": receipt.executions, "duplicate": receipt.duplicate}


def _event(call: Call[Any, Any]) -> NewEvent:
    try:
        body = NewEventBody.model_validate(read_json(call.raw or b"{}"))
    except ValidationError as error:
        raise refusal_of(error, "body") from error
    return new_event(call.tenant_id, body)


def new_event(tenant_id: TenantId, body: NewEventBody) -> NewEvent:
    """Make the event that a request asks for."""
    try:
        return published(
            tenant_id,
            body.type,
            {} if body.data is None else body.data,
            source=body.source,
            subject=_subject(body.subject),
            occurred_at=_aware(body.occurred_at),
            dedupe_key=body.key,
        )
    except ValueError as error:
        raise UnprocessableError(f"type: {error}") from error


def from_cloudevent(tenant_id: TenantId, event: Any) -> NewEvent:
    """Make an event of a CloudEvent 1.0; its id is the key by which it is stored once. Raises UnprocessableError."""
    checked = checked_cloudevent(event)
    content, encoding = content_of(checked)
    data = {"encoding": "base64", "body": content} if encoding == "base64" else {} if content is None else content
    try:
        body = _CloudEventBody.model_validate({**checked, "data": data})
    except ValidationError as error:
        raise refusal_of(error, "CloudEvent") from error
    return new_event(tenant_id, body)


def _subject(value: Subject | str | None) -> tuple[str, str] | None:
    """Read a subject: `{kind, id}`, or `kind/id` as CloudEvents and people write it."""
    if not isinstance(value, Subject):
        return subject_pair(value)
    subject_pair(f"{value.kind}/{value.id}")
    return value.kind, value.id


def _aware(moment: datetime | None) -> datetime | None:
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise UnprocessableError("a time needs a zone: write 2026-01-31T09:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise UnprocessableError("a time lies within the years 1 to 9999, in UTC too") from None


@table.add("GET /api/events", scope="read", answer=Page[EventSummary], query=EventsQuery)
async def list_events(call: Call[EventsQuery, NoBody]) -> dict[str, Any]:
    """List events, newest first."""
    query = call.query
    rows = await call.services.listing.list_events(
        call.tenant_id, query.span(), type=query.type, kind=query.kind, route=query.route, matched=query.matched
    )
    return page(rows, query.limit)


@table.add("GET /api/events/{event}", scope="read", answer=EventDetail)
async def get_event(call: Call[Query, NoBody]) -> Row:
    """Return one event with what it started, and why it did not start the rest."""
    event_id = EventId(call.id("event", "event"))
    listing = call.services.listing
    row = await listing.get_event(call.tenant_id, event_id)
    if row is None:
        raise NotFoundError(f"there is no event {event_id}")
    return {
        **row,
        "executions": await listing.list_executions_of_event(call.tenant_id, event_id),
        "decisions": await listing.list_decisions(call.tenant_id, event_id),
    }
