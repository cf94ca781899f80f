"""Real daemon processes on a database of the benchmark."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.bench import LOGS
from benchmarks.environments import this_python
from benchmarks.processes import ContestantError, Process

START_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Daemon:
    """A process that serves HTTP on loopback."""

    process: Process
    port: int


@asynccontextmanager
async def daemon(url: str, workflows: Mapping[str, str], **settings: str) -> AsyncIterator[Daemon]:
    """Run a Hark daemon with some workflows (name → text); settings as environment variables without HARK_."""
    with tempfile.TemporaryDirectory(prefix="hark-bench-") as directory:
        home = Path(directory)
        (home / "workflows").mkdir()
        for name, text in workflows.items():
            (home / "workflows" / f"{name}.yaml").write_text(text, encoding="utf-8")
        port = free_port()
        given = {
            "HARK_DATABASE_URL": url,
            "HARK_DATA_DIR": str(home / "data"),
            "HARK_WORKFLOWS": str(home / "workflows"),
            "HARK_PORT": str(port),
            "HARK_LOG_LEVEL": "warning",
            **{f"HARK_{name.upper()}": value for name, value in settings.items()},
        }
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("HARK_")}
        command = [str(this_python()), "-m", "benchmarks.daemon"]
        process = await Process.start("hark daemon", command, {**inherited, **given}, LOGS / "daemon.log")
        try:
            await until_ready(process, f"http://127.0.0.1:{port}/readyz")
            yield Daemon(process, port)
        finally:
            await asyncio.shield(process.stop(45))


async def until_ready(process: Process, url: str, limit_s: float = START_LIMIT_S) -> None:
    """Wait until a server answers with 200; raises ContestantError."""
    end = time.monotonic() + limit_s
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
        while time.monotonic() < end and process.alive:
            try:
                async with session.get(url) as response:
                    if response.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.1)
    how = "did not get ready" if process.alive else "ended while it started"
    raise ContestantError(f"{process.name} {how}; its words are in .hark/bench/logs")


def free_port() -> int:
    """Return a port of loopback that nobody uses right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
