"""The real daemon as a process of its own, with its own embedded PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from hark.daemon.postgres.home import existing_url
from hark.daemon.postgres.server import EmbeddedPostgres

PATIENCE_S = 60.0


class Daemon:
    """`hark run` under a data directory; it can be killed and started again."""

    def __init__(self, home: Path, environment: Mapping[str, str], *arguments: str) -> None:
        self.data_dir = home / "data"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = home / "daemon.log"
        self._arguments = arguments
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HARK_")},
            "HARK_DATA_DIR": str(self.data_dir),
            "HARK_PORT": str(self.port),
            "HARK_LOG_FORMAT": "json",
            **environment,
        }
        self.environment.pop("PYTHONUNBUFFERED", None)  # a user's is buffered
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """All that the daemon has said so far."""
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    @property
    def database_url(self) -> str:
        """The URL of the embedded database."""
        url = existing_url(self.data_dir)
        assert url is not None
        return url

    @property
    def headers(self) -> dict[str, str]:
        """What a request to the API needs."""
        return {"Authorization": f"Bearer {(self.data_dir / 'admin.key').read_text(encoding='utf-8').strip()}"}

    async def start(self, *, log: int | None = None) -> None:
        """Start the process and wait until it is ready; it logs to its file, or to a descriptor of the caller's."""
        command = [sys.executable, "-m", "hark", "run", *self._arguments]
        with self._log.open("ab") as file:
            out = file.fileno() if log is None else log
            self.process = await asyncio.to_thread(
                subprocess.Popen, command, env=self.environment, stdout=out, stderr=out
            )
        async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE_S):
            while not await self._is_ready(session):
                assert self.process.poll() is None, self.log
                await asyncio.sleep(0.05)

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def kill(self) -> None:
        """End it as a crash does."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask it to stop; return its exit status."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        process, self.process = self.process, None
        assert process is not None
        process.send_signal(number)
        return await asyncio.to_thread(process.wait, PATIENCE_S)

    async def hark(self, *arguments: str, check: bool = True) -> str:
        """Run the command line against this daemon and return what it prints."""
        command = [sys.executable, "-m", "hark", *arguments]
        done = await asyncio.to_thread(
            subprocess.run, command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout if check else done.stdout + done.stderr


def free_port() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def daemon_home() -> AsyncIterator[Path]:
    """Make a directory for a daemon. As root the embedded server has an account of its own, which has to pass."""
    home = Path(tempfile.mkdtemp(prefix="hark-daemon-"))
    home.chmod(0o711)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


@asynccontextmanager
async def daemon(environment: Mapping[str, str], *arguments: str, files: Mapping[str, str]) -> AsyncIterator[Daemon]:
    """Prepare a daemon with these files (under `workflows/` or beside it); it and its server are gone afterwards."""
    async with daemon_home() as home:
        _write(home, files)
        one = Daemon(home, environment, *(argument.format(home=home) for argument in arguments))
        try:
            yield one
        finally:
            if one.process is not None:
                await one.kill()
            # Joining and leaving stops the server that a killed daemon left behind.
            server = EmbeddedPostgres(one.data_dir)
            await server.start()
            await server.stop()


def _write(home: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


async def until(url: str, query: str, condition: Callable[[Any], bool]) -> Any:
    """Ask the database until the answer is as wanted; bounded."""
    connection = await asyncpg.connect(url)
    value = None
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition(value := await connection.fetchval(query)):
                await asyncio.sleep(0.05)
        return value
    except TimeoutError as error:
        raise AssertionError(f"{query} still gives {value!r}") from error
    finally:
        await connection.close()
