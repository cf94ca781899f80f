"""Why workflows started, and why not."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from hark.daemon.api.models.answer import Answer


class Judged(Answer):
    """What became of one event with one trigger of a workflow."""

    workflow: str
    workflow_id: UUID
    trigger_id: str | None = None
    """None where it was started by hand, or is not there any more."""
    version: int | None = None
    """The version that was active then."""
    outcome: Literal["started", "joined", "refused"]
    reason: str | None = None
    """A stable word: `when_false`, `condition_false`, `rate_limited`, `paused` …"""
    detail: str | None = None
    values: dict[str, Any] = Field(default_factory=dict)
    """What the condition that failed saw, by path."""
    execution_id: UUID | None = None
    """What was started or joined."""
    status: str | None = None
    """How that stands."""


class EventDecisions(Answer):
    """Which workflows an event was offered to, and what became of it with each."""

    event_id: UUID
    type: str
    kind: str
    route: str
    at: datetime
    considered: int
    reasons: dict[str, int]
    """How many there are of each outcome and reason."""
    items: list[Judged]
    """What started first, then what came nearest to it."""
    complete: bool = True
    """Whether all workflows were asked. Not when very many have changed since: those that are left out, nothing is
    said of; ask for one of them with `workflow`."""
    warnings: list[str] = Field(default=[])
    """Of a row change: columns that the workflows use and that the table no longer has, or are of another type."""


class JudgedEvent(Judged):
    """What became of one event with a workflow."""

    event_id: UUID
    type: str
    route: str
    at: datetime


class ListeningTrigger(Answer):
    """A trigger of a workflow's published version, and the routes by which events come to it."""

    id: str
    kind: str
    routes: list[str]
    when: str | None = None


class WorkflowDecisions(Answer):
    """The last events of the kinds that a workflow listens to, and what became of them with it."""

    workflow: str
    state: str
    triggers: list[ListeningTrigger]
    broken: list[str]
    """Triggers that could not be attached, and why."""
    warnings: list[str] = Field(default=[])
    """Columns that it uses and that its tables no longer have, or are of another type; which of its databases do not
    answer, so that this is not known."""
    items: list[JudgedEvent]
    next_cursor: str | None = None
