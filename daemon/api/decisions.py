"""Why and why not: what became of an event with the workflows, and of the last events with one workflow."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from hark.daemon.api.models import EventDecisions, WorkflowDecisions
from hark.daemon.api.paging import HistoryQuery, Limit, Query, cursor_of
from hark.daemon.api.table import Call, NoBody, Table
from hark.workflows.errors import NotFoundError
from hark.workflows.ids import EventId

table = Table("decisions")


class DecisionsQuery(Query):
    """Of which workflow, and how many."""

    workflow: str | None = None
    """Only what became of it with this workflow, whatever it listens to."""
    limit: Limit = 100


class WorkflowDecisionsQuery(HistoryQuery):
    """Which events."""

    limit: int = Field(default=20, ge=1, le=200)


@table.add("GET /api/events/{event}/decisions", scope="read", answer=EventDecisions, query=DecisionsQuery)
async def list_decisions(call: Call[DecisionsQuery, NoBody]) -> dict[str, Any]:
    """Say which workflows an event was offered to, which it started, and what kept the others from it."""
    event_id = EventId(call.id("event", "event"))
    workflow = None
    if call.query.workflow is not None:
        workflow = await call.services.listing.get_workflow_id(call.tenant_id, call.query.workflow)
        if workflow is None:
            raise NotFoundError(f"there is no workflow {call.query.workflow!r}")
    why = call.services.engine.why
    return await why.of_event(call.tenant_id, event_id, limit=call.query.limit, workflow=workflow)


@table.add(
    "GET /api/workflows/{workflow}/decisions", scope="read", answer=WorkflowDecisions, query=WorkflowDecisionsQuery
)
async def list_decisions_of_workflow(call: Call[WorkflowDecisionsQuery, NoBody]) -> dict[str, Any]:
    """Say what became of the last events that a workflow listens to."""
    found = await call.services.listing.get_workflow_id(call.tenant_id, call.name("workflow"))
    if found is None:
        raise NotFoundError(f"there is no workflow {call.name('workflow')!r}")
    span = call.query.span()
    answer = await call.services.engine.why.of_workflow(
        call.tenant_id, *found, before=span.before, since=span.since, limit=call.query.limit
    )
    last = answer.pop("last")
    return {**answer, "next_cursor": None if last is None else cursor_of(last)}
