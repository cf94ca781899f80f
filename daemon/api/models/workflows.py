"""Workflows, their versions, and what applying definitions did."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from hark.daemon.api.models.answer import Answer
from hark.daemon.api.models.problems import ProblemItem
from hark.workflows.states import ExecutionStatus


class TriggerRow(Answer):
    """A trigger of a workflow's published version."""

    id: str
    kind: str
    route: str
    event_type: str | None = None
    config: dict[str, Any] | None = None


class LastExecution(Answer):
    """The latest execution of a workflow."""

    id: UUID
    status: ExecutionStatus
    created_at: datetime


class WorkflowSummary(Answer):
    """A workflow in a list."""

    id: UUID
    slug: str
    name: str
    description: str | None
    category: str | None
    tags: list[str]
    status: Literal["draft", "active", "archived"]
    is_active: bool
    is_template: bool
    paused_at: datetime | None
    published_version: int | None
    latest_version: int
    created_at: datetime
    updated_at: datetime
    triggers: list[TriggerRow]
    last_execution: LastExecution | None = None


class WorkflowDetail(WorkflowSummary):
    """A workflow with the definition of one version, the published one unless asked otherwise."""

    version: int | None
    content_hash: str | None
    definition: dict[str, Any] | None


class WorkflowVersion(Answer):
    """An immutable version."""

    version: int
    content_hash: str
    created_at: datetime
    is_published: bool | None


class AppliedWorkflow(Answer):
    """What applying one definition did, or would do."""

    workflow: str
    id: UUID | None = None
    outcome: Literal["created", "updated", "unchanged", "archived"]
    version: int | None = None
    status: str | None = None
    file: str = ""


class Applied(Answer):
    """What applying several definitions did: all of it, or nothing."""

    items: list[AppliedWorkflow]
    warnings: list[ProblemItem]
    dry_run: bool = False


class Validated(Answer):
    """Whether definitions could be applied as they are."""

    valid: bool
    items: list[AppliedWorkflow]
    problems: list[ProblemItem]
