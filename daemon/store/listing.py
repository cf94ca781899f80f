"""Reading for people: pages of workflows, executions, events and logs, as rows that are ready to be encoded as JSON.

jsonb comes through as it is (`orjson.Fragment`), never parsed and written again. History is paged by id, newest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import orjson

from hark.daemon.store.database import Database
from hark.workflows.ids import EventId, ExecutionId, TenantId, WorkflowId, same_millisecond

Row = dict[str, Any]

FIRST_ID = UUID(int=0)
LAST_ID = UUID(int=(1 << 128) - 1)
MOST_STEPS = 5000
"""So many steps or timeline entries of one execution are shown; the rest is told by `truncated`."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of history: `before > id >= since`, and how many rows of it at most."""

    before: UUID = LAST_ID
    since: UUID = FIRST_ID
    limit: int = 50


@dataclass(frozen=True, slots=True)
class WorkflowFilter:
    """Which workflows, in which order; None stands for whatever."""

    is_active: bool | None = None
    category: str | None = None
    tags: Sequence[str] | None = None
    status: str | None = None
    search: str | None = None
    order_by: str = "created_at"
    downward: bool = True
    limit: int = 50
    offset: int = 0


@dataclass(frozen=True, slots=True)
class LiveLogs:
    """Which log lines a live tail looks for: all since one id, and those of some executions since another."""

    since: UUID
    watched: Sequence[UUID]
    watched_since: UUID
    workflow_id: WorkflowId | None = None
    execution_id: ExecutionId | None = None
    levels: Sequence[str] | None = None


def rows_of(records: Iterable[asyncpg.Record], *json_columns: str) -> list[Row]:
    """Turn records into rows, with the text of jsonb columns left as it is."""
    return [row_of(record, *json_columns) for record in records]


def row_of(record: asyncpg.Record, *json_columns: str) -> Row:
    """Turn a record into a row; `subject_kind` and `subject_id` become one `subject`."""
    row = dict(record)
    for column in json_columns:
        if row[column] is not None:
            row[column] = orjson.Fragment(row[column])
    if "subject_kind" in row:
        kind, subject = row.pop("subject_kind"), row.pop("subject_id")
        row["subject"] = None if kind is None else {"kind": kind, "id": subject}
    return row


