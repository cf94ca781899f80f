"""Plays random workflows on real engines: publishes, answers and waits as the workflow has it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

import orjson

from hark.daemon.engine.approvals import Said
from hark.daemon.store.database import Database
from hark.daemon.store.listing import Span
from hark.workflows.catalogue import ActionContext
from hark.workflows.errors import ConflictError, NotFoundError
from hark.workflows.ids import DEFAULT_TENANT
from support.engine import EngineUnderTest, Probe, ProbeConfig
from support.model.drawing import EARLY
from support.model.flow import Flow
from support.model.found import Left, load

PATIENCE_S = 40.0
LOOK_S = 0.01
_OPEN = """
SELECT id, parent_id, parent_path, status, pending_reason, due_at, woken, cancel_requested_at, instance_id, claims
FROM hark.workflow_executions WHERE completed_at IS NULL
"""


class Effects(Probe):
    """The actions of random workflows, noted by execution; at some of them a test may have something happen."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[UUID, str, int, str]] = []
        self.breaks_at: set[int] = set()
        self.on_break: Callable[[], Awaitable[Any]] | None = None

    async def run(self, config: ProbeConfig, context: ActionContext) -> Any:
        """Note the call, and do as told."""
        number = len(self.made) + 1
        if number in self.breaks_at and self.on_break is not None:
            # Each once: branches side by side have the same number until one of them has been noted.
            self.breaks_at.discard(number)
            await self.on_break()
        self.made.append((context.execution_id, context.step, context.attempt, context.idempotency_key))
        if config.hold:
            # Not even the end of its instance lets it go: only its timeout, or whoever cancels it.
            await asyncio.get_running_loop().create_future()
        return await super().run(config, context)


class Player:
    """Plays workflows, one after the other, on the engines of a test."""

    def __init__(self, engines: Sequence[EngineUnderTest], effects: Effects, database: Database) -> None:
        self.engines = list(engines)
        self.effects = effects
        self.database = database
        """A way of the test's own to look, whatever becomes of the engines."""
        self.on_waiting: Callable[[], Awaitable[Any]] | None = None
        """What is to happen once something waits outside of memory."""
        self._engines_stay = asyncio.Lock()

    @property
    def one(self) -> EngineUnderTest:
        """One of the engines."""
        return random.choice(self.engines)

    async def play(self, flow: Flow, inputs: Sequence[Mapping[str, Any]]) -> tuple[list[UUID], Mapping[UUID, Left]]:
        """Run a workflow once for each inputs; returns the executions, and what all have left."""
        self.effects.made.clear()
        await self._prepare(flow)
        receipts = await asyncio.gather(*(self.one.emit(flow.name, each) for each in inputs))
        executions = [receipt.executions[0] for receipt in receipts]
        attending = asyncio.create_task(self._attend(flow), name="people and events")
        try:
            await self._all_ended()
        finally:
            attending.cancel()
            with suppress(asyncio.CancelledError):
                await attending
            await self._cancel_what_is_left()
        return executions, await load(self.database, flow, self.effects.made)

    async def _prepare(self, flow: Flow) -> None:
        written = [one.written() for one in flow.all()]
        await self.one.apply(orjson.dumps(written).decode())
        # By one of them: what is stored by several within a millisecond has no order.
        engine = self.one
        for one in flow.all():
            for n in range(EARLY):
                await engine.emit(f"{one.name}_PAST", {"n": n})

    async def _all_ended(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while rows := await self._open():
                    if self.on_waiting is not None and any(row["status"] == "waiting" for row in rows):
                        happening, self.on_waiting = self.on_waiting, None
                        async with self._engines_stay:
                            await happening()
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise AssertionError(f"these did not end: {await self._open()}") from None

    async def _open(self) -> list[dict[str, Any]]:
        return [dict(row) for row in await self.database.pool.fetch(_OPEN)]

    async def _cancel_what_is_left(self) -> None:
        """Leave nothing to the next workflow, also when this one went wrong."""
        for row in await self._open():
            with suppress(ConflictError, NotFoundError):
                await self.one.engine.cancel(DEFAULT_TENANT, row["id"])

    # ------------------------------------------------------------------ people and events

    async def _attend(self, flow: Flow) -> None:
        answers = {(one.name.lower(), step): yes for one in flow.all() for step, yes in one.answers.items()}
        coming = {kind: step for one in flow.all() for kind, step in one.coming.items()}
        while answers or coming:
            async with self._engines_stay:
                await self._answer(answers)
                await self._publish(coming)
            await asyncio.sleep(LOOK_S)

    async def _answer(self, answers: Mapping[tuple[str, str], bool]) -> None:
        approvals = self.one.engine.approvals
        for asked in await approvals.store.waiting(DEFAULT_TENANT, Span()) if answers else []:
            step = asked.path.rpartition(".")[2]
            if (asked.workflow, step) in answers:
                said = Said(answers[asked.workflow, step], "tester", "key", step)
                with suppress(ConflictError):  # it was withdrawn meanwhile: a race, a timeout
                    await approvals.answer(asked, said)

    async def _publish(self, coming: Mapping[str, str]) -> None:
        if not coming:
            return
        rows = await self.database.pool.fetch("SELECT DISTINCT route FROM hark.event_waits")
        for kind in {row["route"].removeprefix("event:") for row in rows} & coming.keys():
            await self.one.emit(kind, {"step": coming[kind]})
