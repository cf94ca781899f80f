"""`/api/workflows`, `/api/apply`, `/api/validate`: definitions in, and what has become of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Literal

import orjson
from aiohttp import web
from pydantic import Field

from hark.daemon.api.executions import ExecutionsQuery, executions_page, workflow_id_of
from hark.daemon.api.models.answer import Deleted, Page
from hark.daemon.api.models.executions import ExecutionSummary
from hark.daemon.api.models.workflows import Applied, Validated, WorkflowDetail, WorkflowSummary, WorkflowVersion
from hark.daemon.api.paging import Limit, Query, Words, cursor_of, number_of, page
from hark.daemon.api.problems import problem_item
from hark.daemon.api.requests import ApplyBody, SourceFile, ValidateBody
from hark.daemon.api.services import AppliedPort
from hark.daemon.api.table import Call, NoBody, Table
from hark.daemon.store.listing import Row, WorkflowFilter
from hark.workflows.errors import ConflictError, DefinitionError, NotFoundError, UnprocessableError
from hark.workflows.loading import Loaded, load_all, load_files, load_value
from hark.workflows.reading import Format
from hark.workflows.writing import to_json, to_yaml

table = Table("workflows")

_YAML = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
_MEDIA = ("application/json", *_YAML)
_LAST_VERSION = 2**31 - 1


class WorkflowsQuery(Query):
    """Which workflows, in which order."""

    is_active: bool | None = None
    category: str | None = None
    tags: Words | None = None
    """All of these, written `a,b`."""
    status: Literal["draft", "active", "archived", "all"] | None = None
    """Archived ones are left out unless asked for."""
    search: str | None = None
    """Part of the name or slug."""
    limit: Limit = 100
    offset: int = Field(default=0, ge=0, le=1_000_000)
    cursor: str | None = None
    order_by: Literal["created_at", "updated_at", "name", "slug"] = "created_at"
    order_direction: Literal["asc", "desc"] = "desc"


class WorkflowQuery(Query):
    """Which version, and how it is written."""

    version: int | None = Field(default=None, ge=1, le=_LAST_VERSION)
    format: Literal["yaml", "json"] | None = None
    """Answer with the definition alone, as a file to keep."""


class VersionsQuery(Query):
    """Which versions."""

    limit: Limit = 50
    cursor: str | None = None


class DeleteQuery(Query):
    """How far deletion goes."""

    archive: bool = False
    """Only take it out of service, and keep its history."""
    force: bool = False
    """Cancel the executions that are open; without it they forbid the deletion."""


@table.add("GET /api/workflows", scope="read", answer=Page[WorkflowSummary], query=WorkflowsQuery)
async def list_workflows(call: Call[WorkflowsQuery, NoBody]) -> dict[str, Any]:
    """List workflows."""
    query = call.query
    offset = query.offset if query.cursor is None else number_of(query.cursor)
    wanted = WorkflowFilter(
        query.is_active, query.category, query.tags, query.status, query.search, query.order_by,
        query.order_direction == "desc", query.limit + 1, offset,
    )  # fmt: skip
    rows = await call.services.listing.list_workflows(call.tenant_id, wanted)
    more = len(rows) > query.limit
    return {"items": rows[: query.limit], "next_cursor": cursor_of(offset + query.limit) if more else None}


@table.add("POST /api/workflows", scope="write", answer=WorkflowDetail, status=201, media=_MEDIA)
async def create_workflow(call: Call[Query, NoBody]) -> Row:
    """Create a workflow of a definition in JSON or YAML."""
    loaded = await asyncio.to_thread(_definition, call)
    slug = loaded.workflow.id
    if await call.services.listing.get_workflow_id(call.tenant_id, slug) is not None:
        raise ConflictError(f"there is a workflow {slug!r} already; PUT /api/workflows/{slug} replaces it")
    await _publish(call, [loaded])
    return await _row(call, slug)


@table.add("GET /api/workflows/{workflow}", scope="read", answer=WorkflowDetail, query=WorkflowQuery)
async def get_workflow(call: Call[WorkflowQuery, NoBody]) -> Row | web.Response:
    """Return one workflow with its definition, or the definition alone as YAML or JSON."""
    query = call.query
    row = await _row(call, call.name("workflow"), query.version)
    if query.format is None:
        return row
    if row["definition"] is None:
        raise NotFoundError(f"workflow {row['slug']!r} has no version {query.version or ''}".rstrip())
    workflow = load_value(orjson.loads(orjson.dumps(row["definition"])), call.services.catalogue).workflow
    if query.format == "yaml":
        return web.Response(text=to_yaml(workflow), content_type="application/yaml")
    return web.Response(text=to_json(workflow), content_type="application/json")


@table.add("PUT /api/workflows/{workflow}", scope="write", answer=WorkflowDetail, media=_MEDIA)
async def replace_workflow(call: Call[Query, NoBody]) -> Row:
    """Give a workflow a new definition, which is published; a workflow that is not there is created."""
    name = call.name("workflow")
    known = await call.services.listing.get_workflow_id(call.tenant_id, name)
    slug = name if known is None else known[1]
    loaded = await asyncio.to_thread(_definition, call)
    if loaded.workflow.id != slug:
        problem = loaded.problem(("id",), f"the definition's id is {loaded.workflow.id!r}, not {slug!r}")
        raise DefinitionError([problem])
    await _publish(call, [loaded])
    return await _row(call, slug)


@table.add("DELETE /api/workflows/{workflow}", scope="write", answer=Deleted, query=DeleteQuery)
async def delete_workflow(call: Call[DeleteQuery, NoBody]) -> dict[str, Any]:
    """Delete a workflow with its history, unless executions are open; or archive it."""
    slug = await _slug(call)
    publisher = call.services.publisher
    if call.query.archive:
        await publisher.archive(call.tenant_id, slug)
    else:
        await publisher.delete(call.tenant_id, slug, force=call.query.force)
    return {"success": True}


@table.add("POST /api/workflows/{workflow}/pause", scope="write", answer=WorkflowDetail)
async def pause_workflow(call: Call[Query, NoBody]) -> Row:
    """Switch a workflow's triggers off."""
    slug = await _slug(call)
    await call.services.publisher.pause(call.tenant_id, slug)
    return await _row(call, slug)


