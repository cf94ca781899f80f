"""The service manager's side: notifications (sd_notify), the watchdog, sockets that it opened for us."""

from __future__ import annotations

import asyncio
import inspect
import os
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Self

import structlog

_log = structlog.get_logger("hark.systemd")
_FIRST_DESCRIPTOR = 3


class Notifier:
    """Tells the service manager how the service is; silent when nobody asked to be told.

    The protocol is that of sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names, `@` for an abstract one.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    @property
    def enabled(self) -> bool:
        """Whether anybody listens."""
        return self._socket is not None

    def ready(self, status: str = "") -> None:
        """Say that the service does its work from now on."""
        self._send("READY=1", _status(status))

    def stopping(self, status: str = "") -> None:
        """Say that the service is about to end."""
        self._send("STOPPING=1", _status(status))

    def status(self, status: str) -> None:
        """Give the line that `systemctl status` shows."""
        self._send(_status(status))

    def watchdog(self) -> None:
        """Give a sign of life."""
        self._send("WATCHDOG=1")

    def extend_timeout(self, seconds: float, status: str = "") -> None:
        """Ask for that much more time, counted from now, to start or to stop."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}", _status(status))

    def close(self) -> None:
        """Close the socket; later calls are silent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send(self, *lines: str) -> None:
        """Send one datagram; losing it must not take the service down, the next one may arrive."""
        if self._socket is None:
            return
        try:
            self._socket.sendto("\n".join(line for line in lines if line).encode(), self._address)
        except OSError as error:
            _log.warning("systemd.unreachable", error=str(error))


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split()) if text else ""


def watchdog_interval(environment: Mapping[str, str] = os.environ) -> float | None:
    """Return after how many seconds without a sign of life the service is ended; None when nobody watches us."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    if not microseconds.isdigit() or int(microseconds) == 0:
        return None
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / 1_000_000


class Watchdog:
    """Feeds the service manager's watchdog as long as the event loop turns *and* work makes progress.

    A task of the loop asks `progress` (plain or async) and feeds; so a loop that stands still feeds nothing, and one
    that turns over a stuck database neither. `progress` that takes longer than the interval, or fails, counts as no
    progress. `interval_s` is the manager's limit; it is fed three times as often.
    """

    def __init__(
        self,
        notifier: Notifier,
        progress: Callable[[], bool | Awaitable[bool]],
        *,
        interval_s: float | None,
    ) -> None:
        self._notifier = notifier
        self._progress = progress
        self._interval_s = interval_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to feed, unless nobody watches."""
        if self._interval_s is not None and self._task is None:
            self._task = asyncio.create_task(self._feed(self._interval_s / 3), name="watchdog")

    async def stop(self) -> None:
        """Stop feeding. Safe before start, and more than once."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _feed(self, period_s: float) -> None:
        starved_since: float | None = None
        while True:
            if await self._has_progress(period_s):
                self._notifier.watchdog()
                starved_since = None
            else:
                starved_since = starved_since or time.monotonic()
                _log.warning("watchdog.starved", for_s=round(time.monotonic() - starved_since, 1))
            await asyncio.sleep(period_s)

    async def _has_progress(self, limit_s: float) -> bool:
        try:
            async with asyncio.timeout(limit_s):
                answer = self._progress()
                return bool(await answer if inspect.isawaitable(answer) else answer)
        except Exception as error:  # noqa: BLE001 - whatever is wrong, it is no progress
            _log.warning("watchdog.no_progress", error=str(error) or type(error).__name__)
            return False


def listen_sockets(environment: Mapping[str, str] = os.environ) -> list[socket.socket]:
    """Take over the listening sockets that the service manager opened (`hark.socket`); the caller closes them.

    They start at descriptor 3, as sd_listen_fds(3) has it, and are marked not to be inherited by programs we start.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = int(environment.get("LISTEN_FDS") or 0)
    found = []
    for descriptor in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + count):
        os.set_inheritable(descriptor, False)
        listener = socket.socket(fileno=descriptor)
        listener.setblocking(False)
        found.append(listener)
    return found
