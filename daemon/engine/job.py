"""What is needed to run an execution, whether it was started here or claimed from the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from hark.daemon.engine.claims import Claimed
from hark.daemon.engine.handed_over import HandedOver
from hark.daemon.engine.matcher import Match, Start, event_view
from hark.daemon.engine.records import StepRecord
from hark.workflows.ids import ExecutionId, TenantId


@dataclass(slots=True)
class Job:
    """An execution to run; `steps` is what is on record of it."""

    tenant_id: TenantId
    id: ExecutionId
    workflow_id: UUID
    version: int
    event: Mapping[str, Any]
    trigger: str | None
    trigger_type: str
    inputs: Mapping[str, Any]
    mode: str
    depth: int
    started_at: datetime
    deadline_at: datetime | None
    claims: int
    metadata: Mapping[str, Any]
    steps: Mapping[str, StepRecord]
    cancelled: bool = False
    part: Mapping[str, Any] | None = None
    """Of a part of a distributed step: which one, and what it is handed."""
    around: Mapping[str, Any] = field(default_factory=dict)
    """The steps of the whole that a part sees, as expressions see them."""
    events: Sequence[Mapping[str, Any]] = ()
    """All events of a batch; else the one is all."""
    handed: HandedOver = field(default_factory=HandedOver)
    """What it was handed for itself alone."""
    sealed: bytes | None = None
    """What is secret of that, as it is on record, until it is opened."""


def started_job(match: Match, start: Start, now: datetime) -> Job:
    """Return the job of an execution that an event has just started."""
    workflow, event = start.workflow, match.event
    return Job(
        tenant_id=workflow.tenant_id,
        id=start.id,
        workflow_id=workflow.id,
        version=start.version or workflow.version,
        event=match.view or event_view(event, match.event_id, now),
        trigger=start.trigger_id,
        trigger_type=event.kind,
        inputs=start.inputs,
        mode=start.mode,
        depth=event.depth,
        started_at=now,
        deadline_at=None if workflow.timeout is None else now + workflow.timeout,
        claims=1,
        metadata=start.metadata or {},
        steps={},
        handed=start.handed or HandedOver(),
    )


def claimed_job(claimed: Claimed) -> Job:
    """Return the job of an execution that was claimed from the database."""
    row = claimed.row
    return Job(
        tenant_id=row["tenant_id"],
        id=row["id"],
        workflow_id=row["workflow_id"],
        version=row["version"],
        event=claimed.event,
        trigger=row["trigger_id"],
        trigger_type=row["trigger_type"],
        inputs=orjson.loads(row["inputs"]) if row["inputs"] else {},
        mode=row["mode"],
        depth=row["depth"],
        started_at=row["started_at"],
        deadline_at=row["deadline_at"],
        claims=row["claims"],
        metadata=orjson.loads(row["metadata"]) if row["metadata"] else {},
        steps=claimed.steps,
        cancelled=row["cancel_requested_at"] is not None,
        part=orjson.loads(row["part"]) if row["part"] else None,
        around=claimed.around,
        events=claimed.events,
        handed=HandedOver(orjson.loads(row["variables"]) if row["variables"] else {}),
        sealed=row["sealed"],
    )
