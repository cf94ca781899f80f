"""Webhooks in their simplest form are answered here, on the connection itself; all else goes to aiohttp's server.

A POST that arrives in one piece, to a known path, with its proof and its content in order, needs nothing of a web
framework: aiohttp's parser reads it, it becomes an event, and it is answered when that is committed. Without a request
object, a router, a task and a response object a webhook costs this process half. Whatever is not that simple, or is to
be refused, is handed over byte by byte together with its connection, so there is one place only that says no.
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
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError

from hark.daemon.api.hooks import PREFIX, Arrived, Hooks, answer_of
from hark.daemon.api.problems import response_for
from hark.daemon.api.services import Services
from hark.triggers.webhook import path_of_route
from hark.workflows.catalogue import NewEvent, Receipt
from hark.workflows.errors import UnavailableError

_MOST_AT_ONCE = 64 * 1024
"""Bytes of a request that is taken here, and of what may follow before it is answered."""
_COUNTED = ("hooks", 202)


class Front:
    """Owns the connections that have only sent webhooks so far. `server` makes the protocol for all others."""

    def __init__(self, services: Services, hooks: Hooks, server: web.Server, *, idle_s: float) -> None:
        self._services = services
        self._hooks = hooks
        self.server = server
        self.idle_s = idle_s
        self.connections: set[_Connection] = set()
        self._nobody = asyncio.Event()
        self._nobody.set()
        self._head = b""
        self._head_second = 0

    def __call__(self) -> asyncio.Protocol:
        """Make the protocol of a new connection."""
        return _Connection(self, asyncio.get_running_loop())

    async def stop(self, timeout_s: float) -> None:
        """Let those who have asked hear their answer, then hang up. The owner has closed the listening sockets."""
        for connection in list(self.connections):
            connection.finish()
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._nobody.wait()
        for connection in list(self.connections):
            connection.finish(at_once=True)

    def entered(self, connection: _Connection) -> None:
        """Note a connection."""
        self.connections.add(connection)
        self._nobody.clear()

    def left(self, connection: _Connection) -> None:
        """Forget a connection: it is closed, or somebody else's."""
        self.connections.discard(connection)
        if not self.connections:
            self._nobody.set()

    def event(self, message: RawRequestMessage, data: bytes) -> NewEvent | None:
        """Return the event of a request that has nothing special about it, None for all others."""
        services, url, headers = self._services, message.url, message.headers
        if (
            message.method != "POST"
            or message.version != HttpVersion11
            or message.should_close
            or message.chunked
            or message.upgrade
            or "Content-Encoding" in headers
            or not message.path.startswith(PREFIX)
            or services.stopping
            or services.in_flight >= services.most_in_flight
        ):
            return None
        body = data.partition(b"\r\n\r\n")[2]
        if len(body) != int(headers.get("Content-Length", "0")):
            return None  # the next request has begun
        found = self._hooks.find(url.raw_path[len(PREFIX) :])
        if found is None or not found.hook.is_plain or len(body) > self._hooks.most_bytes(found.hook):
            return None
        query = url.query.items() if url.raw_query_string else ()
        arrived = Arrived("POST", message.path, query, headers.items(), "")
        try:
            return self._hooks.event(found, self._hooks.request_of(found, arrived, body))
        except Exception:  # noqa: BLE001 - whatever it is, whoever answers it in the other place tells and logs it
            return None

    def submit(self, event: NewEvent, delivery: _Delivery) -> None:
        """Send an event on its way into the record; the delivery is told what became of it."""
        self._services.in_flight += 1
        try:
            self._services.engine.submit(event, delivery)
        except Exception as error:  # noqa: BLE001 - the edge: every error is an answer
            delivery.set_exception(error)

    def accepted(self, receipt: Receipt) -> bytes:
        """Return the answer to a webhook that is stored."""
        self._services.in_flight -= 1
        counts = self._services.requests
        counts[_COUNTED] = counts.get(_COUNTED, 0) + 1
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
        counts, key = self._services.requests, ("hooks", response.status)
        counts[key] = counts.get(key, 0) + 1
        body = cast("bytes", response.body)
        close = response.keep_alive is False
        headers = [*response.headers.items(), ("Content-Length", str(len(body))), ("Date", formatdate(usegmt=True))]
        return _head(response.status, [*headers, ("Connection", "close")] if close else headers) + b"\r\n" + body, close

    def _head_now(self) -> bytes:
        """Return the head of a 202 up to its length; made once a second, for the date."""
        second = int(time.time())
        if second != self._head_second:
            self._head_second = second
            date = formatdate(second, usegmt=True)
            self._head = _head(202, [("Content-Type", "application/json"), ("Date", date)]) + b"Content-Length: "
        return self._head


