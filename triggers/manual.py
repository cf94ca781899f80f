"""The `manual` kind: a person or a program starts the workflow by name."""

from __future__ import annotations

from typing import Any

from hark.workflows.catalogue import Config, NewEvent, TriggerKind, TriggerSpec
from hark.workflows.ids import TenantId, WorkflowId


class ManualConfig(Config):
    """Nothing to say."""


class ManualTrigger(TriggerKind[ManualConfig]):
    """Starts a workflow by `hark start`, the API or the console.

    Every active workflow can be started so, also without this trigger; with it, its `when`, `subject` and `inputs`
    apply, and the console offers a button.
    """

    spec = TriggerSpec(
        kind="manual",
        name="Manual start",
        description="By `hark start`, the API or the console. Every active workflow can be started so; the trigger adds"
        " a condition, a subject, or inputs made from what was given.",
        config=ManualConfig,
        example={"type": "manual", "inputs": {"email": "${{ event.data.email }}"}},
        data_fields=(),
    )

    def route(self, config: ManualConfig, workflow_id: WorkflowId, trigger_id: str) -> str:
        return route_of(workflow_id)


def route_of(workflow_id: WorkflowId) -> str:
    """Return the route of a workflow's manual starts."""
    return f"manual:{workflow_id}"


def started(
    tenant_id: TenantId, workflow_id: WorkflowId, data: Any, *, source: str, dedupe_key: str | None = None
) -> NewEvent:
    """Make the event of a manual start; `source` says who, such as `user:ann` or `cli`."""
    return NewEvent(
        tenant_id=tenant_id,
        kind="manual",
        type="manual.started",
        source=source,
        route=route_of(workflow_id),
        data=data,
        dedupe_key=dedupe_key,
    )
