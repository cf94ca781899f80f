"""`/api/executions`: looking at runs, cancelling and repeating them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args
from uuid import UUID

from hark.daemon.api.models.answer import Page
from hark.daemon.api.models.executions import (
    ExecutionDetail,
    ExecutionStatusChange,
    ExecutionSummary,
    LogLevel,
    LogLine,
    RetriedExecution,
    StepExecution,
    TimelineEntry,
)
from hark.daemon.api.paging import HistoryQuery, Query, Words, page
from hark.daemon.api.requests import CancelBody, ReplayBody, RetryBody, revealed
from hark.daemon.api.table import Call, NoBody, Table
from hark.daemon.store.context import ContextStore
from hark.daemon.store.listing import MOST_STEPS, Row, Span
from hark.workflows.errors import NotFoundError, UnprocessableError
from hark.workflows.ids import ExecutionId, WorkflowId
from hark.workflows.shape import blocks
from hark.workflows.states import ENDED_EXECUTION, ENDED_STEP, ExecutionStatus
from hark.workflows.steps import verb_of

table = Table("executions")

_LEVELS: tuple[LogLevel, ...] = ("debug", "info", "warning", "error", "critical")
_MOST_LOGS = 1000
_LOOPS = ("for_each", "while")


class ExecutionsQuery(HistoryQuery):
    """Which executions."""

    workflow: str | None = None
    """Slug or id."""
    status: Words | None = None
    """One or several, written `failed,timeout`."""
    parts: bool = False
    """Show the parts of distributed steps too."""


class LogsQuery(HistoryQuery):
    """Which log lines."""

    level: LogLevel | None = None
    """This one and what is graver."""
    workflow: str | None = None
    execution: str | None = None

    def levels(self) -> Sequence[str] | None:
        """Return the levels from the wanted one on; None for all."""
        return levels_from(self.level)


def levels_from(level: LogLevel | None) -> Sequence[str] | None:
    """Return a level and the graver ones; None when all are meant."""
    return None if level in (None, "debug") else _LEVELS[_LEVELS.index(level) :]


async def workflow_id_of(call: Call[Any, Any], name: str) -> tuple[WorkflowId, str]:
    """Return id and slug of a workflow. Raises NotFoundError."""
    found = await call.services.listing.get_workflow_id(call.tenant_id, name)
    if found is None:
        raise NotFoundError(f"there is no workflow {name!r}")
    return found


@table.add("GET /api/executions", scope="read", answer=Page[ExecutionSummary], query=ExecutionsQuery)
async def list_executions(call: Call[ExecutionsQuery, NoBody]) -> dict[str, Any]:
    """List executions, newest first."""
    workflow = None if call.query.workflow is None else (await workflow_id_of(call, call.query.workflow))[0]
    return await executions_page(call, call.query, workflow)


async def executions_page(
    call: Call[Any, Any], query: ExecutionsQuery, workflow_id: WorkflowId | None
) -> dict[str, Any]:
    """Return a page of executions. Raises UnprocessableError for an unknown status."""
    rows = await call.services.listing.list_executions(
        call.tenant_id, query.span(), workflow_id=workflow_id, statuses=_statuses(query.status), parts=query.parts
    )
    return page(rows, query.limit)


def _statuses(wanted: Sequence[str] | None) -> list[str] | None:
    known = get_args(ExecutionStatus)
    # The store asks for each status on its own: one named twice would bring its rows twice.
    statuses = list(dict.fromkeys(status.lower() for status in wanted or ()))
    for status in statuses:
        if status not in known:
            raise UnprocessableError(f"status: {status!r} is none; one of: {', '.join(known)}")
    return statuses or None


@table.add("GET /api/executions/{execution}", scope="read", answer=ExecutionDetail)
async def get_execution(call: Call[Query, NoBody]) -> Row:
    """Return one execution with steps, timeline, logs and context."""
    execution_id = id_of(call)
    listing = call.services.listing
    row = await _row(call, execution_id)
    definition = row.pop("definition")
    steps = await listing.list_steps(call.tenant_id, execution_id)
    logs = await listing.list_logs_of_execution(call.tenant_id, execution_id, Span(limit=_MOST_LOGS))
    timeline = await listing.list_timeline(call.tenant_id, execution_id)
    context = await ContextStore(call.services.database).all(call.tenant_id, execution_id)
    truncated = len(steps) >= MOST_STEPS or len(timeline) >= MOST_STEPS or len(logs) >= _MOST_LOGS
    if row["status"] not in ENDED_EXECUTION:
        steps += not_reached(definition, steps)
    containers = containers_in(definition.get("steps") or [])
    steps = [{**step, "container": container_of(step["path"], containers)} for step in steps]
    # Artifacts come with the actions that make them.
    return {
        **row, "steps": steps, "timeline": timeline, "logs": logs[::-1], "artifacts": [], "truncated": truncated,
        "context": {entry["key"]: entry["value"] for entry in context},
        "held_back": await listing.get_hold(call.tenant_id, execution_id) if row["status"] == "pending" else None,
        "repeated_by": await listing.list_repeats(call.tenant_id, row),
    }  # fmt: skip


def containers_in(steps: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return for the id of each step inside of another one the id of that one."""
    found: dict[str, str] = {}
    for step in steps:
        for _, block in blocks(step):
            found.update({inner["id"]: step["id"] for inner in block})
            found.update(containers_in(block))
    return found