def _head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers), ""]
    return "\r\n".join(lines).encode("latin-1")


class _Delivery:
    """One webhook on its way into the record: what the engine tells of it goes to its connection."""

    __slots__ = ("_connection", "_event", "_front", "_told")

    def __init__(self, front: Front, connection: _Connection, event: NewEvent) -> None:
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


class _Connection(BaseProtocol):
    """One connection, one request at a time."""

    __slots__ = ("_answered_at", "_busy", "_finishing", "_front", "_idle", "_next", "_request_parser")

    def __init__(self, front: Front, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._request_parser = HttpRequestParser(self, loop, _MOST_AT_ONCE, auto_decompress=False)
        self._front = front
        self._busy = False
        """A request is on its way into the record."""
        self._finishing = False
        self._next = b""
        """What came while it was busy."""
        self._answered_at = loop.time()
        self._idle = loop.call_later(front.idle_s, self._hang_up_if_idle)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._front.entered(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._leave()

    def data_received(self, data: bytes) -> None:
        if self._busy:
            self._next += data
            if len(self._next) > _MOST_AT_ONCE:
                self._pause_transport_reading()
            return
        event = self._event(data)
        if event is None:
            self._hand_over(data)
        else:
            self._busy = True
            self._front.submit(event, _Delivery(self._front, self, event))

    @property
    def client(self) -> str:
        """The address at the other end."""
        peer = self.transport.get_extra_info("peername") if self.transport is not None else None
        return str(peer[0]) if peer else ""

    def answer(self, answer: bytes, *, close: bool) -> None:
        """Send the answer to the request that it is busy with."""
        self._busy = False
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        transport.write(answer)
        self._answered_at = self._loop.time()
        if close or self._finishing:
            transport.close()
        elif self._next:
            data, self._next = self._next, b""
            self._resume_transport_reading()
            self.data_received(data)

    def finish(self, *, at_once: bool = False) -> None:
        """Hang up as soon as no answer is owed."""
        self._finishing = True
        if self.transport is not None and (at_once or not self._busy):
            self.transport.close()

    def _event(self, data: bytes) -> NewEvent | None:
        """Return the event of one whole request, None when it is anything else."""
        if len(data) > _MOST_AT_ONCE:
            return None
        try:
            messages, _, _ = self._request_parser.feed_data(data)
        except HttpProcessingError:
            return None
        if len(messages) != 1 or not messages[0][1].is_eof():
            return None
        return self._front.event(messages[0][0], data)

    def _hand_over(self, data: bytes) -> None:
        """Let aiohttp serve this connection from the beginning of a request on."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self._leave()
        handler = self._front.server()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(data)

    def _leave(self) -> None:
        self._idle.cancel()
        self._front.left(self)

    def _hang_up_if_idle(self) -> None:
        due = self._answered_at + self._front.idle_s
        if self._busy or self._loop.time() < due:
            self._idle = self._loop.call_at(max(due, self._loop.time() + 1), self._hang_up_if_idle)
        elif self.transport is not None:
            self.transport.close()
