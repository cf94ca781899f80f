"""What every contestant answers to. Runs in the environments of the peers: the standard library, and nothing besides.

Commands come in as lines of JSON on standard input, and leave as lines on standard output; the end of the input is the
end of the process. A contestant idles between commands: whoever measures stops its process meanwhile.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

Answer = dict[str, Any]
Handler = Callable[..., Awaitable[Answer]]


def database_url() -> str:
    """Return the URL of this contestant's own database."""
    return os.environ["BENCH_DATABASE_URL"]


async def serve(handlers: Mapping[str, Handler]) -> None:
    """Carry out commands until the input ends."""
    # What a library prints must not come in between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    while line := await asyncio.to_thread(sys.stdin.readline):
        command = json.loads(line)
        try:
            answer = await handlers[command.pop("do")](**command)
        except Exception as error:  # noqa: BLE001 - the edge of this process: who asked is told
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


class Counter:
    """Counts ends, and wakes who waits for a number of them; the ends may come from another event loop's thread."""

    def __init__(self) -> None:
        self.ended = 0
        self._goal = 0
        self._reached = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def expect(self, count: int) -> None:
        """Begin to wait for so many more."""
        self._loop = asyncio.get_running_loop()
        self._goal = self.ended + count
        self._reached.clear()

    def end(self) -> None:
        """Note one end."""
        self.ended += 1
        if self.ended == self._goal and self._loop is not None:
            self._loop.call_soon_threadsafe(self._reached.set)

    async def wait(self, limit_s: float) -> int:
        """Wait until all have ended, or the time is over; returns how many are missing."""
        try:
            await asyncio.wait_for(self._reached.wait(), limit_s)
        except TimeoutError:
            return self._goal - self.ended
        return 0


class Moments:
    """When each execution was sent, acknowledged, at its first step, and complete; in seconds of `perf_counter`."""

    def __init__(self) -> None:
        self.sent: dict[int, float] = {}
        self.acknowledged: dict[int, float] = {}
        self.first: dict[int, float] = {}
        self.done: dict[int, float] = {}

    def answer(self) -> Answer:
        """Return the latencies in milliseconds, from sending and from the acknowledgement."""
        return {
            "sent": len(self.sent),
            "ack_ms": self._since(self.sent, self.acknowledged),
            "first_ms": self._since(self.sent, self.first),
            "done_ms": self._since(self.sent, self.done),
            "ack_to_first_ms": self._since(self.acknowledged, self.first),
            "ack_to_done_ms": self._since(self.acknowledged, self.done),
        }

    @staticmethod
    def _since(earlier: Mapping[int, float], later: Mapping[int, float]) -> list[float]:
        return [round((later[key] - earlier[key]) * 1e3, 4) for key in earlier if key in later]


async def pace(moments: Moments, rate: float, seconds: float, send: Callable[[int], Awaitable[object]]) -> None:
    """Send at a steady rate, whatever becomes of what was sent; returns when all of it is acknowledged."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()
    began = loop.time()

    async def one(number: int) -> None:
        moments.sent[number] = time.perf_counter()
        await send(number)
        moments.acknowledged[number] = time.perf_counter()

    for number in range(max(1, round(rate * seconds))):
        delay = began + number / rate - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        tasks.add(asyncio.create_task(one(number)))
    await asyncio.wait_for(asyncio.gather(*tasks), 30)


async def until(condition: Callable[[], bool], limit_s: float) -> None:
    """Wait for a condition, for so long at most; the caller sees from its counts whether it came."""
    end = time.monotonic() + limit_s
    while not condition() and time.monotonic() < end:
        await asyncio.sleep(0.005)
