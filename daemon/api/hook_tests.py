"""`/hooks-test/…`: for a while a path shows what arrives there, and what it would have started, and starts nothing."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from aiohttp import web

from hark.daemon.api.hook_gate import check_address
from hark.daemon.api.hooks import HOOKS, Arrived, Found, Hooks, path_of, peer_of
from hark.daemon.api.services import Services
from hark.daemon.api.table import SERVICES
from hark.daemon.engine.payload import encode
from hark.daemon.store.hooks import HookRecords, plain_text
from hark.triggers.webhook import Hook, contents_of
from hark.triggers.webhook_body import grouped
from hark.triggers.webhook_delivery import Content
from hark.triggers.webhook_jwt import UnknownKeyError
from hark.triggers.webhook_paths import PathTable
from hark.triggers.webhook_request import WebhookRequest, joined_headers
from hark.workflows.catalogue import NewEvent
from hark.workflows.errors import HarkError, NotFoundError, UnavailableError, UnprocessableError
from hark.workflows.ids import TenantId, new_id

TEST_PREFIX = "/hooks-test/"
_LOOK_S = 1.0
_LARGEST = 64 * 1024
_LONGEST = 2000
_SECRET = re.compile(r"auth|cookie|(?<!idempotency-)(key|token)|password|secret|signature|hmac", re.IGNORECASE)
_MASK = "***"

Place = tuple[TenantId, str]


class HookTests:
    """Which paths are open for trying out; looked up again when a request comes, at most once a second."""

    def __init__(self, services: Services, hooks: Hooks) -> None:
        self._hooks = hooks
        self.records = HookRecords(services.database)
        self._table: PathTable[Place] = PathTable()
        self._looked_at = -_LOOK_S

    async def find(self, path: str) -> tuple[Place, dict[str, str], str]:
        """Return a path's test, what stands for its parameters, and the path in its tenant. Raises NotFoundError."""
        if time.monotonic() - self._looked_at >= _LOOK_S:
            self._looked_at = time.monotonic()
            await self._hooks.refresh_tenants()
            rows = await self.records.list_tests()
            self._table = PathTable((row["tenant_id"], row["path"], (row["tenant_id"], row["path"])) for row in rows)
        for tenant_id, rest in self._hooks.places(path):
            found = self._table.find(tenant_id, rest)
            if found is not None:
                return *found, rest
        raise NotFoundError("this path is not open for trying out: `hark hooks test PATH` opens it for a while")


async def receive_test(request: web.Request) -> web.Response:
    """Show a request to whoever has opened the path; its sender learns nothing but that it arrived."""
    services, hooks, tests = request.app[SERVICES], request.app[HOOKS], request.app[TESTS]
    path = path_of(request, TEST_PREFIX)
    (tenant_id, template), params, rest = await tests.find(path)
    found = hooks.find(path)
    raw = await services.bodies.read(request, hooks.most_bytes(found.hook) if found else _LARGEST)
    query = list(request.rel_url.query.items())
    arrived = Arrived(request.method, _target(request.raw_path), query, request.headers.items(), peer_of(request))
    headers = joined_headers(arrived.headers)
    sent = WebhookRequest(request.method, rest, tuple(query), headers, raw)
    data = {
        **_shown(sent, params, found.hook if found else None, hooks, arrived.peer),
        **await _verdict(services, hooks, found, arrived, raw),
    }
    kept = await tests.records.note_arrival(tenant_id, template, new_id(services.engine.now()), encode(data))
    if not kept:
        raise UnavailableError("this test has seen all that it shows", retry_after_s=60, overloaded=True)
    return web.json_response({"test": True})


TESTS: web.AppKey[HookTests] = web.AppKey("hook_tests", HookTests)


def _target(target: str) -> str:
    """Return the target that the same request would have on the real path, whose address a sender may have signed."""
    return "/hooks/" + target.removeprefix(TEST_PREFIX)


def _shown(
    request: WebhookRequest, params: Mapping[str, str], hook: Hook | None, hooks: Hooks, peer: str
) -> dict[str, Any]:
    """Tell what has arrived, without what may be secret."""
    hidden = hook.hidden if hook is not None else frozenset()
    try:
        contents = contents_of(request, hook.config if hook else None)[0] if len(request.body) <= _LARGEST else ()
        content = contents[0] if contents else Content(f"{len(request.body):,} bytes, too many to be shown", None)
        unreadable = None
    except UnprocessableError as error:
        content, unreadable = Content(None, None), error.detail
    shown = {
        "method": request.method,
        "path": _text(request.path),
        "params": {name: _text(value) for name, value in params.items()},
        "query": grouped((_text(name), _text(value)) for name, value in request.query),
        "headers": {
            _text(name): _MASK if name in hidden or _SECRET.search(name) else _text(value)
            for name, value in request.headers.items()
        },
        "body": content.body,
        "encoding": content.encoding,
        "bytes": len(request.body),
        "client": str(hooks.proxies.client(peer, request.headers) or ""),
    }
    if unreadable is not None:
        shown["unreadable"] = unreadable
    return shown


def _text(value: str) -> str:
    return plain_text(value, _LONGEST)


async def _verdict(
    services: Services, hooks: Hooks, found: Found | None, arrived: Arrived, raw: bytes
) -> dict[str, Any]:
    """Tell what the real path would have answered, and what it would have started."""
    if found is None:
        return {"answer": {"status": 404, "detail": "no active workflow listens on this path"}}
    hook = found.hook
    if not hook.takes(arrived.method):
        return {"answer": {"status": 405, "detail": f"this path takes {', '.join(hook.methods())}"}}
    try:
        check_address(hook, hooks.proxies.client(arrived.peer, joined_headers(arrived.headers)))
        events, _ = await hooks.proven(found, hooks.request_of(found, arrived, raw))
    except UnknownKeyError:
        return {"answer": {"status": 401, "detail": "the token is signed with a key that its issuer does not publish"}}
    except HarkError as error:
        return {"answer": {"status": getattr(error, "status", 503), "detail": str(error)}}
    return {"answer": {"status": 202}, "events": [_outcome(services, event) for event in events[:10]]}


def _outcome(services: Services, event: NewEvent) -> dict[str, Any]:
    slugs: dict[UUID, str] = {trigger.workflow_id: trigger.workflow for trigger in services.engine.registry.triggers}
    try:
        match = services.engine.try_out(event)
    except HarkError as error:
        return {"key": event.dedupe_key, "detail": str(error)}
    return {
        "key": event.dedupe_key,
        "would_start": [
            {"workflow": start.workflow.slug, "trigger_id": start.trigger_id, "inputs": start.inputs}
            for start in match.starts
        ],
        "would_not": [
            {
                "workflow": slugs.get(refusal.workflow_id, str(refusal.workflow_id)),
                "trigger_id": refusal.trigger_id,
                "reason": refusal.reason,
                "detail": refusal.detail,
            }
            for refusal in match.refusals
        ],
    }
