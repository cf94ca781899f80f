"""The `workflow` kind: a workflow starts after executions of others have ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from hark.workflows.catalogue import Config, NewEvent, TriggerKind, TriggerSpec
from hark.workflows.definition import Slug
from hark.workflows.durations import Duration
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import compile_expression
from hark.workflows.ids import WorkflowId
from hark.workflows.requirements import Requirement
from hark.workflows.steps import CelSource

State = Literal["completed", "failed", "cancelled", "timeout", "skipped"]
_EVENT = frozenset({"event"})


def _listed(value: Any) -> Any:
    """Let one state stand for a list of it."""
    return [value] if isinstance(value, str) else value


def _or_one(schema: dict[str, Any]) -> None:
    """Let the published schema take one state too."""
    kept: dict[str, Any] = {name: schema.pop(name) for name in ("description", "default", "title") if name in schema}
    whole = dict(schema)
    schema.clear()
    schema.update(kept, anyOf=[whole["items"], whole])


class WorkflowConfig(Config):
    """Whose ends start a workflow. Exactly one of `workflow`, `any` and `all` says so."""

    workflow: Slug | None = None
    """The workflow whose executions are waited for."""
    any_: Annotated[list[Slug], Field(min_length=1, max_length=50)] | None = Field(default=None, alias="any")
    """Several workflows; each end of each of them is one start."""
    all_: Annotated[list[Slug], Field(min_length=2, max_length=50)] | None = Field(default=None, alias="all")
    """Several workflows that all have to end, within the time of `within`; together they are one start."""
    states: Annotated[list[State], BeforeValidator(_listed), Field(min_length=1)] = Field(
        default=["completed"], json_schema_extra=_or_one
    )
    """How they must have ended: `completed`, `failed`, `cancelled`, `timeout`, `skipped`; one, or a list."""
    within: Duration | None = None
    """With `all`: how far apart the ends may lie."""
    key: CelSource | None = None
    """With `all`: CEL on the `event` of each end; only ends with the same value belong together."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if sum(names is not None for names in (self.workflow, self.any_, self.all_)) != 1:
            raise ValueError("write one of `workflow: name`, `any: [names]` and `all: [names]`")
        if self.all_ is None and (self.within is not None or self.key is not None):
            raise ValueError("`within` and `key` belong to `all`, which waits for several ends")
        if self.all_ is not None and (self.within is None or self.within <= timedelta(0)):
            raise ValueError("`all` needs `within`: how far apart the ends may lie, such as 1h")
        if len(set(self.followed)) < len(self.followed):
            raise ValueError("a workflow is named twice")
        if self.key is not None:
            _check_key(self.key)
        return self

    @property
    def followed(self) -> Sequence[str]:
        """The slugs of the workflows whose ends are heard."""
        return [self.workflow] if self.workflow is not None else self.any_ or self.all_ or []


def _check_key(source: str) -> None:
    try:
        compile_expression(source, _EVENT)
    except ExpressionError as error:
        raise ValueError(f"key: {error}") from error


class WorkflowTrigger(TriggerKind[WorkflowConfig]):
    """Starts a workflow after others; their ends are noted in the transactions that end them."""

    spec = TriggerSpec(
        kind="workflow",
        name="After a workflow",
        description="When executions of other workflows have ended: of one, of any of several, of all within a time.",
        config=WorkflowConfig,
        example={"type": "workflow", "workflow": "import-clients", "states": ["completed"]},
        data_fields=("workflow", "execution_id", "status", "output", "inputs", "error", "ends"),
        other_names=("workflow_completed",),
    )

    def route(self, config: WorkflowConfig, workflow_id: WorkflowId, trigger_id: str) -> str:
        return self.routes(config, workflow_id, trigger_id)[0]

    def routes(self, config: WorkflowConfig, workflow_id: WorkflowId, trigger_id: str) -> Sequence[str]:
        """Return where its events come by; those of `all` are its own, made when the last end is there."""
        if config.all_ is not None:
            return [route_of_all(workflow_id, trigger_id)]
        return [route_of(slug) for slug in config.followed]

    def follows(self, config: WorkflowConfig) -> Sequence[str]:
        return config.followed

    def refusal(self, config: WorkflowConfig, event: NewEvent) -> str | None:
        return refusal_of(config, event.data)

    def requirements(self, config: WorkflowConfig) -> Iterable[Requirement]:
        yield Requirement.of(("event", "data", "status"), config.states)


def route_of(slug: str) -> str:
    """Return the route of the ends of a workflow."""
    return f"workflow:{slug}"


def route_of_all(workflow_id: WorkflowId, trigger_id: str) -> str:
    """Return the route of one trigger that waits for several ends."""
    return f"workflow:{workflow_id}/{trigger_id}"


def refusal_of(config: WorkflowConfig, data: Mapping[str, Any]) -> str | None:
    """Say why an end does not count; None if it does."""
    if data["status"] in config.states:
        return None
    return f"it ended as {data['status']}; the trigger is for {', '.join(config.states)}"
