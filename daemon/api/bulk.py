"""`/api/executions/retry`, `/replay` and `/cancel`: the same thing with all executions that a filter fits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any, get_args

from pydantic import ConfigDict, Field

from hark.daemon.api.executions import workflow_id_of
from hark.daemon.api.models.bulk import BulkAnswer
from hark.daemon.api.paging import Limit, Moment, Query, ids_between
from hark.daemon.api.table import Call, Table
from hark.daemon.engine.repeats import Replay
from hark.daemon.store.bulk import Batch, Which
from hark.workflows.documented import Documented
from hark.workflows.durations import Duration
from hark.workflows.errors import UnprocessableError
from hark.workflows.states import ENDED_EXECUTION, ExecutionStatus

table = Table("executions")

_LONGEST_SPREAD = timedelta(days=1)
_RETRIED = ("failed", "cancelled", "timeout")
_OPEN = tuple(status for status in get_args(ExecutionStatus) if status not in ENDED_EXECUTION)


class BulkBody(Documented):
    """Which executions: those that fit all that is given, oldest first."""

    model_config = ConfigDict(extra="forbid")

    workflow: str | None = None
    """Slug or id."""
    status: list[ExecutionStatus] | None = Field(default=None, min_length=1)
    since: Moment | None = None
    """Whose event came from this time on: `2026-01-31T09:00:00Z`, or `1h` for an hour ago."""
    until: Moment | None = None
    """Whose event came before this time."""
    error_class: str | None = None
    limit: Limit = 100
    """How many at most; `more` in the answer tells whether to ask again."""
    dry_run: bool = False
    """Only tell which ones it would be."""

    def confined(self) -> bool:
        """Tell whether anything confines what is meant: nobody means all executions there are."""
        return not (self.workflow is None and self.since is None and self.error_class is None)


class BulkRetryBody(BulkBody):
    """Which executions to retry, and how."""

    from_start: bool = False
    """Run all steps again, also those that completed."""
    spread: Duration = timedelta(0)
    """Spread the starts evenly over this time."""


class BulkReplayBody(BulkBody):
    """Which executions to replay, and how."""

    from_step: str | None = Field(default=None, min_length=1, max_length=1000)
    version: int | None = Field(default=None, ge=1)
    spread: Duration = timedelta(0)
    """Spread the starts evenly over this time."""


class BulkCancelBody(BulkBody):
    """Which executions to cancel, and why."""

    reason: str = Field(default="", max_length=1000)


@table.add("POST /api/executions/retry", scope="run", answer=BulkAnswer, body=BulkRetryBody)
async def retry_executions(call: Call[Query, BulkRetryBody]) -> dict[str, Any]:
    """Retry many executions; those that something has repeated already are left out."""
    body = call.body
    which = await _which(call, body, ("failed",), ENDED_EXECUTION if body.from_start else _RETRIED)
    batch = await call.services.engine.bulk.retry(
        call.tenant_id, which, from_start=body.from_start, spread=_bounded(body.spread), dry_run=body.dry_run
    )
    return _answer(batch, body)


@table.add("POST /api/executions/replay", scope="run", answer=BulkAnswer, body=BulkReplayBody)
async def replay_executions(call: Call[Query, BulkReplayBody]) -> dict[str, Any]:
    """Replay many executions; those that something has repeated already are left out."""
    body = call.body
    if body.workflow is None and not (body.from_step is None and body.version is None):
        raise UnprocessableError("workflow: name it; steps and versions are those of one workflow")
    which = await _which(call, body, ("failed",), ENDED_EXECUTION)
    batch = await call.services.engine.bulk.replay(
        call.tenant_id, which, Replay(body.from_step, body.version), spread=_bounded(body.spread), dry_run=body.dry_run
    )
    return _answer(batch, body)


@table.add("POST /api/executions/cancel", scope="run", answer=BulkAnswer, body=BulkCancelBody)
async def cancel_executions(call: Call[Query, BulkCancelBody]) -> dict[str, Any]:
    """Cancel many executions."""
    which = await _which(call, call.body, _OPEN, _OPEN)
    batch = await call.services.engine.bulk.cancel(
        call.tenant_id, which, reason=call.body.reason or "cancelled by request", dry_run=call.body.dry_run
    )
    return _answer(batch, call.body)


async def _which(call: Call[Any, Any], body: BulkBody, default: Sequence[str], possible: Collection[str]) -> Which:
    """Read the filter. Raises UnprocessableError for one that confines nothing, or a status that cannot be meant."""
    if not body.confined():
        raise UnprocessableError("give at least one of workflow, since, error_class: all executions cannot be meant")
    for status in body.status or ():
        if status not in possible:
            raise UnprocessableError(
                f"status: {status} cannot be meant here; possible are {', '.join(sorted(possible))}"
            )
    workflow = None if body.workflow is None else (await workflow_id_of(call, body.workflow))[0]
    since, before = ids_between(body.since, body.until)
    return Which(workflow, tuple(body.status or default), since, before, body.error_class, body.limit)


def _bounded(spread: timedelta) -> timedelta:
    if spread > _LONGEST_SPREAD:
        raise UnprocessableError("spread: a day at the most")
    return spread


def _answer(batch: Batch, body: BulkBody) -> dict[str, Any]:
    refused = sum(one.refused is not None for one in batch.items)
    return {
        "matched": len(batch.items),
        "done": 0 if body.dry_run else len(batch.items) - refused,
        "refused": refused,
        "more": batch.more,
        "dry_run": body.dry_run,
        "items": batch.items,
    }
