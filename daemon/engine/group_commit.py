"""Group commit: what many callers want written goes out in one transaction, the next as soon as that one returned."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate
from typing import Generic, Protocol, TypeVar

import structlog

from hark.workflows.errors import FencedError, UnavailableError

log = structlog.get_logger(__name__)

_STALLED = "the database does not answer"

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
AnswerT_contra = TypeVar("AnswerT_contra", contravariant=True)


class Waiter(Protocol[AnswerT_contra]):
    """Who waits for an item to be written: a future, or anything else that can be told once."""

    def done(self) -> bool:
        """Say whether it has been told, or wants to hear no more."""
        ...

    def set_result(self, result: AnswerT_contra, /) -> None:
        """Tell the result; called after the commit."""
        ...

    def set_exception(self, error: Exception, /) -> None:
        """Tell that it was not written, or that nobody knows."""
        ...

    def cancel(self) -> object:
        """Tell that the writer is being cancelled."""
        ...


@dataclass(frozen=True, slots=True)
class Memory(Generic[ItemT]):
    """How much memory items may hold."""

    weigh: Callable[[ItemT], int]
    """Says what one holds."""
    most_waiting: int
    """Once all hold so much that wait or are being written, no more are let in."""
    most_at_once: int | None = None
    """So much those of one flush hold at the most, unless it is one alone."""


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
        memory: Memory[ItemT] | None = None,
        admit: Callable[[int, float], Awaitable[int]] | None = None,
    ) -> None:
        self._name = name
        self._write = write
        self._most = most
        self._limit = limit
        self._patience_s = patience_s
        self._memory = memory
        self._weight = 0
        """What the items hold together that wait or are being written."""
        self._admit = admit
        self._since = 0.0
        """When the first item of the next flush came."""
        self._stalled = False
        self._items: list[ItemT] = []
        self._waiting: list[Waiter[ResultT]] = []
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
        future: asyncio.Future[ResultT] = asyncio.get_running_loop().create_future()
        self.submit_for(item, future)
        return future

    def submit_for(self, item: ItemT, waiter: Waiter[ResultT]) -> None:
        """Queue an item for somebody who is told after its commit. Raises UnavailableError when too much is waiting."""
        if len(self._items) >= self._limit:
            raise UnavailableError(f"too much is waiting to be written ({self._name})", overloaded=True)
        if self._stopping:
            raise UnavailableError("this instance is shutting down")
        if self._stalled:
            raise UnavailableError(_STALLED)
        if self._memory is not None:
            if self._weight >= self._memory.most_waiting:
                raise UnavailableError(
                    f"what waits to be written holds too much memory ({self._name})", overloaded=True
                )
            self._weight += self._memory.weigh(item)
        if not self._items:
            self._since = asyncio.get_running_loop().time()
            self._filled.set()
        self._items.append(item)
        self._waiting.append(waiter)

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
            count = self._fitting(min(len(self._items), self._most))
            if self._admit is not None and not self._stopping:
                count = await self._admit(count, self._since)
            items, self._items = self._items[:count], self._items[count:]
            waiting, self._waiting = self._waiting[:count], self._waiting[count:]
            alarm = self._arm(waiting)
            try:
                await self._flush(items, waiting)
            finally:
                self._stalled = False
                self._lighten(items)
                if alarm is not None:
                    alarm.cancel()

    def _fitting(self, count: int) -> int:
        """Return how many of the next items go together: as many as may by their weight, and one in any case."""
        memory = self._memory
        if memory is None or memory.most_at_once is None:
            return count
        together = accumulate(map(memory.weigh, self._items[:count]))
        return max(1, sum(1 for weight in together if weight <= memory.most_at_once))

    def _arm(self, waiting: list[Waiter[ResultT]]) -> asyncio.TimerHandle | None:
        if self._patience_s is None:
            return None
        return asyncio.get_running_loop().call_at(self._since + self._patience_s, self._give_up, waiting)

    def _give_up(self, waiting: list[Waiter[ResultT]]) -> None:
        """Answer for a flush that does not return. It may still get through: only its own result can tell."""
        log.warning("group_commit.stalled", lane=self._name, waiting=len(waiting) + len(self._items))
        self._stalled = True
        _fail(waiting, UnavailableError(_STALLED))
        self.discard(UnavailableError(_STALLED))

    def discard(self, error: Exception) -> None:
        """Give up what is not being written yet; its callers get the error."""
        items, waiting = self._items, self._waiting
        self._items, self._waiting = [], []
        self._lighten(items)
        _fail(waiting, error)

    def _lighten(self, items: Sequence[ItemT]) -> None:
        """Note that items are held no more."""
        if self._memory is not None:
            self._weight -= sum(map(self._memory.weigh, items))

    async def _flush(self, items: list[ItemT], waiting: list[Waiter[ResultT]]) -> None:
        try:
            results = await self._write(items)
        except asyncio.CancelledError:
            for waiter in waiting:
                waiter.cancel()
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
        if self._items:
            # The next flush is sent first: the database need not wait until everybody has been told of this one.
            asyncio.get_running_loop().call_soon(_tell, waiting, results)
        else:
            _tell(waiting, results)


def _tell(waiting: Sequence[Waiter[ResultT]], results: Sequence[ResultT | Exception]) -> None:
    for waiter, result in zip(waiting, results, strict=True):
        if waiter.done():
            continue
        if isinstance(result, Exception):
            waiter.set_exception(result)
        else:
            waiter.set_result(result)


def _fail(waiting: Sequence[Waiter[ResultT]], error: Exception) -> None:
    for waiter in waiting:
        if not waiter.done():
            waiter.set_exception(error)
