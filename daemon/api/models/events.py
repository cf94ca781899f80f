"""Events, and what they started."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from hark.daemon.api.models.answer import Answer
from hark.daemon.api.models.executions import ExecutionSummary
from hark.daemon.api.models.subjects import Subject


class Received(Answer):
    """An event that was stored, and what it started."""

    event_id: UUID
    executions: list[UUID]
    duplicate: bool = False


class EventSummary(Answer):
    """An event in a list."""

    id: UUID
    kind: str
    type: str
    source: str
    route: str
    subject: Subject | None
    occurred_at: datetime
    created_at: datetime
    dedupe_key: str | None
    depth: int
    caused_by: UUID | None
    matched: bool


class Decision(Answer):
    """Why a workflow that an event was offered to did not start."""

    workflow: str
    workflow_id: UUID
    trigger_id: str
    reason: str
    detail: str | None = None


class EventDetail(EventSummary):
    """An event with its data, what it started, and what it did not start."""

    data: Any = None
    executions: list[ExecutionSummary]
    decisions: list[Decision]
    passed_over: int | None = None
    """How many more triggers on its route did not start their workflows; where there are many, not each is listed."""
