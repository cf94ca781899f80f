"""The listener of `row` triggers: when it asks to be woken, when it looks, how it keeps the triggers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import pytest
from support.triggers import Clock, Events, Line, active, context

from hark.triggers import row_drainer, row_keeper
from hark.triggers.capture_plan import Relation, Table
from hark.triggers.row_config import RowConfig
from hark.triggers.row_listener import CHANNEL, RowListener
from hark.triggers.row_pace import BUSY_WAKEUPS, QUIET_RECORDS, Pace
from hark.triggers.row_port import Drained, Installed, Part, Picture
from hark.triggers.table_name import TableName
from hark.workflows.catalogue import ActiveTrigger
from hark.workflows.errors import UnavailableError


def watch(table: str) -> ActiveTrigger:
    return active("row", RowConfig(table=table))


WATCH = watch("clients")


class Outbox:
    """A RowPort in memory."""

    def __init__(self) -> None:
        self.waiting = 0
        self.drained = 0
        self.drains = 0
        self.away = False
        self.can_wake = True
        self.wanted: list[bool] = []
        self.past = False
        self.asked_past = 0
        self.looks: list[set[str]] = []
        self.tables: dict[TableName, Table] = {}
        self.installs: list[Any] = []
        self.parts: list[Part | None] = []
        self.answers: list[Installed] = []
        self.closed = False

    async def look(self, tables: Any) -> Picture:
        self._check()
        self.looks.append({str(name) for name in tables})
        return Picture(1, self.tables)

    async def install(self, plans: Any, generation: int, *, patience_s: float, part: Part | None = None) -> Installed:
        self.parts.append(part)
        self.installs.append([str(plan.table) for plan in plans])
        return self.answers.pop(0) if self.answers else Installed()

    async def drain(self, events_of: Any) -> Drained:
        self.drains += 1
        self._check()
        taken = min(self.waiting, 10)
        self.waiting -= taken
        self.drained += taken
        return Drained(taken, more=self.waiting > 0)

    async def want_wakeups(self, *, wanted: bool) -> int | None:
        self._check()
        self.wanted.append(wanted)
        return 1

    async def is_past(self, horizon: int) -> bool:
        self.asked_past += 1
        return self.past

    async def is_empty(self) -> bool:
        return self.waiting == 0

    async def close(self) -> None:
        self.closed = True

    def _check(self) -> None:
        if self.away:
            raise UnavailableError("the database is away")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"CHECK_S": 0.02, "BUSY_RETRY_S": 0.01, "ATTACH_S": 0.3}.items():
        monkeypatch.setattr(row_keeper, name, value)
    monkeypatch.setattr(row_drainer, "SETTLE_S", 0.005)


@asynccontextmanager
async def listening(outbox: Outbox, line: Line | None = None) -> AsyncIterator[RowListener]:
    listener = RowListener(context(Events(), Clock("2026-01-01"), row=outbox, notify=line or Line()))
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_it_drains_what_was_left_there_while_no_instance_ran() -> None:
    outbox = Outbox()
    outbox.waiting = 25
    async with listening(outbox):
        await until(lambda: outbox.drained == 25)


async def test_a_wake_up_drains_the_outbox_at_once() -> None:
    outbox, line = Outbox(), Line()
    outbox.past = True
    async with listening(outbox, line):
        await until(lambda: outbox.asked_past)
        outbox.waiting = 1
        await line.send(CHANNEL, "")
        await until(lambda: outbox.drained == 1)


async def test_after_asking_for_wake_ups_it_looks_until_all_older_writers_are_gone() -> None:
    """A writer that read "awake" commits without a NOTIFY after the instance has found the outbox empty."""
    outbox = Outbox()
    async with listening(outbox):
        await until(lambda: outbox.asked_past > 2)
        outbox.waiting = 1
        await until(lambda: outbox.drained == 1)
        outbox.past = True
        before = outbox.asked_past
        await until(lambda: outbox.asked_past > before)
        assert outbox.wanted == [True]


async def test_where_transactions_can_be_prepared_no_writer_is_asked_to_notify() -> None:
    outbox = Outbox()
    outbox.can_wake = False
    async with listening(outbox):
        await until(lambda: outbox.wanted)
        outbox.waiting = 1
        await until(lambda: outbox.drained == 1)
    assert outbox.wanted == [False]


async def test_who_cannot_be_woken_looks_all_the_time_only_while_something_is_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(row_drainer, "BLIND_S", 0.001)
    outbox = Outbox()
    outbox.can_wake = False
    async with listening(outbox) as listener:
        await listener.attach([])
        await asyncio.sleep(0.02)  # a rest that had begun before is over
        before = outbox.drains
        await asyncio.sleep(0.05)
        assert outbox.drains == before
        await listener.attach([WATCH])
        await until(lambda: outbox.drains > before + 5)


async def test_a_storm_of_wake_ups_is_answered_by_looking_without_them() -> None:
    outbox, line = Outbox(), Line()
    outbox.past = True
    async with listening(outbox, line):
        await until(lambda: outbox.wanted == [True])
        for _ in range(BUSY_WAKEUPS + 1):
            await line.send(CHANNEL, "")
        await until(lambda: outbox.wanted == [True, False])


async def test_while_the_database_is_away_it_says_so_once_and_goes_on_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Mock()
    monkeypatch.setattr(row_drainer, "log", log)
    outbox = Outbox()
    outbox.away = True
    async with listening(outbox) as listener:
        await until(lambda: not listener.health().attached)
        assert "away" in listener.health().detail
        await until(lambda: outbox.drains >= 3)
        assert log.warning.call_count == 1
        outbox.away, outbox.waiting = False, 3
        await until(lambda: outbox.drained == 3)
        await until(lambda: listener.health().attached)


async def test_before_anything_is_attached_no_trigger_is_touched() -> None:
    """Otherwise a restart would drop all triggers, and lose what is written until they are back."""
    outbox = Outbox()
    async with listening(outbox):
        await asyncio.sleep(0.1)
        assert outbox.installs == []


async def test_attach_returns_when_the_triggers_are_there_and_they_are_checked_again_and_again() -> None:
    outbox = Outbox()
    async with listening(outbox) as listener:
        await listener.attach([WATCH])
        assert outbox.installs == [["public.clients"]]
        await until(lambda: len(outbox.installs) > 2)
        await listener.attach([])
        assert outbox.installs[-1] == []


async def test_a_locked_table_is_tried_again_and_does_not_hold_up_the_publication() -> None:
    outbox = Outbox()
    outbox.answers = [Installed(busy={"public.clients"})] * 3
    async with listening(outbox) as listener:
        await listener.attach([WATCH])
        assert len(outbox.installs) >= 4
        assert listener.health().attached
        outbox.answers = [Installed(busy={"public.clients"})] * 1000
        await listener.attach([watch("clients")])
        assert "public.clients is locked" in listener.health().detail


async def test_what_is_published_touches_its_own_table_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a thousand watched tables the next one must not cost a look at all of them."""
    monkeypatch.setattr(row_keeper, "CHECK_S", 60.0)
    outbox = Outbox()
    outbox.tables = {
        TableName("public", name): Table(TableName("public", name), Relation(oid, name))
        for oid, name in enumerate(("clients", "orders", "tasks"), 1)
    }
    clients, orders, tasks = (watch(name) for name in ("clients", "orders", "tasks"))
    async with listening(outbox) as listener:
        await listener.attach([clients, orders])
        await listener.attach([clients, orders, tasks])
        await listener.attach([clients, orders, tasks])
        await listener.attach([orders, tasks])
    assert outbox.looks == [{"public.clients", "public.orders"}, {"public.tasks"}, set()]
    assert outbox.parts == [
        None,
        Part([TableName("public", "tasks")], {3}),
        Part([TableName("public", "clients")], {1}),
    ]


