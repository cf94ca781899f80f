"""Addresses of webhooks, and what came to them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from hark.daemon.api.models.answer import Answer
from hark.workflows.states import ExecutionStatus


class HookRow(Answer):
    """An address that webhooks may be sent to."""

    path: str
    url: str
    methods: list[str]
    auth: str
    workflow: str
    trigger_id: str
    last_delivery_at: datetime | None = None
    last_event_id: UUID | None = None
    last_outcome: str | None = None
    """How the executions stand that the last delivery has started; null for none."""
    refused: int = 0
    """Requests that were refused on the path within the last day."""
    last_refusal: str | None = None
    """Status and reason of the last one."""


class StartedBy(Answer):
    """An execution that a delivery has started."""

    id: UUID
    workflow: str
    status: ExecutionStatus


class DeliveryRow(Answer):
    """A webhook that was stored as an event, and what became of it."""

    id: UUID
    """Of the event."""
    created_at: datetime
    occurred_at: datetime
    dedupe_key: str | None
    matched: bool
    executions: list[StartedBy]


class HookRefusalRow(Answer):
    """Webhooks that were refused with one status on one path; details are those of the last one."""

    path: str
    status: int
    count: int
    first_at: datetime
    last_at: datetime
    detail: str
    method: str
    client: str


class HookTest(Answer):
    """A path that is open for trying out."""

    path: str
    url: str
    expires_at: datetime


class ArrivalRow(Answer):
    """What arrived at a path that is being tried out."""

    id: UUID
    at: datetime
    data: dict[str, Any]
    """The request, what it would have been answered, and what it would have started."""
