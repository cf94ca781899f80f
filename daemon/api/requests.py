"""The shapes of requests: what OpenAPI describes and what a body is held to; unknown fields are refused."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, RootModel, SecretStr

from hark.daemon.api.models.executions import Mode
from hark.daemon.api.models.subjects import Subject
from hark.daemon.api.paging import Moment
from hark.workflows.documented import Documented

Secrets = dict[str, SecretStr]
"""Secrets by name. They are sealed before they are stored, and what goes on record has them masked."""


def revealed(secrets: Secrets | None) -> dict[str, str] | None:
    """Return secrets for those who seal them."""
    return None if secrets is None else {name: value.get_secret_value() for name, value in secrets.items()}


class NewEventBody(Documented):
    """An event to publish."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(min_length=1, max_length=200)
    data: Any = None
    source: str = Field(default="api", min_length=1, max_length=200)
    subject: Subject | str | None = None
    """`{kind, id}`, or `kind/id`."""
    key: str | None = Field(default=None, min_length=1, max_length=500)
    """The same key from the same source is the same event, however often it is sent."""
    occurred_at: datetime | None = None


class ExecuteBody(Documented):
    """What to start a workflow with."""

    model_config = ConfigDict(extra="forbid")

    input: dict[str, Any] | None = None
    mode: Mode = "production"
    key: str | None = Field(default=None, min_length=1, max_length=500)
    """The same key starts the workflow once, however often it is sent."""
    metadata: dict[str, Any] | None = None
    variables: dict[str, Any] | None = None
    """What the execution's `vars` are at first; on record."""
    secrets: Secrets | None = None
    """What `secrets.NAME` is in this execution alone; sealed, and handed over again when it is repeated."""


class CancelBody(BaseModel):
    """Why to cancel."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(default="", max_length=1000)


class RetryBody(Documented):
    """How to retry."""

    model_config = ConfigDict(extra="forbid")

    from_start: bool = False
    """Run all steps again, also those that completed."""
    secrets: Secrets | None = None
    """Secrets beside those that it was handed, or in their place."""


class ReplayBody(Documented):
    """How to replay."""

    model_config = ConfigDict(extra="forbid")

    from_step: str | None = Field(default=None, min_length=1, max_length=1000)
    """The path of the first step that runs anew, such as `each[3].mail`; without it all of them do."""
    version: int | None = Field(default=None, ge=1)
    """Another version of the workflow than the one it ran with."""
    input: dict[str, Any] | None = None
    """Other inputs than it had; then it runs from its start."""
    secrets: Secrets | None = None
    """Secrets beside those that it was handed, or in their place."""


class AnswerBody(Documented):
    """The answer to an approval."""

    model_config = ConfigDict(extra="forbid")

    step: str | None = Field(default=None, max_length=1000)
    """Path of the step; needed only if several wait."""
    form: dict[str, Any] = Field(default_factory=dict)
    comment: str = Field(default="", max_length=4000)
    by: str | None = Field(default=None, min_length=1, max_length=200)
    """Who it is that answers, for the record; without it the name of the key."""


class HookTestBody(Documented):
    """Which path to open for trying out."""

    model_config = ConfigDict(extra="forbid")

    path: str = Field(min_length=1, max_length=500)
    """What follows `/hooks-test/`; may have parameters, such as `leads/{id}`."""
    duration: str = "10m"
    """For how long, at most `1h`."""


class ContextValue(RootModel[Any]):
    """Any JSON value."""


class SourceFile(Documented):
    """A definition file, YAML or JSON."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(default="", max_length=1000)
    """Shown with what is wrong; its suffix tells the format."""
    content: str


class ApplyBody(Documented):
    """Definitions to apply, all or nothing."""

    model_config = ConfigDict(extra="forbid")

    files: list[SourceFile] = Field(max_length=10_000)
    dry_run: bool = False
    """Check everything and change nothing."""
    prune: bool = False
    """Archive the workflows that are not among these."""


class DryRunBody(Documented):
    """Which workflows to try, and on what; either `workflow` or `files`."""

    model_config = ConfigDict(extra="forbid")

    workflow: str | None = Field(default=None, max_length=200)
    """A stored workflow, by slug or id."""
    version: int | None = Field(default=None, ge=1, le=2**31 - 1)
    """Which of its versions; without it the published one, else the latest."""
    files: list[SourceFile] = Field(default_factory=list, max_length=100)
    """Definitions that need not be stored."""
    since: Moment | None = None
    """From this time on: `2026-01-31T09:00:00Z`, or `7d` for a week ago, which is what holds without it."""
    until: Moment | None = None
    """Before this time."""
    limit: int = Field(default=10, ge=0, le=200)
    """How many starts are shown."""
    most_events: int = Field(default=100_000, ge=0, le=1_000_000)
    most_rows: int = Field(default=10_000, ge=0, le=1_000_000)
    """How many rows of each table that a row trigger watches; 0: none."""


class ValidateBody(BaseModel):
    """Definitions to check."""

    model_config = ConfigDict(extra="forbid")

    files: list[SourceFile] = Field(max_length=10_000)
