"""Retention: weeks that are past go whole, and what does not go with its week in batches."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from hark.daemon.archive.place import ArchiveError
from hark.daemon.engine.archive import Archive
from hark.daemon.settings import Settings
from hark.daemon.store.database import Database, Record, sql
from hark.daemon.store.listing import FIRST_ID
from hark.daemon.store.outages import IN_THE_WAY, lock_was_refused, translated
from hark.workflows.errors import UnavailableError

log = structlog.get_logger(__name__)

LOCK = 7020854
"""The advisory lock of whoever lets history go; a pass may take minutes, and holds up nobody else."""
LOCK_TRIES = 20
LOCK_PAUSE_S = 0.5
SLICE = 10_000
BATCH = 1000
MOST_TOGETHER = 10 * BATCH
MOST_MOVED = 50_000
"""More executions than these are not moved under the lock on all of the history (some 40 µs each)."""
OPEN = ("pending", "running", "waiting")


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings say; tenants and workflows may say otherwise."""

    usual: timedelta
    failed: timedelta
    unmatched: timedelta
    decisions: timedelta = timedelta(days=3)

    @classmethod
    def of(cls, settings: Settings) -> Policy:
        """Return that of an installation."""
        return cls(
            settings.retention, settings.failed_retention, settings.unmatched_retention, settings.decision_retention
        )


@dataclass(slots=True)
class Figures:
    """What retention has done since this process began, and how far it is behind."""

    lag_s: float = 0.0
    weeks: int = 0
    executions: int = 0
    unmatched_events: int = 0
    lines: int = 0
    """Of logs and timelines of what has not ended."""
    passes: int = 0

    def since(self, before: Figures) -> Figures:
        """Return what was done since these were copied."""
        names = ("weeks", "executions", "unmatched_events", "lines", "passes")
        return Figures(self.lag_s, **{name: getattr(self, name) - getattr(before, name) for name in names})

    def stats(self) -> dict[str, float]:
        """Return them by the names that they have as metrics."""
        return {
            "retention_lag_seconds": self.lag_s,
            "retention_passes_total": self.passes,
            "retention_weeks_dropped_total": self.weeks,
            "retention_executions_dropped_total": self.executions,
            "retention_unmatched_events_dropped_total": self.unmatched_events,
            "retention_lines_dropped_total": self.lines,
        }


_Going = dict[UUID, list[UUID]]
"""What is past and was found, by tenant, until there is a batch of it."""