@table.add("POST /api/workflows/{workflow}/resume", scope="write", answer=WorkflowDetail)
async def resume_workflow(call: Call[Query, NoBody]) -> Row:
    """Switch a workflow's triggers on again."""
    slug = await _slug(call)
    await call.services.publisher.resume(call.tenant_id, slug)
    return await _row(call, slug)


@table.add("POST /api/workflows/{workflow}/publish", scope="write", answer=WorkflowDetail, query=WorkflowQuery)
async def publish_workflow(call: Call[WorkflowQuery, NoBody]) -> Row:
    """Publish a version again, the latest one unless another is named; an archived workflow comes back to life."""
    row = await _row(call, call.name("workflow"), call.query.version)
    version = call.query.version or row["latest_version"]
    if row["version"] != version:
        row = await _row(call, row["slug"], version)
    if row["definition"] is None:
        raise NotFoundError(f"workflow {row['slug']!r} has no version {version}")
    loaded = load_value(orjson.loads(orjson.dumps(row["definition"])), call.services.catalogue)
    await _publish(call, [loaded])
    return await _row(call, row["slug"])


@table.add("GET /api/workflows/{workflow}/versions", scope="read", answer=Page[WorkflowVersion], query=VersionsQuery)
async def list_versions(call: Call[VersionsQuery, NoBody]) -> dict[str, Any]:
    """List a workflow's versions, newest first."""
    workflow_id, _ = await workflow_id_of(call, call.name("workflow"))
    query = call.query
    before = _LAST_VERSION if query.cursor is None else number_of(query.cursor)
    rows = await call.services.listing.list_versions(call.tenant_id, workflow_id, before, query.limit + 1)
    return page(rows, query.limit, key="version")


