"""A process that uses the embedded server, to be stopped or killed by a test: `python embedded.py DATA_DIR`.

It prints the URL when the server is up, and leaves the server when its input ends.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import structlog

from hark.daemon.postgres.server import EmbeddedPostgres


async def main() -> None:
    """Use the server until the input ends."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    server = EmbeddedPostgres(Path(sys.argv[1]))
    print(await server.start(), flush=True)  # noqa: T201 - this is how the test hears of it
    await asyncio.to_thread(sys.stdin.read)
    await server.stop()


if __name__ == "__main__":
    asyncio.run(main())
