"""`/hooks/…`: webhooks. Path, method, address, size, proof, content, rate: the first that is wrong is the answer."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson
from aiohttp import web

from hark.daemon.api.hook_answer import Waiters
from hark.daemon.api.hook_gate import Rates, answer_beforehand, check_address, share_with_page
from hark.daemon.api.hook_refusals import Refusals
from hark.daemon.api.key_sets import KeySets
from hark.daemon.api.origin import Proxies
from hark.daemon.api.problems import MethodNotAllowedError, response_for
from hark.daemon.api.services import Services
from hark.daemon.api.table import SERVICES
from hark.daemon.store.hooks import HookRecords
from hark.triggers.cloudevents import mode_of
from hark.triggers.webhook import Hook, contents_of, event_for, hook_table, slack_challenge
from hark.triggers.webhook_auth import authenticate, challenge
from hark.triggers.webhook_body import parse_body
from hark.triggers.webhook_delivery import Content
from hark.triggers.webhook_jwt import UnknownKeyError
from hark.triggers.webhook_paths import PathTable
from hark.triggers.webhook_request import WebhookRequest, joined_headers
from hark.workflows.catalogue import NewEvent, Receipt
from hark.workflows.errors import ConfigurationError, HarkError, NotFoundError, UnauthorizedError, UnavailableError
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


class Arrived(NamedTuple):
    """What is known of a request before its body is read."""

    method: str
    target: str
    """Path and query as they were sent."""
    query: Iterable[tuple[str, str]]
    headers: Iterable[tuple[str, str]]
    peer: str
    """The address at the other end of the connection."""


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
        settings = services.settings
        self.proxies = Proxies(settings.trusted_proxies, settings.url)
        self.key_sets = KeySets(services.engine.http)
        self.rates = Rates()
        self.waiters = Waiters(services)
        self.refusals = Refusals(HookRecords(services.database))

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
        for tenant_id, rest in self.places(path):
            found = self._table.find(tenant_id, rest)
            if found is not None:
                return Found(*found, rest)
        return None

    def places(self, path: str) -> Iterator[tuple[TenantId, str]]:
        """Yield what a path may mean: itself in the default tenant, or a tenant's name and the path there."""
        yield DEFAULT_TENANT, path
        name, slash, rest = path.partition("/")
        tenant = self._tenants.get(name) if slash else None
        if tenant is not None:
            yield tenant, rest

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

    def request_of(self, found: Found, arrived: Arrived, raw: bytes) -> WebhookRequest:
        """Return a request as its proof is checked on it."""
        headers = joined_headers(arrived.headers)
        url = self.proxies.address(arrived.peer, headers, arrived.target) if found.hook.wants_address else ""
        return WebhookRequest(arrived.method, found.path, tuple(arrived.query), headers, raw, url)

    def event(self, found: Found, request: WebhookRequest) -> NewEvent | None:
        """Return the one event of a plain request, None for what is more than that; raises what `events` raises."""
        if mode_of(request.headers):
            return None
        claims = None if found.hook.is_open else self.prove(found.hook, request)
        content = Content(*parse_body(request.headers, request.body))
        return event_for(found.hook, request, found.params, content, claims)

    def events(self, found: Found, request: WebhookRequest) -> tuple[Sequence[NewEvent], bool]:
        """Check the sender's proof on the raw bytes, then read them; tells too whether they are a batch.

        Raises UnauthorizedError, UnprocessableError, and UnavailableError while the secret has not been filled in.
        """
        claims = None if found.hook.is_open else self.prove(found.hook, request)
        contents, is_batch = contents_of(request, found.hook.config)
        return [event_for(found.hook, request, found.params, content, claims) for content in contents], is_batch

    def prove(self, hook: Hook, request: WebhookRequest) -> Mapping[str, Any] | None:
        """Check the sender's proof; return what a token claims."""
        try:
            return authenticate(hook.config.auth, request, self._services.engine.now(), self.key_sets.find)
        except ConfigurationError as error:
            raise UnavailableError(str(error), retry_after_s=60) from error

    async def proven(self, found: Found, request: WebhookRequest) -> tuple[Sequence[NewEvent], bool]:
        """Do as `events` does, and fetch the keys of an issuer when they are not known, or not any more."""
        try:
            return self.events(found, request)
        except UnknownKeyError as error:
            if not await self.key_sets.refresh(error.url):
                raise UnavailableError("the keys of the tokens' issuer cannot be fetched", retry_after_s=30) from error
        return self.events(found, request)


