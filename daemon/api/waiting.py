"""What is served while the daemon waits for its database: why, to whoever asks, and 503 to everybody else."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge
from prometheus_client.exposition import generate_latest

from hark._version import __version__
from hark.daemon.api.health import show_health
from hark.daemon.api.problems import problem_response
from hark.daemon.api.server import BACKLOG, no_address, request_log, url_of
from hark.daemon.runtime_file import RuntimeFile
from hark.workflows.errors import ConfigurationError

_RETRY_AFTER = {"Retry-After": "2"}
_STAY_S = 5.0
"""For so long a connection may say nothing, or a part of a request."""
_PART_S = 1.0
"""For so long the rest of a request is read, also when the room closes: the daemon is to start, or to end."""


class WaitingRoom:
    """Serves the address of the daemon until the daemon can. Its sockets go over to the server: nobody is refused.

    `sockets` are those that systemd has opened, its own from here on; without any, it opens the address itself.
    """

    def __init__(self, host: str, port: int, data_dir: Path, *, sockets: Sequence[socket.socket] = ()) -> None:
        self.reason = ""
        self._host = host
        self._port = port
        self._runtime = RuntimeFile(data_dir)
        self._sockets = list(sockets)
        self._runner: web.AppRunner | None = None
        self._listening: list[asyncio.Server] = []

    async def open(self, reason: str) -> str | None:
        """Say from now on why there is nothing to be had; returns the URL when it has just been opened.

        Raises ConfigurationError when the address cannot be had.
        """
        self.reason = reason
        if self._runner is not None:
            return None
        self._runner = web.AppRunner(
            self._application(),
            access_log=None,
            handle_signals=False,
            logger=request_log(),
            keepalive_timeout=_STAY_S,
            lingering_time=_PART_S,
            shutdown_timeout=_PART_S,
        )
        await self._runner.setup()
        try:
            await self._listen(cast("web.Server", self._runner.server))
        except OSError as error:
            raise ConfigurationError(no_address(self._host, self._port, error)) from error
        url = url_of(self._listening[0].sockets[0].getsockname())
        self._runtime.write(url)
        return url

    async def _listen(self, server: web.Server) -> None:
        loop = asyncio.get_running_loop()
        while self._sockets:
            self._listening.append(await loop.create_server(server, sock=self._sockets.pop(0), backlog=BACKLOG))
        if not self._listening:
            self._listening.append(await loop.create_server(server, self._host, self._port, backlog=BACKLOG))

    async def hand_over(self) -> Sequence[socket.socket]:
        """Close, and return the sockets to serve on; none when the address is still to be opened."""
        # Those who come in between are kept by the kernel: what listens is not closed as long as one has it.
        numbers = [each.fileno() for listening in self._listening for each in listening.sockets]
        sockets = [socket.socket(fileno=os.dup(number)) for number in numbers]
        await self._stop()
        handed, self._sockets = [*self._sockets, *sockets], []
        return handed

    async def close(self) -> None:
        """Close for good; idempotent, safe before it was opened."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        if self._runner is not None:
            await self._stop()
            self._runtime.remove()

    async def _stop(self) -> None:
        for listening in self._listening:
            listening.close()
        self._listening.clear()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/healthz", show_health)
        application.router.add_get("/readyz", self._show_readiness)
        application.router.add_get("/metrics", self._show_metrics)
        application.router.add_route("*", "/{path:.*}", self._refuse)
        return application

    async def _show_readiness(self, _request: web.Request) -> web.Response:
        parts = {"database": {"ok": False, "detail": self.reason}}
        body = orjson.dumps({"ready": False, "parts": parts})
        return web.Response(body=body, status=503, content_type="application/json", headers=_RETRY_AFTER)

    async def _show_metrics(self, _request: web.Request) -> web.Response:
        registry = CollectorRegistry()
        # The process is there: whoever watches for that it is gone is not to be alarmed, but for the part that is down.
        Gauge("hark_info", "Always 1; says which version runs.", ["version"], registry=registry).labels(
            __version__
        ).set(1)
        Gauge("hark_part_up", "Whether a part of the daemon works.", ["part"], registry=registry).labels("database")
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _refuse(self, _request: web.Request) -> web.Response:
        detail = f"the daemon waits for its database: {self.reason}"
        return problem_response(503, "Unavailable", detail, headers=_RETRY_AFTER)
