"""What is served while the database is waited for holds up nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hark.daemon.api.waiting import WaitingRoom


async def test_whoever_has_not_sent_all_does_not_keep_the_daemon_from_starting(tmp_path: Path) -> None:
    """Ten seconds went by at the start, and after SIGTERM, in reading what was still to come of a refused request."""
    room = WaitingRoom("127.0.0.1", 0, tmp_path)
    url = await room.open("the database is away")
    reader, writer = await asyncio.open_connection("127.0.0.1", int((url or "").rpartition(":")[2]))
    writer.write(b"POST /hooks/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert (await reader.readline()).split()[1] == b"503"
    async with asyncio.timeout(4):
        sockets = await room.hand_over()
    for each in sockets:
        each.close()
    writer.close()
    await room.close()
