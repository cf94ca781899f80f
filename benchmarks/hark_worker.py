"""Hark as a contestant: a whole engine in a process of its own; and the floor, which answers to the same commands."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any
from uuid import UUID

import asyncpg
import uvloop

from benchmarks.floor import Floor
from benchmarks.hark_side import HarkSide
from benchmarks.peers.contract import Answer, Moments, database_url, pace, serve, until
from benchmarks.stored import ACTIVE, activate, store_pending
from benchmarks.work import Touch, TouchConfig, Work
from hark._version import __version__
from hark.actions.builtin import builtin_actions
from hark.daemon.engine.engine import Engine
from hark.daemon.garbage import settle_garbage
from hark.daemon.logging import configure_logging
from hark.daemon.settings import Settings
from hark.daemon.store.database import Database
from hark.daemon.store.schema import ensure_schema
from hark.triggers.builtin import builtin_triggers
from hark.workflows.catalogue import Action, ActionContext, ActionSpec, Catalogue, Config, Effect, NewEvent
from hark.workflows.ids import DEFAULT_TENANT
from hark.workflows.loading import load_all

PLACES = 1000
SENDERS = 50
WATCHED = "CREATE TABLE public.watched (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n bigint NOT NULL)"
ROWS = """
id: rows
name: Rows
triggers: [{type: row, table: public.watched, operations: [insert]}]
steps: [{id: s0, action: touch, with: {say: "${{ event.data.new.n }}"}}]
"""
HOLD = "id: hold\nname: Hold\ntriggers: [{type: event, event: hold}]\nsteps:\n  - {id: s0, action: hold}\n"


class NotingTouch(Touch):
    """The benchmark's step, which notes when an execution came to its first one."""

    def __init__(self) -> None:
        self.first: dict[UUID, float] | None = None
        self.rows: dict[int, float] | None = None

    async def run(self, config: TouchConfig, context: ActionContext) -> Any:
        """Do nothing, and note the moment while latency is measured."""
        if self.first is not None and context.step == "s0":
            self.first[context.execution_id] = time.perf_counter()
        if self.rows is not None:
            self.rows[config.say] = time.perf_counter()
        return config.say


class Hold(Action[Config]):
    """A step that keeps its execution in flight until it is let go."""

    spec = ActionSpec("hold", "Hold", "Holds.", "control", Effect.EXTERNAL, Config, {})

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def run(self, config: Config, context: ActionContext) -> Any:
        """Wait."""
        await self.release.wait()


class NotingEngine(Engine):
    """The engine, which also notes when an execution's end was committed."""

    done: dict[UUID, float] | None = None

    def _ended(self, execution_id: UUID, status: str) -> None:
        if self.done is not None:
            self.done[execution_id] = time.perf_counter()
        super()._ended(execution_id, status)


