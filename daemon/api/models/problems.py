"""What the API answers when something is wrong."""

from __future__ import annotations

from pydantic import Field

from hark.daemon.api.models.answer import Answer


class ProblemItem(Answer):
    """One thing that is wrong, and where."""

    message: str
    file: str = ""
    line: int | None = None
    column: int | None = None
    path: str = ""
    hint: str = ""
    severity: str = "error"


class ProblemDocument(Answer):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    problems: list[ProblemItem] = Field(default_factory=list)
