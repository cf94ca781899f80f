"""The HTTP application: routes, what surrounds every request, and how it is served."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain
from typing import Any, cast

import structlog
from aiohttp import ClientConnectionResetError, web
from aiohttp.http_exceptions import HttpProcessingError

from hark.daemon.api import (
    approval_page,
    approvals,
    archives,
    backfill,
    bulk,
    context,
    decisions,
    definitions,
    events,
    executions,
    health,
    hook_routes,
    hook_tests,
    hooks,
    live,
    pruning,
    schedules,
    starting,
    subjects,
    surroundings,
    watches,
)
from hark.daemon.api.front import Front
from hark.daemon.api.hook_refusals import Refusals
from hark.daemon.api.openapi import openapi_document
from hark.daemon.api.problems import MethodNotAllowedError, busy, problem_response, response_for
from hark.daemon.api.services import Services
from hark.daemon.api.table import SERVICES, Route, answer, encode
from hark.daemon.file_limit import room_for_connections
from hark.workflows.errors import ConfigurationError

log = structlog.get_logger(__name__)

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TABLES = (
    definitions.table,
    starting.table,
    executions.table,
    bulk.table,
    backfill.table,
    context.table,
    approvals.table,
    events.table,
    hook_routes.table,
    decisions.table,
    live.table,
    pruning.table,
    archives.table,
    schedules.table,
    subjects.table,
    surroundings.table,
    watches.table,
)
_LINGERING_S = 2.0
"""After a refusal the rest of a body is read for so long, so that the sender sees the answer; then it is cut."""
_SHUTDOWN_S = 5.0
_UNREAD_S = 60.0
"""Who takes nothing of an answer for so long is cut off, by the kernel: who writes would wait as long as he likes."""
BACKLOG = 4096
"""For `listen`: bursts of ten thousand connections are taken without a reset."""


def all_routes() -> list[Route]:
    """Return the routes of the API."""
    return list(chain.from_iterable(table.routes for table in TABLES))


def build_application(services: Services) -> web.Application:
    """Make the application. There are no middlewares: webhooks pay for nothing but themselves."""
    application = web.Application()
    application[SERVICES] = services
    application[hooks.HOOKS] = hooks.Hooks(services)
    application[hook_tests.TESTS] = hook_tests.HookTests(services, application[hooks.HOOKS])
    application[health.METRICS] = health.metrics_registry(services)
    application.on_response_prepare.append(_part_in_a_crowd)
    router = application.router
    router.add_route("*", hooks.PREFIX + "{path:.*}", _guarded("hooks", services, hooks.receive))
    test = _guarded("hooks-test", services, hook_tests.receive_test)
    router.add_route("*", hook_tests.TEST_PREFIX + "{path:.*}", test)
    for path, handler in (
        ("/", health.show_page),
        ("/healthz", health.show_health),
        ("/readyz", health.show_readiness),
        ("/metrics", health.show_metrics),
    ):
        router.add_get(path, handler)
        router.add_route("*", path, _wrong_method(["GET", "HEAD"]))
    router.add_get(approval_page.PATH, _guarded("approve", services, approval_page.show))
    router.add_post(approval_page.PATH, _guarded("approve", services, approval_page.answer))
    router.add_route("*", approval_page.PATH, _wrong_method(["GET", "POST"]))
    _add_api(application, services, all_routes())
    router.add_route("*", "/{path:.*}", _unknown)
    return application


class Server:
    """Serves the application on the settings' address, or on sockets that systemd has opened."""

    def __init__(self, services: Services, *, sockets: Sequence[socket.socket] = ()) -> None:
        self._services = services
        self._sockets = sockets
        self._runner: web.AppRunner | None = None
        self._front: Front | None = None
        self._refusals: Refusals | None = None
        self._listening: list[asyncio.Server] = []

    async def start(self) -> str:
        """Begin to serve; returns the URL. Raises ConfigurationError when the address cannot be had."""
        settings = self._services.settings
        application = build_application(self._services)
        self._runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            logger=request_log(),
            # Also the deadline for headers: a connection that has not sent them whole by then is closed.
            keepalive_timeout=settings.header_timeout.total_seconds(),
            lingering_time=_LINGERING_S,
            shutdown_timeout=_SHUTDOWN_S,
            # Inflating has no bound there: a few bytes would become all of the memory.
            auto_decompress=False,
        )
        await self._runner.setup()
        server = cast("web.Server", self._runner.server)  # there is one from here on
        most = room_for_connections(settings.max_connections)
        self._front = Front(self._services, application[hooks.HOOKS], server, most=most)
        self._refusals = application[hooks.HOOKS].refusals
        self._refusals.start()
        try:
            await self._listen(self._front)
        except OSError as error:
            raise ConfigurationError(no_address(settings.host, settings.port, error)) from error
        return url_of(self._listening[0].sockets[0].getsockname())

    async def _listen(self, front: Front) -> None:
        loop, settings = asyncio.get_running_loop(), self._services.settings
        for sock in self._sockets:
            self._listening.append(await loop.create_server(front, sock=sock, backlog=BACKLOG))
        if not self._sockets:
            self._listening.append(await loop.create_server(front, settings.host, settings.port, backlog=BACKLOG))
        for listening in self._listening:
            _bound_waiting(listening)

    async def stop(self) -> None:
        """Take no more requests and finish those in flight; idempotent, safe before start."""
        self._services.stopping = True
        for listening in self._listening:
            listening.close()
        self._listening.clear()
        front, self._front = self._front, None
        if front is not None:
            await front.stop(_SHUTDOWN_S)
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        refusals, self._refusals = self._refusals, None
        if refusals is not None:
            await refusals.stop()


