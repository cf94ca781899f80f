"""`/api/workflows/{workflow}/backfill`: slots of the past that have not fired, and rows that are there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import ConfigDict, Field

from hark.daemon.api.executions import workflow_id_of
from hark.daemon.api.models.backfill import BackfillAnswer, RowBackfillAnswer
from hark.daemon.api.paging import Moment, Query, recorded
from hark.daemon.api.table import Call, Table
from hark.daemon.engine.row_backfill import WantedRows
from hark.daemon.store.backfill import Wanted
from hark.workflows.documented import Documented
from hark.workflows.durations import Duration
from hark.workflows.errors import UnprocessableError

table = Table("workflows")

_LONGEST_SPREAD = timedelta(days=7)


class BackfillBody(Documented):
    """Which slots are to be made up for, and how."""

    model_config = ConfigDict(extra="forbid")

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
    since = recorded(body.since, "since")
    until = engine.now() if body.until is None else recorded(body.until, "until")
    wanted = Wanted(since, until, body.trigger, body.limit, body.spread, body.dry_run, body.unrecorded)
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


class RowBackfillBody(Documented):
    """Which rows that are there are to be run, and how."""

    model_config = ConfigDict(extra="forbid")

    trigger: str | None = None
    """Through this trigger; it need not be named when it is the only one."""
    name: str = Field(default="rows", min_length=1, max_length=60)
    """Name of the backfill: each row is run once under a name."""
    after: list[str] | None = Field(default=None, min_length=1, max_length=32)
    """Go on after this key, the `position` of an earlier answer; from the first row if absent."""
    limit: int = Field(default=1000, ge=1, le=10_000)
    """How many rows to look at, at the most; `more` in the answer tells whether to ask again."""
    rate: float | None = Field(default=None, ge=0.2, le=100_000)
    """Starts in a second, at the most."""
    where: str | None = Field(default=None, max_length=10_000)
    """Only rows for which this holds: CEL on `new`."""
    dry_run: bool = False
    """Only tell how many it would be."""


@table.add("POST /api/workflows/{workflow}/backfill/rows", scope="run", answer=RowBackfillAnswer, body=RowBackfillBody)
async def backfill_rows(call: Call[Query, RowBackfillBody]) -> dict[str, Any]:
    """Run a part of the rows that are in a trigger's table, each once, as if they were inserted now.

    Answers after ten seconds at the most; `position` and `more` tell where and whether to go on.
    """
    _, slug = await workflow_id_of(call, call.name("workflow"))
    ran = await call.services.engine.row_backfill.run(call.tenant_id, slug, WantedRows(**call.body.model_dump()))
    return {
        "trigger_id": ran.trigger_id,
        "table": ran.table,
        "estimate": ran.estimate,
        "scanned": ran.scanned,
        "done": ran.done,
        "already": ran.already,
        "left_out": ran.left_out,
        "unconcerned": ran.unconcerned,
        "refused": ran.refused,
        "pending": ran.pending,
        "position": ran.position,
        "more": ran.more,
        "dry_run": call.body.dry_run,
    }
