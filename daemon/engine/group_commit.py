"""Group commit: what many callers want written goes out in one transaction, the next as soon as that one returned."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

import structlog

from hark.workflows.errors import FencedError, UnavailableError

log = structlog.get_logger(__name__)

_STALLED = "the database does not answer"

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class GroupCommit(Generic[ItemT, ResultT]):
    """Collects items and writes them together.

    There is no timer: while one flush is under way the next one fills. `write` gets the items of a flush in the order
    in which they came and returns one result each, or the error of that one; what it raises, all of the flush get.

    With `patience_s`, nobody waits longer: when a flush does not return, all that wait get UnavailableError, what is
    not being written is dropped, and newcomers are refused until it has returned. One timer per flush, none per item.

    `admit` may hold a flush back: it is given how many could go and since when the first of them waits, by the loop's
    clock, and returns how many do.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[ItemT]], Awaitable[Sequence[ResultT | Exception]]],
        *,
        most: int = 500,
        limit: int = 20_000,
        patience_s: float | None = None,
        admit: Callable[[int, float], Awaitable[int]] | None = None,
    ) -> None:
        self._name = name
        self._write = write
        self._most = most
        self._limit = limit
        self._patience_s = patience_s
        self._admit = admit
        self._since = 0.0
        """When the first item of the next flush came."""
        self._stalled = False
        self._items: list[ItemT] = []
        self._waiting: list[asyncio.Future[ResultT]] = []
        self._filled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.flushes = 0
        self.written = 0

    def start(self) -> None:
        """Start to write what is submitted."""
        if self._task is None:
            self._stopping = False
            self._task = asyncio.create_task(self._run(), name=f"group commit {self._name}")

    async def stop(self) -> None:
        """Write what is there, then stop; idempotent."""
        self._stopping = True
        self._filled.set()
        task, self._task = self._task, None
        if task is not None:
            with suppress(asyncio.CancelledError):
                await task

    def submit(self, item: ItemT) -> asyncio.Future[ResultT]:
        """Queue an item; the future is done after its commit. Raises UnavailableError when too much is waiting."""
        if len(self._items) >= self._limit:
            raise UnavailableError(f"too much is waiting to be written ({self._name})", overloaded=True)
        if self._stopping:
            raise UnavailableError("this instance is shutting down")
        if self._stalled:
            raise UnavailableError(_STALLED)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[ResultT] = loop.create_future()
        if not self._items:
            self._since = loop.time()
        self._items.append(item)
        self._waiting.append(future)
        self._filled.set()
        return future

    def __len__(self) -> int:
        return len(self._items)

    async def _run(self) -> None:
        while True:
            if not self._items:
                if self._stopping:
                    return
                self._filled.clear()
                await self._filled.wait()
                continue
            count = min(len(self._items), self._most)
            if self._admit is not None and not self._stopping:
                count = await self._admit(count, self._since)
            items, self._items = self._items[:count], self._items[count:]
            waiting, self._waiting = self._waiting[:count], self._waiting[count:]
            alarm = self._arm(waiting)
            try:
                await self._flush(items, waiting)
            finally:
                self._stalled = False
                if alarm is not None:
                    alarm.cancel()

    def _arm(self, waiting: list[asyncio.Future[ResultT]]) -> asyncio.TimerHandle | None:
        if self._patience_s is None:
            return None
        return asyncio.get_running_loop().call_at(self._since + self._patience_s, self._give_up, waiting)

    def _give_up(self, waiting: list[asyncio.Future[ResultT]]) -> None:
        """Answer for a flush that does not return. It may still get through: only its own result can tell."""
        log.warning("group_commit.stalled", lane=self._name, waiting=len(waiting) + len(self._items))
        self._stalled = True
        _fail(waiting, UnavailableError(_STALLED))
        self.discard(UnavailableError(_STALLED))

    def discard(self, error: Exception) -> None:
        """Give up what is not being written yet; its callers get the error."""
        waiting = self._waiting
        self._items, self._waiting = [], []
        _fail(waiting, error)

    async def _flush(self, items: list[ItemT], waiting: list[asyncio.Future[ResultT]]) -> None:
        try:
            results = await self._write(items)
        except asyncio.CancelledError:
            for future in waiting:
                future.cancel()
            raise
        except (UnavailableError, FencedError) as error:
            _fail(waiting, error)
            return
        except Exception as error:  # the edge: whatever went wrong belongs to the callers of this flush
            if len(items) == 1:
                log.exception("group_commit.failed", lane=self._name)
                _fail(waiting, error)
                return
            # One bad item must not take the others down with it: halve until it is alone.
            middle = len(items) // 2
            await self._flush(items[:middle], waiting[:middle])
            await self._flush(items[middle:], waiting[middle:])
            return
        self.flushes += 1
        self.written += len(items)
        for future, result in zip(waiting, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)


def _fail(waiting: Sequence[asyncio.Future[ResultT]], error: Exception) -> None:
    for future in waiting:
        if not future.done():
            future.set_exception(error)
