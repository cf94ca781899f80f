"""The receiving ends: an HTTP service and a mail server, which keep what comes in and can hold it back."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session

Place = tuple[str, str]
"""The number of an event and the name of a step, as they come in with each effect."""


@dataclass(slots=True)
class Hold:
    """Who comes to a place is kept there, until it is let go."""

    fits: Callable[[Place], bool]
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)
    count: int = 0
    most: int = 1_000_000


class Receivers:
    """Both ends on ports of their own. Started and stopped by the test."""

    def __init__(self) -> None:
        self.http: dict[Place, list[str]] = defaultdict(list)
        """The Idempotency-Keys that came to each place."""
        self.mail: dict[Place, list[str]] = defaultdict(list)
        """The Message-IDs."""
        self._holds: list[Hold] = []
        self._runner: web.AppRunner | None = None
        self._mail_server: asyncio.Server | None = None
        self.url = ""
        self.mail_port = 0

    async def start(self) -> None:
        """Begin to serve."""
        application = web.Application()
        application.router.add_post("/{number}/{step}", self._take)
        self._runner = web.AppRunner(application, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        loop = asyncio.get_running_loop()
        self._mail_server = await loop.create_server(
            lambda: SMTP(self, hostname="mail.test", loop=loop), "127.0.0.1", 0
        )
        self.mail_port = self._mail_server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Let everybody go, and close; idempotent."""
        self.release()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        server, self._mail_server = self._mail_server, None
        if server is not None:
            server.close()

    def hold(self, step: str, *, most: int = 1_000_000) -> Hold:
        """Hold what comes to a step, `most` times."""
        hold = Hold(lambda place: place[1] == step, most=most)
        self._holds.append(hold)
        return hold

    def release(self) -> None:
        """Let all go, and hold nobody any more."""
        for hold in self._holds:
            hold.released.set()
        self._holds.clear()

    async def _come_in(self, place: Place) -> None:
        for hold in self._holds:
            if hold.fits(place) and hold.count < hold.most:
                hold.count += 1
                hold.arrived.set()
                await hold.released.wait()
                return

    async def _take(self, request: web.Request) -> web.Response:
        place = request.match_info["number"], request.match_info["step"]
        self.http[place].append(request.headers.get("Idempotency-Key", ""))
        await self._come_in(place)
        return web.json_response({"taken": True})

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 aiosmtpd's
        content = envelope.content
        assert isinstance(content, bytes)
        message = message_from_bytes(content)
        number, _, step = str(message["Subject"]).partition("/")
        self.mail[number, step].append(str(message["Message-ID"]))
        with suppress(asyncio.CancelledError):
            await self._come_in((number, step))
        return "250 taken"
