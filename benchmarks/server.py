"""A PostgreSQL of the benchmark's own, with fsync on."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from hark.daemon.postgres.server import EmbeddedPostgres


@dataclass(frozen=True, slots=True)
class Server:
    """Where it is, and the number of its first process."""

    url: str
    postmaster: int

    async def database(self, name: str) -> str:
        """Make an empty database; returns its URL."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            await connection.execute(f'CREATE DATABASE "{name}"')
        finally:
            await connection.close()
        return self.url.replace("/hark?", f"/{name}?", 1)


@asynccontextmanager
async def own_server() -> AsyncIterator[Server]:
    """Run an embedded server in a directory that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="hark-bench-") as directory:
        home = Path(directory)
        home.chmod(0o711)  # noqa: ASYNC240 - nothing else runs yet
        embedded = EmbeddedPostgres(home)
        url = await embedded.start()
        try:
            yield Server(url, await _postmaster(url))
        finally:
            await embedded.stop()


async def _postmaster(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("SHOW fsync") == "on"
        return _parent(connection.get_server_pid())
    finally:
        await connection.close()


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
