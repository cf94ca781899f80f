"""`/api/executions/{id}/context`: what an execution remembers, also changed from outside while it runs."""

from __future__ import annotations

from typing import Any

import orjson

from hark.daemon.api.executions import id_of, require_execution
from hark.daemon.api.models.answer import Deleted, Page
from hark.daemon.api.models.executions import ContextEntry
from hark.daemon.api.paging import Query
from hark.daemon.api.requests import ContextValue
from hark.daemon.api.table import Call, NoBody, Table
from hark.daemon.store.context import ContextStore
from hark.workflows.errors import UnprocessableError

table = Table("executions")

MOST_BYTES = 256 * 1024
"""Of one value: as much as a `remember` step may write."""


@table.add("GET /api/executions/{execution}/context", scope="read", answer=Page[ContextEntry])
async def list_context(call: Call[Query, NoBody]) -> dict[str, Any]:
    """List what an execution remembers, and who wrote it."""
    await require_execution(call)
    return {"items": await _store(call).all(call.tenant_id, id_of(call)), "next_cursor": None}


@table.add("GET /api/executions/{execution}/context/{key}", scope="read", answer=ContextEntry)
async def get_context(call: Call[Query, NoBody]) -> dict[str, Any]:
    """Return what an execution remembers under a key."""
    await require_execution(call)
    return await _store(call).get(call.tenant_id, id_of(call), call.name("key"))


@table.add("PUT /api/executions/{execution}/context/{key}", scope="run", answer=ContextEntry, body=ContextValue)
async def set_context(call: Call[Query, ContextValue]) -> dict[str, Any]:
    """Set a key of an execution that has not ended to any JSON value: the body as it is."""
    if not call.raw:
        raise UnprocessableError("body: it is empty; send the value as JSON")
    value = orjson.dumps(call.body.root).decode()
    if len(value) > MOST_BYTES:
        raise UnprocessableError(f"body: {len(value)} bytes are more than the {MOST_BYTES} that a context keeps")
    by = f"key:{call.caller.name}"
    return await _store(call).set(call.tenant_id, id_of(call), call.name("key"), value, by)


@table.add("DELETE /api/executions/{execution}/context/{key}", scope="run", answer=Deleted)
async def delete_context(call: Call[Query, NoBody]) -> dict[str, Any]:
    """Let an execution that has not ended forget a key."""
    await _store(call).delete(call.tenant_id, id_of(call), call.name("key"))
    return {"success": True}


def _store(call: Call[Any, Any]) -> ContextStore:
    return ContextStore(call.services.database)
