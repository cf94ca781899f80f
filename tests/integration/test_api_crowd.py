"""Many connections: those who send nothing, or slowly, keep nobody out, and everybody who asks is answered."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from support.api import ApiUnderTest, running_api

from hark.daemon.api.crowd import MOST_HELD

WORKFLOW = "id: take\nname: Take\ntriggers: [{type: webhook, path: take}]\nsteps: [{id: a, set: {n: 1}}]\n"
BODY = b'{"n": 1}'
HEAD = b"POST /hooks/take HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\n"
WHOLE = HEAD + BODY
PATIENCE_S = 10.0


class Line:
    """A connection to the daemon."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def ask(self, data: bytes = b"") -> tuple[int, bytes]:
        """Send something; return the status of the next answer, and all of it."""
        if data:
            self.writer.write(data)
        async with asyncio.timeout(PATIENCE_S):
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split()[0])
            return int(head.split()[1]), head + await self._reader.readexactly(length)

    async def ended(self) -> bool:
        """Tell whether the other end hangs up without another word."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._reader.read() == b""


@asynccontextmanager
async def serving(
    url: str, data_dir: Path, **settings: Any
) -> AsyncIterator[tuple[ApiUnderTest, Callable[[], Awaitable[Line]]]]:
    """Serve with a workflow that takes webhooks; gives, too, what opens a connection, until the block ends."""
    lines: list[Line] = []
    async with running_api(url, data_dir, **settings) as api:
        await api.client.apply({"take.yaml": WORKFLOW})

        async def connect() -> Line:
            lines.append(Line(*await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))))
            return lines[-1]

        try:
            yield api, connect
        finally:
            for line in lines:
                line.writer.close()
            await asyncio.gather(*(line.writer.wait_closed() for line in lines), return_exceptions=True)


async def test_who_sends_nothing_makes_room_for_who_comes_later(database_url: str, tmp_path: Path) -> None:
    async with serving(database_url, tmp_path, max_connections=20) as (_, connect):
        asked_before = await connect()
        assert (await asked_before.ask(WHOLE))[0] == 202
        silent = [await connect() for _ in range(60)]
        for line in silent[:40]:
            assert await line.ended()
        assert (await (await connect()).ask(WHOLE))[0] == 202
        # Who has asked something goes after those who have not, and the latest of these are still there.
        assert (await asked_before.ask(WHOLE))[0] == 202
        assert (await silent[-1].ask(WHOLE))[0] == 202


async def test_who_comes_finds_room_among_those_who_may_ask_again(database_url: str, tmp_path: Path) -> None:
    async with serving(database_url, tmp_path, max_connections=10) as (_, connect):
        lines = []
        for _ in range(12):
            lines.append(await connect())
            assert (await lines[-1].ask(WHOLE))[0] == 202
        assert await lines[0].ended()


async def test_what_is_held_of_unfinished_requests_is_bounded(database_url: str, tmp_path: Path) -> None:
    """It was when a request began; what came of it later was not looked at."""
    begun = HEAD.replace(b": 8", b": 65000")
    async with serving(database_url, tmp_path) as (_, connect):
        lines = [await connect() for _ in range(MOST_HELD // 60_000 + 20)]
        for line in lines:
            line.writer.write(begun)
        await asyncio.gather(*(line.writer.drain() for line in lines))
        assert (await (await connect()).ask(WHOLE))[0] == 202
        for line in lines:
            line.writer.write(b"x" * 60_000)
        for line in lines[:10]:
            assert (await line.ask())[0] == 503


async def test_whatever_a_request_is_it_has_its_time_and_no_more(database_url: str, tmp_path: Path) -> None:
    """One whose first line was no such thing kept itself, and all that came after it, open for ever."""
    async with serving(database_url, tmp_path, body_timeout="300ms") as (_, connect):
        lines = [await connect() for _ in range(2)]
        lines[0].writer.write(b"POST\r\nContent-Length: 8\r\n\r\n{")
        await lines[0].writer.drain()
        lines[1].writer.write(WHOLE[:-1])
        for line in lines:
            assert (await line.ask())[0] == 408


async def test_who_reads_nothing_of_an_answer_is_cut_off(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few of them kept all places for as long as they liked, and so did a follower that was suspended."""
    monkeypatch.setattr("hark.daemon.api.server._UNREAD_S", 0.5)
    async with serving(database_url, tmp_path) as (api, _):
        assert (await api.get("/api/openapi.json"))[0] == 200
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            deaf.connect(("127.0.0.1", int(api.url.rpartition(":")[2])))
            # More than the kernel keeps for him.
            deaf.sendall(50 * b"GET /api/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
            await api.hark.until(lambda: unread_bytes(api) > 0)
            await api.hark.until(lambda: unread_bytes(api) == 0)


def unread_bytes(api: ApiUnderTest) -> int:
    """Return how much of aiohttp's answers is still to be taken by their receivers."""
    runner = api.server._runner
    assert runner is not None
    assert runner.server is not None
    transports = [one.transport for one in runner.server.connections]
    return sum(cast("asyncio.Transport", one).get_write_buffer_size() for one in transports if one is not None)


async def test_what_breaks_the_protocol_is_refused_and_not_logged(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody could write to the log: megabytes, and what others take for a secret."""
    async with serving(database_url, tmp_path) as (_, connect):
        for broken in (b"Authorization Bearer secretly\r\n", b"Content-Length: 8\r\nX: secretly\r\n" + b"y" * 60_000):
            assert (await (await connect()).ask(WHOLE.replace(b"Host: x\r\n", broken)))[0] == 400
    assert "Bearer secretly" not in caplog.text
    assert len(caplog.text) < 60_000


async def test_who_hangs_up_in_the_middle_of_a_request_is_no_defect(
    database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each was counted as a 500, and logged with a traceback; so was who hung up before he was told to go on."""
    async with serving(database_url, tmp_path) as (api, connect):
        reading, expecting = await connect(), await connect()
        reading.writer.write(HEAD.replace(b": 8", b": 300000") + b"x" * 70_000)
        await api.hark.until(lambda: api.services.bodies.held_bytes > 0)
        reading.writer.transport.abort()
        await api.hark.until(lambda: ("hooks", 400) in api.services.requests)
        expecting.writer.write(HEAD.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue"))
        expecting.writer.write_eof()
        assert await expecting.ended()
        assert ("hooks", 500) not in api.services.requests
    assert "Error handling request" not in caplog.text


async def test_a_head_whose_lines_end_without_cr_is_answered_at_once(database_url: str, tmp_path: Path) -> None:
    """If the first line ended well, the end of the head was waited for, and then hung up on without a word."""
    async with serving(database_url, tmp_path) as (_, connect):
        for first, last in ((b"\n", b"\n"), (b"\r\n", b"\n"), (b"\r\n", b"\r\n")):
            line = await connect()
            assert (await line.ask(b"GET /healthz HTTP/1.1" + first + b"Host: x" + last + b"\n"))[0] == 400
            assert await line.ended()


async def test_who_has_said_all_and_says_so_is_answered(database_url: str, tmp_path: Path) -> None:
    """The event was stored, and the sender, who was not told, would have sent it again."""
    async with serving(database_url, tmp_path) as (_, connect):
        line = await connect()
        line.writer.write(WHOLE)
        line.writer.write_eof()
        assert (await line.ask())[0] == 202
        assert await line.ended()
        silent = await connect()
        silent.writer.write_eof()
        assert await silent.ended()


async def test_a_request_that_comes_slowly_takes_no_place_before_it_is_whole(database_url: str, tmp_path: Path) -> None:
    async with serving(database_url, tmp_path, max_requests=1) as (api, connect):
        slow = [(await connect(), cut) for cut in (3, 30, len(HEAD) - 1, len(HEAD), len(HEAD) + 4)]
        for line, cut in slow:
            line.writer.write(WHOLE[:cut])
        assert (await (await connect()).ask(WHOLE))[0] == 202
        for line, cut in slow:
            assert (await line.ask(WHOLE[cut:]))[0] == 202
        assert await api.services.database.pool.fetchval("SELECT count(*) FROM hark.events") == len(slow) + 1


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(HEAD + BODY[:3], id="a part of the body"),
        pytest.param(HEAD.replace(b": 8", b": 90000"), id="a large body"),
        pytest.param(HEAD.replace(b"Host: x", b"Expect: 100-continue"), id="a sender that asks first"),
        pytest.param(WHOLE, id="all of it"),
    ],
)
async def test_when_there_is_no_room_that_is_said_at_once(database_url: str, tmp_path: Path, begun: bytes) -> None:
    async with serving(database_url, tmp_path) as (api, connect):
        line = await connect()
        api.services.most_in_flight = 0
        status, said = await line.ask(begun)
        assert status == 503
        assert b"\r\nConnection: close\r\n" in said
        assert b"\r\nRetry-After: 1\r\n" in said
        assert await line.ended()
        assert api.services.requests[("hooks", 503)] == 1


async def test_with_many_connections_in_use_none_is_kept_and_probes_still_get_in(
    database_url: str, tmp_path: Path
) -> None:
    def get(path: bytes) -> bytes:
        return b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path

    async with serving(database_url, tmp_path, max_requests=2) as (_, connect):
        await api_alone(connect, get(b"/api/workflows"))
        kept = [await connect() for _ in range(4)]
        for line in kept[:2]:
            assert (await line.ask(get(b"/healthz")))[0] == 200
        line = await connect()
        status, said = await line.ask(get(b"/api/workflows"))
        assert (status, b"Connection: close" in said, await line.ended()) == (401, True, True)
        for request in (get(b"/healthz"), get(b"/nope"), get(b"*").replace(b"GET", b"OPTIONS")):
            line = await connect()
            assert b"Connection: close" in (await line.ask(request))[1]
            assert await line.ended()
        for line in kept[2:]:
            # What is still to come of it is awaited for two seconds.
            assert (await line.ask(b"PUT /nope HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n"))[0] == 404
        assert (await (await connect()).ask(get(b"/api/workflows")))[0] == 503
        assert (await (await connect()).ask(get(b"/readyz")))[0] == 200
        assert (await (await connect()).ask(WHOLE))[0] == 202


async def api_alone(connect: Callable[[], Awaitable[Line]], request: bytes) -> None:
    """Ask with nobody else there: the connection stays."""
    line = await connect()
    for _ in range(2):
        status, said = await line.ask(request)
        assert (status, b"Connection: close" in said) == (401, False)
    line.writer.close()
    await line.writer.wait_closed()
