"""What instances tell one another: heard, sent, and looked for where a message may have been lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import UUID

from hark.daemon.engine.background import Background
from hark.daemon.engine.claims import Claimer
from hark.daemon.engine.ends import Ends
from hark.daemon.engine.executor import Executor
from hark.daemon.engine.following import Following
from hark.daemon.engine.instance import Instance
from hark.daemon.store.database import Database
from hark.daemon.store.listening import Listening, WakeUps
from hark.workflows.errors import UnavailableError

SHARE_S = 0.25


class Messages:
    """Passes on what is heard. A message only makes somebody look: what it is about is in the database."""

    def __init__(
        self,
        listening: Listening,
        database: Database,
        instance: Instance,
        executor: Executor,
        claimer: Claimer,
        ends: Ends,
        following: Following,
    ) -> None:
        self._listening = listening
        self._database = database
        self._instance = instance
        self._executor = executor
        self._claimer = claimer
        self._ends = ends
        self._following = following
        self._work_to_share = asyncio.Event()
        self._sharing = Background("share work", self._share)
        self.start = self._sharing.start
        self.stop = self._sharing.stop

    async def listen(self) -> None:
        """Hear what others say, as soon as the listening connection is there."""
        for channel, heard in {
            "hark_registry": lambda _: self._following.soon(),
            "hark_work": lambda _: self._claimer.work_arrived(),
            "hark_cancel": self._cancel_heard,
            "hark_wake": self._wake_heard,
            "hark_ends": lambda _: self._ends.wake(),
        }.items():
            await self._listening.listen(frozenset({channel}), WakeUps(heard))

    def work_arrived(self) -> None:
        """Take what waits for a place, and let the other instances know of it."""
        self._claimer.work_arrived()
        self._work_to_share.set()

    async def look(self, everything: bool) -> None:  # noqa: FBT001 - what Hearing calls
        """Look for what messages would tell: ends, cancelling, news; and for work and triggers."""
        if everything:
            self._following.soon()
            self._claimer.work_arrived()
        self._ends.wake()
        await self.tell_runs()

    async def tell_runs(self) -> None:
        """Tell what runs here that it is to end, or that there is news for it. Raises UnavailableError."""
        for row in await self._database.fetch("find_cancelled", self._instance.id):
            self._executor.interrupt(row["id"], "cancelled")
        for row in await self._database.fetch("find_woken", self._instance.id):
            self._executor.wake(row["id"])

    def _cancel_heard(self, payload: str) -> None:
        with suppress(ValueError):
            self._executor.interrupt(UUID(payload), "cancelled")

    def _wake_heard(self, payload: str) -> None:
        if not payload:
            self._executor.wake_all()
        with suppress(ValueError):
            self._executor.wake(UUID(payload))
        self._claimer.work_arrived()

    async def _share(self) -> None:
        """Wake the other instances when there is more than this one has places for; not more often than it helps."""
        while True:
            await self._work_to_share.wait()
            self._work_to_share.clear()
            with suppress(UnavailableError):
                await self._listening.send("hark_work", "")
            await asyncio.sleep(SHARE_S)
