"""Webhooks in their simplest form are answered here, on the connection itself; all else goes to aiohttp's server.

A POST that arrives whole, to a known path, with its proof and its content in order, needs nothing of a web framework:
it becomes an event, and it is answered when that is committed. Without a parser, a request object, a router, a task and
a response object a webhook costs this process half. Whatever is not that simple, or is to be refused for what it is, is
handed over byte by byte together with its connection, so there is one place only that says so.

All connections begin here and stay until there is a whole request, so those who send nothing, or slowly, cost little;
and here is said no when there is no room, before anything is spent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

from aiohttp import web

from hark.daemon.api.bodies import TooSlowError
from hark.daemon.api.connection import Connection
from hark.daemon.api.crowd import Crowd, Stage
from hark.daemon.api.framing import is_below, is_whole
from hark.daemon.api.hooks import PREFIX, Hooks, answer_of
from hark.daemon.api.plain import read_plain
from hark.daemon.api.problems import busy, response_for
from hark.daemon.api.services import Services
from hark.triggers.webhook import path_of_route
from hark.triggers.webhook_request import WebhookRequest
from hark.workflows.catalogue import NewEvent, Receipt
from hark.workflows.errors import RequestError, UnavailableError

_HOOKS = PREFIX.encode()
_LEAVING_S = 2.0
"""For so long after a refusal is thrown away what is still on its way."""
_PROBES = (b"/healthz", b"/readyz", b"/metrics")
_NO_REQUEST = "this is no HTTP request; is it one over TLS, or do its lines end without CR?"
_FOR_PROBES = 50
"""Places for those who ask how it is, when all others are taken."""


class Front:
    """Owns the connections that have only sent webhooks so far. `server` makes the protocol for all others."""

    def __init__(self, services: Services, hooks: Hooks, server: web.Server, *, most: int) -> None:
        self._services = services
        self._hooks = hooks
        self._server = server
        self._most = most
        """How many connections may be open."""
        self._loop = asyncio.get_running_loop()
        idle_s = services.settings.header_timeout.total_seconds()
        spans_s = {
            Stage.SILENT: idle_s,
            Stage.HEAD: idle_s,
            Stage.IDLE: idle_s,
            Stage.LEAVING: _LEAVING_S,
            Stage.BODY: services.settings.body_timeout.total_seconds(),
        }
        self.crowd = Crowd(self._loop, spans_s)
        self.connections: set[Connection] = set()
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._head = b""
        self._head_second = 0
        self._busy_answer = b""
        self._busy_second = 0

    def __call__(self) -> asyncio.Protocol:
        """Make the protocol of a new connection."""
        return Connection(self)

    async def stop(self, timeout_s: float) -> None:
        """Let those who have asked hear their answer, then hang up. The owner has closed the listening sockets."""
        for connection in list(self.connections):
            connection.finish()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._nobody.wait()
        for connection in list(self.connections):
            connection.finish(at_once=True)
        self.crowd.stop()

    def entered(self, connection: Connection) -> None:
        """Note a connection; who has asked for nothing for longest makes room for it."""
        self.connections.add(connection)
        self._nobody.clear()
        if len(self.connections) + len(self._server.connections) > self._most:
            self.crowd.make_room()

    def left(self, connection: Connection) -> None:
        """Forget a connection: it is closed, or somebody else's."""
        self.connections.discard(connection)
        if not self.connections:
            self._nobody.set()

    def has_room(self, data: bytes | bytearray) -> bool:
        """Tell whether a request that has begun so would be taken now."""
        if is_below(data, _HOOKS):
            return self._services.in_flight < self._services.most_in_flight
        return self._has_place(data)

    def take(self, connection: Connection, data: bytes) -> bool:
        """Begin to store the webhook that this is, or refuse it; False when it is not for here."""
        if not self.has_room(data):
            connection.refuse(self._busy(data), whole=is_whole(data))
            return True
        if not is_below(data, _HOOKS):
            return False
        self._services.in_flight += 1
        # All that have come in one turn of the loop are read after each other: one at a time, between two system calls,
        # each finds the processor's caches cold and costs a sixth more.
        self._loop.call_soon(self._read, connection, data)
        return True

    def hand_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """Let aiohttp serve a connection from the beginning of a request on."""
        handler = self._server()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)

    def turn_away(self, connection: Connection, data: bytes, *, late: bool) -> bytes:
        """Return the answer to a request that did not become whole: it came too late, or there is no room for it."""
        if not late:
            return self._busy(data)
        error = TooSlowError(f"the body did not come within {self._services.settings.body_timeout.total_seconds():g} s")
        method, _, rest = data.partition(b"\r\n")[0].decode("latin-1").partition(" ")
        path = rest.partition(" ")[0]
        found = self._hooks.find(path.removeprefix(PREFIX).partition("?")[0]) if path.startswith(PREFIX) else None
        if found is not None:
            self._hooks.refusals.note(
                found.hook.tenant_id, found.hook.template, error.status, detail=str(error), method=method,
                client=connection.client,
            )  # fmt: skip
        self._count(_area(data), error.status)
        return _written(response_for(error), close=True)

    def not_understood(self) -> bytes:
        """Return the answer to what is no request: it would take a place at aiohttp for as long as it says no more."""
        self._count("api", RequestError.status)
        return _written(response_for(RequestError(_NO_REQUEST)), close=True)

    def _has_place(self, data: bytes | bytearray) -> bool:
        """Tell whether one connection more can be served; with many of them none is kept open for a next request."""
        served, most = len(self._server.connections), self._services.most_in_flight
        self._services.crowded = served >= most
        probing = any(is_below(data, path) for path in _PROBES)
        return served < 2 * most + (_FOR_PROBES if probing else 0)

    def _busy(self, data: bytes) -> bytes:
        """Return the answer when there is no room, which costs next to nothing: it is the same to all."""
        self._count(_area(data), 503)
        second = int(time.time())
        if second != self._busy_second:
            self._busy_second = second
            self._busy_answer = _written(busy(), close=True)
        return self._busy_answer

    def _count(self, area: str, status: int) -> None:
        counts, key = self._services.requests, (area, status)
        counts[key] = counts.get(key, 0) + 1

    def _read(self, connection: Connection, data: bytes) -> None:
        """Send a request on its way into the record, or to aiohttp when it is not that simple."""
        event = self._event(data)
        if event is not None:
            self._submit(event, _Delivery(self, connection, event))
            return
        self._services.in_flight -= 1
        if self._has_place(data):
            connection.pass_on(data)
        else:
            connection.refuse(self._busy(data), whole=is_whole(data))

    def _event(self, data: bytes) -> NewEvent | None:
        """Return the event of a request that has nothing special about it, None for all others."""
        plain = read_plain(data)
        if plain is None or not plain.path.startswith(PREFIX) or self._services.stopping:
            return None
        found = self._hooks.find(plain.path[len(PREFIX) :])
        if found is None or not found.hook.is_plain or len(plain.body) > self._hooks.most_bytes(found.hook):
            return None
        try:
            request = WebhookRequest("POST", found.path, plain.query, plain.headers, plain.body)
            return self._hooks.event(found, request)
        except Exception:  # noqa: BLE001 - whatever it is, whoever answers it in the other place tells and logs it
            return None

    def _submit(self, event: NewEvent, delivery: _Delivery) -> None:
        """Send an event on its way into the record; the delivery is told what became of it."""
        try:
            self._services.engine.submit(event, delivery)
        except Exception as error:  # noqa: BLE001 - the edge: every error is an answer
            delivery.set_exception(error)

    def accepted(self, receipt: Receipt) -> bytes:
        """Return the answer to a webhook that is stored."""
        self._services.in_flight -= 1
        self._count("hooks", 202)
        body = answer_of(receipt)
        return b"%b%d\r\n\r\n%b" % (self._head_now(), len(body), body)

    def refused(self, error: Exception, event: NewEvent, client: str) -> tuple[bytes, bool]:
        """Return the answer to a webhook that could not be stored, and whether to hang up after it."""
        self._services.in_flight -= 1
        response = response_for(error)
        self._hooks.refusals.note(
            event.tenant_id, path_of_route(event.route), response.status, detail=str(error), method="POST",
            client=client,
        )  # fmt: skip
        self._count("hooks", response.status)
        close = response.keep_alive is False
        return _written(response, close=close), close

    def _head_now(self) -> bytes:
        """Return the head of a 202 up to its length; made once a second, for the date."""
        second = int(time.time())
        if second != self._head_second:
            self._head_second = second
            date = formatdate(second, usegmt=True)
            self._head = _head(202, [("Content-Type", "application/json"), ("Date", date)]) + b"Content-Length: "
        return self._head