def container_of(path: str, containers: Mapping[str, str]) -> str | None:
    """Return the path of the step around one: `each` for `each[3].pick`, `each[3].pick` for `each[3].mail` in it.

    Turns themselves, and those that are folded away, `each[0-99]`, stand under their loop.
    """
    if path.endswith("]"):
        return path.rpartition("[")[0]
    iteration, dot, step = path.rpartition(".")
    container = containers.get(step)
    loop = iteration.rpartition("[")[0]
    if not dot or container is None:
        return loop or container
    return loop if container == loop.rpartition(".")[2] else f"{iteration}.{container}"


def not_reached(definition: Mapping[str, Any], recorded: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return the steps that are still to come, as pending ones.

    Steps inside of a container that has ended will not come any more; those inside of a loop are known only by
    iteration, and are left out.
    """
    known = {step["path"]: step["status"] for step in recorded}
    coming = [*_coming(definition.get("steps") or [], known)]
    return [
        {
            "path": step["id"], "seq": None, "verb": verb_of(step) or "", "action_type": step.get("action"),
            "status": "pending", "attempt": 0, "input": None, "output": None, "error": None, "due_at": None,
            "started_at": None, "completed_at": None, "duration_ms": None,
        }
        for step in coming
    ]  # fmt: skip


def _coming(steps: Sequence[Mapping[str, Any]], known: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    for step in steps:
        status = known.get(step["id"])
        if status is None:
            yield step
        if status in ENDED_STEP or any(verb in step for verb in _LOOPS):
            continue
        for path, block in blocks(step):
            if path not in (("on_error",), ("catch",)):
                yield from _coming(block, known)


@table.add("GET /api/executions/{execution}/steps", scope="read", answer=Page[StepExecution])
async def list_steps(call: Call[Query, NoBody]) -> dict[str, Any]:
    """List the steps that an execution has reached."""
    row = await _row(call, id_of(call))
    containers = containers_in(row["definition"].get("steps") or [])
    steps = await call.services.listing.list_steps(call.tenant_id, id_of(call))
    items = [{**step, "container": container_of(step["path"], containers)} for step in steps]
    return {"items": items, "next_cursor": None}


@table.add("GET /api/executions/{execution}/timeline", scope="read", answer=Page[TimelineEntry])
async def list_timeline(call: Call[Query, NoBody]) -> dict[str, Any]:
    """List what happened in an execution."""
    await _row(call, id_of(call))
    return {"items": await call.services.listing.list_timeline(call.tenant_id, id_of(call)), "next_cursor": None}


@table.add("GET /api/executions/{execution}/logs", scope="read", answer=Page[LogLine], query=LogsQuery)
async def list_logs_of_execution(call: Call[LogsQuery, NoBody]) -> dict[str, Any]:
    """List the log lines of an execution, newest first."""
    await _row(call, id_of(call))
    rows = await call.services.listing.list_logs_of_execution(
        call.tenant_id, id_of(call), call.query.span(), levels=call.query.levels()
    )
    return page(rows, call.query.limit)


@table.add("GET /api/logs", scope="read", answer=Page[LogLine], query=LogsQuery)
async def list_logs(call: Call[LogsQuery, NoBody]) -> dict[str, Any]:
    """List the log lines of all executions, newest first."""
    query, listing = call.query, call.services.listing
    span, levels = query.span(), query.levels()
    if query.execution is not None:
        execution_id = execution_id_of(query.execution)
        return page(
            await listing.list_logs_of_execution(call.tenant_id, execution_id, span, levels=levels), query.limit
        )
    workflow = None if query.workflow is None else (await workflow_id_of(call, query.workflow))[0]
    return page(await listing.list_logs(call.tenant_id, span, levels=levels, workflow_id=workflow), query.limit)


@table.add("POST /api/executions/{execution}/cancel", scope="run", answer=ExecutionStatusChange, body=CancelBody)
async def cancel_execution(call: Call[Query, CancelBody]) -> dict[str, Any]:
    """Cancel an execution."""
    execution_id = id_of(call)
    reason = call.body.reason or "cancelled by request"
    status = await call.services.engine.cancel(call.tenant_id, execution_id, reason=reason)
    return {"execution_id": execution_id, "status": status}


@table.add("POST /api/executions/{execution}/retry", scope="run", answer=RetriedExecution, body=RetryBody, status=202)
async def retry_execution(call: Call[Query, RetryBody]) -> dict[str, Any]:
    """Run an ended execution again, from the step that failed or from the start."""
    execution_id = id_of(call)
    secrets = revealed(call.body.secrets)
    new = await call.services.engine.retry(
        call.tenant_id, execution_id, from_start=call.body.from_start, secrets=secrets
    )
    return {"execution_id": new, "origin_id": execution_id}


@table.add("POST /api/executions/{execution}/replay", scope="run", answer=RetriedExecution, body=ReplayBody, status=202)
async def replay_execution(call: Call[Query, ReplayBody]) -> dict[str, Any]:
    """Run an ended execution again from any step, with the same or another version or input."""
    execution_id, body = id_of(call), call.body
    new = await call.services.engine.replay(
        call.tenant_id, execution_id, from_step=body.from_step, version=body.version, inputs=body.input,
        secrets=revealed(body.secrets),
    )  # fmt: skip
    return {"execution_id": new, "origin_id": execution_id}


def execution_id_of(text: str) -> ExecutionId:
    """Read an execution's id. Raises UnprocessableError."""
    try:
        return ExecutionId(UUID(text))
    except ValueError:
        raise UnprocessableError(f"execution: {text!r} is no id of an execution: it is a UUID") from None


def id_of(call: Call[Any, Any]) -> ExecutionId:
    """Return the execution that the path names. Raises NotFoundError."""
    return ExecutionId(call.id("execution", "execution"))


async def require_execution(call: Call[Any, Any]) -> None:
    """Raise NotFoundError unless there is the execution that the path names."""
    await _row(call, id_of(call))


async def _row(call: Call[Any, Any], execution_id: ExecutionId) -> Row:
    row = await call.services.listing.get_execution(call.tenant_id, execution_id)
    if row is None:
        raise NotFoundError(f"there is no execution {execution_id}")
    return row