async def test_a_problem_of_one_table_stays_told_while_another_one_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_keeper, "CHECK_S", 60.0)
    outbox = Outbox()
    outbox.answers = [Installed(problems={"public.clients": "public.clients is gone"})]
    async with listening(outbox) as listener:
        await listener.attach([WATCH])
        await listener.attach([WATCH, watch("orders")])
        assert listener.health().detail == "public.clients is gone"
        await listener.attach([watch("orders")])
        assert listener.health().attached


async def test_a_table_that_cannot_be_captured_is_named() -> None:
    outbox = Outbox()
    outbox.answers = [Installed(problems={"public.clients": "public.clients is gone"})]
    async with listening(outbox) as listener:
        await listener.attach([WATCH])
        assert listener.health().detail == "public.clients is gone"
        await until(lambda: listener.health().attached)


async def test_plans_for_workflows_that_have_changed_are_tried_again_and_hold_nobody_up() -> None:
    outbox = Outbox()
    outbox.answers = [Installed(current=False)]
    async with listening(outbox) as listener:
        await listener.attach([WATCH])
        assert len(outbox.installs) == 1
        await until(lambda: len(outbox.installs) == 2)


async def test_attach_does_not_wait_for_a_database_that_is_away() -> None:
    outbox = Outbox()
    async with listening(outbox) as listener:
        outbox.away = True
        await listener.attach([WATCH])
        assert "could not be checked" in listener.health().detail or "wait" in listener.health().detail
        outbox.away = False
        await until(lambda: outbox.installs)


async def test_stop_is_safe_before_start_and_twice() -> None:
    outbox = Outbox()
    listener = RowListener(context(Events(), Clock("2026-01-01"), row=outbox, notify=Line()))
    await listener.stop()
    await listener.start()
    await listener.stop()
    await listener.stop()
    assert outbox.closed


def test_the_pace_has_a_memory_of_one_second() -> None:
    pace = Pace()
    for n in range(BUSY_WAKEUPS + 1):
        pace.woken(n * 0.02)
    assert not pace.decide(2.0)
    for n in range(BUSY_WAKEUPS + 1):
        pace.woken(10 + n * 0.001)
    assert pace.decide(10.2)
    assert pace.looking
    pace.drained(QUIET_RECORDS, 10.9)
    assert not pace.decide(11.5)
    assert pace.looking
    assert pace.decide(12.5)
    assert not pace.looking