class Retention:
    """Lets history go by its policies. One instance at a time is at it; whatever dies, the next one goes on."""

    def __init__(self, database: Database, policy: Policy, archive: Archive | None = None) -> None:
        self._database = database
        self.archive = archive or Archive(database, None)
        self.policy = policy
        self.figures = Figures()

    async def run(self, workflow_id: UUID | None = None) -> Figures | None:
        """Let go what is past; with a workflow, only what its own policy lets go.

        Returns what went, and None when another instance is at it.
        """
        before = replace(self.figures)
        async with self._database.only_one(LOCK) as alone:
            if alone is None:
                return None
            await self._let_executions_go(workflow_id)
            if workflow_id is None:
                await self._prune_unmatched()
                while await self._database.fetchval("prune_decisions", self.policy.decisions, BATCH):
                    pass
                await self._prune_open_apart()
                await self._prune_activations()
            self.figures.lag_s = await self._database.fetchval("get_retention_lag", self.policy.usual)
        self.figures.passes += 1
        return self.figures.since(before)

    async def _let_executions_go(self, workflow_id: UUID | None) -> None:
        """Drop weeks, then the rest. What the archive does not take stays, and is tried again next time."""
        with suppress(ArchiveError):  # it has told and counted it
            await self.archive.settle()
            crowded = workflow_id is None and not await self._retire_weeks()
            await self._erase(workflow_id, crowded=crowded)

    async def _prune_unmatched(self) -> None:
        while count := await self._database.fetchval("prune_unmatched_events", self.policy.unmatched, BATCH):
            self.figures.unmatched_events += count

    async def _prune_activations(self) -> None:
        """Forget what workflows were before the oldest event there may be."""
        policy = self.policy
        while await self._database.fetchval("prune_activations", policy.usual, policy.failed, policy.unmatched, BATCH):
            pass

    async def _prune_open_apart(self) -> None:
        """Prune what is open; that it does not get through is no reason to call the rest of the pass a failure."""
        try:
            for tenant in await self._database.fetch("list_tenants"):
                for status in OPEN:
                    await self._prune_open(tenant["id"], status)
        except UnavailableError as error:
            log.warning("retention.open_not_pruned", error=str(error))

    async def _prune_open(self, tenant_id: UUID, status: str) -> None:
        """Let go what long runs have written so long ago that it would have gone with them, had they ended."""
        after: UUID | None = FIRST_ID
        while after is not None:
            policy = self.policy.usual, self.policy.failed
            row = await self._database.fetchrow("prune_open", *policy, tenant_id, status, after, BATCH)
            after = None if row is None else row["next_after"]
            self.figures.lines += 0 if row is None else row["lines"]

    # ------------------------------------------------------------------ whole weeks

    async def _retire_weeks(self) -> bool:
        """Drop the weeks that are past; False when so much of one has to stay that it goes row by row."""
        while week := await self._with_lock("prepare_week", self.policy.usual):
            for table in await self._database.fetch("list_history_tables"):
                await self._database.execute("validate_oldest", table["name"])
            seen = await self._note_staying(week)
            staying = await self._database.fetchval("count_staying")
            if staying > MOST_MOVED:
                log.warning("retention.week_crowded", week=week, executions_staying=staying)
                return False
            files = await self.archive.write_week(week) if self.archive.wanted else []
            moved = await self._with_lock("retire_week", week, self.policy.usual, files=files)
            if moved is None:
                break
            self.figures.weeks += 1
            self.figures.executions += seen - moved
            log.info("retention.week_dropped", week=week, executions_dropped=seen - moved, executions_moved=moved)
        return True

    async def _note_staying(self, week: str) -> int:
        """Find what has to stay, slice by slice; returns how many executions the week has."""
        await self._database.execute("note_needed", week)
        tenant_id, last_id, total = FIRST_ID, FIRST_ID, 0
        while True:
            row = await self._database.fetchrow(
                "note_staying", week, self.policy.usual, self.policy.failed, tenant_id, last_id, SLICE
            )
            if row is None or row["last_id"] is None:
                return total
            tenant_id, last_id = row["last_tenant"], row["last_id"]
            total += row["seen"]

    async def _with_lock(self, query: str, *args: Any, files: Sequence[UUID] = ()) -> Any:
        """Run a statement that locks others out, with files of the archive that are sealed if it does its work.

        None while they use the tables all the time, or when there was nothing to do.
        """
        for _ in range(LOCK_TRIES):
            try:
                with translated(*IN_THE_WAY):
                    async with self._database.transaction() as connection:
                        found = await connection.fetchval(sql(query), *args)
                        if found is not None and files:
                            await self.archive.seal(connection, files)
                        return found
            except UnavailableError as error:
                if not lock_was_refused(error):
                    raise
                # Whoever waits behind a lock that is asked for waits as well: ask briefly, and let them go first.
                log.info("retention.week_put_off", error=str(error))
                await asyncio.sleep(LOCK_PAUSE_S)
        log.warning("retention.behind", tries=LOCK_TRIES)
        return None

    # ------------------------------------------------------------------ row by row

    async def _erase(self, workflow_id: UUID | None, *, crowded: bool) -> None:
        going: _Going = defaultdict(list)
        policy = self.policy
        for walk in await self._database.fetch("list_walks", policy.usual, policy.failed, crowded):
            if workflow_id is None or walk["workflow_id"] == workflow_id:
                await self._follow(walk, going)
        for tenant_id, ids in going.items():
            await self._let_go(tenant_id, ids)

    @property
    def _at_once(self) -> int:
        """How many are let go together: with an archive more, for they make a file."""
        return MOST_TOGETHER if self.archive.wanted else BATCH

    async def _follow(self, walk: Record, going: _Going) -> None:
        """Look at all that has ended on a walk, a slice at a time."""
        after, tenant_id = FIRST_ID, walk["tenant_id"]
        found = going[tenant_id]
        while ids := await self._ended(walk, after):
            found += await self._database.fetchval(
                "choose_past", tenant_id, ids, self.policy.usual, self.policy.failed, walk["whatever_age"]
            )
            while len(found) >= self._at_once:
                await self._let_go(tenant_id, found[: self._at_once])
                del found[: self._at_once]
            after = ids[-1]

    async def _ended(self, walk: Record, after: UUID) -> list[UUID]:
        where = walk["tenant_id"], after, walk["until"], SLICE
        if walk["workflow_id"] is None:
            rows = await self._database.fetch("list_ended", *where)
        else:
            rows = await self._database.fetch("list_ended_of_workflow", *where, walk["workflow_id"])
        return [row["id"] for row in rows]

    async def _let_go(self, tenant_id: UUID, ids: Sequence[UUID]) -> None:
        if not self.archive.wanted:
            await self._drop(tenant_id, ids)
        while self.archive.wanted and ids:
            archive_id, number = await self.archive.write(tenant_id, ids)
            await self._drop(tenant_id, ids[:number], archive_id)
            ids = ids[number:]

    async def _drop(self, tenant_id: UUID, ids: Sequence[UUID], archive_id: UUID | None = None) -> None:
        erased = 0
        with translated(*IN_THE_WAY):
            async with self._database.transaction() as connection:
                for start in range(0, len(ids), BATCH):
                    batch = ids[start : start + BATCH]
                    erased += await connection.fetchval(sql("erase_ended"), tenant_id, batch, self.policy.unmatched)
                if archive_id is not None:
                    await self.archive.seal(connection, [archive_id])
        self.figures.executions += erased
        if erased:
            log.info("retention.executions_dropped", executions=erased, tenant=str(tenant_id))
