"""`/api/live`: what happens now, as server-sent events. Asks the database every 300 ms while somebody listens."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

from aiohttp import web
from pydantic import Field

from hark.daemon.api.executions import execution_id_of, levels_from, workflow_id_of
from hark.daemon.api.models import LogLevel
from hark.daemon.api.paging import Query, Words
from hark.daemon.api.services import Services
from hark.daemon.api.table import Call, NoBody, Table, encode
from hark.daemon.store.listing import LiveLogs, Row
from hark.workflows.errors import UnavailableError, UnprocessableError
from hark.workflows.ids import ExecutionId, TenantId, WorkflowId, floor_of, time_of
from hark.workflows.states import ENDED_EXECUTION

table = Table("live")

POLL_S = 0.3
_PING_EVERY = 50
_WINDOW = timedelta(seconds=10)
"""So long may a row be committed after the moment that its id tells; steps that take longer are watched by name."""
_MOST_LISTENERS = 100
_KINDS = frozenset({"logs", "executions"})


class LiveQuery(Query):
    """What to tell about."""

    types: Words = Field(default=["logs", "executions"])
    workflow: str | None = None
    execution: str | None = None
    level: LogLevel | None = None


class Tail:
    """One listener's place in what happens.

    Ids carry the time at which something was made, not that of its commit, so nothing can be read "after the last one":
    each look goes back ten seconds, and what was told already is remembered. The log lines of a step are recorded with
    the step, however long it took; therefore the lines of executions that are under way are looked for by execution.
    """

    def __init__(
        self,
        services: Services,
        tenant_id: TenantId,
        *,
        workflow_id: WorkflowId | None = None,
        execution_id: ExecutionId | None = None,
        level: LogLevel | None = None,
    ) -> None:
        self._listing = services.listing
        self._now = services.engine.now
        self._tenant_id = tenant_id
        self._workflow_id = workflow_id
        self._execution_id = execution_id
        self._levels = levels_from(level)
        self._began = self._now()
        self._statuses: dict[UUID, str] = {}
        self._told: dict[UUID, UUID] = {}
        self._first = True

    async def look(self) -> tuple[list[Row], list[Row]]:
        """Return the log lines and the executions that are new or changed since the last look."""
        since = floor_of(max(self._now() - _WINDOW, self._began))
        before = self._statuses
        watched = [key for key, status in before.items() if status not in ENDED_EXECUTION]
        self._statuses = await self._listing.list_live_executions(
            self._tenant_id, since, watched, self._workflow_id, self._execution_id
        )
        changed = [key for key, status in self._statuses.items() if before.get(key) != status]
        logs = await self._new_logs(since, watched)
        if self._first:
            # What was under way before somebody listened is where changes are measured from, not a change.
            self._first = False
            changed = [key for key in changed if time_of(key) >= self._began]
        return logs, await self._listing.get_executions(self._tenant_id, changed)

    async def _new_logs(self, since: UUID, watched: list[UUID]) -> list[Row]:
        under_way = {*watched, *(key for key, status in self._statuses.items() if status not in ENDED_EXECUTION)}
        rows = await self._listing.list_live_logs(
            self._tenant_id,
            LiveLogs(
                since, list(under_way), floor_of(self._began), self._workflow_id, self._execution_id, self._levels
            ),
        )
        new = [row for row in rows if row["id"] not in self._told]
        # Forgotten once neither the window nor the watch can bring it again.
        self._told = {key: execution for key, execution in self._told.items() if key >= since or execution in under_way}
        self._told.update((row["id"], row["execution_id"]) for row in rows)
        return new


@table.add("GET /api/live", scope="read", answer=str, query=LiveQuery)
async def follow(call: Call[LiveQuery, NoBody]) -> web.StreamResponse:
    """Follow log lines and executions as server-sent events (`log`, `execution`)."""
    query, services = call.query, call.services
    if not set(query.types) <= _KINDS or not query.types:
        raise UnprocessableError("types: one or both of logs, executions")
    if services.listeners >= _MOST_LISTENERS:
        raise UnavailableError("too many are following already", retry_after_s=30, overloaded=True)
    tail = Tail(
        services,
        call.tenant_id,
        workflow_id=None if query.workflow is None else (await workflow_id_of(call, query.workflow))[0],
        execution_id=None if query.execution is None else execution_id_of(query.execution),
        level=query.level,
    )
    await tail.look()
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(call.request)
    await response.write(b"retry: 1000\n: following\n\n")
    services.listeners += 1
    try:
        await _tell(services, tail, frozenset(query.types), response, call.request)
    except ConnectionError:
        pass  # whoever listened has gone
    finally:
        services.listeners -= 1
    return response


async def _tell(
    services: Services, tail: Tail, types: frozenset[str], response: web.StreamResponse, request: web.Request
) -> None:
    quiet = 0
    while not services.stopping and (transport := request.transport) is not None and not transport.is_closing():
        await asyncio.sleep(POLL_S)
        try:
            logs, executions = await tail.look()
        except UnavailableError:
            logs, executions = [], []
        text = b"".join(
            [
                *(_event("log", row) for row in logs if "logs" in types),
                *(_event("execution", row) for row in executions if "executions" in types),
            ]
        )
        quiet = 0 if text else quiet + 1
        if text or quiet % _PING_EVERY == 0:
            # A write is also how a listener is noticed that has gone without saying so.
            await response.write(text or b": still here\n\n")


def _event(name: str, row: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + encode(row) + b"\n\n"
