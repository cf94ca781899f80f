"""The running part of `row`: keeps the triggers on the tables as they should be, and turns the outbox into events."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

import structlog

from hark.triggers.capture_plan import CapturePlanner, same, watchers_of
from hark.triggers.ports import NotifyPort
from hark.triggers.row_changes import events_of
from hark.triggers.row_pace import Pace
from hark.triggers.row_port import Installed, Part, RowPort
from hark.triggers.table_name import TableName
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
SLICE_S = 0.004
"""To read the conditions of thousands of triggers for the first time takes a while: others run in between."""
CHECK_SHARE = 50
"""With very many tables they are compared less often: each time so many times as long after the last as that took."""
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
        return Health(attached=not trouble, detail=trouble, unannounced=self._drainer.unannounced)


class Keeper:
    """Keeps the triggers in the database in line with the active workflows, and repairs what others break.

    What changes is brought in line at once, those tables alone; all tables are compared every few seconds.
    """

    def __init__(self, port: RowPort) -> None:
        self.trouble = ""
        """What is not captured right now, for people; empty when all is well."""
        self._port = port
        self._planner = CapturePlanner()
        self._watchers: Mapping[TableName, Sequence[ActiveTrigger]] | None = None
        self._changed: set[TableName] = set()
        """Tables whose triggers may not be what they should be."""
        self._relations: dict[TableName, set[int]] = defaultdict(set)
        """Where a table has, or had, triggers."""
        self._problems: dict[str, str] = {}
        self._wanted = asyncio.Event()
        self._answered = asyncio.Event()
        self._check_at = 0.0
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
        before, self._watchers = self._watchers, watchers_of(triggers)
        if before is None:
            self._check_at = 0.0
        else:
            names = before.keys() | self._watchers.keys()
            changed = {name for name in names if not same(before.get(name, ()), self._watchers.get(name, ()))}
            if not changed and not self._changed:
                return
            self._changed |= changed
        self._patience_s = PATIENCE_S
        self._answered.clear()
        self._wanted.set()
        if self._task is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(ATTACH_S):
                    await self._answered.wait()

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause()):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                await self._sync()
            except UnavailableError as error:
                self._stumble(f"the triggers could not be checked: {error}")
            except Exception as error:
                log.exception("row.sync_failed")
                self._stumble(f"the triggers could not be checked: {error}")

    def _pause(self) -> float:
        left_s = max(self._check_at - time.monotonic(), 0.0)
        return min(left_s, BUSY_RETRY_S) if self._changed else left_s

    def _stumble(self, trouble: str) -> None:
        """Compare all of them again, soon."""
        self.trouble = trouble
        self._check_at = time.monotonic() + BUSY_RETRY_S
        self._answered.set()

    async def _sync(self) -> None:
        watchers, began = self._watchers, time.monotonic()
        if watchers is None:  # nothing has been attached yet, which is not the same as nothing being active
            self._check_at = began + CHECK_S
            return
        whole = began >= self._check_at
        names = watchers.keys() | self._changed if whole else set(self._changed)
        installed = await self._install({name: watchers[name] for name in names & watchers.keys()}, names, whole=whole)
        if self._wanted.is_set():
            return
        if not installed.current:  # whoever attaches holds up the news that would make it so
            self._stumble(self.trouble)
            return
        self._changed = {name for name in names if str(name) in installed.busy}
        if whole:
            # However many tables there are, to compare them takes no more than a small part of the time.
            self._check_at = began + max(CHECK_S, CHECK_SHARE * (time.monotonic() - began))
        self._report(installed, names, repaired=whole)
        if installed.busy:
            self._patience_s = min(self._patience_s * 1.3, MOST_PATIENCE_S)
            self._check_at = min(self._check_at, time.monotonic() + BUSY_RETRY_S)
        else:
            self._patience_s = PATIENCE_S
            self._answered.set()

    async def _install(
        self, watchers: Mapping[TableName, Sequence[ActiveTrigger]], names: Collection[TableName], *, whole: bool
    ) -> Installed:
        picture = await self._port.look(watchers.keys())
        since = time.perf_counter()
        for _ in self._planner.read(watchers, picture.tables):
            if time.perf_counter() - since > SLICE_S:
                await asyncio.sleep(0)
                since = time.perf_counter()
        # In a thread: thousands of filters on one table take 20 ms to fold, and this need not wait for its turn.
        plans = await asyncio.to_thread(self._planner.plan, watchers, picture.tables)
        self._planner.forget(names - watchers.keys())
        for plan in plans:
            self._relations[plan.table] |= {placement.relation.oid for placement in plan.placements}
        part = None if whole else Part(sorted(names), set().union(*(self._relations[name] for name in names)))
        return await self._port.install(plans, picture.generation, patience_s=self._patience_s, part=part)

    def _report(self, installed: Installed, names: Collection[TableName], *, repaired: bool) -> None:
        if installed.placed or installed.removed:
            event = "row.triggers_repaired" if repaired else "row.triggers_placed"
            log.info(event, placed=installed.placed, removed=installed.removed)
        for name in names:
            self._problems.pop(str(name), None)
        self._problems |= {**installed.problems, **_busy(installed.busy)}
        trouble = "; ".join(self._problems[table] for table in sorted(self._problems))
        if trouble and trouble != self.trouble:
            log.warning("row.not_captured", problems=list(self._problems.values()))
        self.trouble = trouble


def _busy(tables: set[str]) -> dict[str, str]:
    waits = "is locked by another transaction: its trigger waits for that to end"
    return {table: f"{table} {waits}" for table in tables}


class Drainer:
    """Turns what lies in the outbox into events, soon after it was committed. Hears wake-ups as the port's `Ears`.

    Writers send a NOTIFY only while the outbox is quiet; otherwise it is looked at all the time. When NOTIFYs are
    wanted again, transactions that began before may not know it: it is looked at until all of these have ended.
    """

    def __init__(self, port: RowPort, notify: NotifyPort) -> None:
        self.trouble = ""
        self.unannounced = 0
        """How many looks found what no wake-up had told of, although there should have been one."""
        self._polled = False
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
            self._polled = False
        except TimeoutError:
            self._polled = pause_s >= POLL_S and not self._failures
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
            if records and self._polled:
                self._polled = False
                self.unannounced += 1
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
