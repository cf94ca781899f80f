"""The definition of a workflow: the model that every accepted form is normalised to."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from hark.workflows.cases import Case
from hark.workflows.durations import Duration
from hark.workflows.steps import CelSource, FieldSpec, Identifier, Model, Step

SCHEMA = "hark/v1"
SLUG = r"^[a-z0-9][a-z0-9_-]{0,99}$"
Slug = Annotated[str, Field(pattern=SLUG)]


def _an_hour(value: timedelta) -> timedelta:
    if value < timedelta(hours=1):
        raise ValueError("write an hour (1h) or more")
    return value


Span = Annotated[Duration, AfterValidator(_an_hour)]
"""How long history stays."""


class Subject(Model):
    """The business entity that an execution is about; both parts may be templates."""

    kind: str
    id: Any


class Trigger(Model):
    """What starts the workflow: the fields every kind has; those of the kind itself stand beside them.

    The kind's own fields are kept in `config` order as written and checked against the kind's model in the catalogue.
    """

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    id: Identifier | None = None
    """When absent, the kind, numbered when several triggers have the same."""
    type: str
    as_: str | None = Field(default=None, alias="as")
    """Event type that this trigger also publishes, for other workflows."""
    when: CelSource | None = None
    subject: Subject | None = None
    inputs: dict[str, Any] | str | None = None
    enabled: bool = True

    @property
    def config(self) -> dict[str, Any]:
        """The fields of the kind itself."""
        return self.__pydantic_extra__ or {}


class Concurrency(Model):
    """At most `limit` executions with the same key run at a time."""

    key: CelSource | None = None
    limit: Annotated[int, Field(ge=1, le=100_000)] = 1
    scope: Literal["workflow", "tenant"] = "workflow"


class Idempotency(Model):
    """A key that has started the workflow within `ttl` does not start it again."""

    key: CelSource
    ttl: Duration = Field(default="24h", validate_default=True)


class Rate(Model):
    """At most `limit` starts in every `per`, by key."""

    limit: Annotated[int, Field(ge=1, le=1_000_000)]
    per: Duration
    key: CelSource | None = None


class Debounce(Model):
    """Start once the events of a key have been quiet for `period`, or after `timeout` at the latest."""

    period: Duration
    key: CelSource | None = None
    timeout: Duration | None = None


class Batch(Model):
    """Start once for several events of a key: when `max_size` have come or `timeout` has passed."""

    max_size: Annotated[int, Field(ge=1, le=10_000)]
    timeout: Duration
    key: CelSource | None = None


def _or_bare(schema: dict[str, Any]) -> None:
    """Let a bare duration stand for `for`, which is how the reader takes it."""
    whole = dict(schema)
    schema.clear()
    schema["description"] = whole.pop("description")
    schema["anyOf"] = [dict(whole["properties"]["for"]["anyOf"][0]), whole]


class Retention(Model):
    """How long executions stay after their end; what is not said is as the tenant or the settings have it."""

    model_config = ConfigDict(json_schema_extra=_or_bare)

    for_: Span | None = Field(default=None, alias="for")
    """How long one stays; a bare duration in the place of all of this says the same."""
    failed: Span | None = None
    """How long one stays that failed or timed out; never shorter than the others."""
    count: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """At most so many stay that have ended, whatever came of them: the newest."""
    turns: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Of a loop so many turns stay on record, the latest; earlier ones are folded away."""

    @model_validator(mode="after")
    def _keeps_failures_longer(self) -> Self:
        if self.for_ is not None and self.failed is not None and self.failed < self.for_:
            raise ValueError("`failed` is shorter than `for`; failures stay as long as others, or longer")
        return self


class Body(Model):
    """The part of a definition that runs; the rest says what it is called, and when it starts."""

    model_config = ConfigDict(extra="ignore")

    steps: list[Step] = Field(default_factory=list)
    on_error: list[Step] = Field(default_factory=list)
    output: Any = None
    timeout: Duration | None = None
    retention: Retention | None = None


class Workflow(Model):
    """A workflow's definition."""

    schema_: Literal["hark/v1"] = Field(default="hark/v1", alias="schema")
    id: Slug
    name: str = Field(min_length=1, max_length=200)
    description: str | None = None
    category: str | None = None
    tags: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(default_factory=list)
    inputs: dict[Identifier, FieldSpec] = Field(default_factory=dict)
    triggers: list[Trigger] = Field(default_factory=list)
    conditions: list[CelSource] = Field(default_factory=list)
    overlap: Literal["allow", "skip", "queue", "restart"] = "allow"
    max_running: Annotated[int, Field(ge=1, le=100_000)] | None = None
    concurrency: Concurrency | None = None
    idempotency: Idempotency | None = None
    throttle: Rate | None = None
    rate_limit: Rate | None = None
    debounce: Debounce | None = None
    batch: Batch | None = None
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    timeout: Duration | None = None
    retention: Retention | None = None
    steps: list[Step] = Field(default_factory=list)
    on_error: list[Step] = Field(default_factory=list)
    output: Any = None
    tests: list[Case] = Field(default_factory=list, max_length=500)
    metadata: dict[str, Any] = Field(default_factory=dict)
