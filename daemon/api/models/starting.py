"""What starting a workflow by hand came to."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hark.daemon.api.models.answer import Answer
from hark.workflows.states import ExecutionStatus


class RefusedStart(Answer):
    """Which limit of the workflow refused a start."""

    reason: str
    """idempotent, rate_limited or overlap."""
    detail: str | None


class StartedExecution(Answer):
    """An execution that was started; what it came to, if it ended while the caller waited."""

    execution_id: UUID | None
    event_id: UUID
    workflow_id: UUID
    workflow: str
    status: ExecutionStatus | None
    execution_time_ms: float | None = None
    output: Any = None
    error: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    duplicate: bool = False
    refused: RefusedStart | None = None
    """Why there is no execution."""