HOOKS: web.AppKey[Hooks] = web.AppKey("hooks", Hooks)


def answer_of(receipt: Receipt) -> bytes:
    """Return what a sender is told of an event that is stored."""
    return orjson.dumps({"event_id": str(receipt.event_id), "executions": [*map(str, receipt.executions)]})


async def receive(request: web.Request) -> web.Response:
    """Take a webhook in; the caller turns what it raises into an answer, where no web page wants to read it."""
    services, hooks = request.app[SERVICES], request.app[HOOKS]
    if services.stopping:
        raise UnavailableError("this instance is stopping", retry_after_s=2)
    path = path_of(request, PREFIX)
    found = hooks.find(path)
    if found is None:
        await hooks.refresh_tenants()
        found = hooks.find(path)
    if found is None:
        message = "no active workflow listens on this path"
        _note(request, hooks, DEFAULT_TENANT, unquote(path), NotFoundError.status, message)
        raise NotFoundError(message)
    if request.method == "OPTIONS" and (answer := answer_beforehand(found.hook, request.headers)) is not None:
        return answer
    try:
        answer = await _take(request, services, found)
    except HarkError as error:
        answer = _refusal(found.hook, error)
        _note(request, hooks, found.hook.tenant_id, found.hook.template, answer.status, str(error))
    share_with_page(found.hook, request.headers, answer)
    return answer


def path_of(request: web.Request, prefix: str) -> str:
    """Return what follows a prefix in the address of a request, still percent-encoded."""
    return request.rel_url.raw_path[len(prefix) :]


def peer_of(request: web.Request) -> str:
    """Return the address at the other end of a request's connection."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    return str(peer[0]) if peer else ""


def _note(request: web.Request, hooks: Hooks, tenant_id: TenantId, path: str, status: int, detail: str) -> None:
    client = hooks.proxies.client(peer_of(request), joined_headers(request.headers.items()))
    hooks.refusals.note(tenant_id, path, status, detail=detail, method=request.method, client=str(client or ""))


async def _take(request: web.Request, services: Services, found: Found) -> web.Response:
    hooks, hook = request.app[HOOKS], found.hook
    if not hook.takes(request.method):
        raise MethodNotAllowedError(f"{request.method} is not taken here; this path takes {', '.join(hook.methods())}")
    peer = peer_of(request)
    if hook.config.allow_from is not None:
        check_address(hook, hooks.proxies.client(peer, joined_headers(request.headers.items())))
    raw = await services.bodies.read(request, hooks.most_bytes(hook))
    query = request.rel_url.query.items() if request.query_string else ()
    arrived = Arrived(request.method, request.raw_path, query, request.headers.items(), peer)
    events, is_batch = await hooks.proven(found, hooks.request_of(found, arrived, raw))
    hooks.rates.take(hook)
    if is_batch:
        receipts = await services.engine.emit_all(events)
        return web.Response(body=b'{"events":[%b]}' % b",".join(map(answer_of, receipts)), status=202, headers=_JSON)
    challenged = slack_challenge(hook.config, events[0].data["body"])
    if challenged is not None:
        return web.Response(text=challenged)
    return await _emit(services, hooks, hook, events[0])


async def _emit(services: Services, hooks: Hooks, hook: Hook, event: NewEvent) -> web.Response:
    """Store an event; answer at once, or with what its execution comes to in good time."""
    responder = hook.responder
    if responder is None:
        return _acknowledged(await services.engine.emit(event))
    # Who comes in while the event is being stored has to find the place taken.
    with hooks.waiters.place():
        receipt = await services.engine.emit(event)
        answer = await hooks.waiters.answer(responder, event, receipt)
    if answer is None:
        answer = _acknowledged(receipt)
        if receipt.executions:
            answer.headers["Location"] = f"/api/executions/{receipt.executions[0]}"
    return answer


def _acknowledged(receipt: Receipt) -> web.Response:
    return web.Response(body=answer_of(receipt), status=202, headers=_JSON)


def _refusal(hook: Hook, error: HarkError) -> web.Response:
    """Answer for what went wrong. Nothing of a request without its proof is stored."""
    answer = response_for(error)
    if isinstance(error, UnauthorizedError):
        del answer.headers["WWW-Authenticate"]
        if wanted := challenge(hook.config.auth):
            answer.headers["WWW-Authenticate"] = wanted
    if isinstance(error, MethodNotAllowedError):
        answer.headers["Allow"] = ", ".join(hook.methods())
    return answer
