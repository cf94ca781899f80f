"""The triggers of active workflows, as they were published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from hark.daemon.doctor.checking import Case
from hark.daemon.store.database import sql
from hark.workflows.definition import Trigger


@dataclass(frozen=True, slots=True)
class PublishedTrigger:
    """A trigger; `config` is as written, with templates in it."""

    tenant_id: UUID
    workflow_id: UUID
    workflow: str
    version: int
    id: str
    kind: str
    when: str | None
    inputs: Any
    subject: Any
    config: Mapping[str, Any]


async def active_triggers(case: Case) -> list[PublishedTrigger]:
    """Load them, in the order of workflows' names."""
    rows = await case.connection.fetch(sql("doctor_list_triggers"))
    return [_published(row) for row in rows]


def _published(row: Any) -> PublishedTrigger:
    declared = orjson.loads(row["declaration"])
    trigger = Trigger.model_validate(declared)
    return PublishedTrigger(
        tenant_id=row["tenant_id"],
        workflow_id=row["workflow_id"],
        workflow=row["slug"],
        version=row["version"],
        id=trigger.id or trigger.type,
        kind=trigger.type,
        when=trigger.when,
        inputs=declared.get("inputs"),
        subject=declared.get("subject"),
        config=trigger.config,
    )
