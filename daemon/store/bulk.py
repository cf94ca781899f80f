"""Which executions something is done with that concerns many, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from hark.workflows.ids import WorkflowId


@dataclass(frozen=True, slots=True)
class Which:
    """Which executions are meant: ids from `since` up to `before`."""

    workflow_id: WorkflowId | None
    statuses: tuple[str, ...]
    since: UUID
    before: UUID
    error_class: str | None
    limit: int


@dataclass(slots=True)
class Done:
    """What became of one of them: what `new_id` or `status` tell, or why nothing did."""

    execution_id: UUID
    workflow: str
    new_id: UUID | None = None
    status: str | None = None
    due_at: datetime | None = None
    refused: str | None = None


@dataclass(slots=True)
class Batch:
    """What became of a batch; `more`: the filter fits others too, ask again."""

    items: list[Done] = field(default_factory=list)
    more: bool = False
