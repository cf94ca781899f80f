"""The triggers of row capture on the tables of one database: kept as the active workflows want them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress

import structlog

from hark.triggers.by_connection import where
from hark.triggers.capture_plan import CapturePlan, CapturePlanner, same, watchers_of
from hark.triggers.row_columns import Lost
from hark.triggers.row_port import Installed, Part, RowPort
from hark.triggers.table_name import TableName
from hark.workflows.catalogue import ActiveTrigger
from hark.workflows.errors import UnavailableError

log = structlog.get_logger(__name__)

CHECK_S = 10.0
"""How often the triggers are compared with what they should be: partitions come and go, and somebody may drop one."""
SLICE_S = 0.004
"""To read the conditions of thousands of triggers for the first time takes a while: others run in between."""
CHECK_SHARE = 50
"""With very many tables they are compared less often: each time so many times as long after the last as that took."""
BUSY_RETRY_S = 0.5
AWAY_RETRY_S = 5.0
"""How soon another database is tried again; the home database, without which nothing goes on, more often."""
PATIENCE_S = 0.2
MOST_PATIENCE_S = 3.0
MOST_WARNINGS = 10
STOP_S = 1.0
ATTACH_S = 2.0
"""How long publishing a workflow waits for its tables; a table that is locked for longer follows by itself."""


class Keeper:
    """Keeps the triggers in the database in line with the active workflows, and repairs what others break.

    What changes is brought in line at once, those tables alone; all tables are compared every few seconds.
    """

    def __init__(self, port: RowPort, connection: str = "") -> None:
        self.trouble = ""
        """What is not captured right now, for people; empty when all is well."""
        self.warnings = ""
        """What workflows miss in the rows that are captured, for people; empty when they miss nothing."""
        self._port = port
        self._about = where(connection)
        self._retry_s = AWAY_RETRY_S if connection else BUSY_RETRY_S
        self.settled = False
        """Whether what was last attached has been put in place, but for what `trouble` says."""
        self._planner = CapturePlanner()
        self._watchers: Mapping[TableName, Sequence[ActiveTrigger]] | None = None
        self._changed: set[TableName] = set()
        """Tables whose triggers may not be what they should be."""
        self._relations: dict[TableName, set[int]] = defaultdict(set)
        """Where a table has, or had, triggers."""
        self._problems: dict[str, str] = {}
        self._lost: dict[str, tuple[Lost, ...]] = {}
        self._wanted = asyncio.Event()
        self._answered = asyncio.Event()
        self._compared = False
        """Whether all triggers have been compared before: what differs now, others have changed."""
        self._check_at = 0.0
        self._patience_s = PATIENCE_S
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start to keep; what is attached later is installed then."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="hark.row.keep")

    async def stop(self) -> None:
        """Stop; the triggers stay, so that changes are captured while no instance runs. Idempotent.

        Another database that does not answer is not waited for: what was asked of it ends with its connections.
        """
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task], timeout=STOP_S if self._about else None)

    @property
    def is_bare(self) -> bool:
        """Whether nobody watches, and all triggers have been taken off."""
        return self._watchers == {} and self.settled and not self._changed and not self.trouble

    async def attach(self, triggers: Sequence[ActiveTrigger], *, wait: bool = True) -> None:
        """Capture for exactly these triggers; returns when that is so, or cannot be right now.

        Tables that are locked are waited for two seconds, if at all. What is left follows by itself; until then
        `trouble` tells.
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
        self.settled = False
        self._answered.clear()
        self._wanted.set()
        if wait and self._task is not None:
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
                log.exception("row.sync_failed", **self._about)
                self._stumble(f"the triggers could not be checked: {error}")

    def _pause(self) -> float:
        left_s = max(self._check_at - time.monotonic(), 0.0)
        return min(left_s, BUSY_RETRY_S) if self._changed else left_s

    def _stumble(self, trouble: str) -> None:
        """Compare all of them again, soon."""
        if trouble != self.trouble:
            log.warning("row.unchecked", problem=trouble, **self._about)
        self.trouble = trouble
        self._check_at = time.monotonic() + self._retry_s
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
        self._report(installed, names, repaired=whole and self._compared)
        self._compared |= whole
        if installed.busy:
            self._patience_s = min(self._patience_s * 1.3, MOST_PATIENCE_S)
            self._check_at = min(self._check_at, time.monotonic() + BUSY_RETRY_S)
        else:
            self._patience_s = PATIENCE_S
            self.settled = True
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
        self._warn(plans, names)
        part = None if whole else Part(sorted(names), set().union(*(self._relations[name] for name in names)))
        return await self._port.install(plans, picture.generation, patience_s=self._patience_s, part=part)

    def _warn(self, plans: Sequence[CapturePlan], names: Collection[TableName]) -> None:
        """Say which columns are gone that workflows use; their rows are captured all the same."""
        for name in names:
            self._lost.pop(str(name), None)
        self._lost |= {str(plan.table): plan.warnings for plan in plans if plan.warnings}
        texts = [one.text for table in sorted(self._lost) for one in self._lost[table]]
        warnings = "; ".join(texts[:MOST_WARNINGS])
        if warnings and warnings != self.warnings:
            log.warning("row.columns_missing", warnings=texts[:MOST_WARNINGS], count=len(texts), **self._about)
        elif self.warnings and not warnings:
            log.info("row.columns_back", **self._about)
        self.warnings = warnings

    def _report(self, installed: Installed, names: Collection[TableName], *, repaired: bool) -> None:
        if installed.placed or installed.removed:
            event = "row.triggers_repaired" if repaired else "row.triggers_placed"
            log.info(event, placed=installed.placed, removed=installed.removed, **self._about)
        for name in names:
            self._problems.pop(str(name), None)
        self._problems |= {**installed.problems, **_busy(installed.busy)}
        trouble = "; ".join(self._problems[table] for table in sorted(self._problems))
        if trouble and trouble != self.trouble:
            log.warning("row.not_captured", problems=list(self._problems.values()), **self._about)
        self.trouble = trouble


def _busy(tables: set[str]) -> dict[str, str]:
    waits = "is locked by another transaction: its trigger waits for that to end"
    return {table: f"{table} {waits}" for table in tables}
