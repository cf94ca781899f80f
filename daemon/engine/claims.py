"""Claiming: taking executions that wait for a time or for a free place, and waking up when there are some."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import orjson
import structlog

from hark.daemon.engine.background import Background, woken
from hark.daemon.engine.instance import Instance
from hark.daemon.engine.records import StepRecord, step_view
from hark.daemon.engine.strandings import Takings
from hark.daemon.store.database import JOINING_PLANNER, Database, Record
from hark.daemon.store.lane import Lane
from hark.workflows.errors import UnavailableError

log = structlog.get_logger(__name__)

POLL_S = 5.0
"""However quiet it is, the database is asked this often: a lost wake-up costs this much and nothing else."""
LOCKED_S = 0.05
MOST = 200


@dataclass(slots=True)
class Claimed:
    """An execution that this instance has taken, with all that is needed to go on with it."""

    row: Record
    event: Mapping[str, Any]
    steps: dict[str, StepRecord] = field(default_factory=dict)
    around: Mapping[str, Any] = field(default_factory=dict)
    """Of a part: the steps of the whole that it sees."""
    events: list[Mapping[str, Any]] = field(default_factory=list)
    """All events of a batch, in order."""


class Places(Protocol):
    """Where claimed executions run."""

    @property
    def free(self) -> int:
        """How many more can run."""
        ...

    def resume(self, claimed: Claimed) -> None:
        """Run a claimed execution."""
        ...


class Claimer:
    """Takes what can run, as soon as it can: when a time comes, a place frees, or somebody says that there is work."""

    def __init__(
        self,
        database: Database,
        instance: Instance,
        places: Places,
        takings: Takings,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._lane = Lane(database, "claim", JOINING_PLANNER)
        self._instance = instance
        self._places = places
        self._takings = takings
        self._now = now
        self._wake = asyncio.Event()
        self._due_at: datetime | None = None
        self._put_off_until: datetime | None = None
        """When the next execution that was put off by a limit may start, as far as is known."""
        self._last_tenant = UUID(int=0)
        self._queued = True
        self.unannounced = 0
        """How many looks found what no wake-up had told of."""
        self._polled = False
        self._task = Background("claimer", self._run)

    def start(self) -> None:
        """Start to claim."""
        self._task.start()

    async def stop(self) -> None:
        """Claim nothing more; idempotent."""
        await self._task.stop()
        await self._lane.stop()

    @property
    def backend_pid(self) -> int | None:
        """The server process behind the connection."""
        return self._lane.backend_pid

    @property
    def backlogged(self) -> bool:
        """Whether something may be waiting for a place."""
        return self._queued

    def work_arrived(self) -> None:
        """Note that something waits for a place."""
        self._queued = True
        self._wake.set()

    def place_freed(self) -> None:
        """Note that a place is free; matters only while something is known to wait for one."""
        if self._queued:
            self._wake.set()

    def due(self, moment: datetime) -> None:
        """Note that something goes on at a moment."""
        if self._due_at is None or moment < self._due_at:
            self._due_at = moment
            self._wake.set()

    async def _run(self) -> None:
        while True:
            # Before asking: what is said meanwhile is heard by the next turn.
            self._wake.clear()
            try:
                await self._claim_all()
                if self._places.free > 0:
                    await self._look_ahead()
            except UnavailableError as error:
                log.warning("claim.failed", error=str(error))
                await asyncio.sleep(1)
            except Exception:
                log.exception("claim.broken")
                await asyncio.sleep(1)
            pause_s = self._pause()
            self._polled = not await woken(self._wake, pause_s) and pause_s >= POLL_S

    def _pause(self) -> float:
        if self._due_at is None or self._places.free <= 0:
            return POLL_S
        left = (self._due_at - self._now()).total_seconds()
        # What is overdue and was not claimed is locked by somebody else.
        return min(POLL_S, left if left > 0 else LOCKED_S)

    async def _claim_all(self) -> None:
        """Claim until there is no place, or nothing left."""
        await self._pass_due()
        while (free := self._places.free) > 0:
            self._queued = False
            wanted = min(free, MOST)
            with self._takings.under_way():
                rows = await self._lane.fetch("claim_executions", self._instance.id, wanted, self._last_tenant)
                if rows:
                    self.unannounced += self._polled
                    self._polled = False
                    self._last_tenant = rows[-1]["tenant_id"]
                    await self._hand_over(rows)
            # Of several tenants one may have used less than its share, and another one have more.
            if len(rows) < wanted and all(row["tenants"] <= 1 for row in rows):
                return
        self._queued = True

    async def _pass_due(self) -> None:
        """Lead what was put off and is due through the rest of its limits; then it can be claimed."""
        moment = self._put_off_until
        while moment is not None and moment <= self._now():
            if (await self._lane.fetch("pass_due", MOST))[0][0] < MOST:
                break

    async def _look_ahead(self) -> None:
        self._due_at = None
        found = (await self._lane.fetch("next_due"))[0]
        self._put_off_until = found["put_off"]
        for moment in (found["waiting"], found["put_off"]):
            if moment is not None:
                self.due(moment)  # unless an earlier moment was told meanwhile

    async def _hand_over(self, rows: Sequence[Record]) -> None:
        tenants = [row["tenant_id"] for row in rows]
        executions = [row["id"] for row in rows]
        events = await self._lane.fetch("load_events", tenants, [row["event_id"] for row in rows])
        by_id = {event["id"]: stored_event_view(event) for event in events}
        steps: dict[UUID, dict[str, StepRecord]] = {}
        for step in await self._lane.fetch("load_steps", tenants, executions):
            steps.setdefault(step["execution_id"], {})[step["path"]] = _step(step)
        around = await self._around([row for row in rows if row["part"]])
        batches = await self._batches([row for row in rows if row["is_batch"]])
        for row in rows:
            event, own = by_id.get(row["event_id"], {}), steps.get(row["id"], {})
            self._places.resume(Claimed(row, event, own, around.get(_siblings(row), {}), batches.get(row["id"], [])))

    async def _around(self, parts: Sequence[Record]) -> dict[Siblings, dict[str, Any]]:
        """Return what parts see of the steps of their whole; those of one step see the same."""
        one_of = {_siblings(row): row for row in parts}
        of_id = {row["id"]: siblings for siblings, row in one_of.items()}
        found: dict[Siblings, dict[str, Any]] = {siblings: {} for siblings in one_of}
        if not parts:
            return found
        tenants = [row["tenant_id"] for row in one_of.values()]
        for step in await self._lane.fetch("load_steps_around", tenants, list(of_id)):
            found[of_id[step["part_id"]]][step["path"].rpartition(".")[2]] = step_view(
                StepRecord(step["path"], 0, "", step["status"], output=step["output"], error=step["error"])
            )
        return found

    async def _batches(self, rows: Sequence[Record]) -> dict[UUID, list[Mapping[str, Any]]]:
        batches: dict[UUID, list[Mapping[str, Any]]] = {}
        if rows:
            tenants, ids = [row["tenant_id"] for row in rows], [row["id"] for row in rows]
            for found in await self._lane.fetch("load_batches", tenants, ids):
                batches.setdefault(found["execution_id"], []).append(stored_event_view(found))
        return batches


Siblings = tuple[UUID | None, str | None]


def _siblings(row: Record) -> Siblings:
    """Return what the parts of one step have in common."""
    path = row["parent_path"] if row["part"] else None
    return row["parent_id"], path and path.rpartition("[")[0]


def stored_event_view(row: Record) -> dict[str, Any]:
    """Return a stored event as expressions see it."""
    subject = {"kind": row["subject_kind"], "id": row["subject_id"]} if row["subject_kind"] else None
    return {
        "id": str(row["id"]),
        "type": row["type"],
        "source": row["source"],
        "data": orjson.loads(row["data"]),
        "subject": subject,
        "occurred_at": row["occurred_at"].isoformat(),
    }


def _step(row: Record) -> StepRecord:
    values = dict(row.items())
    del values["execution_id"]
    return StepRecord(**values)
