"""`/api/schedules`: the next due times of a schedule that is given, or of the active workflows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from pydantic import Field, ValidationError

from hark.daemon.api.models.answer import Page
from hark.daemon.api.models.schedules import Slot
from hark.daemon.api.paging import Moment, Query
from hark.daemon.api.table import Call, NoBody, Table
from hark.daemon.engine.slices import in_slices
from hark.daemon.store.listing import Row
from hark.triggers.cron_config import CronConfig
from hark.triggers.cron_plan import due_of
from hark.triggers.ports import TriggerKey
from hark.triggers.slots import Schedule, build
from hark.workflows.errors import UnprocessableError
from hark.workflows.ids import TenantId, WorkflowId

table = Table("schedules")

_MOST_SLOTS = 1000


class SchedulesQuery(Query):
    """Due times: of a schedule that is given, or of the active workflows."""

    expression: str | None = Field(default=None, max_length=500)
    timezone: str = "UTC"
    after: Moment | None = None
    next: int | None = Field(default=None, ge=1, le=_MOST_SLOTS)
    """How many: of the given schedule 10, of each active trigger 1, unless said otherwise."""
    workflow: str | None = None


@table.add("GET /api/schedules", scope="read", answer=Page[Slot], query=SchedulesQuery)
async def list_schedules(call: Call[SchedulesQuery, NoBody]) -> dict[str, Any]:
    """List the next due times of a cron expression, or of the active workflows."""
    query = call.query
    after = query.after or call.services.engine.now()
    if query.expression is not None:
        found = _slots(_built(query.expression, query.timezone), after, query.next or 10)
        return {"items": list(found), "next_cursor": None}
    known = {(one.workflow_id, one.id): one.config for one in call.services.engine.registry.triggers}
    rows: list[Row] = []
    async for trigger in in_slices(await call.services.listing.list_triggers(call.tenant_id, "cron")):
        if query.workflow in (None, trigger["workflow"], str(trigger["workflow_id"])):
            rows += _rows(call.tenant_id, trigger, known, after, query.next or 1)
    return {"items": sorted(rows, key=lambda row: (row["utc"], row["workflow"])), "next_cursor": None}


def _rows(
    tenant_id: TenantId, trigger: Row, known: Mapping[tuple[WorkflowId, str], Any], after: datetime, count: int
) -> Iterator[Row]:
    """Yield the next slots of one trigger; of one that cannot be built, nothing: /readyz tells about it."""
    config = known.get((trigger["workflow_id"], trigger["trigger_id"]))
    try:
        config = config or CronConfig.model_validate(trigger["config"])
    except ValidationError:
        return
    told = {
        "workflow": trigger["workflow"],
        "trigger_id": trigger["trigger_id"],
        "schedule": config.shown if isinstance(config.shown, str) else "; ".join(config.shown),
        "timezone": config.timezone,
        "paused": trigger["paused_at"] is not None,
    }
    key = TriggerKey(tenant_id, trigger["workflow_id"], trigger["trigger_id"])
    for slot in _slots(config.built(), after, count):
        fires_at = due_of(key, slot["utc"], config.jitter).at
        yield {**slot, **told, "fires_at": fires_at if config.jitter else None}


def _built(expression: str, timezone: str) -> Schedule:
    try:
        return build(expression, timezone)
    except ValueError as error:
        raise UnprocessableError(str(error)) from error


def _slots(schedule: Schedule, after: datetime, count: int) -> Iterator[Row]:
    """Yield the next slots. Raises UnprocessableError at the ends of the calendar."""
    try:
        for slot in islice(schedule.after(after), count):
            yield {"utc": slot.utc, "local": slot.local, "note": slot.note}
    except ValueError as error:
        raise UnprocessableError(str(error)) from error
