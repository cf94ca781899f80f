"""Load over HTTP from a process of its own, as cheap as it can be: prepared bytes out, status and length in.

Called as `python -m benchmarks.load`, with what to do as JSON on standard input; answers with JSON. Either so many
connections that each send the next request when the last one is answered, or a steady rate.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from typing import cast

import orjson
import uvloop


@dataclass(frozen=True, slots=True)
class Load:
    """What to send, and how."""

    port: int
    path: str
    connections: int
    seconds: float
    rate: float = 0.0
    """Requests per second; 0: as many as are answered."""
    body: bytes = b'{"n": 1}'

    @property
    def request(self) -> bytes:
        """The request, as bytes."""
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Type: application/json\r\n"
        return f"{head}Content-Length: {len(self.body)}\r\n\r\n".encode() + self.body


@dataclass(slots=True)
class Outcome:
    """What came back."""

    answered: int = 0
    failed: int = 0
    seconds: float = 0.0
    ms: list[float] = field(default_factory=list)


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: Load, outcome: Outcome) -> None:
        self._request = load.request
        self._closed_loop = not load.rate
        self._outcome = outcome
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None
        self.stopping = False
        self.idle = asyncio.Event()
        self.idle.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self) -> None:
        """Send the next request."""
        assert self._transport is not None
        self.idle.clear()
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not _is_whole(self._buffer):
            return
        good = self._buffer[9:10] == b"2"
        self._buffer = b""
        self._outcome.answered += good
        self._outcome.failed += not good
        self._outcome.ms.append((time.perf_counter() - self._sent_at) * 1e3)
        if self._closed_loop and not self.stopping:
            self.send()
        else:
            self.idle.set()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.idle.is_set():
            self._outcome.failed += 1
        self.idle.set()

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()


def _is_whole(answer: bytes) -> bool:
    """Tell whether an answer has arrived, by its length or by the last chunk."""
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank:
        return False
    lowered = head.lower()
    place = lowered.find(b"\r\ncontent-length:")
    if place < 0:
        return body.endswith(b"0\r\n\r\n") or b"\r\ntransfer-encoding:" not in lowered
    return len(body) >= int(lowered[place + 17 :].split(b"\r\n", 1)[0])


async def apply(load: Load) -> Outcome:
    """Send for so many seconds; waits for the last answers."""
    outcome = Outcome()
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(load.connections):
        _, one = await loop.create_connection(lambda: _Connection(load, outcome), "127.0.0.1", load.port)
        connections.append(one)
    began = time.perf_counter()
    if load.rate:
        await _steadily(load, deque(connections))
    else:
        for one in connections:
            one.send()
        await asyncio.sleep(load.seconds)
    for one in connections:
        one.stopping = True
    await asyncio.wait_for(asyncio.gather(*(one.idle.wait() for one in connections)), 30)
    outcome.seconds = time.perf_counter() - began
    for one in connections:
        one.close()
    return outcome


async def _steadily(load: Load, connections: deque[_Connection]) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number in range(round(load.rate * load.seconds)):
        await asyncio.sleep(max(0.0, began + number / load.rate - loop.time()))
        connections.rotate()
        await connections[0].idle.wait()
        connections[0].send()


if __name__ == "__main__":
    told = orjson.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(orjson.dumps(asdict(uvloop.run(apply(Load(**told))))))
