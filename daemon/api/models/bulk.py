"""What became of many executions at once."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from hark.daemon.api.models.answer import Answer


class BulkItem(Answer):
    """What became of one execution of many."""

    execution_id: UUID
    workflow: str
    new_id: UUID | None = None
    """The execution that repeats it."""
    status: str | None = None
    """Its status, when it was to be cancelled."""
    due_at: datetime | None = None
    """When the new one may start, if not at once."""
    refused: str | None = None
    """Why nothing was done with it."""


class BulkAnswer(Answer):
    """What became of many executions."""

    matched: int
    done: int
    refused: int
    more: bool
    """The filter fits others too: send it again."""
    dry_run: bool
    items: list[BulkItem]
