"""Answers of webhooks that wait: the execution's end, put into the words of the trigger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from time import monotonic
from typing import Any

import orjson
import structlog
from aiohttp import web

from hark.daemon.api.problems import problem_response
from hark.daemon.api.services import Services
from hark.daemon.engine.matcher import event_view
from hark.triggers.webhook_respond import Answer, Respond, header_value, status_of
from hark.workflows.catalogue import ActiveTrigger, NewEvent, Receipt
from hark.workflows.errors import ExpressionError, UnavailableError
from hark.workflows.ids import ExecutionId, execution_id
from hark.workflows.scopes import RESPOND, STEP_FIELDS
from hark.workflows.templates import Template, compile_template, to_text

log = structlog.get_logger(__name__)

_LOOK_S = 1.0
_FIRST_LOOK_S = 0.02
"""Nobody tells of a step's end: it is looked for, less and less often."""
_SHOWN = ("workflow", "version", "mode", "started_at", "trigger_type")


class Waiters:
    """Those whose answer is an execution's end: at most half of the requests that may be in flight."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._count = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place, from before the event is stored until its answer is there. Raises UnavailableError."""
        if self._count * 2 >= self._services.most_in_flight:
            raise UnavailableError("too many requests wait for their workflow", overloaded=True)
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1

    async def answer(self, trigger: ActiveTrigger, event: NewEvent, receipt: Receipt) -> web.Response | None:
        """Wait for the trigger's execution and make its answer; None when there is none, or it takes too long."""
        found = _execution_of(trigger, receipt)
        if found is None:
            return None
        respond: Respond = trigger.config.respond
        if not await self._wait(trigger, found, respond):
            return None
        return await self._answer(respond, trigger, found, event_view(event, receipt.event_id, self._now()))

    async def _wait(self, trigger: ActiveTrigger, found: ExecutionId, respond: Respond) -> bool:
        """Wait for the end, or for the steps that an early answer reads; tells whether it has come."""
        until = monotonic() + respond.timeout.total_seconds()
        steps = _steps_read(respond) if respond.early else frozenset()
        pause = _FIRST_LOOK_S if steps else _LOOK_S
        while not self._services.stopping and (left := until - monotonic()) > 0:
            if await self._services.engine.wait_for_end(trigger.tenant_id, found, min(left, pause)):
                return True
            if steps and await self._have_completed(trigger, found, steps):
                return True
            pause = min(pause * 1.5, _LOOK_S)
        return False

    async def _have_completed(self, trigger: ActiveTrigger, found: ExecutionId, steps: frozenset[str]) -> bool:
        for name in steps:
            row = await self._services.database.fetchrow("get_step", trigger.tenant_id, found, name)
            if row is None or row["status"] != "completed":
                return False
        return True

    async def _answer(
        self, respond: Respond, trigger: ActiveTrigger, found: ExecutionId, event: Mapping[str, Any]
    ) -> web.Response:
        row = await self._services.listing.get_execution(trigger.tenant_id, found)
        if row is None:
            return _failed(found, "is gone")
        steps = await self._services.listing.list_steps(trigger.tenant_id, found)
        good = row["status"] == "completed" or _is_early(respond, steps)
        answer = respond if good else respond.failed
        if answer is None:
            return _failed(found, f"ended as {row['status']}")
        scope = {
            "event": event,
            **_as_read(row, ("inputs", "output", "error")),
            "steps": {step["path"]: _as_read(step, STEP_FIELDS) for step in steps if _is_own(step)},
            "execution": {**{name: row[name] for name in _SHOWN}, **_told_of(trigger, row)},
            "config": {},
            "now": self._now(),
        }
        try:
            return rendered(answer, scope)
        except (ExpressionError, ValueError) as error:
            log.warning("hook.answer_failed", workflow=trigger.workflow, execution_id=str(found), error=str(error))
            return _failed(found, "has ended, and its answer cannot be made: the daemon's log says why")

    def _now(self) -> datetime:
        return self._services.engine.now()


def _as_read(row: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return columns as expressions read them: of lists and pages they are JSON that nobody has parsed."""
    found: dict[str, Any] = orjson.loads(orjson.dumps({name: row[name] for name in names}, default=str))
    return found


def _is_own(step: Mapping[str, Any]) -> bool:
    """Say whether a step stands in no loop and no branch of its own: such have no name outside."""
    return "." not in step["path"] and "[" not in step["path"]


def _told_of(trigger: ActiveTrigger, row: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "id": str(row["id"]),
        "attempt": row["claims"],
        "event_id": str(row["event_id"]),
        "trigger": trigger.id,
    }


def _execution_of(trigger: ActiveTrigger, receipt: Receipt) -> ExecutionId | None:
    """Return the execution that an event has started by this trigger; None when it was refused or joined others."""
    own = execution_id(receipt.event_id, trigger.workflow_id)
    return next((one for one in receipt.executions if one == own), None)


def _template(answer: Answer) -> Template:
    return compile_template({"status": answer.status, "headers": answer.headers, "body": answer.body}, RESPOND)


def _steps_read(answer: Answer) -> frozenset[str]:
    """Return the steps that an answer reads; none when it reads what is there only at the end."""
    paths = _template(answer).paths
    if any(path[0] in ("output", "error") or (path[0] == "steps" and len(path) < 2) for path in paths):
        return frozenset()
    return frozenset(str(path[1]) for path in paths if path[0] == "steps")


def _is_early(respond: Respond, steps: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether an early answer can be made, whatever has become of the rest: asked again it is the same."""
    read = _steps_read(respond) if respond.early else frozenset()
    return bool(read) and read <= {step["path"] for step in steps if step["status"] == "completed"}


def rendered(answer: Answer, scope: Mapping[str, Any]) -> web.Response:
    """Make an answer of its templates. Raises ExpressionError and ValueError."""
    found = _template(answer).render(scope)
    headers = {name: header_value(to_text(value)) for name, value in found["headers"].items()}
    body, kind = _body(found["body"])
    if kind is not None and "content-type" not in {name.lower() for name in headers}:
        headers["Content-Type"] = kind
    return web.Response(status=status_of(found["status"]), headers=headers, body=body)


def _body(value: Any) -> tuple[bytes, str | None]:
    if value is None:
        return b"", None
    if isinstance(value, str):
        return value.encode("utf-8", "replace"), "text/plain; charset=utf-8"
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS, default=str), "application/json"


def _failed(found: ExecutionId, what: str) -> web.Response:
    return problem_response(500, "Workflow failed", f"execution {found} {what}")
