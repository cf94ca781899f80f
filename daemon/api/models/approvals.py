"""What waits for an answer of people."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from hark.daemon.api.models.answer import Answer


class ApprovalRow(Answer):
    """A step that waits for an answer of people."""

    id: UUID
    execution_id: UUID
    workflow: str
    workflow_name: str
    step: str
    """Path of the step."""
    message: str
    approvers: list[str]
    """Who may answer: names of keys, and `link`; anybody with the scope when empty."""
    form: dict[str, dict[str, Any]]
    """JSON Schema properties of what is filled in, with `required` beside them."""
    since: datetime
    until: datetime | None
    url: str | None = None
    """Where it is answered with the link, if that was asked for; null when the link was made with another key."""


class Answered(Answer):
    """What was answered."""

    execution_id: UUID
    step: str
    answer: Literal["approved", "rejected"]
    by: str