def _bound_waiting(listening: asyncio.Server) -> None:
    """Set for how long answers may go unread; what is accepted takes it over from what listens."""
    for each in listening.sockets:
        if each.family in (socket.AF_INET, socket.AF_INET6):
            with socket.socket(fileno=os.dup(each.fileno())) as own:
                own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(_UNREAD_S * 1000))


def request_log() -> logging.Logger:
    """Return what aiohttp logs to: all but requests that break the protocol, which are answered with 400.

    It would log each with all that was sent, whoever sent it: without bound, and perhaps with a secret in it. Who hangs
    up before he is told to go on is no defect either.
    """
    logger = logging.getLogger("hark.requests")
    logger.filters[:] = [_is_defect]
    return logger


def _is_defect(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, (HttpProcessingError, ClientConnectionResetError)):
        log.debug("request.not_understood", error=type(error).__name__)
        return False
    return True


def no_address(host: str, port: int, error: OSError) -> str:
    """Say why an address cannot be served on."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use: is Hark running already? Choose another with --port or HARK_PORT"
    return f"{host}:{port} cannot be served on: {error.strerror or error}"


def url_of(address: Any) -> str:
    """Write the address of a listening socket as a URL; what listens everywhere is reached on this machine."""
    if isinstance(address, str):
        return f"unix:{address}"
    host, port = address[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound here, only written
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _add_api(application: web.Application, services: Services, routes: Sequence[Route]) -> None:
    methods: dict[str, list[str]] = {}
    for route in routes:
        methods.setdefault(route.path, []).append(route.method)
        application.router.add_route(route.method, route.path, _guarded("api", services, _answering(route, services)))
    application.router.add_get("/api/openapi.json", _describing(routes, services))
    for path, known in methods.items():
        application.router.add_route("*", path, _wrong_method(known))


def _answering(route: Route, services: Services) -> _Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        return await answer(route, services, request)

    return handle


def _guarded(area: str, services: Services, handler: _Handler) -> _Handler:
    """Bound how many requests are in flight, count them, and turn what they raise into an answer."""
    counts = services.requests

    async def handle(request: web.Request) -> web.StreamResponse:
        if services.in_flight >= services.most_in_flight:
            response: web.StreamResponse = busy()
        else:
            services.in_flight += 1
            try:
                response = await handler(request)
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - the edge of the loop: every error is an answer, and logged
                response = response_for(error)
            finally:
                services.in_flight -= 1
        key = (area, response.status)
        counts[key] = counts.get(key, 0) + 1
        return response

    return handle


async def _part_in_a_crowd(request: web.Request, response: web.StreamResponse) -> None:
    """Keep no connection open, whatever was asked on it, while there are too many."""
    if request.app[SERVICES].crowded:
        response.force_close()
        response.headers["Connection"] = "close"


def _describing(routes: Sequence[Route], services: Services) -> _Handler:
    """Serve the OpenAPI document, made at its first request: it takes longer than a start should."""
    made: list[bytes] = []

    async def describe(_request: web.Request) -> web.Response:
        if not made:
            made.append(encode(openapi_document(routes, services.settings.base_url)))
        return web.Response(body=made[0], content_type="application/json")

    return describe


def _wrong_method(methods: Iterable[str]) -> _Handler:
    allowed = ", ".join(sorted(methods))

    async def refuse(request: web.Request) -> web.Response:
        return problem_response(
            MethodNotAllowedError.status,
            MethodNotAllowedError.title,
            f"{request.method} is not taken here; this address takes {allowed}",
            headers={"Allow": allowed},
        )

    return refuse


async def _unknown(_request: web.Request) -> web.Response:
    return problem_response(404, "Not found", "there is nothing at this address; / says what there is")
