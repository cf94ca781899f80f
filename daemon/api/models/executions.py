"""Executions, and all that is on record of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from hark.daemon.api.models.answer import Answer
from hark.daemon.api.models.subjects import Subject
from hark.workflows.states import ExecutionStatus, StepStatus

LogLevel = Literal["debug", "info", "warning", "error", "critical"]
Mode = Literal["production", "test", "dry_run"]


class ExecutionSummary(Answer):
    """An execution in a list."""

    id: UUID
    workflow: str
    workflow_id: UUID
    workflow_name: str
    version: int
    status: ExecutionStatus
    pending_reason: str | None
    mode: Mode
    trigger_type: str
    trigger_id: str | None
    event_id: UUID
    ordinal: int
    origin_id: UUID | None
    parent_id: UUID | None
    """The execution that called it, or that it is a part of."""
    part: str | None
    """Which item or branch of the parent it is, such as `each[3]`; null when it is no part."""
    subject: Subject | None
    instance_id: UUID | None
    due_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: float | None
    error_class: str | None
    error_message: str | None
    current_step: str | None
    """The step that was started last and has not ended; else the last one."""


class StepExecution(Answer):
    """One run of a step; `pending` and without `seq` while it has not been reached."""

    path: str
    container: str | None = None
    """Path of the step that it is inside of: a branch, a loop."""
    seq: int | None = None
    verb: str
    """That of the step, or `iteration` for a turn of a `while`, `part` for one of a distributed step, `fold` for turns
    of a loop that are folded away: then the output says which, and how many completed and failed."""
    action_type: str | None = None
    status: StepStatus
    attempt: int = 0
    input: Any = None
    output: Any = None
    error: dict[str, Any] | None = None
    due_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: float | None = None


class TimelineEntry(Answer):
    """Something that happened in an execution."""

    at: datetime
    type: str
    path: str | None = None
    detail: dict[str, Any] | None = None


class LogLine(Answer):
    """A line that an action or a user wrote."""

    id: UUID
    at: datetime
    level: LogLevel
    message: str
    data: Any = None
    path: str | None = None
    execution_id: UUID
    workflow: str


class ContextEntry(Answer):
    """What an execution remembers under one key."""

    key: str
    value: Any
    updated_at: datetime
    updated_by: str
    """`step:PATH`, `key:NAME` for the API, or the database role that wrote it with SQL."""


class HeldBack(Answer):
    """Which limit of its workflow an execution waits for."""

    reason: str | None
    """queued, throttled, debounced, batched; or retry and replay when it was asked for later."""
    until: datetime | None
    """When it may start, unless something else comes before."""
    key: str | None
    """Of a queued one: the key of the lane in which it waits."""
    limit: int | None
    behind: list[UUID]
    """Up to five of those that have a slot there."""
    place: int | None
    """Its place in the queue, from 1."""
    collected: int | None
    """Of a batch: how many events there are so far, of `size`."""
    size: int | None


class ExecutionDetail(ExecutionSummary):
    """An execution with all that is on record of it."""

    inputs: Any = None
    variables: dict[str, Any] | None = None
    """The `vars` that it was started with."""
    output: Any = None
    error: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    priority: int
    depth: int
    claims: int
    deadline_at: datetime | None
    cancel_requested_at: datetime | None
    steps: list[StepExecution]
    timeline: list[TimelineEntry]
    logs: list[LogLine]
    artifacts: list[dict[str, Any]]
    context: dict[str, Any]
    """What it remembers."""
    repeated_by: list[UUID]
    """The executions that retried or replayed it; `origin_id` is the other direction."""
    held_back: HeldBack | None = None
    """Which limit it waits for, while it does."""
    truncated: bool = False
    """There is more than is shown here."""


class ExecutionStatusChange(Answer):
    """What became of a request to change an execution."""

    execution_id: UUID
    status: ExecutionStatus


class RetriedExecution(Answer):
    """The execution that repeats another one."""

    execution_id: UUID
    origin_id: UUID
