"""A client of Hark's HTTP API, typed by the API's own models.

    async with HarkClient("http://127.0.0.1:8470", key) as hark:
        started = await hark.start("welcome-lead", {"email": "ada@example.org"})
        execution = await hark.execution(started.execution_id)

Every method raises `ApiError` when the daemon refuses, `UnreachableError` when there is none. Lists are one page each;
`next_cursor` of the answer is the `cursor` of the next call.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote
from uuid import UUID

import aiohttp
import orjson
from pydantic import BaseModel, ValidationError

from hark.daemon.api.models.answer import Deleted, Page
from hark.daemon.api.models.approvals import Answered, ApprovalRow
from hark.daemon.api.models.backfill import BackfillAnswer, RowBackfillAnswer
from hark.daemon.api.models.bulk import BulkAnswer
from hark.daemon.api.models.decisions import EventDecisions, WorkflowDecisions
from hark.daemon.api.models.events import EventDetail, EventSummary, Received
from hark.daemon.api.models.executions import (
    ContextEntry,
    ExecutionDetail,
    ExecutionStatusChange,
    ExecutionSummary,
    LogLine,
    RetriedExecution,
)
from hark.daemon.api.models.history import ArchivedExecution, ArchiveRow, PruneAnswer, Restored
from hark.daemon.api.models.hooks import ArrivalRow, DeliveryRow, HookRefusalRow, HookRow, HookTest
from hark.daemon.api.models.instances import InstanceRow, Readiness, Stats
from hark.daemon.api.models.problems import ProblemDocument
from hark.daemon.api.models.rehearsals import DryRun
from hark.daemon.api.models.schedules import Slot
from hark.daemon.api.models.starting import StartedExecution
from hark.daemon.api.models.subjects import ErasureRow, SubjectErased
from hark.daemon.api.models.watches import CapturedChange, WatchRow
from hark.daemon.api.models.workflows import Applied, Validated, WorkflowDetail, WorkflowSummary, WorkflowVersion
from hark.workflows.errors import HarkError

__all__ = ["ApiError", "HarkClient", "UnreachableError"]

AnswerT = TypeVar("AnswerT", bound=BaseModel)


class UnreachableError(HarkError):
    """Nobody answers at the address."""


class ApiError(HarkError):
    """The daemon refused; `problem` is its problem document (RFC 9457)."""

    def __init__(self, problem: ProblemDocument) -> None:
        super().__init__(problem.detail)
        self.problem = problem

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status


_LONG_S = 3600.0
_MOST_KNOWN = 100_000
"""So many changes are remembered in order not to yield them twice after a break: what comes in ten seconds and more."""
_PASSING = frozenset({502, 503, 504})
"""What a daemon, or a proxy before it, answers while it starts or stops."""


class HarkClient:
    """Talks to one daemon. Use it as an async context manager, or call `close`."""

    def __init__(self, url: str, key: str | None = None, *, timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/")
        headers = {"Accept": "application/json", "User-Agent": "hark-client"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._headers = headers
        self._timeout_s = timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; idempotent."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # ---- workflows

    async def workflows(self, **filters: Any) -> Page[WorkflowSummary]:
        """List workflows; `filters` are the parameters of GET /api/workflows."""
        return await self._get("/api/workflows", Page[WorkflowSummary], filters)

    async def workflow(self, name: str, version: int | None = None) -> WorkflowDetail:
        """Return a workflow, by slug or id."""
        return await self._get(f"/api/workflows/{_part(name)}", WorkflowDetail, {"version": version})

    async def export(self, name: str, *, format: str = "yaml", version: int | None = None) -> str:
        """Return a workflow's definition as a text that can be applied again."""
        parameters = {"format": format, "version": version}
        return (await self._send("GET", f"/api/workflows/{_part(name)}", parameters)).decode()

    async def apply(self, files: Mapping[str, str], *, dry_run: bool = False, prune: bool = False) -> Applied:
        """Apply definitions, given as texts by file name: all of them or none."""
        body = {"files": _files(files), "dry_run": dry_run, "prune": prune}
        return await self._post("/api/apply", Applied, body)

    async def validate(self, files: Mapping[str, str]) -> Validated:
        """Check definitions as applying them would."""
        return await self._post("/api/validate", Validated, {"files": _files(files)})

    async def pause(self, name: str) -> WorkflowDetail:
        """Switch a workflow's triggers off."""
        return await self._post(f"/api/workflows/{_part(name)}/pause", WorkflowDetail)

    async def resume(self, name: str) -> WorkflowDetail:
        """Switch a workflow's triggers on again."""
        return await self._post(f"/api/workflows/{_part(name)}/resume", WorkflowDetail)

    async def backfill(self, name: str, **body: Any) -> BackfillAnswer:
        """Make up for slots of its schedules; `body` as in POST /api/workflows/{workflow}/backfill."""
        path = f"/api/workflows/{_part(name)}/backfill"
        return _read(BackfillAnswer, await self._send("POST", path, body=body, timeout_s=_LONG_S))

    async def backfill_rows(self, workflow: str, /, **body: Any) -> RowBackfillAnswer:
        """Run a part of the rows that are there; `body` as in POST /api/workflows/{workflow}/backfill/rows."""
        path = f"/api/workflows/{_part(workflow)}/backfill/rows"
        return _read(RowBackfillAnswer, await self._send("POST", path, body=body, timeout_s=_LONG_S))

    async def publish(self, name: str, version: int | None = None) -> WorkflowDetail:
        """Publish a version again, the latest unless one is named."""
        path = f"/api/workflows/{_part(name)}/publish"
        return await self._post(path, WorkflowDetail, parameters={"version": version})

    async def versions(self, name: str, **paging: Any) -> Page[WorkflowVersion]:
        """List a workflow's versions."""
        path = f"/api/workflows/{_part(name)}/versions"
        return await self._get(path, Page[WorkflowVersion], paging)

    async def delete(self, name: str, *, archive: bool = False, force: bool = False) -> Deleted:
        """Delete a workflow with its history, or take it out of service; `force` cancels what is open."""
        parameters = {"archive": archive, "force": force}
        raw = await self._send("DELETE", f"/api/workflows/{_part(name)}", parameters, timeout_s=_LONG_S)
        return _read(Deleted, raw)

    async def start(
        self,
        name: str,
        inputs: Mapping[str, Any] | None = None,
        *,
        wait_s: float = 0,
        mode: str = "production",
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        variables: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> StartedExecution:
        """Start a workflow by hand and wait up to `wait_s` (whole seconds, at most 300) for its end.

        `secrets` are for this execution alone: sealed where they are stored, masked in whatever goes on record.
        """
        body = {
            "input": dict(inputs or {}), "mode": mode, "key": key, "metadata": metadata, "variables": variables,
            "secrets": secrets,
        }  # fmt: skip
        path = f"/api/workflows/{_part(name)}/execute"
        raw = await self._send(
            "POST", path, body=body, headers={"Prefer": f"wait={int(wait_s)}"}, timeout_s=self._timeout_s + wait_s
        )
        return _read(StartedExecution, raw)

    # ---- executions

    async def executions(self, **filters: Any) -> Page[ExecutionSummary]:
        """List executions, newest first; `filters` are the parameters of GET /api/executions."""
        return await self._get("/api/executions", Page[ExecutionSummary], filters)

    async def execution(self, execution_id: UUID | str) -> ExecutionDetail:
        """Return an execution with its steps, timeline and logs."""
        return await self._get(f"/api/executions/{_part(execution_id)}", ExecutionDetail)

    async def cancel(self, execution_id: UUID | str, reason: str = "") -> ExecutionStatusChange:
        """Cancel an execution."""
        path = f"/api/executions/{_part(execution_id)}/cancel"
        return await self._post(path, ExecutionStatusChange, {"reason": reason})

    async def retry(
        self, execution_id: UUID | str, *, from_start: bool = False, secrets: Mapping[str, str] | None = None
    ) -> RetriedExecution:
        """Run an ended execution again, as a new one; it has the same secrets, and `secrets` beside them."""
        path = f"/api/executions/{_part(execution_id)}/retry"
        return await self._post(path, RetriedExecution, {"from_start": from_start, "secrets": secrets})

    async def replay(
        self,
        execution_id: UUID | str,
        *,
        from_step: str | None = None,
        version: int | None = None,
        input: dict[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> RetriedExecution:
        """Run an ended execution again from any step, with the same or another version or input, as a new one."""
        path = f"/api/executions/{_part(execution_id)}/replay"
        body = {"from_step": from_step, "version": version, "input": input, "secrets": secrets}
        return await self._post(path, RetriedExecution, body)

    async def retry_many(self, **body: Any) -> BulkAnswer:
        """Retry many executions; `body` as in POST /api/executions/retry."""
        return await self._post("/api/executions/retry", BulkAnswer, body)

    async def replay_many(self, **body: Any) -> BulkAnswer:
        """Replay many executions; `body` as in POST /api/executions/replay."""
        return await self._post("/api/executions/replay", BulkAnswer, body)

    async def cancel_many(self, **body: Any) -> BulkAnswer:
        """Cancel many executions; `body` as in POST /api/executions/cancel."""
        return await self._post("/api/executions/cancel", BulkAnswer, body)

    async def prune(self, *, workflow: str | None = None, dry_run: bool = False) -> PruneAnswer:
        """Let history go that is past, or tell what would go. Waits for as long as that takes, an hour at the most."""
        body = {"workflow": workflow, "dry_run": dry_run}
        return _read(PruneAnswer, await self._send("POST", "/api/prune", body=body, timeout_s=_LONG_S))

    async def archives(self, **filters: Any) -> Page[ArchiveRow]:
        """List the files of the archive; `filters` are the parameters of GET /api/archives."""
        return await self._get("/api/archives", Page[ArchiveRow], filters)

    async def archived_execution(self, execution_id: UUID | str) -> ArchivedExecution:
        """Read an execution back from the archive."""
        raw = await self._send("GET", f"/api/archives/executions/{execution_id}", timeout_s=_LONG_S)
        return _read(ArchivedExecution, raw)

    async def export_archive(self, archive_id: UUID | str) -> AsyncIterator[bytes]:
        """Yield a file of the archive, JSON Lines, in pieces."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_s, sock_read=60)
        try:
            async with self._open().get(f"{self.url}/api/archives/{archive_id}/lines", timeout=timeout) as response:
                if response.status != 200:
                    raise _refusal(response.status, await response.read())
                async for piece in response.content.iter_any():
                    yield piece
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnreachableError(f"the export broke off: {str(error) or type(error).__name__}") from error

    async def restore(self, what: UUID | str, *, execution: bool = False, keep: str | None = None) -> Restored:
        """Put an execution, or all of a file of the archive, back for some time."""
        path = f"/api/archives/{'executions/' if execution else ''}{what}/restore"
        body = {} if keep is None else {"keep": keep}
        return _read(Restored, await self._send("POST", path, body=body, timeout_s=_LONG_S))

    async def erase(self, kind: str, identifier: str, *, dry_run: bool = False, force: bool = False) -> SubjectErased:
        """Erase everything about a subject, or tell what would go. Waits as long as that takes, an hour at the most."""
        path = f"/api/subjects/{_part(kind)}/{_part(identifier)}"
        raw = await self._send("DELETE", path, {"dry_run": dry_run, "force": force}, timeout_s=_LONG_S)
        return _read(SubjectErased, raw)

    async def erasures(self, **filters: Any) -> Page[ErasureRow]:
        """List what was erased; `filters` are the parameters of GET /api/erasures."""
        return await self._get("/api/erasures", Page[ErasureRow], filters)

    async def approvals(self, **filters: Any) -> Page[ApprovalRow]:
        """List what waits for an answer of people; `filters` are the parameters of GET /api/approvals."""
        return await self._get("/api/approvals", Page[ApprovalRow], filters)

    async def answer(
        self,
        execution_id: UUID | str,
        *,
        approved: bool,
        step: str | None = None,
        form: Mapping[str, Any] | None = None,
        comment: str = "",
        by: str | None = None,
    ) -> Answered:
        """Approve or reject what an execution waits for; `step` is needed only if several wait."""
        body = {"step": step, "form": dict(form or {}), "comment": comment, "by": by}
        path = f"/api/executions/{_part(execution_id)}/{'approve' if approved else 'reject'}"
        return await self._post(path, Answered, body)

    async def context(self, execution_id: UUID | str) -> Page[ContextEntry]:
        """List what an execution remembers."""
        return await self._get(f"/api/executions/{_part(execution_id)}/context", Page[ContextEntry])

    async def remember(self, execution_id: UUID | str, key: str, value: Any) -> ContextEntry:
        """Set a key of the context of an execution that has not ended, to any JSON value."""
        path = f"/api/executions/{_part(execution_id)}/context/{_part(key)}"
        return _read(ContextEntry, await self._send("PUT", path, body=orjson.Fragment(orjson.dumps(value))))

    async def forget(self, execution_id: UUID | str, key: str) -> Deleted:
        """Let an execution that has not ended forget a key."""
        path = f"/api/executions/{_part(execution_id)}/context/{_part(key)}"
        return _read(Deleted, await self._send("DELETE", path))

    async def logs(self, **filters: Any) -> Page[LogLine]:
        """List log lines, newest first; `filters` are the parameters of GET /api/logs."""
        return await self._get("/api/logs", Page[LogLine], filters)

    # ---- events

    async def emit(
        self,
        type: str,
        data: Any = None,
        *,
        source: str = "api",
        subject: str | None = None,
        key: str | None = None,
    ) -> Received:
        """Publish an event; with a key it is stored once, however often it is sent."""
        body = {"type": type, "data": data, "source": source, "subject": subject, "key": key}
        return await self._post("/api/events", Received, body)

    async def decisions(
        self, event_id: UUID | str, *, workflow: str | None = None, limit: int | None = None
    ) -> EventDecisions:
        """Return what an event started, and what kept the other workflows from it."""
        path = f"/api/events/{_part(event_id)}/decisions"
        return await self._get(path, EventDecisions, {"workflow": workflow, "limit": limit})

    async def dry_run(self, workflow: str | None = None, files: Mapping[str, str] | None = None, **body: Any) -> DryRun:
        """Return what a stored workflow, or definitions, would have started; `body` as in POST /api/dry-run."""
        asked = {"workflow": workflow, "files": _files(files or {}), **body}
        return _read(DryRun, await self._send("POST", "/api/dry-run", body=asked, timeout_s=_LONG_S))

    async def decisions_of(self, workflow: str, **paging: Any) -> WorkflowDecisions:
        """Return what became of the last events that a workflow listens to."""
        return await self._get(f"/api/workflows/{_part(workflow)}/decisions", WorkflowDecisions, paging)

    async def events(self, **filters: Any) -> Page[EventSummary]:
        """List events, newest first; `filters` are the parameters of GET /api/events."""
        return await self._get("/api/events", Page[EventSummary], filters)

    async def event(self, event_id: UUID | str) -> EventDetail:
        """Return an event with what it started and what it did not."""
        return await self._get(f"/api/events/{_part(event_id)}", EventDetail)

    # ---- what there is

    async def schedules(self, **parameters: Any) -> Page[Slot]:
        """List the next due times of the active workflows, or of an `expression`."""
        return await self._get("/api/schedules", Page[Slot], parameters)

    async def watches(self) -> Page[WatchRow]:
        """List the watched tables."""
        return await self._get("/api/watches", Page[WatchRow])

    async def hooks(self) -> Page[HookRow]:
        """List the paths of webhooks."""
        return await self._get("/api/hooks", Page[HookRow])

    async def deliveries(self, path: str, **paging: Any) -> Page[DeliveryRow]:
        """List what came to a path of webhooks, newest first, with what it started."""
        return await self._get("/api/hooks/deliveries", Page[DeliveryRow], {"path": path, **paging})

    async def hook_refusals(self, path: str | None = None) -> Page[HookRefusalRow]:
        """List what webhooks were refused within the last day."""
        return await self._get("/api/hooks/refusals", Page[HookRefusalRow], {"path": path})

    async def test_hook(self, path: str, duration: str = "10m") -> HookTest:
        """Open a path under /hooks-test/ that shows what arrives there."""
        return await self._post("/api/hooks/tests", HookTest, {"path": path, "duration": duration})

    async def arrivals(self, path: str, after: UUID | None = None) -> Page[ArrivalRow]:
        """List what has arrived there, after one that is known."""
        return await self._get("/api/hooks/arrivals", Page[ArrivalRow], {"path": path, "after": after})

    async def redeliver(self, event_id: UUID | str) -> Received:
        """Offer a stored event to the workflows that are active now, as a new event."""
        return await self._post(f"/api/events/{_part(event_id)}/redeliver", Received)

    async def instances(self) -> Page[InstanceRow]:
        """List the daemon processes on the database."""
        return await self._get("/api/instances", Page[InstanceRow])

    async def stats(self) -> Stats:
        """Return how much there is."""
        return await self._get("/api/stats", Stats)

    async def readiness(self) -> Readiness:
        """Return whether the daemon can take work, and what keeps it from it."""
        raw = await self._send("GET", "/readyz", accepted=(200, 503))
        return _read(Readiness, raw)

    async def follow(
        self, types: Sequence[str] = ("logs", "executions"), **filters: Any
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield what happens as (`log` or `execution`, row) until the caller stops; reconnects when the line breaks."""
        async for told in self._follow({"types": types, **filters}):
            yield told.name, told.row

    async def follow_changes(
        self, table: str, since: str | None = None, *, connection: str | None = None
    ) -> AsyncIterator[WatchRow | CapturedChange]:
        """Yield a table's changes, each once, and the state of its capture when it changes, until the caller stops.

        When the line breaks, or the daemon starts anew, it goes on where it was.
        """
        known: dict[str, None] = {}
        async for told in self._follow(
            {"types": ["changes"], "table": table, "since": since, "connection": connection}
        ):
            if told.name == "watch":
                yield WatchRow.model_validate(told.row)
            elif told.row["event_id"] not in known:
                # After a break the daemon goes back for what was committed late, and tells the rest of it again.
                known[told.row["event_id"]] = None
                while len(known) > _MOST_KNOWN:
                    del known[next(iter(known))]
                yield CapturedChange.model_validate(told.row)

    async def _follow(self, filters: Mapping[str, Any]) -> AsyncIterator[_Told]:
        """Yield server-sent events; after a break say which place was reached."""
        parameters = _parameters(filters)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_s, sock_read=60)
        reached, place = False, ""
        while True:
            headers = {"Last-Event-ID": place} if place else None
            try:
                async with self._open().get(
                    f"{self.url}/api/live", params=parameters, headers=headers, timeout=timeout
                ) as response:
                    if response.status == 200:
                        reached = True
                        async for told in _events(response):
                            place = told.place or place
                            yield told
                    elif not reached or response.status not in _PASSING:
                        raise _refusal(response.status, await response.read())
            except (aiohttp.ClientError, TimeoutError) as error:
                if not reached:
                    raise self._unreachable(error) from error
            await asyncio.sleep(1)

    # ---- how

    async def _get(self, path: str, answer: type[AnswerT], parameters: Mapping[str, Any] | None = None) -> AnswerT:
        return _read(answer, await self._send("GET", path, parameters))

    async def _post(
        self, path: str, answer: type[AnswerT], body: Any = None, *, parameters: Mapping[str, Any] | None = None
    ) -> AnswerT:
        return _read(answer, await self._send("POST", path, parameters, body=body or {}))

    async def _send(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        accepted: Sequence[int] = (),
    ) -> bytes:
        """Send a request; return the body of the answer. Raises ApiError, UnreachableError."""
        try:
            async with self._open().request(
                method,
                self.url + path,
                params=_parameters(parameters or {}),
                data=None if body is None else orjson.dumps(body, default=str),
                headers={**(headers or {}), **({"Content-Type": "application/json"} if body is not None else {})},
                timeout=aiohttp.ClientTimeout(total=timeout_s or self._timeout_s),
            ) as response:
                raw = await response.read()
                if response.status >= 400 and response.status not in accepted:
                    raise _refusal(response.status, raw)
                return raw
        except (aiohttp.ClientError, TimeoutError) as error:
            raise self._unreachable(error) from error
        except (TypeError, ValueError) as error:
            raise HarkError(f"this cannot be sent: {error}") from error

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(headers=self._headers, trust_env=False)
        return self._session

    def _unreachable(self, error: Exception) -> UnreachableError:
        if isinstance(error, aiohttp.ClientConnectorError):
            code = error.os_error.errno
            reason = os.strerror(code) if code and code > 0 else error.os_error.strerror or str(error.os_error)
        else:
            reason = "it took too long" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return UnreachableError(f"no answer from {self.url}: {reason}")


def _read(answer: type[AnswerT], raw: bytes) -> AnswerT:
    try:
        return answer.model_validate_json(raw)
    except ValidationError as error:
        raise UnreachableError(f"this does not answer like Hark: {raw[:80]!r}") from error


def _refusal(status: int, raw: bytes) -> ApiError:
    try:
        problem = ProblemDocument.model_validate_json(raw)
    except ValidationError:
        detail = f"HTTP {status}, and no explanation that Hark would give: is this its address?"
        problem = ProblemDocument(type="about:blank", title="Refused", status=status, detail=detail)
    return ApiError(problem)


class _Told(NamedTuple):
    """A server-sent event."""

    name: str
    row: dict[str, Any]
    place: str


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[_Told]:
    """Read server-sent events as the daemon writes them: `event`, perhaps `id`, and one `data` line each."""
    name = place = ""
    pending = b""
    async for chunk in response.content.iter_any():
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"event: "):
                name = line[7:].decode()
            elif line.startswith(b"id: "):
                place = line[4:].decode()
            elif line.startswith(b"data: "):
                yield _Told(name, orjson.loads(line[6:]), place)


def _parameters(values: Mapping[str, Any]) -> dict[str, str]:
    """Write parameters as an address holds them; those that are None are left out."""
    return {name: _text(value) for name, value in values.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value)


def _part(value: object) -> str:
    """Write a part of a path; nothing in it can lead elsewhere."""
    return quote(str(value), safe="", errors="replace")


def _files(files: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "content": content} for name, content in files.items()]
