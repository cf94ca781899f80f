"""History that goes: pruned, archived, restored."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import Field

from hark.daemon.api.models.answer import Answer


class PruneShare(Answer):
    """Executions of one workflow in one partition of the history that have the same prospect."""

    partition: str
    """A week such as 2026w07, or `oldest`."""
    workflow: str
    policy: Literal["for", "failed", "count"] | None = None
    """Which policy lets them go; null when they stay."""
    stays_as: Literal["open", "needed", "restored", "recent", "failed", "week"] | None = None
    """Why they stay: open; needed by something open; restored from the archive; too recent; failed, which stays longer;
    past, but goes with its whole week."""
    executions: int
    events: int
    bytes: int
    """An estimate: the partition's, by the number of executions."""


class PruneAnswer(Answer):
    """What went, or would go in a dry run. What went is counted over all tenants, whose weeks go together."""

    dry_run: bool
    executions: int
    unmatched_events: int
    weeks_dropped: int
    events: int | None = None
    """Of a dry run: events of these executions, at most."""
    bytes: int | None = None
    """Of a dry run."""
    shares: list[PruneShare] = Field(default_factory=list)
    """Of a dry run: what goes and what stays."""


class ArchiveRow(Answer):
    """A file of the archive: JSON Lines, compressed with zstd."""

    id: UUID
    location: str
    """A directory of the daemon's machine, or s3://bucket/prefix."""
    name: str
    """Its path in there."""
    week: str | None
    """The week that it is a part of; null when its executions went row by row."""
    sealed_at: datetime
    """When what is in it was dropped."""
    first_id: UUID
    last_id: UUID
    executions: int
    steps: int
    events: int
    logs: int
    bytes: int
    sha256: str


class ArchivedExecution(Answer):
    """An execution as the archive holds it: the rows of the tables, as they were."""

    execution: dict[str, Any]
    steps: list[dict[str, Any]]
    timeline: list[dict[str, Any]]
    logs: list[dict[str, Any]]
    context: list[dict[str, Any]]
    waits: list[dict[str, Any]]
    batch: list[dict[str, Any]]
    """Which events it collected."""
    events: list[dict[str, Any]]
    decisions: list[dict[str, Any]]


class Restored(Answer):
    """What became of executions that were to be restored."""

    restored: int
    there: int
    """Were there already, and stay as they are."""
    no_workflow: int
    """Not restored, because their workflow was deleted."""
