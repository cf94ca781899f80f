"""What workflows would have started: dry runs over events, rows and schedules."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from hark.daemon.api.models.answer import Answer
from hark.daemon.api.models.subjects import Subject


class RehearsedEvents(Answer):
    """What a workflow would make of stored events."""

    scanned: int
    would_start: int
    started_then: int
    """How many of them have started this workflow."""
    newly: int
    """Would start it, and have not."""
    no_longer: int
    """Have started it, and would not."""
    complete: bool
    """Whether all events of the time were looked at."""
    reached: datetime | None = None
    """Where not: how far back."""


class RehearsedRows(Answer):
    """What a row trigger would make of the rows of its table, if they were inserted now."""

    connection: str = ""
    """The name of the other database in which the table is."""
    table: str
    scanned: int
    would_start: int
    complete: bool
    problem: str | None = None


class RehearsedSchedule(Answer):
    """The due times of a schedule in the span, whether they have fired or not."""

    trigger_id: str
    due: int
    would_start: int
    first: datetime | None = None
    last: datetime | None = None
    complete: bool
    """Whether these are all; else the latest."""


class RehearsedStart(Answer):
    """One start that there would be."""

    event_id: UUID | None = None
    """None for a row that is there."""
    type: str
    at: datetime
    trigger_id: str
    inputs: dict[str, Any]
    subject: Subject | None = None


class RehearsedRefusal(Answer):
    """Why events would not start it, and how many; `event_id` and `values` are of the first."""

    trigger_id: str
    reason: str
    detail: str | None = None
    count: int
    event_id: UUID | None = None
    values: dict[str, Any] = Field(default_factory=dict)


class Rehearsal(Answer):
    """What one workflow would have started."""

    workflow: str
    version: int | None = None
    """None for a definition that is not stored."""
    since: datetime
    until: datetime
    events: RehearsedEvents
    rows: list[RehearsedRows]
    schedules: list[RehearsedSchedule]
    samples: list[RehearsedStart]
    refusals: list[RehearsedRefusal]
    broken: list[str]
    """Triggers that could not be attached, and why."""
    limited: bool
    """Whether the workflow has limits: a dry run does not ask them, and they may refuse, delay or join some starts."""


class DryRun(Answer):
    """What workflows would have started."""

    items: list[Rehearsal]
