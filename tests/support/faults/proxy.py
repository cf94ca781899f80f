"""A proxy between a daemon and its PostgreSQL, which lets things go wrong at named points and nowhere else.

It reads what passes and changes nothing, until a trap that was laid is reached: then it does there what it was told,
and lets the statement through, cuts the connection, or never answers again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.faults import wire


class Verdict(Enum):
    """What becomes of a connection after a trap."""

    GO = "go"
    """As if nothing had been."""
    CUT = "cut"
    """Both sides lose it."""
    HOLE = "hole"
    """It stays open, and nothing passes any more."""


@dataclass(frozen=True, slots=True)
class Point:
    """A moment in the talk between a daemon and its database."""

    query: str
    """The statement: the name of its file, or COMMIT."""
    lane: str = ""
    """The connection's application_name without `hark `; empty for any."""
    after: bool = False
    """Once the server has done it and before the daemon hears so; else before the server gets it."""
    where: Callable[[wire.Unit], bool] = field(default=lambda _: True, compare=False)
    """Which of these statements."""
    answer: Callable[[bytes], bool] = field(default=lambda _: True, compare=False)
    """Which answers, if it lies after the statement."""


@dataclass(slots=True)
class Trap:
    """What happens at a point, and how often it may; `hits` tells how often it did."""

    point: Point
    action: Callable[[], Awaitable[Verdict]]
    most: int = 1
    hits: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def fits(self, lane: str, unit: wire.Unit) -> bool:
        """Tell whether this is where it lies."""
        point = self.point
        if self.hits >= self.most or unit.query != point.query or point.lane not in ("", lane):
            return False
        return point.where(unit)

    async def spring(self) -> Verdict:
        """Do what was told; to its end, though the connection on which it was sprung may end by it."""
        return await asyncio.shield(asyncio.create_task(self._act()))

    async def _act(self) -> Verdict:
        verdict = await self.action()
        self.reached.set()
        return verdict


class Proxy:
    """Listens on a port of its own, in front of the database of a URL. Started and stopped by the test."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self._traps: list[Trap] = []
        self.opened = 0
        """How many connections there have been."""
        self._talking: set[_Talk] = set()
        self.dark = asyncio.Event()
        """While it is set nothing passes, on any connection, and new ones are accepted and never answered."""

    async def start(self) -> None:
        """Begin to listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Close everything; idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await self.cut_all()
            await server.wait_closed()

    def url(self, **settings: str) -> str:
        """Return the URL of the database as it is reached through this proxy, with settings for its connections."""
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        user = f"{self._parts.username}:{self._parts.password}"
        query = "&".join(f"{name.replace('__', '.')}={value}" for name, value in settings.items())
        return f"postgresql://{user}@127.0.0.1:{port}{self._parts.path}?{query}"

    def lead_to(self, url: str) -> None:
        """Lead new connections to another server, like an address that moved; those that stand stay where they are."""
        self._parts = urlsplit(url)

    def lay(self, point: Point, action: Callable[[], Awaitable[Verdict]], *, most: int = 1) -> Trap:
        """Lay a trap; the first that fits is sprung."""
        trap = Trap(point, action, most)
        self._traps.append(trap)
        return trap

    def swallow(self, lane: str) -> int:
        """Let nothing pass any more on the connections that a lane has now, which stay open; returns how many."""
        silenced = [talk for talk in self._talking if talk.lane == lane and not talk.silent]
        for talk in silenced:
            talk.silent = True
        return len(silenced)

    def clear(self) -> None:
        """Take all traps away."""
        self._traps.clear()

    async def cut_all(self) -> int:
        """Cut every connection; returns how many there were."""
        talks = [*self._talks]
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        return len(talks)

    def find(self, lane: str, unit: wire.Unit) -> Trap | None:
        """Return the trap that lies where a connection is now, and count it."""
        for trap in self._traps:
            if trap.fits(lane, unit):
                trap.hits += 1
                return trap
        return None

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to the server."""
        query = {name: values[0] for name, values in parse_qs(self._parts.query).items()}
        host, port = query.get("host") or self._parts.hostname or "", query.get("port") or self._parts.port or 5432
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, int(port))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        talk = _Talk(self, reader, writer)
        self._talking.add(talk)
        try:
            with suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
                await talk.run()
        finally:
            self._talking.discard(talk)
            self._talks.discard(task)
            # Not closed in good order: whoever still writes is to find out.
            writer.transport.abort()


class _Talk:
    """One connection, from its first message to its end."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self.lane = ""
        self.silent = False
        self._awaited: Trap | None = None
        """A trap that lies at the end of the answer that is under way."""

    async def run(self) -> None:
        await self._light()
        first = await wire.read_first(self._reader)
        while wire.code_of(first) in (wire.SSL_REQUEST, wire.GSS_REQUEST):
            self._writer.write(b"N")
            first = await wire.read_first(self._reader)
        up_reader, up_writer = await self._proxy.connect()
        try:
            up_writer.write(first.raw)
            if wire.code_of(first) == wire.CANCEL_REQUEST:
                await up_writer.drain()
                return
            self.lane = wire.startup_parameters(first).get("application_name", "").removeprefix("hark ")
            await self._both(self._up(up_writer), self._down(up_reader))
        finally:
            up_writer.transport.abort()

    async def _both(self, *directions: Any) -> None:
        """Run both directions; the end of one is the end of the other."""
        tasks = [asyncio.create_task(direction) for direction in directions]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, (asyncio.IncompleteReadError, OSError)):
                    raise result

    async def _up(self, server: asyncio.StreamWriter) -> None:
        statements = wire.Statements()
        while True:
            unit = await statements.read_unit(self._reader)
            await self._light()
            trap = self._proxy.find(self.lane, unit) if unit.query and unit.ends_in_ready else None
            if trap is not None and trap.point.after:
                self._awaited = trap
            elif trap is not None and not await self._obey(await trap.spring()):
                return
            server.write(unit.raw)
            await server.drain()

    async def _down(self, server: asyncio.StreamReader) -> None:
        while True:
            message = await wire.read_message(server)
            held = message.raw
            while self._awaited is not None and message.kind != b"Z":
                message = await wire.read_message(server)
                held += message.raw
            trap, self._awaited = self._awaited, None
            if trap is not None and not trap.point.answer(held):
                trap.hits -= 1
            elif trap is not None and not await self._obey(await trap.spring()):
                return
            await self._light()
            self._writer.write(held)
            await self._writer.drain()

    async def _obey(self, verdict: Verdict) -> bool:
        """Return whether to go on."""
        if verdict is Verdict.HOLE:
            await asyncio.Event().wait()
        return verdict is Verdict.GO

    async def _light(self) -> None:
        """Wait as long as it is dark."""
        if self._proxy.dark.is_set() or self.silent:
            await asyncio.Event().wait()
