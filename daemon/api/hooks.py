"""`/hooks/…`: webhooks. Known path, method, size, proof, content, record; the first that fails is the answer."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

import orjson
from aiohttp import web

from hark.daemon.api.problems import MethodNotAllowedError, problem_response
from hark.daemon.api.services import Services
from hark.daemon.api.table import SERVICES
from hark.triggers.webhook import Hook, event_for, hook_table
from hark.triggers.webhook_auth import authenticate, challenge
from hark.triggers.webhook_body import parse_body
from hark.triggers.webhook_paths import PathTable
from hark.triggers.webhook_request import WebhookRequest, joined_headers
from hark.workflows.catalogue import NewEvent, Receipt
from hark.workflows.errors import ConfigurationError, NotFoundError, UnauthorizedError, UnavailableError
from hark.workflows.ids import DEFAULT_TENANT, TenantId

PREFIX = "/hooks/"
_TENANTS_FOR_S = 5.0
_MOST_FOUND = 4096
_JSON = {"Content-Type": "application/json"}


class Found(NamedTuple):
    """The hook of a path, what stands in place of its parameters, and the path in its tenant."""

    hook: Hook
    params: dict[str, str]
    path: str


class Hooks:
    """The paths that are served now: made anew when the set of active workflows has changed."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._generation = -1
        self._table: PathTable[Hook] = PathTable()
        self._found: dict[str, Found] = {}
        """What was found by path; parameters may be anything, so those with some are not kept."""
        self._tenants: dict[str, TenantId] = {}
        self._tenants_at = -_TENANTS_FOR_S

    def find(self, path: str) -> Found | None:
        """Return what is known of a path (behind `/hooks/`, percent-encoded).

        The whole path in the default tenant comes first, then the first segment as the name of another tenant.
        """
        registry = self._services.engine.registry
        if registry.generation != self._generation:
            self._generation = registry.generation
            self._table = hook_table(registry.triggers)
            self._found = {}
        known = self._found.get(path)
        return known if known is not None else self._look_up(path)

    def _look_up(self, path: str) -> Found | None:
        found = self._match(path)
        if found is not None and not found.params:
            if len(self._found) >= _MOST_FOUND:
                self._found = {}
            self._found[path] = found
        return found

    def _match(self, path: str) -> Found | None:
        found = self._table.find(DEFAULT_TENANT, path)
        if found is not None:
            return Found(*found, path)
        name, slash, rest = path.partition("/")
        tenant = self._tenants.get(name) if slash else None
        found = None if tenant is None else self._table.find(tenant, rest)
        return None if found is None else Found(*found, rest)

    async def refresh_tenants(self) -> None:
        """Learn the names of tenants again, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._tenants_at >= _TENANTS_FOR_S:
            # Set first: requests to unknown paths must not all go to the database.
            self._tenants_at = now
            self._tenants = await self._services.listing.list_tenants()

    def most_bytes(self, hook: Hook) -> int:
        """Return how large a body may be."""
        limit = self._services.settings.max_body_bytes
        return min(hook.config.max_body or limit, limit)

    def event(
        self,
        found: Found,
        method: str,
        query: Iterable[tuple[str, str]],
        headers: Iterable[tuple[str, str]],
        raw: bytes,
    ) -> NewEvent:
        """Check the sender's proof on the raw bytes, then read them.

        Raises UnauthorizedError, UnprocessableError, and UnavailableError while the secret has not been filled in.
        """
        hook = found.hook
        request = WebhookRequest(method, found.path, tuple(query), joined_headers(headers), raw)
        if not hook.is_open:
            try:
                authenticate(hook.config.auth, request, self._services.engine.now())
            except ConfigurationError as error:
                raise UnavailableError(str(error), retry_after_s=60) from error
        body, encoding = parse_body(request.headers, raw)
        return event_for(hook, request, found.params, body, encoding)


HOOKS: web.AppKey[Hooks] = web.AppKey("hooks", Hooks)


def answer_of(receipt: Receipt) -> bytes:
    """Return what a sender is told of an event that is stored."""
    return orjson.dumps({"event_id": str(receipt.event_id), "executions": [*map(str, receipt.executions)]})


async def receive(request: web.Request) -> web.Response:
    """Take a webhook in; the caller turns what it raises into an answer."""
    services, hooks = request.app[SERVICES], request.app[HOOKS]
    if services.stopping:
        raise UnavailableError("this instance is stopping", retry_after_s=2)
    path = request.rel_url.raw_path[len(PREFIX) :]
    found = hooks.find(path)
    if found is None:
        await hooks.refresh_tenants()
        found = hooks.find(path)
    if found is None:
        raise NotFoundError("no active workflow listens on this path")
    if not found.hook.takes(request.method):
        return _wrong_method(found.hook, request.method)
    raw = await services.bodies.read(request, hooks.most_bytes(found.hook))
    query = request.rel_url.query.items() if request.query_string else ()
    try:
        event = hooks.event(found, request.method, query, request.headers.items(), raw)
    except UnauthorizedError as error:
        return _unauthorized(found.hook, error)
    receipt = await services.engine.emit(event)
    return web.Response(body=answer_of(receipt), status=202, headers=_JSON)


def _wrong_method(hook: Hook, method: str) -> web.Response:
    allowed = ", ".join(hook.methods())
    return problem_response(
        MethodNotAllowedError.status,
        MethodNotAllowedError.title,
        f"{method} is not taken here; this path takes {allowed}",
        headers={"Allow": allowed},
    )


def _unauthorized(hook: Hook, error: UnauthorizedError) -> web.Response:
    """Nothing of a request without its proof is stored."""
    wanted = challenge(hook.config.auth)
    headers = {"WWW-Authenticate": wanted} if wanted else None
    return problem_response(error.status, error.title, error.detail, headers=headers)
