"""Watched tables, and the changes of their rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from hark.daemon.api.models.answer import Answer


class WatchRow(Answer):
    """A table whose changes start workflows, and whether they are captured."""

    connection: str = ""
    """The name of the other database in which the table is."""
    table: str
    operations: list[str]
    workflows: list[str]
    attached: bool
    detail: str = ""
    backlog: int = 0
    """Changes that are not events yet; counted up to 10,000."""
    parked: int = 0
    """Changes that could not be made into events."""
    warnings: list[str] = Field(default=[])
    """Columns that workflows use and that the table no longer has."""
    key: list[str] = Field(default=[])
    """The columns of its primary key."""
    filtered: list[str] = Field(default=[])
    """Operations of which the database captures only what may start a workflow."""


class StartedByChange(Answer):
    """An execution that a row change has started."""

    workflow: str
    trigger_id: str | None
    execution_id: UUID


class RefusedChange(Answer):
    """Why a workflow did not start."""

    workflow: str
    trigger_id: str
    reason: str
    detail: str | None


class CapturedChange(Answer):
    """A captured row change, and what became of it, as the live tail tells it."""

    event_id: UUID
    at: datetime
    """When it was stored."""
    occurred_at: datetime
    data: dict[str, Any]
    """As workflows see it in `event.data`."""
    cut: bool
    """Whether `data` is without its rows, being too large for a line: the event itself has them."""
    matched: bool
    passed_over: int | None
    """How many triggers did not start their workflows, and are not in `refused`."""
    started: list[StartedByChange]
    refused: list[RefusedChange]
