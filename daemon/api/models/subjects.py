"""Business entities, and the erasing of what is about them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field

from hark.daemon.api.models.answer import Answer
from hark.workflows.states import ExecutionStatus


class Subject(Answer):
    """The business entity that something is about."""

    kind: str
    id: str


class OpenExecution(Answer):
    """An execution that has not ended."""

    id: UUID
    workflow: str
    status: ExecutionStatus


class SubjectErased(Answer):
    """What of a subject went, or would go in a dry run."""

    dry_run: bool
    id: UUID | None
    """Under which the erasure is on record; null in a dry run."""
    executions: int
    steps: int
    logs: int
    events: int
    emptied: int
    """Events that executions about something else need, here or in the archive: they stay, without what they said."""
    archived: int
    """Executions that were taken out of the archive."""
    files: int
    """Files of the archive that were written anew for that."""
    open: list[OpenExecution] = Field(default_factory=list)
    """Of a dry run: up to ten executions that would have to end first."""


class ErasureRow(Answer):
    """An erasure on record."""

    id: UUID
    kind: str
    """Of the subject."""
    salt: str
    digest: str
    """SHA-256 of the salt's bytes, the kind, a line feed and the subject's id."""
    requested_by: str
    begun_at: datetime
    ended_at: datetime
    executions: int
    steps: int
    logs: int
    events: int
    emptied: int
    archived: int
    files: int
