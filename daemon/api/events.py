"""`/api/events`: publishing events, CloudEvents too, and looking at what became of them."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationError

from hark.daemon.api.models import EventDetail, EventSummary, Page, Received, Subject
from hark.daemon.api.paging import HistoryQuery, Query, page
from hark.daemon.api.problems import refusal_of
from hark.daemon.api.requests import NewEventBody
from hark.daemon.api.table import Call, NoBody, Table, read_json
from hark.daemon.store.listing import Row
from hark.triggers.event import published
from hark.workflows.catalogue import NewEvent, Receipt
from hark.workflows.errors import NotFoundError, UnprocessableError
from hark.workflows.ids import EventId, TenantId

table = Table("events")

_STRUCTURED = "application/cloudevents+json"
_BATCH = "application/cloudevents-batch+json"
_MOST_IN_BATCH = 1000
_LONGEST_SUBJECT = 500
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _rfc3339(value: Any) -> Any:
    """Keep pydantic from taking numbers, and strings of digits, for seconds since 1970."""
    if value is not None and not (isinstance(value, str) and _RFC3339.fullmatch(value)):
        raise ValueError("write it as RFC 3339 does, such as 2026-01-31T09:00:00Z")
    return value


class _CloudEventBody(NewEventBody):
    """A CloudEvent, held to the limits of any event, under the names of its own; extensions are left out."""

    model_config = ConfigDict(extra="ignore")

    source: str = Field(min_length=1, max_length=200)
    subject: str | None = None
    key: str = Field(alias="id", min_length=1, max_length=500)
    occurred_at: Annotated[datetime | None, BeforeValidator(_rfc3339)] = Field(default=None, alias="time")


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
    media=("application/json", _STRUCTURED, _BATCH),
)
async def publish_event(call: Call[Query, NoBody]) -> dict[str, Any]:
    """Publish an event: as JSON, or as a CloudEvent in structured, batch or binary mode."""
    if call.request.content_type == _BATCH:
        return {"items": [receipt_view(await call.services.engine.emit(event)) for event in _batch(call)]}
    return receipt_view(await call.services.engine.emit(_event(call)))


def receipt_view(receipt: Receipt) -> dict[str, Any]:
    """Return what became of an event as the API shows it."""
    return {"event_id": receipt.event_id, "executions": receipt.executions, "duplicate": receipt.duplicate}


def _event(call: Call[Any, Any]) -> NewEvent:
    if call.request.content_type == _STRUCTURED:
        return from_cloudevent(call.tenant_id, read_json(call.raw))
    if "ce-id" in call.request.headers or "ce-type" in call.request.headers:
        return from_cloudevent(call.tenant_id, _binary(call))
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
    if not isinstance(event, dict):
        raise UnprocessableError("a CloudEvent is a JSON object")
    if event.get("specversion") != "1.0":
        raise UnprocessableError("specversion: only CloudEvents 1.0 are accepted")
    for name in ("id", "source", "type"):
        if not isinstance(event.get(name), str) or not event[name]:
            raise UnprocessableError(f"{name}: a CloudEvent needs it, as a string")
    try:
        body = _CloudEventBody.model_validate({**event, "data": _cloud_data(event)})
    except ValidationError as error:
        raise refusal_of(error, "CloudEvent") from error
    return new_event(tenant_id, body)


def _cloud_data(event: Mapping[str, Any]) -> Any:
    if "data_base64" not in event:
        return event.get("data") if event.get("data") is not None else {}
    try:
        base64.b64decode(event["data_base64"], validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise UnprocessableError("data_base64: it is no base64") from None
    return {"encoding": "base64", "body": event["data_base64"]}


def _binary(call: Call[Any, Any]) -> dict[str, Any]:
    """Read a CloudEvent in binary mode: attributes in `ce-` headers, data in the body."""
    headers = call.request.headers
    event: dict[str, Any] = {
        name[3:].lower(): value for name, value in headers.items() if name.lower().startswith("ce-")
    }
    content_type = call.request.content_type
    if not call.raw:
        return event
    if content_type == "application/json" or content_type.endswith("+json"):
        return {**event, "data": read_json(call.raw)}
    try:
        text = call.raw.decode()
    except UnicodeDecodeError:
        return {**event, "data_base64": base64.b64encode(call.raw).decode()}
    if "\0" in text:
        return {**event, "data_base64": base64.b64encode(call.raw).decode()}
    return {**event, "data": text}


def _batch(call: Call[Any, Any]) -> list[NewEvent]:
    events = read_json(call.raw)
    if not isinstance(events, list) or len(events) > _MOST_IN_BATCH:
        raise UnprocessableError(f"a batch is a JSON array of at most {_MOST_IN_BATCH} CloudEvents")
    return [from_cloudevent(call.tenant_id, event) for event in events]


def _subject(value: Subject | str | None) -> tuple[str, str] | None:
    """Read a subject: `{kind, id}`, or `kind/id` as CloudEvents and people write it."""
    if value is None or value == "":
        return None
    if len(value if isinstance(value, str) else f"{value.kind}/{value.id}") > _LONGEST_SUBJECT:
        raise UnprocessableError(f"subject: kind/id has at most {_LONGEST_SUBJECT} characters")
    if isinstance(value, Subject):
        return value.kind, value.id
    kind, slash, identifier = value.partition("/")
    return (kind, identifier) if slash and kind and identifier else ("subject", value)


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
