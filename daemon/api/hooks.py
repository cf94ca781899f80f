"""`/hooks/…`: webhooks. Known path, method, size, proof, content, record; the first that fails is the answer."""

from __future__ import annotations

import time

from aiohttp import web

from hark.daemon.api.problems import MethodNotAllowedError, problem_response
from hark.daemon.api.services import Services
from hark.daemon.api.table import SERVICES, encode
from hark.triggers.webhook import Hook, event_for, hook_table
from hark.triggers.webhook_auth import authenticate, challenge
from hark.triggers.webhook_body import parse_body
from hark.triggers.webhook_paths import PathTable
from hark.triggers.webhook_request import WebhookRequest, joined_headers
from hark.workflows.errors import ConfigurationError, NotFoundError, UnauthorizedError, UnavailableError
from hark.workflows.ids import DEFAULT_TENANT, TenantId

PREFIX = "/hooks/"
_TENANTS_FOR_S = 5.0
_JSON = {"Content-Type": "application/json"}


class Hooks:
    """The paths that are served now: made anew when the set of active workflows has changed."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._generation = -1
        self._table: PathTable[Hook] = PathTable()
        self._tenants: dict[str, TenantId] = {}
        self._tenants_at = -_TENANTS_FOR_S

    async def find(self, path: str) -> tuple[Hook, dict[str, str], str] | None:
        """Return the hook of a path (behind `/hooks/`, percent-encoded), its parameters, and the path in its tenant.

        The whole path in the default tenant comes first, then the first segment as the name of another tenant.
        """
        registry = self._services.engine.registry
        if registry.generation != self._generation:
            self._generation = registry.generation
            self._table = hook_table(registry.triggers)
        found = self._table.find(DEFAULT_TENANT, path)
        if found is not None:
            return *found, path
        name, slash, rest = path.partition("/")
        tenant = await self._tenant(name) if slash else None
        if tenant is None:
            return None
        found = self._table.find(tenant, rest)
        return None if found is None else (*found, rest)

    async def _tenant(self, name: str) -> TenantId | None:
        now = time.monotonic()
        if name not in self._tenants and now - self._tenants_at >= _TENANTS_FOR_S:
            # Set first: requests to unknown paths must not all go to the database.
            self._tenants_at = now
            self._tenants = await self._services.listing.list_tenants()
        return self._tenants.get(name)


HOOKS: web.AppKey[Hooks] = web.AppKey("hooks", Hooks)


async def receive(request: web.Request) -> web.Response:
    """Take a webhook in; the caller turns what it raises into an answer."""
    services = request.app[SERVICES]
    if services.stopping:
        raise UnavailableError("this instance is stopping", retry_after_s=2)
    found = await request.app[HOOKS].find(request.rel_url.raw_path[len(PREFIX) :])
    if found is None:
        raise NotFoundError("no active workflow listens on this path")
    hook, params, path = found
    if not hook.takes(request.method):
        return _wrong_method(hook, request.method)
    limit = min(hook.config.max_body or services.settings.max_body_bytes, services.settings.max_body_bytes)
    raw = await services.bodies.read(request, limit)
    webhook = WebhookRequest(
        request.method,
        path,
        tuple(request.rel_url.query.items()) if request.query_string else (),
        joined_headers(request.headers.items()),
        raw,
    )
    refused = _refusal(hook, webhook, services)
    if refused is not None:
        return refused
    body, encoding = parse_body(webhook.headers, raw)
    receipt = await services.engine.emit(event_for(hook, webhook, params, body, encoding))
    answer = {"event_id": receipt.event_id, "executions": receipt.executions}
    return web.Response(body=encode(answer), status=202, headers=_JSON)


def _wrong_method(hook: Hook, method: str) -> web.Response:
    allowed = ", ".join(hook.methods())
    return problem_response(
        MethodNotAllowedError.status,
        MethodNotAllowedError.title,
        f"{method} is not taken here; this path takes {allowed}",
        headers={"Allow": allowed},
    )


def _refusal(hook: Hook, webhook: WebhookRequest, services: Services) -> web.Response | None:
    """Check the sender's proof on the raw bytes; nothing of a request that fails is stored."""
    auth = hook.config.auth
    try:
        authenticate(auth, webhook, services.engine.now())
    except UnauthorizedError as error:
        wanted = challenge(auth)
        headers = {"WWW-Authenticate": wanted} if wanted else None
        return problem_response(error.status, error.title, error.detail, headers=headers)
    except ConfigurationError as error:
        raise UnavailableError(str(error), retry_after_s=60) from error
    return None
