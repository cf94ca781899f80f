"""Why and why not: what became of an event with the workflows, and of the last events with one workflow."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import Field

from hark.daemon.api.definitions import load_sources
from hark.daemon.api.models.decisions import EventDecisions, WorkflowDecisions
from hark.daemon.api.models.rehearsals import DryRun
from hark.daemon.api.paging import HistoryQuery, Limit, Query, cursor_of, recorded
from hark.daemon.api.requests import DryRunBody
from hark.daemon.api.table import Call, NoBody, Table
from hark.daemon.engine.registry import Picture
from hark.daemon.engine.rehearsal import Bounds
from hark.workflows.errors import NotFoundError, UnprocessableError
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


@table.add("POST /api/dry-run", scope="write", answer=DryRun, body=DryRunBody, large=True)
async def try_workflows(call: Call[Query, DryRunBody]) -> dict[str, Any]:
    """Say what workflows, stored or not, would have started on stored events and on rows that are there."""
    body, now = call.body, call.services.engine.now()
    since = now - timedelta(days=7) if body.since is None else recorded(body.since, "since")
    until = now if body.until is None else recorded(body.until, "until")
    if since >= until:
        raise UnprocessableError("since: it must lie before `until`, which without a time is now")
    bounds = Bounds(since, until, body.limit, body.most_events, body.most_rows)
    pictures = await (_of_files(call) if body.files else _of_stored(call))
    rehearsal = call.services.engine.rehearsal
    return {"items": [await rehearsal.run(picture, bounds, rows=body.most_rows > 0) for picture in pictures]}


async def _of_files(call: Call[Query, DryRunBody]) -> list[Picture]:
    if call.body.workflow is not None or call.body.version is not None:
        raise UnprocessableError("files: give either definitions, or a `workflow` that is stored, with a `version`")
    loaded = await asyncio.to_thread(load_sources, call, call.body.files)
    pictures = []
    for one in loaded:
        found = await call.services.listing.get_workflow_id(call.tenant_id, one.workflow.id)
        workflow_id = None if found is None else found[0]
        engine = call.services.engine
        pictures.append(engine.rehearsal.of_definition(call.tenant_id, one.workflow, workflow_id, engine.now()))
    return pictures


async def _of_stored(call: Call[Query, DryRunBody]) -> list[Picture]:
    name = call.body.workflow
    if name is None:
        raise UnprocessableError("workflow: name a workflow that is stored, or give definitions in `files`")
    row = await call.services.listing.get_workflow(call.tenant_id, name, call.body.version)
    if row is None:
        raise NotFoundError(f"there is no workflow {name!r}")
    engine = call.services.engine
    picture = None
    if row["version"] is not None:
        picture = await engine.rehearsal.of_version(
            call.tenant_id, row["id"], row["slug"], row["version"], engine.now()
        )
    if picture is None:
        raise NotFoundError(f"workflow {row['slug']!r} has no version {call.body.version or ''}".rstrip())
    return [picture]