class Listing:
    """The statements behind the lists and pages of API and command line."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # ---- workflows

    async def list_workflows(self, tenant_id: TenantId, wanted: WorkflowFilter) -> list[Row]:
        """Return a page of workflows with their triggers and latest execution."""
        found = await self._database.fetch(
            "list_workflows", tenant_id, wanted.is_active, wanted.category, wanted.tags, wanted.status, wanted.search,
            wanted.order_by, wanted.downward, wanted.limit, wanted.offset,
        )  # fmt: skip
        return rows_of(found, "triggers", "last_execution")

    async def get_workflow(self, tenant_id: TenantId, name: str, version: int | None = None) -> Row | None:
        """Return one workflow, by id or slug, with a version's definition."""
        found = await self._database.fetchrow("get_workflow", tenant_id, *_id_or_slug(name), version)
        return None if found is None else row_of(found, "definition", "triggers")

    async def get_workflow_id(self, tenant_id: TenantId, name: str) -> tuple[WorkflowId, str] | None:
        """Return id and slug of the workflow with this id or slug."""
        found = await self._database.fetchrow("get_workflow_id", tenant_id, *_id_or_slug(name))
        return None if found is None else (WorkflowId(found["id"]), found["slug"])

    async def list_versions(self, tenant_id: TenantId, workflow_id: WorkflowId, before: int, limit: int) -> list[Row]:
        """Return a workflow's versions below `before`, newest first."""
        return rows_of(await self._database.fetch("list_versions", tenant_id, workflow_id, before, limit))

    async def list_triggers(self, tenant_id: TenantId, kind: str | None = None) -> list[Row]:
        """Return the triggers of active workflows, also of paused ones; `config` is parsed."""
        found = await self._database.fetch("list_triggers", tenant_id, kind)
        return [{**record, "config": orjson.loads(record["config"])} for record in found]

    # ---- executions

    async def list_executions(
        self,
        tenant_id: TenantId,
        span: Span,
        *,
        workflow_id: WorkflowId | None = None,
        statuses: Sequence[str] | None = None,
        parts: bool = False,
    ) -> list[Row]:
        """Return a page of executions, newest first; the parts of distributed steps only if asked for."""
        common = (tenant_id, span.before, span.since, statuses, span.limit)
        if statuses and "completed" not in statuses:
            found = await self._database.fetch("list_execution_ids_by_status", *common, workflow_id, parts)
        elif workflow_id is not None:
            found = await self._database.fetch("list_execution_ids_of_workflow", *common, workflow_id, parts)
        else:
            found = await self._database.fetch("list_execution_ids", *common, parts)
        return await self.get_executions(tenant_id, [record["id"] for record in found])

    async def list_executions_of_event(self, tenant_id: TenantId, event_id: EventId) -> list[Row]:
        """Return what an event started, retries among them."""
        found = await self._database.fetch(
            "list_execution_ids_of_event", tenant_id, event_id, *same_millisecond(event_id)
        )
        return await self.get_executions(tenant_id, [record["id"] for record in found])

    async def get_executions(self, tenant_id: TenantId, ids: Sequence[UUID]) -> list[Row]:
        """Return what lists show of these executions, newest first."""
        return rows_of(await self._database.fetch("list_executions", tenant_id, ids)) if ids else []

    async def get_execution(self, tenant_id: TenantId, execution_id: ExecutionId) -> Row | None:
        """Return one execution with its inputs, output and error, and its version's `definition`, parsed."""
        summary = await self.get_executions(tenant_id, [execution_id])
        found = await self._database.fetchrow("get_execution", tenant_id, execution_id)
        if not summary or found is None:
            return None
        row = {**summary[0], **row_of(found, "inputs", "variables", "output", "error", "metadata")}
        return {**row, "definition": orjson.loads(found["definition"] or "{}")}

    async def get_hold(self, tenant_id: TenantId, execution_id: ExecutionId) -> Row | None:
        """Return which limit holds a pending execution back; None when none does."""
        found = await self._database.fetchrow("get_hold", tenant_id, execution_id)
        return None if found is None else row_of(found)

    async def list_steps(self, tenant_id: TenantId, execution_id: ExecutionId) -> list[Row]:
        """Return the recorded steps of an execution, in order."""
        found = await self._database.fetch("list_steps", tenant_id, execution_id, MOST_STEPS)
        return rows_of(found, "input", "output", "error")

    async def list_timeline(self, tenant_id: TenantId, execution_id: ExecutionId) -> list[Row]:
        """Return what happened in an execution, in order."""
        return rows_of(await self._database.fetch("list_timeline", tenant_id, execution_id, MOST_STEPS), "detail")

    # ---- logs

    async def list_logs(
        self,
        tenant_id: TenantId,
        span: Span,
        *,
        levels: Sequence[str] | None = None,
        workflow_id: WorkflowId | None = None,
    ) -> list[Row]:
        """Return a page of log lines of all executions, newest first."""
        found = await self._database.fetch(
            "list_logs", tenant_id, span.since, span.before, levels, workflow_id, span.limit
        )
        return rows_of(found, "data")

    async def list_logs_of_execution(
        self, tenant_id: TenantId, execution_id: ExecutionId, span: Span, *, levels: Sequence[str] | None = None
    ) -> list[Row]:
        """Return a page of one execution's log lines, newest first."""
        found = await self._database.fetch(
            "list_logs_of_execution", tenant_id, execution_id, span.since, span.before, levels, span.limit
        )
        return rows_of(found, "data")

    # ---- what happens now

    async def list_live_executions(
        self,
        tenant_id: TenantId,
        since: UUID,
        watched: Sequence[UUID],
        workflow_id: WorkflowId | None,
        execution_id: ExecutionId | None,
    ) -> dict[UUID, str]:
        """Return the status of what is new since an id, of what runs or waits, and of what was watched so far."""
        found = await self._database.fetch("list_live_executions", tenant_id, since, watched, workflow_id, execution_id)
        return {record["id"]: record["status"] for record in found}

    async def list_live_logs(self, tenant_id: TenantId, wanted: LiveLogs) -> list[Row]:
        """Return log lines, oldest first; some may have been returned before."""
        found = await self._database.fetch(
            "list_live_logs", tenant_id, wanted.since, wanted.watched, wanted.workflow_id, wanted.execution_id,
            wanted.levels, wanted.watched_since,
        )  # fmt: skip
        return rows_of(found, "data")

    # ---- events

    async def list_events(
        self,
        tenant_id: TenantId,
        span: Span,
        *,
        type: str | None = None,
        kind: str | None = None,
        route: str | None = None,
        matched: bool | None = None,
    ) -> list[Row]:
        """Return a page of events without their data, newest first."""
        common = (tenant_id, span.before, span.since, type, kind, matched, span.limit)
        if route is not None:
            return rows_of(await self._database.fetch("list_events_of_route", *common, route))
        return rows_of(await self._database.fetch("list_events", *common))

    async def get_event(self, tenant_id: TenantId, event_id: EventId) -> Row | None:
        """Return one event with its data."""
        found = await self._database.fetchrow("get_event", tenant_id, event_id)
        return None if found is None else row_of(found, "data")

    async def list_decisions(self, tenant_id: TenantId, event_id: EventId) -> list[Row]:
        """Return why workflows that an event was offered to did not start."""
        return rows_of(await self._database.fetch("list_decisions", tenant_id, event_id))

    async def list_repeats(self, tenant_id: TenantId, execution: Mapping[str, Any]) -> list[UUID]:
        """Return the executions that retried or replayed one, given as its row."""
        event_id = EventId(execution["event_id"])
        rows = await self._database.fetch(
            "list_repeats", tenant_id, execution["workflow_id"], event_id, *same_millisecond(event_id), execution["id"]
        )
        return [row["id"] for row in rows]

    # ---- the whole

    async def list_instances(self) -> list[Row]:
        """Return the daemon processes on this database."""
        return rows_of(await self._database.fetch("list_instances"))

    async def list_watches(self, schema: str | None = None, name: str | None = None) -> list[Row]:
        """Return the tables whose changes are captured, or one of them, with the state of their triggers."""
        return rows_of(await self._database.fetch("list_watches", schema, name))

    async def list_tenants(self) -> dict[str, TenantId]:
        """Return all tenants by slug."""
        return {row["slug"]: TenantId(row["id"]) for row in await self._database.fetch("list_tenants")}

    async def get_stats(self, tenant_id: TenantId) -> Row:
        """Return how much there is; totals of history are estimates."""
        found = await self._database.fetch("get_stats", tenant_id)
        return row_of(found[0], "open_executions", "estimated_rows")


def capture_fault(watch: Mapping[str, Any]) -> str | None:
    """Say why not all changes of a watched table are captured, from a row of `list_watches`; None if they are."""
    if not watch["found"]:
        return "the table is gone"
    if watch["problem"]:
        return str(watch["problem"])
    missing = sorted(set(watch["wanted"]) - set(watch["captured"]))
    if not missing:
        return None
    if set(missing) <= set(watch["disabled"]):
        return f"its capture trigger for {', '.join(missing)} is disabled"
    return f"its capture trigger for {', '.join(missing)} is gone"


def _id_or_slug(name: str) -> tuple[UUID | None, str]:
    """Read what may be an id or a slug; a slug may look like an id, and wins."""
    try:
        return UUID(name), name
    except ValueError:
        return None, name
