"""The embedded server as something to start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import structlog
from structlog.typing import FilteringBoundLogger

from hark.daemon.postgres.binaries import find_binaries
from hark.daemon.postgres.cluster import initialise, last_words, server_pid, spawn
from hark.daemon.postgres.home import Home, open_home, try_lock
from hark.workflows.errors import ConfigurationError

T = TypeVar("T")

_POLL_S = 0.02
_REPORT_EVERY_S = 5.0


class EmbeddedPostgres:
    """A PostgreSQL server under a data directory, shared by all processes that use that directory.

    The first user starts it, the last one stops it; a user that is killed counts as gone, and the next one finds the
    server, or what a crash left of it, and goes on. `options` are further settings of the server, for this start.
    `on_wait` is called about every second while something takes its time (recovery, another process), with what it is.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        log: FilteringBoundLogger | None = None,
        options: Mapping[str, str] | None = None,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._log: FilteringBoundLogger = log or structlog.get_logger("hark.postgres")
        self._options = dict(options or {})
        self._on_wait = on_wait or (lambda _what: None)
        self._home: Home | None = None
        self._users_lock = -1
        self._url = ""

    async def start(self) -> str:
        """Bring the server up, or join the one that runs, and return the URL of the database `hark`.

        Waits as long as a recovery needs. May be cancelled. Raises ConfigurationError with the server's own words.
        """
        if not self._url:
            try:
                self._url = await self._start()
            except BaseException:
                await self.stop()
                raise
        return self._url

    async def stop(self) -> None:
        """Leave the server, and stop it when nobody else uses it. Safe before start, and more than once."""
        if self._home is None or self._users_lock < 0:
            return
        users_lock, self._users_lock, self._url = self._users_lock, -1, ""
        try:
            if try_lock(users_lock, fcntl.LOCK_EX):
                await self._shut_down(self._home)
        finally:
            os.close(users_lock)

    async def _start(self) -> str:
        home = self._home = await asyncio.to_thread(open_home, self._data_dir)
        if home.path.parent != self._data_dir.resolve():
            self._log.warning("postgres.placed_elsewhere", data_dir=str(self._data_dir), home=str(home.path))
        binaries = await asyncio.to_thread(find_binaries, home.account)
        async with self._lock(home, "start.lock", "another process to start the server"):
            self._users_lock = home.open_lock("users.lock")
            await self._take(self._users_lock, fcntl.LOCK_SH, "another process to stop the server")
            await self._bring_up(home, binaries)
        return home.url()

    async def _bring_up(self, home: Home, binaries: Path) -> None:
        launched = await _finish(asyncio.to_thread(_launch, home, binaries, self._options))
        if await self._wait_until_ready(home):
            self._log.info("postgres.started" if launched else "postgres.joined", home=str(home.path))
        elif launched:
            raise ConfigurationError(f"the embedded PostgreSQL did not start; it said:\n{last_words(home)}")
        else:  # what held the lock were the last processes of a server that was dying
            await self._bring_up(home, binaries)

    async def _wait_until_ready(self, home: Home) -> bool:
        """Wait until the server answers, or return False when it has gone."""
        async for _ in self._waiting("the server to be ready; after a crash it recovers first"):
            alive = await asyncio.to_thread(_is_alive, home)
            if await _answers(home.url()):
                return True
            if not alive:
                return False
        raise AssertionError  # the loop has no other end

    async def _shut_down(self, home: Home) -> None:
        async for _ in self._waiting("the server to stop"):
            if not _is_alive(home):
                break
            # Again each time: a server that is just starting may not listen yet. "Fast": everything is written.
            if pid := server_pid(home.data / "postmaster.pid"):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
        self._log.info("postgres.stopped", home=str(home.path))

    @contextlib.asynccontextmanager
    async def _lock(self, home: Home, name: str, what: str) -> AsyncIterator[None]:
        descriptor = home.open_lock(name)
        try:
            await self._take(descriptor, fcntl.LOCK_EX, what)
            yield
        finally:
            os.close(descriptor)

    async def _take(self, descriptor: int, operation: int, what: str) -> None:
        async for _ in self._waiting(what):
            if try_lock(descriptor, operation):
                return

    async def _waiting(self, what: str) -> AsyncIterator[None]:
        """Yield until the caller has what it waits for, without a limit, and say so from time to time."""
        began = told = reported = time.monotonic()
        while True:
            yield
            await asyncio.sleep(_POLL_S)
            now = time.monotonic()
            if now - told >= 1:
                told = now
                self._on_wait(what)
            if now - reported >= _REPORT_EVERY_S:
                reported = now
                self._log.info("postgres.waiting", what=what, waited_s=round(now - began, 1))


def _launch(home: Home, binaries: Path, options: Mapping[str, str]) -> bool:
    """Start the server unless one lives; tell whether it was started."""
    server_lock = home.open_lock("server.lock")
    try:
        if not try_lock(server_lock, fcntl.LOCK_EX):
            return False
        initialise(home, binaries)
        spawn(home, binaries, server_lock, options)
        return True
    finally:
        os.close(server_lock)


async def _finish(work: Coroutine[Any, Any, T]) -> T:
    """Await work that must not be left half done: a cancellation is raised when it has ended."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _is_alive(home: Home) -> bool:
    descriptor = home.open_lock("server.lock")
    try:
        return not try_lock(descriptor, fcntl.LOCK_EX)
    finally:
        os.close(descriptor)


_NOT_READY = (
    OSError,
    TimeoutError,
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,  # one that is dying has accepted, and hangs up
    asyncpg.TooManyConnectionsError,
)


async def _answers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=10, ssl=False)
    except _NOT_READY:
        return False
    except asyncpg.InvalidPasswordError as error:
        raise ConfigurationError("the embedded PostgreSQL refuses its password; restore `postgres/password`") from error
    await connection.close()
    return True
