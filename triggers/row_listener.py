"""The running part of `row`: keeps the triggers on the tables as they should be, and turns the outbox into events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog

from hark.triggers.capture_plan import plan_captures
from hark.triggers.ports import NotifyPort
from hark.triggers.row_changes import events_of
from hark.triggers.row_pace import Pace
from hark.triggers.row_port import Installed, RowPort
from hark.workflows.catalogue import ActiveTrigger, Health, ListenerContext
from hark.workflows.errors import UnavailableError

log = structlog.get_logger(__name__)

CHANNEL = "hark_rows"
POLL_S = 5.0
"""However quiet it is, the outbox is looked at this often: a wake-up that got lost costs this much and nothing else."""
LOOK_S = 0.01
SETTLE_S = 0.02
BLIND_S = 0.1
"""How often to look while nobody can wake this instance."""
CHECK_S = 10.0
"""How often the triggers are compared with what they should be: partitions come and go, and somebody may drop one."""
BUSY_RETRY_S = 0.5
PATIENCE_S = 0.2
MOST_PATIENCE_S = 3.0
ATTACH_S = 2.0
"""How long publishing a workflow waits for its tables; a table that is locked for longer follows by itself."""


class RowListener:
    """Captures the changes of all tables that are watched."""

    def __init__(self, context: ListenerContext) -> None:
        self._port: RowPort = context.ports["row"]
        self._notify: NotifyPort = context.ports["notify"]
        self._drainer = Drainer(self._port, self._notify)
        self._keeper = Keeper(self._port)

    async def start(self) -> None:
        await self._drainer.start()
        self._keeper.start()

    async def stop(self) -> None:
        await self._keeper.stop()
        await self._drainer.stop()
        await self._port.close()

    async def attach(self, triggers: Sequence[ActiveTrigger]) -> None:
        await self._keeper.attach(triggers)

    def health(self) -> Health:
        trouble = self._drainer.trouble or self._keeper.trouble
        return Health(attached=not trouble, detail=trouble)


class Keeper:
    """Keeps the triggers in the database in line with the active workflows, and repairs what others break."""

    def __init__(self, port: RowPort) -> None:
        self.trouble = ""
        """What is not captured right now, for people; empty when all is well."""
        self._port = port
        self._triggers: Sequence[ActiveTrigger] | None = None
        self._changed = asyncio.Event()
        self._answered = asyncio.Event()
        self._synced = False
        self._patience_s = PATIENCE_S
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to keep; what is attached later is installed then."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="hark.row.keep")

    async def stop(self) -> None:
        """Stop; the triggers stay, so that changes are captured while no instance runs. Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def attach(self, triggers: Sequence[ActiveTrigger]) -> None:
        """Capture for exactly these triggers; returns when that is so, or cannot be right now.

        Tables that are locked are waited for two seconds. What is left follows by itself; until then `trouble` tells.
        """
        self._triggers = triggers
        self._patience_s = PATIENCE_S
        self._synced = False
        self._answered.clear()
        self._changed.set()
        if self._task is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(ATTACH_S):
                    await self._answered.wait()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_S if self._synced else BUSY_RETRY_S):
                    await self._changed.wait()
            asked = self._changed.is_set()
            self._changed.clear()
            try:
                await self._sync(asked=asked)
            except UnavailableError as error:
                self._stumble(f"the triggers could not be checked: {error}")
            except Exception as error:
                log.exception("row.sync_failed")
                self._stumble(f"the triggers could not be checked: {error}")

    def _stumble(self, trouble: str) -> None:
        self.trouble = trouble
        self._synced = False
        self._answered.set()

    async def _sync(self, *, asked: bool) -> None:
        triggers = self._triggers
        if triggers is None:  # nothing has been attached yet, which is not the same as nothing being active
            return
        picture = await self._port.look({trigger.config.table_name for trigger in triggers})
        plans = plan_captures(triggers, picture.tables)
        installed = await self._port.install(plans, picture.generation, patience_s=self._patience_s)
        if self._changed.is_set():
            return
        if not installed.current:  # whoever attaches holds up the news that would make it so
            self._synced = False
            self._answered.set()
            return
        self._report(installed, repaired=not asked and self._synced)
        self._synced = not installed.busy
        if installed.busy:
            self._patience_s = min(self._patience_s * 1.3, MOST_PATIENCE_S)
        else:
            self._patience_s = PATIENCE_S
            self._answered.set()

    def _report(self, installed: Installed, *, repaired: bool) -> None:
        if installed.placed or installed.removed:
            event = "row.triggers_repaired" if repaired else "row.triggers_placed"
            log.info(event, placed=installed.placed, removed=installed.removed)
        problems = [*installed.problems.values(), *_busy(installed.busy)]
        trouble = "; ".join(problems)
        if trouble and trouble != self.trouble:
            log.warning("row.not_captured", problems=problems)
        self.trouble = trouble


def _busy(tables: set[str]) -> list[str]:
    return [f"{table} is locked by another transaction: its trigger waits for that to end" for table in sorted(tables)]


class Drainer:
    """Turns what lies in the outbox into events, soon after it was committed. Hears wake-ups as the port's `Ears`.

    Writers send a NOTIFY only while the outbox is quiet; otherwise it is looked at all the time. When NOTIFYs are
    wanted again, transactions that began before may not know it: it is looked at until all of these have ended.
    """

    def __init__(self, port: RowPort, notify: NotifyPort) -> None:
        self.trouble = ""
        self._port = port
        self._notify = notify
        self._pace = Pace()
        self._wake = asyncio.Event()
        self._hears = False
        self._asked = False
        self._horizon: int | None = None
        self._failures = 0
        self._stopping = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, then drain for good."""
        if self._task is None:
            self._stopping = False
            await self._notify.listen(frozenset({CHANNEL}), self)
            self._task = asyncio.create_task(self._run(), name="hark.row.drain")

    async def stop(self) -> None:
        """Finish the transaction at hand, then stop; idempotent."""
        self._stopping = True
        self._wake.set()
        task, self._task = self._task, None
        if task is not None:
            await self._notify.listen(frozenset(), self)
            await task

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
                log.exception("row.drain_failed")
                pause_s = self._stumble(error)
            if not self._stopping:
                await self._rest(pause_s)

    async def _rest(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            if pause_s >= POLL_S:
                self._asked = False  # another instance may have asked for something else, and be gone

    def _stumble(self, error: Exception) -> float:
        self._failures += 1
        self.trouble = f"captured changes wait: {error}"
        pause_s = min(0.1 * 2.0 ** min(self._failures, 10), POLL_S)
        log.warning("row.drain_postponed", error=str(error), retry_s=pause_s)
        self._asked = False  # the database may have restarted with an older flag
        return pause_s

    async def _turn(self) -> float:
        """Empty the outbox; return for how long nobody need look at it, unless woken."""
        more = True
        while more and not self._stopping:
            records, more = await self._port.drain(events_of)
            self._pace.drained(records, time.monotonic())
        if self._pace.decide(time.monotonic()):
            self._asked = False
        if not self._asked:
            await self._ask()
        if not self._hears or not self._port.can_wake:
            return BLIND_S
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
