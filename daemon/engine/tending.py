"""Tending: every few seconds catch up on what a lost message or answer would have told, and measure what waits."""

from __future__ import annotations

import asyncio

import structlog

from hark.daemon.engine.background import Background
from hark.daemon.engine.claims import Claimer
from hark.daemon.engine.instance import Instance
from hark.daemon.engine.lag import Lag
from hark.daemon.engine.messages import Messages
from hark.daemon.engine.remotes import Remotes
from hark.daemon.engine.strandings import Strandings
from hark.daemon.store.database import Database
from hark.workflows.errors import UnavailableError

log = structlog.get_logger(__name__)

TEND_S = 5.0
SOON_S = 1.0


class Tending:
    """Tends this instance, and apart from it looks at named connections: they may be slow to answer."""

    def __init__(
        self,
        database: Database,
        instance: Instance,
        claimer: Claimer,
        messages: Messages,
        strandings: Strandings,
        lag: Lag,
        remotes: Remotes,
    ) -> None:
        self._database = database
        self._instance = instance
        self._claimer = claimer
        self._messages = messages
        self.strandings = strandings
        self._lag = lag
        self._remotes = remotes
        self.held_back = {"executions_queued": 0, "executions_delayed": 0, "ends_parked": 0}
        """How many wait for a slot or for their time, and which ends were put aside; as of the last tending."""
        self._tasks = (Background("tend", self._tend), Background("look elsewhere", self._look_elsewhere))

    def start(self) -> None:
        """Begin."""
        for task in self._tasks:
            task.start()

    async def stop(self) -> None:
        """Tend no more; idempotent."""
        for task in self._tasks:
            await task.stop()

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(SOON_S if self.strandings.suspects else TEND_S)
            try:
                await self._once()
            except UnavailableError:
                continue  # the heartbeat tells about it
            except Exception:
                log.exception("engine.tending_broken")

    async def _once(self) -> None:
        await self._messages.tell_runs()
        for row in await self._database.fetch("count_held_back"):
            self.held_back = dict(row)
        await self._lag.look()
        if await self.strandings.release(self._instance.id):
            self._claimer.work_arrived()

    async def _look_elsewhere(self) -> None:
        """Measure how far named connections are behind."""
        while self._remotes.names:
            await asyncio.sleep(TEND_S)
            try:
                await self._lag.look_elsewhere()
            except UnavailableError:
                continue
            except Exception:
                log.exception("engine.looking_broken")
