"""The `event` kind: a workflow starts when an event of a type is published."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator

from hark.workflows.catalogue import Config, NewEvent, TriggerKind, TriggerSpec
from hark.workflows.ids import TenantId, WorkflowId

_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,199}")


def event_type(text: str) -> str:
    """Check the name of an event type. Raises ValueError that says what would be right."""
    name = text.strip()
    if "*" in name:
        raise ValueError("an event type is written out, without *; use one trigger for each type")
    if not _TYPE.fullmatch(name):
        raise ValueError(
            "an event type is up to 200 letters, digits and _ . : / -, such as CLIENT_CREATED or order.paid"
        )
    return name


class EventConfig(Config):
    """Which events start a workflow."""

    event: Annotated[str, AfterValidator(event_type)]
    """The event's type, such as `CLIENT_CREATED`; upper and lower case differ."""


class EventTrigger(TriggerKind[EventConfig]):
    """Starts a workflow for each event of one type, whoever publishes it: the API, the CLI, a step, another trigger."""

    spec = TriggerSpec(
        kind="event",
        name="Event",
        description="When an event of a type is published: by the API, `hark emit`, a step, or a trigger's `as`.",
        config=EventConfig,
        example={"type": "event", "event": "CLIENT_STATUS_CHANGED", "when": 'event.data.status == "won"'},
        data_fields=(),
        other_names=("event_subscription",),
    )

    def route(self, config: EventConfig, workflow_id: WorkflowId, trigger_id: str) -> str:
        return route_of(config.event)


def route_of(name: str) -> str:
    """Return the route of an event type."""
    return f"event:{name}"


def published(
    tenant_id: TenantId,
    name: str,
    data: Any,
    *,
    source: str,
    dedupe_key: str | None = None,
    subject: tuple[str, str] | None = None,
    occurred_at: datetime | None = None,
) -> NewEvent:
    """Make the event that a caller publishes. Raises ValueError for a bad type."""
    checked = event_type(name)
    return NewEvent(
        tenant_id=tenant_id,
        kind="event",
        type=checked,
        source=source,
        route=route_of(checked),
        data=data,
        subject=subject,
        occurred_at=occurred_at,
        dedupe_key=dedupe_key,
    )
