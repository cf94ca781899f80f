"""`/api/archives`: the files with what was let go; reading executions back from them, and restoring."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
from aiohttp import web
from pydantic import ConfigDict

from hark.daemon.api.models.answer import Page
from hark.daemon.api.models.history import ArchivedExecution, ArchiveRow, Restored
from hark.daemon.api.paging import HistoryQuery, Query, page
from hark.daemon.api.table import Call, NoBody, Table
from hark.workflows.documented import Documented
from hark.workflows.durations import Duration
from hark.workflows.errors import UnprocessableError

table = Table("archives")

_LEAST = timedelta(hours=1)


class RestoreBody(Documented):
    """For how long."""

    model_config = ConfigDict(extra="forbid")

    keep: Duration = timedelta(days=30)
    """No policy lets them go before; afterwards they go, and are archived again."""


@table.add("GET /api/archives", scope="read", answer=Page[ArchiveRow], query=HistoryQuery)
async def list_archives(call: Call[HistoryQuery, NoBody]) -> dict[str, Any]:
    """List the files of the archive, the latest first."""
    rows = await call.services.engine.retention.archive.page(call.tenant_id, call.query.span())
    return page([dict(row) for row in rows], call.query.limit)


@table.add("GET /api/archives/{archive}/lines", scope="read", answer=bytes)
async def export_archive(call: Call[Query, NoBody]) -> web.StreamResponse:
    """Give a file of the archive as JSON Lines, an execution in each."""
    archive = call.services.engine.retention.archive
    lines = archive.lines(await archive.get(call.tenant_id, call.id("archive", "archive")))
    first = await anext(lines)  # what cannot be read is told as a problem, while that is possible
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(call.request)
    await response.write(first + b"\n")
    async for line in lines:
        await response.write(line + b"\n")
    await response.write_eof()
    return response


@table.add("GET /api/archives/executions/{execution}", scope="read", answer=ArchivedExecution)
async def get_archived_execution(call: Call[Query, NoBody]) -> dict[str, Any]:
    """Read an execution back from the archive, with everything that belonged to it."""
    archive = call.services.engine.retention.archive
    line = await archive.find(call.tenant_id, call.id("execution", "execution"))
    found: dict[str, Any] = orjson.loads(line)
    return found


@table.add("POST /api/archives/executions/{execution}/restore", scope="admin", answer=Restored, body=RestoreBody)
async def restore_execution(call: Call[Query, RestoreBody]) -> dict[str, Any]:
    """Put an execution back from the archive; what is there already stays as it is."""
    archive = call.services.engine.retention.archive
    return _told(await archive.restore_one(call.tenant_id, call.id("execution", "execution"), _kept(call.body)))


@table.add("POST /api/archives/{archive}/restore", scope="admin", answer=Restored, body=RestoreBody)
async def restore_archive(call: Call[Query, RestoreBody]) -> dict[str, Any]:
    """Put all executions of a file of the archive back."""
    archive = call.services.engine.retention.archive
    return _told(await archive.restore(call.tenant_id, call.id("archive", "archive"), _kept(call.body)))


def _kept(body: RestoreBody) -> timedelta:
    if body.keep < _LEAST:
        raise UnprocessableError("keep: an hour at least")
    return body.keep


def _told(outcomes: dict[str, int]) -> dict[str, int]:
    return {name: outcomes.get(name, 0) for name in ("restored", "there", "no_workflow")}
