"""The outbox of row capture in one database: emptied, soon after something was put into it."""

from __future__ import annotations

import asyncio
import time
from functools import partial

import structlog

from hark.triggers.by_connection import where
from hark.triggers.ports import NotifyPort
from hark.triggers.row_changes import events_of
from hark.triggers.row_pace import Pace
from hark.triggers.row_port import RowPort
from hark.workflows.errors import UnavailableError

log = structlog.get_logger(__name__)

POLL_S = 5.0
"""However quiet it is, the outbox is looked at this often: a wake-up that got lost costs this much and nothing else."""
LOOK_S = 0.01
SETTLE_S = 0.02
BLIND_S = 0.1
"""How often to look while nobody can wake this instance."""
BLIND_ELSEWHERE_S = 1.0
"""The same in another database, which may be far away and for ever deaf."""


class Drainer:
    """Turns what lies in the outbox into events, soon after it was committed. Hears wake-ups as the port's `Ears`.

    Writers send a NOTIFY only while the outbox is quiet; otherwise it is looked at all the time. When NOTIFYs are
    wanted again, transactions that began before may not know it: it is looked at until all of these have ended.
    """

    def __init__(self, port: RowPort, notify: NotifyPort, channel: str, connection: str = "") -> None:
        self.trouble = ""
        self.unannounced = 0
        """How many looks found what no wake-up had told of, although there should have been one."""
        self._polled = False
        self._channel = channel
        self._blind_s = BLIND_ELSEWHERE_S if connection else BLIND_S
        self._events_of = partial(events_of, connection=connection)
        self._about = where(connection)
        self._port = port
        self._notify = notify
        self._pace = Pace()
        self._wake = asyncio.Event()
        self._hears = False
        self._watches = True
        self._asked = False
        self._horizon: int | None = None
        self._failures = 0
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, then drain for good."""
        if self._task is None:
            self._stopping = False
            await self._notify.listen(frozenset({self._channel}), self)
            self._task = asyncio.create_task(self._run(), name="hark.row.drain")

    async def stop(self, patience_s: float | None = None) -> None:
        """Finish the transaction at hand, or break it off after some time, then stop; idempotent."""
        self._stopping = True
        self._wake.set()
        task, self._task = self._task, None
        if task is not None:
            await self._notify.listen(frozenset(), self)
            await asyncio.wait([task], timeout=patience_s)
            task.cancel()
            await asyncio.wait([task], timeout=patience_s)

    def watch(self, *, something: bool) -> None:
        """Note whether any table is watched; what is left in the outbox when none is, is in no hurry."""
        if something and not self._watches:
            self._wake.set()
        self._watches = something

    def tuned(self, channels: frozenset[str]) -> None:
        """Catch up with what was not heard, and ask for wake-ups again."""
        self._hears = True
        self._asked = False
        self._wake.set()

    def hear(self, channel: str, payload: str) -> None:
        """Note a wake-up."""
        self._pace.woken(time.monotonic())
        self._wake.set()

    def lost(self) -> None:
        """Look for changes until the connection is rebuilt."""
        self._hears = False
        self._wake.set()

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                pause_s = await self._turn()
                self.trouble, self._failures = "", 0
            except UnavailableError as error:
                pause_s = self._stumble(error)
            except Exception as error:
                log.exception("row.drain_failed", **self._about)
                pause_s = self._stumble(error)
            if not self._stopping:
                await self._rest(pause_s)

    async def _rest(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
            self._polled = False
        except TimeoutError:
            self._polled = pause_s >= POLL_S and not self._failures
            if pause_s >= POLL_S:
                self._asked = False  # another instance may have asked for something else, and be gone

    def _stumble(self, error: Exception) -> float:
        self._failures += 1
        before, self.trouble = self.trouble, f"captured changes wait: {error}"
        pause_s = min(0.1 * 2.0 ** min(self._failures, 10), POLL_S)
        if self.trouble != before:  # another database may be away for days
            log.warning("row.drain_postponed", error=str(error), retry_s=pause_s, **self._about)
        self._asked = False  # the database may have restarted with an older flag
        return pause_s

    async def _turn(self) -> float:
        """Empty the outbox; return for how long nobody need look at it, unless woken."""
        more = True
        while more and not self._stopping:
            records, more = await self._port.drain(self._events_of)
            self._pace.drained(records, time.monotonic())
            if records and self._polled:
                self._polled = False
                self.unannounced += 1
        if self._pace.decide(time.monotonic()):
            self._asked = False
        if not self._asked:
            await self._ask()
        if not self._hears or not self._port.can_wake:
            return self._blind_s if self._watches else POLL_S
        if self._pace.looking:
            return LOOK_S
        if self._horizon is not None and await self._port.is_past(self._horizon):
            # What those transactions wrote was committed before this was asked, but maybe after the drain above.
            self._horizon = None
            return 0.0
        return POLL_S if self._horizon is None else SETTLE_S

    async def _ask(self) -> None:
        """Tell the writers whether to NOTIFY."""
        wanted = self._hears and not self._pace.looking and self._port.can_wake
        horizon = await self._port.want_wakeups(wanted=wanted)
        if not wanted or horizon is not None:
            self._horizon = horizon if wanted else None
        self._asked = True