class HarkWorker:
    """One engine, and what it is told to do."""

    def __init__(self) -> None:
        self.touch = NotingTouch()
        self.hold = Hold()
        self.works = {steps: Work(steps, strict=True) for steps in (1, 3)}
        self.pending: asyncpg.Connection[asyncpg.Record] | None = None
        self.stored = 0
        self.active = 0

    async def open(self) -> Answer:
        """Start the engine on its database, and publish the workflows."""
        url = database_url()
        await ensure_schema(url)
        self.database = Database(url)
        await self.database.start()
        catalogue = Catalogue([*builtin_actions(), self.touch, self.hold], builtin_triggers())
        self.engine = NotingEngine(Settings(max_running=PLACES), self.database, catalogue, secrets={})
        await self.engine.start()
        settle_garbage()  # as the daemon does once all is up
        self.side = HarkSide(self.engine)
        for text in (HOLD, *(work.text for work in self.works.values())):
            await self.engine.publisher.apply(DEFAULT_TENANT, load_all(text, catalogue))
        return {
            "version": __version__,
            "settings": f"one instance, max_running={PLACES}, uvloop; all else the defaults",
        }

    async def close(self) -> None:
        """Stop the engine."""
        await self.engine.stop()
        await self.database.stop()

    async def flow(self, count: int, steps: int) -> Answer:
        """Take in so many events and run what they start: from the first event to the last execution's end."""
        began = time.perf_counter()
        await self.side.drain(count, self.works[steps])
        return {"count": count, "seconds": time.perf_counter() - began}

    async def store(self, count: int, steps: int) -> Answer:
        """Store executions that wait for an instance, in a transaction that is committed when they are to run."""
        self.pending = await asyncpg.connect(database_url())
        await self.pending.execute("BEGIN")
        await store_pending(self.pending, self.works[steps].name, count)
        self.stored = count
        return {}

    async def drain(self, limit_s: float) -> Answer:
        """Run what is stored: from the commit that shows it to the last execution's end."""
        assert self.pending is not None
        goal = self.side.ended + self.stored
        began = time.perf_counter()
        await self.pending.execute("COMMIT")
        await until(lambda: self.side.ended >= goal, limit_s)
        seconds = time.perf_counter() - began
        await self.pending.close()
        return {"count": self.stored - max(0, goal - self.side.ended), "seconds": seconds}

    async def paced(self, rate: float, seconds: float, steps: int) -> Answer:
        """Take in events at a steady rate, and note when their first step began and when their end was committed."""
        work, moments = self.works[steps], Moments()
        self.touch.first, self.engine.done = {}, {}
        ids: dict[int, UUID] = {}

        async def send(number: int) -> None:
            receipt = await self.engine.emit(work.event(number))
            ids[number] = receipt.executions[0]

        await pace(moments, rate, seconds, send)
        done = self.engine.done
        await until(lambda: len(done) >= len(ids), 15)
        moments.first = {number: self.touch.first[key] for number, key in ids.items() if key in self.touch.first}
        moments.done = {number: done[key] for number, key in ids.items() if key in done}
        self.touch.first = self.engine.done = None
        return moments.answer()

    async def paced_rows(self, rate: float, seconds: float) -> Answer:
        """Commit rows into a watched table at a steady rate, and note when the first step for each began."""
        writer, moments, turn = await asyncpg.connect(database_url()), Moments(), asyncio.Lock()
        if not await writer.fetchval("SELECT to_regclass('public.watched') IS NOT NULL"):
            await writer.execute(WATCHED)
            await self.engine.publisher.apply(DEFAULT_TENANT, load_all(ROWS, self.engine.catalogue))
        self.touch.rows = moments.first

        async def send(number: int) -> None:
            async with turn:
                await writer.execute("INSERT INTO public.watched (n) VALUES ($1)", number)

        await pace(moments, rate, seconds, send)
        await until(lambda: len(moments.first) >= len(moments.sent), 15)
        self.touch.rows = None
        await writer.close()
        return moments.answer()

    async def activate(self, count: int) -> Answer:
        """Make so many workflows of one trigger type active in all; returns when the engine knows them."""
        if not self.active:
            await self.engine.publisher.apply(DEFAULT_TENANT, load_all(ACTIVE, self.engine.catalogue))
            self.active = 1
        others = len(self.engine.registry) - self.active
        if count > self.active:
            connection = await asyncpg.connect(database_url())
            await activate(connection, self.active + 1, count)
            await connection.close()
        self.active = count
        await until(lambda: len(self.engine.registry) >= others + count, 90)
        return {"active": len(self.engine.registry) - others}

    async def match(self, seconds: float, count: int, most: int = 1 << 40) -> Answer:
        """Send events for so many seconds, or `most`, each of which another one of `count` workflows is waiting for."""
        milliseconds: list[float] = []
        matched = 0
        began = time.perf_counter()

        async def sender(first: int) -> None:
            nonlocal matched
            for number in range(first, most, SENDERS):
                sent = time.perf_counter()
                if sent - began >= seconds:
                    return
                data = {"k": f"k{number * 7919 % count + 1:05d}"}
                event = NewEvent(DEFAULT_TENANT, "event", "active", "bench", "event:active", data)
                receipt = await self.engine.emit(event)
                matched += len(receipt.executions)
                milliseconds.append((time.perf_counter() - sent) * 1e3)

        await asyncio.gather(*(sender(first) for first in range(SENDERS)))
        await until(lambda: self.engine.executor.in_flight == 0, 30)
        spent = time.perf_counter() - began
        return {"count": len(milliseconds), "matched": matched, "seconds": spent, "ms": milliseconds}

    async def hold_many(self, count: int) -> Answer:
        """Bring so many executions in flight and keep them there."""
        self.hold.release.clear()
        event = self.works[1].event
        await asyncio.gather(*(self.engine.emit(_held(event(number))) for number in range(count)))
        await until(lambda: self.engine.executor.in_flight >= count, 15)
        return {"in_flight": self.engine.executor.in_flight}

    async def release(self) -> Answer:
        """Let go of what is held."""
        self.hold.release.set()
        await until(lambda: self.engine.executor.in_flight == 0, 15)
        return {"in_flight": self.engine.executor.in_flight}


def _held(event: Any) -> Any:
    return type(event)(DEFAULT_TENANT, "event", "hold", "bench", "event:hold", event.data)


async def _hark() -> None:
    worker = HarkWorker()
    names = ("open", "flow", "store", "drain", "paced", "paced_rows", "activate", "match", "hold_many", "release")
    try:
        await serve({name: getattr(worker, name) for name in names})
    finally:
        await worker.close()


async def _floor() -> None:
    await ensure_schema(database_url())
    floor = await Floor.open(database_url())

    async def opened() -> Answer:
        settings = "one asyncpg connection, unnest arrays of 500 rows, as many transactions as an execution has commits"
        return {"version": asyncpg.__version__, "settings": settings}

    async def flow(count: int, steps: int) -> Answer:
        began = time.perf_counter()
        await floor.write(count, Work(steps, strict=True))
        return {"count": count, "seconds": time.perf_counter() - began}

    await serve({"open": opened, "flow": flow})
    await floor.close()


if __name__ == "__main__":
    configure_logging("warning")
    uvloop.run(_floor() if sys.argv[1:] == ["floor"] else _hark())
