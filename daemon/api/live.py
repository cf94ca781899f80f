"""`/api/live`: what happens now, as server-sent events. Asks the database every 300 ms while somebody listens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Annotated
from uuid import UUID

from aiohttp import web
from pydantic import AfterValidator, Field

from hark.daemon.api.executions import execution_id_of, levels_from, workflow_id_of
from hark.daemon.api.live_changes import ChangesTail, begin_of
from hark.daemon.api.live_tail import LOOK_BACK, Tail, Told
from hark.daemon.api.models.executions import LogLevel
from hark.daemon.api.paging import Moment, Query, Words, ids_between
from hark.daemon.api.services import Services
from hark.daemon.api.table import Call, NoBody, Table, encode
from hark.daemon.store.listing import FIRST_ID, LiveLogs, Row
from hark.triggers.table_name import TableName
from hark.workflows.connections import ConnectionName
from hark.workflows.errors import UnavailableError, UnprocessableError
from hark.workflows.ids import ExecutionId, TenantId, WorkflowId, floor_of, time_of
from hark.workflows.states import ENDED_EXECUTION

table = Table("live")

POLL_S = 0.3
_PING_EVERY = 50
_MOST_LISTENERS = 100
_HAPPENINGS = {"logs": "log", "executions": "execution"}
_KINDS = frozenset({*_HAPPENINGS, "changes"})


def _table(text: str | None) -> str | None:
    return None if text is None else str(TableName.parse(text))


class LiveQuery(Query):
    """What to tell about."""

    types: Words = Field(default=["logs", "executions"])
    """Some of `logs`, `executions`, `changes`."""
    workflow: str | None = None
    execution: str | None = None
    level: LogLevel | None = None
    table: Annotated[str | None, AfterValidator(_table)] = None
    """Of `changes`: of which table that a workflow watches."""
    connection: ConnectionName = ""
    """Of `changes`: the name of the other database in which the table is."""
    since: Moment | None = None
    """Of `changes`: from this time on. With the last `id` as `Last-Event-ID` goes on ten seconds before that."""


class HappeningsTail:
    """One listener's place in log lines and executions.

    Ids carry the time at which something was made, not that of its commit, so nothing can be read "after the last one":
    each look goes back ten seconds, and what was told already is remembered. The log lines of a step are recorded with
    the step, however long it took; therefore the lines of executions that are under way are looked for by execution.
    """

    def __init__(
        self,
        services: Services,
        tenant_id: TenantId,
        names: Iterable[str],
        *,
        workflow_id: WorkflowId | None = None,
        execution_id: ExecutionId | None = None,
        level: LogLevel | None = None,
    ) -> None:
        self._listing = services.listing
        self._now = services.engine.now
        self._tenant_id = tenant_id
        self._names = frozenset(names)
        self._workflow_id = workflow_id
        self._execution_id = execution_id
        self._levels = levels_from(level)
        self._began = self._now()
        self._statuses: dict[UUID, str] = {}
        self._told: dict[UUID, UUID] = {}
        self._first = True
        self.more = False

    async def look(self) -> list[Told]:
        """Return the log lines and the executions that are new or changed since the last look."""
        logs, executions = await self._look()
        told = [*(Told("log", row) for row in logs), *(Told("execution", row) for row in executions)]
        return [one for one in told if one.name in self._names]

    async def _look(self) -> tuple[list[Row], list[Row]]:
        since = floor_of(max(self._now() - LOOK_BACK, self._began))
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
    """Follow log lines, executions and captured changes of a table as server-sent events."""
    services = call.services
    if services.listeners >= _MOST_LISTENERS:
        raise UnavailableError("too many are following already", retry_after_s=30, overloaded=True)
    tails = await _tails(call)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    await response.prepare(call.request)
    await response.write(b"retry: 1000\n: following\n\n")
    services.listeners += 1
    try:
        await _tell(services, tails, response, call.request)
    except ConnectionError:
        pass  # whoever listened has gone
    finally:
        services.listeners -= 1
    return response


async def _tails(call: Call[LiveQuery, NoBody]) -> list[Tail]:
    query, services = call.query, call.services
    types = set(query.types)
    if not types <= _KINDS or not types:
        raise UnprocessableError("types: one or more of logs, executions, changes")
    if ("changes" in types) is not (query.table is not None):
        raise UnprocessableError("table: with types=changes name the table; without, it means nothing")
    tails: list[Tail] = []
    if query.table is not None:
        since = None if query.since is None else ids_between(query.since, None)[0]
        began = begin_of(call.request.headers.get("Last-Event-ID"), since)
        changes = ChangesTail(
            services, call.tenant_id, TableName.parse(query.table), began or FIRST_ID, query.connection
        )
        if began is None:
            await changes.skip()
        tails.append(changes)
    names = [name for kind, name in _HAPPENINGS.items() if kind in types]
    if names:
        happenings = HappeningsTail(
            services,
            call.tenant_id,
            names,
            workflow_id=None if query.workflow is None else (await workflow_id_of(call, query.workflow))[0],
            execution_id=None if query.execution is None else execution_id_of(query.execution),
            level=query.level,
        )
        await happenings.look()
        tails.append(happenings)
    return tails


async def _tell(services: Services, tails: Sequence[Tail], response: web.StreamResponse, request: web.Request) -> None:
    quiet = 0
    while not services.stopping and (transport := request.transport) is not None and not transport.is_closing():
        text = b"".join([_event(told) for tail in tails for told in await _look(tail)])
        quiet = 0 if text else quiet + 1
        if text or quiet % _PING_EVERY == 0:
            # A write is also how a listener is noticed that has gone without saying so.
            await response.write(text or b": still here\n\n")
        if not any(tail.more for tail in tails):
            await asyncio.sleep(POLL_S)


async def _look(tail: Tail) -> Sequence[Told]:
    try:
        return await tail.look()
    except UnavailableError:
        tail.more = False
        return []


def _event(told: Told) -> bytes:
    place = b"" if told.place is None else b"id: " + str(told.place).encode() + b"\n"
    return b"event: " + told.name.encode() + b"\n" + place + b"data: " + encode(told.row) + b"\n\n"