@table.add(
    "GET /api/workflows/{workflow}/executions", scope="read", answer=Page[ExecutionSummary], query=ExecutionsQuery
)
async def list_executions_of_workflow(call: Call[ExecutionsQuery, NoBody]) -> dict[str, Any]:
    """List a workflow's executions, newest first."""
    workflow_id, _ = await workflow_id_of(call, call.name("workflow"))
    return await executions_page(call, call.query, workflow_id)


@table.add("POST /api/apply", scope="write", answer=Applied, body=ApplyBody, large=True)
async def apply_definitions(call: Call[Query, ApplyBody]) -> dict[str, Any]:
    """Apply definitions from several files: all of them, or none."""
    body = call.body
    loaded = await asyncio.to_thread(load_sources, call, body.files)
    if body.prune and not loaded:
        raise UnprocessableError("prune: with no definitions at all, every workflow would be archived")
    applied = await call.services.publisher.apply(
        call.tenant_id, loaded, dry_run=body.dry_run, prune=body.prune, created_by=None
    )
    warnings = [problem_item(problem) for one in applied for problem in one.warnings]
    return {"items": _applied(applied, loaded), "warnings": warnings, "dry_run": body.dry_run}


@table.add("POST /api/validate", scope="read", answer=Validated, body=ValidateBody, large=True)
async def validate_definitions(call: Call[Query, ValidateBody]) -> dict[str, Any]:
    """Check definitions as applying them would, the database's side included."""
    try:
        loaded = await asyncio.to_thread(load_sources, call, call.body.files)
        applied = await call.services.publisher.apply(call.tenant_id, loaded, dry_run=True)
    except DefinitionError as error:
        return {"valid": False, "items": [], "problems": [problem_item(problem) for problem in error.problems]}
    problems = [problem_item(problem) for one in applied for problem in one.warnings]
    return {"valid": True, "items": _applied(applied, loaded), "problems": problems}


async def _publish(call: Call[Any, Any], loaded: Sequence[Loaded]) -> None:
    await call.services.publisher.apply(call.tenant_id, loaded)


def _applied(applied: Sequence[AppliedPort], loaded: Sequence[Loaded]) -> list[Row]:
    files = {one.workflow.id: one.document.file for one in loaded}
    return [
        {
            "workflow": one.slug, "id": one.workflow_id, "outcome": one.outcome, "version": one.version,
            "status": one.status, "file": files.get(one.slug, ""),
        }
        for one in applied
    ]  # fmt: skip


def load_sources(call: Call[Any, Any], files: Sequence[SourceFile]) -> list[Loaded]:
    """Read and check all files. Raises DefinitionError with the problems of all of them."""
    return load_files(((file.name, file.content) for file in files), call.services.catalogue)


def _definition(call: Call[Any, Any]) -> Loaded:
    """Read the one definition of a request's body, YAML or JSON by its content type, else by its looks."""
    kind = call.request.content_type
    form: Format | None = "yaml" if kind in _YAML else "json" if kind == "application/json" else None
    found = load_all(call.raw, call.services.catalogue, format=form)
    if len(found) != 1:
        raise UnprocessableError(f"the body holds {len(found)} definitions; POST /api/apply takes several")
    return found[0]


async def _slug(call: Call[Any, Any]) -> str:
    return (await workflow_id_of(call, call.name("workflow")))[1]


async def _row(call: Call[Any, Any], name: str, version: int | None = None) -> Row:
    row = await call.services.listing.get_workflow(call.tenant_id, name, version)
    if row is None:
        raise NotFoundError(f"there is no workflow {name!r}")
    if version is not None and row["version"] is None:
        raise NotFoundError(f"workflow {name!r} has no version {version}")
    return row