def _area(data: bytes) -> str:
    return "hooks" if is_below(data, _HOOKS) else "api"


def _written(response: web.Response, *, close: bool) -> bytes:
    body = cast("bytes", response.body)
    headers = [*response.headers.items(), ("Content-Length", str(len(body))), ("Date", formatdate(usegmt=True))]
    return _head(response.status, [*headers, ("Connection", "close")] if close else headers) + b"\r\n" + body


def _head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers), ""]
    return "\r\n".join(lines).encode("latin-1")


class _Delivery:
    """One webhook on its way into the record: what the engine tells of it goes to its connection."""

    __slots__ = ("_connection", "_event", "_front", "_told")

    def __init__(self, front: Front, connection: Connection, event: NewEvent) -> None:
        self._front = front
        self._connection = connection
        self._event = event
        self._told = False

    def done(self) -> bool:
        return self._told

    def set_result(self, receipt: Receipt) -> None:
        self._told = True
        self._connection.answer(self._front.accepted(receipt), close=False)

    def set_exception(self, error: Exception) -> None:
        self._told = True
        answer, close = self._front.refused(error, self._event, self._connection.client)
        self._connection.answer(answer, close=close)

    def cancel(self) -> None:
        if not self._told:
            self.set_exception(UnavailableError("this instance is shutting down"))
