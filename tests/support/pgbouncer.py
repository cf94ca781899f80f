"""A pgbouncer of the test's own in front of a PostgreSQL, on a free port of this machine."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit, urlunsplit

PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
_PATIENCE_S = 10.0


@asynccontextmanager
async def pgbouncer(url: str, pool_mode: str, pool_size: int = 4, **more: object) -> AsyncIterator[str]:
    """Run one for the length of a block, in front of the server of a URL; gives the URL through it."""
    with tempfile.TemporaryDirectory(prefix="hark-pgbouncer-") as name:
        home, port = Path(name), _free_port()
        home.chmod(0o755)
        _configure(home, url, port, {"pool_mode": pool_mode, "default_pool_size": pool_size, **more})
        assert PROGRAM is not None
        command = [PROGRAM, str(home / "pgbouncer.ini")]
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, **_account(url))  # noqa: ASYNC220 - at once
        try:
            await _answers(port, process, home / "log")
            yield _through(url, port)
        finally:
            process.terminate()
            await asyncio.to_thread(process.wait, _PATIENCE_S)


def _account(url: str) -> dict[str, Any]:
    """Return who it runs as: never root, and somebody who gets at the server's socket, which is its owner's alone."""
    if os.geteuid() != 0:
        return {}
    host = _server(url)[0]
    owner = Path(host).stat() if host.startswith("/") else None
    if owner is None or owner.st_uid == 0:
        return {"user": "nobody", "extra_groups": []}
    return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}


def _server(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    asked = parse_qs(parts.query)
    host = parts.hostname or asked["host"][0]
    return host, parts.port or int(asked.get("port", ["5432"])[0])


def _configure(home: Path, url: str, port: int, settings: dict[str, object]) -> None:
    parts = urlsplit(url)
    host, server_port = _server(url)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    options = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "max_client_conn": 500,
        **settings,
    }
    lines = [f"{key} = {value}" for key, value in options.items()]
    server = f"* = host={host} port={server_port} user={user} password={password}"
    (home / "pgbouncer.ini").write_text("\n".join(["[databases]", server, "[pgbouncer]", *lines, ""]))


def _through(url: str, port: int) -> str:
    parts = urlsplit(url)
    return urlunsplit(
        ("postgresql", f"{parts.username or 'hark'}:x@127.0.0.1:{port}", parts.path, "sslmode=disable", "")
    )


async def _answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            assert process.poll() is None, log.read_text()
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            return


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
