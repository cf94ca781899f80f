"""`/api/workflows/{workflow}/backfill`: slots of the past that have not fired."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hark.daemon.api.executions import workflow_id_of
from hark.daemon.api.models import BackfillAnswer
from hark.daemon.api.paging import Moment, Query
from hark.daemon.api.table import Call, Table
from hark.daemon.store.backfill import Wanted
from hark.workflows.durations import Duration
from hark.workflows.errors import UnprocessableError

table = Table("workflows")

_LONGEST_SPREAD = timedelta(days=7)


class BackfillBody(BaseModel):
    """Which slots are to be made up for, and how."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    since: Moment
    """Slots from this time on: `2026-01-31T09:00:00Z`, or `1d` for a day ago."""
    until: Moment | None = None
    """Slots before this time; all that are past if absent."""
    trigger: str | None = None
    """Only of this trigger."""
    limit: int = Field(default=1000, ge=1, le=10_000)
    """How many at most, the oldest first; `more` in the answer tells whether to ask again."""
    spread: Duration = timedelta(0)
    """Spread the starts evenly over this time."""
    dry_run: bool = False
    """Only tell which slots it would be."""
    unrecorded: bool = False
    """Also those that may have fired so long ago that history does not tell."""


@table.add("POST /api/workflows/{workflow}/backfill", scope="run", answer=BackfillAnswer, body=BackfillBody)
async def backfill_workflow(call: Call[Query, BackfillBody]) -> dict[str, Any]:
    """Fire the slots of its schedules that have not fired in a time; sent again, it goes on where it ended."""
    _, slug = await workflow_id_of(call, call.name("workflow"))
    body, engine = call.body, call.services.engine
    if body.spread > _LONGEST_SPREAD:
        raise UnprocessableError("spread: seven days at the most")
    wanted = Wanted(
        body.since, body.until or engine.now(), body.trigger, body.limit, body.spread, body.dry_run, body.unrecorded
    )
    filled = await engine.backfill.run(call.tenant_id, slug, wanted)
    refused = sum(one.refused is not None for one in filled.items)
    return {
        "matched": len(filled.items),
        "done": 0 if body.dry_run else len(filled.items) - refused,
        "refused": refused,
        "already": filled.already,
        "unrecorded": filled.unrecorded,
        "unrecorded_before": filled.unrecorded_before,
        "more": filled.more,
        "dry_run": body.dry_run,
        "items": filled.items,
    }
