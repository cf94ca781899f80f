"""One connection that has only sent webhooks so far: one request at a time, held here until it is whole."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from hark.daemon.api.crowd import Crowd, Stage
from hark.daemon.api.framing import bytes_needed, is_no_request

_MOST_UNREAD = 64 * 1024
"""Bytes of answers that a client may leave unread."""


class Owner(Protocol):
    """The front, as its connections see it."""

    crowd: Crowd

    def entered(self, connection: Connection) -> None:
        """Note a connection."""
        ...

    def left(self, connection: Connection) -> None:
        """Forget a connection: it is closed, or somebody else's."""
        ...

    def has_room(self, data: bytes | bytearray) -> bool:
        """Tell whether a request that has begun so would be taken now."""
        ...

    def take(self, connection: Connection, data: bytes) -> bool:
        """Begin to store the webhook that this is, or refuse it; False when it is not for here."""
        ...

    def turn_away(self, connection: Connection, data: bytes, *, late: bool) -> bytes:
        """Return the answer to a request that did not become whole: it came too late, or there is no room for it."""
        ...

    def not_understood(self) -> bytes:
        """Return the answer to what is no request."""
        ...

    def hand_over(self, transport: asyncio.Transport, data: bytes) -> None:
        """Let aiohttp serve a connection from the beginning of a request on."""
        ...


class Connection(asyncio.Protocol):
    """Small on purpose: ten thousand of them may wait. There is no parser, no timer and no task of its own."""

    __slots__ = ("_finishing", "_needed", "_next", "_owner", "_received", "_stage", "_transport")

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._stage = Stage.SILENT
        self._transport: asyncio.Transport | None = None
        self._received: bytearray | None = None
        """What came of a request that is not whole."""
        self._needed: int | None = None
        """How long that has to become."""
        self._next = b""
        """What came while it was busy."""
        self._finishing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # First: it may take somebody's place, and must not be the one who goes for it.
        self._owner.entered(self)
        self._owner.crowd.enter(self, self._stage)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._transport = None
        self._forget()
        self._leave()

    def data_received(self, data: bytes) -> None:
        if self._stage is Stage.BUSY:
            self._next += data
            if self._transport is not None:
                self._transport.pause_reading()
        elif self._stage is not Stage.LEAVING:
            self._receive(data)

    def eof_received(self) -> bool:
        """Stay, after the last that a client has to say, until it has its answer."""
        self._finishing = True
        return self._stage is Stage.BUSY

    @property
    def client(self) -> str:
        """The address at the other end."""
        peer = self._transport.get_extra_info("peername") if self._transport is not None else None
        return str(peer[0]) if peer else ""

    def answer(self, answer: bytes, *, close: bool) -> None:
        """Send the answer to the request that it is busy with."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        transport.write(answer)
        if close or self._finishing or transport.get_write_buffer_size() > _MOST_UNREAD:
            self._go_to(Stage.LEAVING)
            transport.close()
            return
        self._go_to(Stage.IDLE)
        if self._next:
            data, self._next = self._next, b""
            transport.resume_reading()
            self._receive(data)

    def pass_on(self, data: bytes) -> None:
        """Let somebody else serve the connection, from the request that it is busy with on."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._next:
            data, self._next = data + self._next, b""
            transport.resume_reading()
        self._leave()
        self._owner.hand_over(transport, data)

    def refuse(self, answer: bytes, *, whole: bool = False) -> None:
        """Send the last answer. What is still on its way is thrown away: a reset would take the answer along."""
        transport = self._transport
        self._forget()
        if transport is None or transport.is_closing():
            self._leave()
            return
        self._go_to(Stage.LEAVING)
        if self._next:
            self._next = b""
            transport.resume_reading()
        transport.write(answer)
        if whole:
            transport.close()
        else:
            transport.write_eof()

    def finish(self, *, at_once: bool = False) -> None:
        """Hang up as soon as no answer is owed."""
        self._finishing = True
        if self._transport is not None and at_once:
            self._transport.abort()
        elif self._transport is not None and self._stage is not Stage.BUSY:
            self._transport.close()

    def overdue(self) -> None:
        """Go: it took too long."""
        self._go(late=True)

    def give_way(self) -> None:
        """Go: others need the room."""
        self._go(late=False)

    def _receive(self, data: bytes) -> None:
        """Hold what there is of a request until it is whole, then have it taken."""
        if self._received is None:
            data = data.lstrip(b"\r\n")  # some send an empty line after a body, or before a request
            if not data:
                return
        else:
            self._hold(data)
            if self._needed is not None and len(self._received) < self._needed:
                self._owner.crowd.lighten()
                return
        there = data if self._received is None else self._received
        self._needed = bytes_needed(there)
        if self._needed is not None and self._needed <= len(there):
            self._begin(data if self._received is None else bytes(self._forget()))
            return
        if self._needed is None and is_no_request(there):
            self.refuse(self._owner.not_understood())
            return
        if self._needed is not None and not self._owner.has_room(there):
            self.refuse(self._owner.turn_away(self, bytes(there), late=False))
            return
        if self._received is None:
            self._received = bytearray()
            self._hold(data)
        stage = Stage.HEAD if self._needed is None else Stage.BODY
        if stage is not self._stage:
            self._go_to(stage)
        self._owner.crowd.lighten()

    def _begin(self, data: bytes) -> None:
        self._go_to(Stage.BUSY)
        if not self._owner.take(self, data):
            self.pass_on(data)

    def _hold(self, data: bytes) -> None:
        if self._received is not None:
            self._received += data
            self._owner.crowd.held_bytes += len(data)

    def _forget(self) -> bytearray:
        """Return what was held, and hold it no longer."""
        data, self._received, self._needed = self._received or bytearray(), None, None
        self._owner.crowd.held_bytes -= len(data)
        return data

    def _go(self, *, late: bool) -> None:
        if self._transport is None or self._stage is Stage.LEAVING:
            self._cut()
        elif self._stage is Stage.BODY and self._received is not None:
            self.refuse(self._owner.turn_away(self, bytes(self._received), late=late))
        else:
            self._forget()
            self._owner.left(self)
            self._go_to(Stage.LEAVING)
            self._transport.close()

    def _cut(self) -> None:
        """Go without another word: closing waits for ever for a client that does not read what it was sent."""
        self._leave()
        if self._transport is not None:
            self._transport.abort()

    def _go_to(self, stage: Stage) -> None:
        self._owner.crowd.leave(self, self._stage)
        self._stage = stage
        self._owner.crowd.enter(self, stage)

    def _leave(self) -> None:
        self._owner.crowd.leave(self, self._stage)
        self._owner.left(self)
