"""A PostgreSQL of a test's own, with what it needs to survive, to be stopped as by a power failure."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from hark.daemon.postgres.binaries import find_binaries, run_program
from hark.daemon.postgres.home import open_home
from hark.daemon.postgres.server import EmbeddedPostgres


class Server:
    """The embedded server, with fsync and all that, unless its options say otherwise."""

    def __init__(self, data_dir: Path, options: Mapping[str, str] | None = None) -> None:
        self._data_dir = data_dir
        self._server = EmbeddedPostgres(data_dir, options=options or {})

    async def start(self) -> str:
        """Start it; returns its URL, which stays the same."""
        return await self._server.start()

    async def stop(self) -> None:
        """Stop it in good order; idempotent."""
        await self._server.stop()

    async def crash(self) -> None:
        """Stop it without letting it write anything any more: `pg_ctl stop -m immediate`."""
        home = open_home(self._data_dir)
        program = find_binaries(home.account) / "pg_ctl"
        await asyncio.to_thread(run_program, home.account, program, "-D", home.data, "-m", "immediate", "stop")
        await self._server.stop()

    async def copy_to(self, other: Server) -> None:
        """Give another server, which has none yet, the files of this one, which has to be stopped."""
        source, target = open_home(self._data_dir).path, other._data_dir / "postgres"
        await asyncio.to_thread(subprocess.run, ["cp", "-a", source, target], check=True)

    def demote(self) -> None:
        """Let it be a standby from its next start on, until it is promoted."""
        (open_home(self._data_dir).data / "standby.signal").touch()

    def recoveries(self) -> int:
        """Return how often it found at its start that it had not been shut down properly."""
        logs = open_home(self._data_dir).data.glob("log/*.log")
        return sum(file.read_text(encoding="utf-8").count("not properly shut down") for file in logs)


@asynccontextmanager
async def own_server(place: Path | None = None, options: Mapping[str, str] | None = None) -> AsyncIterator[Server]:
    """Make one for the length of a block, in a directory of its own at some place."""
    home = Path(tempfile.mkdtemp(prefix="hark-tests-", dir=place))
    home.chmod(0o711)  # as root the server runs under another account, which has to pass
    server = Server(home, options)
    try:
        yield server
    finally:
        await server.stop()
        shutil.rmtree(home, ignore_errors=True)
