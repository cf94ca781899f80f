"""Group commit: together, in order, and nobody goes down with somebody else's item."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from hark.daemon.engine.group_commit import GroupCommit, Memory
from hark.workflows.errors import UnavailableError


class Book:
    """What was written, flush by flush; a flush can be held, and an item can be bad."""

    def __init__(self) -> None:
        self.flushes: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.away = False

    async def write(self, items: Sequence[int]) -> Sequence[int]:
        await self.gate.wait()
        if self.away:
            raise UnavailableError("away")
        if -1 in items:
            raise ValueError("a bad item")
        self.flushes.append(list(items))
        return [item * 10 for item in items]


async def test_a_flush_holds_as_much_as_it_may_and_one_item_in_any_case() -> None:
    book = Book()
    memory: Memory[int] = Memory(lambda item: item, 1000, most_at_once=10)
    group: GroupCommit[int, int] = GroupCommit("test", book.write, memory=memory)
    written = [group.submit(item) for item in (4, 6, 1, 50, 2)]
    group.start()
    await asyncio.gather(*written)
    await group.stop()
    assert book.flushes == [[4, 6], [1], [50], [2]]


async def test_what_comes_during_a_flush_goes_out_together_in_the_next() -> None:
    book = Book()
    group: GroupCommit[int, int] = GroupCommit("test", book.write)
    group.start()
    book.gate.clear()
    first = group.submit(1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [group.submit(n) for n in (2, 3, 4)]
    book.gate.set()
    assert await asyncio.gather(first, *rest) == [10, 20, 30, 40]
    assert book.flushes == [[1], [2, 3, 4]]
    await group.stop()


async def test_who_is_written_is_told_behind_the_next_flush_if_one_waits_and_at_once_if_none_does() -> None:
    book, seen = Book(), list[str]()

    async def write(items: Sequence[int]) -> Sequence[int]:
        seen.append(f"write {items[0]}")
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(seen.append, f"turn {items[0]}")
        return await book.write(items)

    class Told(asyncio.Future[int]):
        def set_result(self, result: int, /) -> None:
            seen.append(f"tell {result}")
            super().set_result(result)

    group: GroupCommit[int, int] = GroupCommit("test", write, most=1)
    told = [Told() for _ in range(3)]
    for item, waiter in enumerate(told):
        group.submit_for(item, waiter)
    group.start()
    assert await asyncio.gather(*told) == [0, 10, 20]
    await group.stop()
    first, second = ["write 0", "write 1", "turn 0", "tell 0"], ["write 2", "turn 1", "tell 10"]
    assert seen == [*first, *second, "tell 20", "turn 2"]


async def test_who_is_written_is_told_so_though_the_next_flush_is_broken_off() -> None:
    book = Book()

    async def write(items: Sequence[int]) -> Sequence[int]:
        written = await book.write(items)
        book.gate.clear()
        return written

    group: GroupCommit[int, int] = GroupCommit("test", write, most=1)
    first, second = group.submit(1), group.submit(2)
    group.start()
    assert group._task is not None
    while not group.written:
        await asyncio.sleep(0)
    group._task.cancel()
    await group.stop()
    assert await first == 10
    assert second.cancelled()


async def test_a_bad_item_fails_alone() -> None:
    book = Book()
    group: GroupCommit[int, int] = GroupCommit("test", book.write)
    futures = [group.submit(n) for n in (1, 2, -1, 3, 4)]
    group.start()
    answers = await asyncio.gather(*futures, return_exceptions=True)
    assert [a for a in answers if isinstance(a, int)] == [10, 20, 30, 40]
    assert isinstance(answers[2], ValueError)
    assert sorted(item for flush in book.flushes for item in flush) == [1, 2, 3, 4]
    await group.stop()


async def test_an_outage_reaches_every_caller_of_the_flush() -> None:
    book = Book()
    book.away = True
    group: GroupCommit[int, int] = GroupCommit("test", book.write)
    futures = [group.submit(n) for n in (1, 2)]
    group.start()
    answers = await asyncio.gather(*futures, return_exceptions=True)
    assert all(isinstance(answer, UnavailableError) for answer in answers)
    await group.stop()


async def test_too_much_is_refused_before_it_is_taken() -> None:
    group: GroupCommit[int, int] = GroupCommit("test", Book().write, limit=2)
    futures = [group.submit(1), group.submit(2)]
    with pytest.raises(UnavailableError) as refused:
        group.submit(3)
    assert refused.value.overloaded
    group.start()
    await asyncio.gather(*futures)
    await group.stop()


async def test_stop_writes_what_is_there_and_takes_nothing_more() -> None:
    book = Book()
    group: GroupCommit[int, int] = GroupCommit("test", book.write)
    await group.stop()
    group.start()
    future = group.submit(1)
    await group.stop()
    assert await future == 10
    with pytest.raises(UnavailableError):
        group.submit(2)
    await group.stop()


async def test_a_caller_that_goes_away_leaves_its_item_in_the_flush() -> None:
    book = Book()
    group: GroupCommit[int, int] = GroupCommit("test", book.write)
    group.submit(1).cancel()
    other = group.submit(2)
    group.start()
    assert await other == 20
    assert book.flushes == [[1, 2]]
    await group.stop()


async def test_a_flush_that_does_not_return_keeps_nobody_waiting_and_nothing_in_memory() -> None:
    """A database that stalls: who waits is told, who comes is refused at once, and afterwards all goes on."""
    book = Book()
    group: GroupCommit[int, int] = GroupCommit("test", book.write, patience_s=0.05)
    group.start()
    book.gate.clear()
    stuck = group.submit(1)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    behind = group.submit(2)
    answers = await asyncio.gather(stuck, behind, return_exceptions=True)
    assert all(isinstance(answer, UnavailableError) for answer in answers)
    with pytest.raises(UnavailableError):
        group.submit(3)
    assert len(group) == 0
    book.gate.set()
    while not book.flushes:
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await group.submit(4) == 40
    assert book.flushes == [[1], [4]]
    await group.stop()


async def test_what_is_held_back_goes_when_it_is_let() -> None:
    book = Book()
    room = [2, 1, 500]

    async def admit(wanted: int, since: float) -> int:
        assert since <= asyncio.get_running_loop().time()
        return min(wanted, room.pop(0))

    group: GroupCommit[int, int] = GroupCommit("test", book.write, admit=admit)
    futures = [group.submit(n) for n in range(5)]
    group.start()
    assert await asyncio.gather(*futures) == [0, 10, 20, 30, 40]
    assert book.flushes == [[0, 1], [2], [3, 4]]
    await group.stop()
