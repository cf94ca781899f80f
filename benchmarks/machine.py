"""Where and with what it is measured."""

from __future__ import annotations

import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import asyncpg

from benchmarks.results import Machine
from benchmarks.server import Server
from hark._version import __version__

SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "wal_level", "autovacuum", "jit")
LIBRARIES = ("asyncpg", "aiohttp", "uvloop", "cel-expr-python", "orjson")


async def describe(server: Server, scale: str) -> Machine:
    """Describe the machine and the server."""
    connection = await asyncpg.connect(server.url)
    try:
        settings = {name: str(await connection.fetchval(f"SHOW {name}")) for name in SETTINGS}
        postgresql = str(await connection.fetchval("SHOW server_version"))
    finally:
        await connection.close()
    return Machine(
        scale=scale,
        at=datetime.now(UTC),
        processor=_processor(),
        cores=os.cpu_count() or 0,
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        system=f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        python=platform.python_version(),
        postgresql=postgresql,
        server_settings=settings,
        hark=__version__,
        command=" ".join(["python -m benchmarks.run", *sys.argv[1:]]),
        libraries={name: version(name) for name in LIBRARIES},
    )


def _processor() -> str:
    """Return what the processor calls itself."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
