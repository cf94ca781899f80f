"""Dry runs: what a workflow would have started on the events that are stored, and on the rows that are there.

Nothing is run and nothing is written. History is read page by page, newest first, until the span, the number of events
or the time is used up, and the report says how far it came.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import orjson

from hark.daemon.engine.due_times import latest_due
from hark.daemon.engine.judging import Stored, Verdict, judge, staged, stored_event
from hark.daemon.engine.matcher import Start
from hark.daemon.engine.registry import Picture, Registry, Subscription
from hark.daemon.engine.remotes import Remotes
from hark.daemon.engine.slices import in_slices
from hark.daemon.store.database import Database
from hark.daemon.store.table_rows import Batch, read_rows
from hark.triggers.cron_config import CronConfig
from hark.triggers.cron_plan import Firing, slot_event
from hark.triggers.row_changes import Interest, RowChange, events_of
from hark.triggers.row_config import RowConfig
from hark.triggers.table_name import TableName
from hark.workflows.definition import Workflow
from hark.workflows.errors import RequestError, UnavailableError
from hark.workflows.ids import EventId, TenantId, execution_id, floor_of, new_id, time_of

PAGE = 100
MOST_REASONS = 100
MOST_SLOTS = 1000
"""Due times of one schedule, the latest."""
_AT_A_TIME = 2
"""Dry runs that an instance has under way; others wait for their turn."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a dry run goes."""

    since: datetime
    until: datetime
    samples: int = 10
    most_events: int = 100_000
    most_rows: int = 10_000
    deadline: float = field(default_factory=lambda: time.monotonic() + 20.0)
    """On the monotonic clock; what is not looked at by then is not."""

    @property
    def is_over(self) -> bool:
        """Whether the time is used up."""
        return time.monotonic() >= self.deadline


@dataclass(slots=True)
class _Report:
    """What was found for one workflow."""

    bounds: Bounds
    samples: list[dict[str, Any]] = field(default_factory=list)
    reasons: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    scanned: int = 0
    would_start: int = 0
    started_then: int = 0
    newly: int = 0
    no_longer: int = 0
    complete: bool = True
    reached: datetime | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    schedules: list[dict[str, Any]] = field(default_factory=list)

    def note_start(self, stored: Stored, start: Start, *, of_row: bool) -> None:
        """Count a start, and show it while few are shown."""
        if len(self.samples) < self.bounds.samples:
            subject = start.subject
            self.samples.append({
                "event_id": None if of_row else stored.id, "type": stored.event.type, "at": stored.at,
                "trigger_id": start.trigger_id, "inputs": start.inputs,
                "subject": {"kind": subject[0], "id": subject[1]} if subject else None,
            })  # fmt: skip

    def note_refusal(
        self, stored: Stored, trigger: str, verdict: Verdict, values: Callable[[], Mapping[str, Any]], *, of_row: bool
    ) -> None:
        """Count a reason; the first event that had it is its example, with the `values` that it had."""
        key = (trigger, verdict.reason or "", verdict.detail or "")
        found = self.reasons.get(key)
        if found is None and len(self.reasons) >= MOST_REASONS:
            key = (trigger, verdict.reason or "", "")
            found = self.reasons.get(key)
        if found is None:
            found = self.reasons[key] = {
                "trigger_id": trigger, "reason": verdict.reason, "detail": key[2] or None, "count": 0,
                "event_id": None if of_row else stored.id, "values": values(),
            }  # fmt: skip
        found["count"] += 1


def picture_of(
    registry: Registry, tenant_id: TenantId, workflow: Workflow, workflow_id: UUID | None, now: datetime
) -> Picture:
    """Make the triggers of a definition that is not stored."""
    head = workflow.model_dump(
        mode="json", by_alias=True, exclude_unset=True, exclude={"steps", "on_error", "output", "tests"}
    )
    row = {
        "tenant_id": tenant_id, "workflow_id": workflow_id or new_id(now), "version": 0, "created_at": now,
        "head": orjson.dumps(head).decode(),
    }  # fmt: skip
    return registry.picture(row, workflow.id, now)


class Rehearsal:
    """Runs dry runs, a few at a time."""

    def __init__(self, database: Database, registry: Registry, remotes: Remotes, *, handed: Mapping[str, Any]) -> None:
        self._database = database
        self._registry = registry
        self._remotes = remotes
        self._handed = handed
        self._turns = asyncio.Semaphore(_AT_A_TIME)

    def of_definition(
        self, tenant_id: TenantId, workflow: Workflow, workflow_id: UUID | None, now: datetime
    ) -> Picture:
        """Make the triggers of a definition that is not stored; `workflow_id` is that of the one it would replace."""
        return picture_of(self._registry, tenant_id, workflow, workflow_id, now)

    async def of_version(
        self, tenant_id: TenantId, workflow_id: UUID, slug: str, version: int, now: datetime
    ) -> Picture | None:
        """Make the triggers of a stored version; None when there is none."""
        heads = await self._database.fetch("load_workflow_heads", [tenant_id], [workflow_id], [version])
        return self._registry.picture(heads[0], slug, now) if heads else None

    async def run(self, picture: Picture, bounds: Bounds, *, rows: bool = True) -> dict[str, Any]:
        """Try a workflow's triggers on what is there. Raises UnavailableError."""
        async with self._turns:
            report = _Report(bounds)
            by_route: dict[str, list[Subscription]] = {}
            for one in picture.subscriptions:
                for route in one.routes:
                    by_route.setdefault(route, []).append(one)
            for route, subscriptions in sorted(by_route.items()):
                await self._try_events(report, picture, route, subscriptions)
            await self._try_schedules(report, picture)
            if rows:
                await self._try_rows(report, picture)
        return _said(picture, report)

    # ------------------------------------------------------------------ events

    async def _try_events(
        self, report: _Report, picture: Picture, route: str, subscriptions: Sequence[Subscription]
    ) -> None:
        tenant_id, bounds = picture.workflow.tenant_id, report.bounds
        before, since = floor_of(bounds.until), floor_of(bounds.since)
        while True:
            if bounds.is_over or report.scanned >= bounds.most_events:
                report.complete = False
                reached = time_of(before)
                report.reached = reached if report.reached is None else max(report.reached, reached)
                return
            page = await self._database.fetch("page_events", tenant_id, route, before, since, PAGE)
            ids = [execution_id(EventId(row["id"]), picture.workflow.id) for row in page]
            known = await self._database.fetch("find_executions", [tenant_id] * len(ids), ids) if ids else []
            started = {UUID(str(row["id"])) for row in known}
            async for row, identifier in in_slices(zip(page, ids, strict=True)):
                self._try_event(report, stored_event(tenant_id, row), subscriptions, then=identifier in started)
            if len(page) < PAGE:
                return
            before = page[-1]["id"]

    def _try_event(self, report: _Report, stored: Stored, subscriptions: Iterable[Subscription], *, then: bool) -> None:
        starts = self._starts(report, stored, subscriptions, of_row=False)
        report.scanned += 1
        report.would_start += starts
        report.started_then += then
        report.newly += starts and not then
        report.no_longer += then and not starts

    def _starts(self, report: _Report, stored: Stored, subscriptions: Iterable[Subscription], *, of_row: bool) -> bool:
        """Offer an event to the triggers; one start is a start, as in earnest."""
        verdicts = [(one, judge(one, stored, self._handed, values=False)) for one in subscriptions]
        for _, verdict in verdicts:
            if verdict.start is not None:
                report.note_start(stored, verdict.start, of_row=of_row)
                return True
        for one, verdict in verdicts:
            values = partial(self._values, one, stored)
            report.note_refusal(stored, one.active.id, verdict, values, of_row=of_row)
        return False

    def _values(self, one: Subscription, stored: Stored) -> Mapping[str, Any]:
        return judge(one, stored, self._handed).values

    # ------------------------------------------------------------------ schedules

    async def _try_schedules(self, report: _Report, picture: Picture) -> None:
        """Try the due times of schedules that lie in the span: those of a new workflow have made no events."""
        for one in picture.subscriptions:
            config = one.active.config
            if isinstance(config, CronConfig):
                report.schedules.append(await self._due(report.bounds, one, config))

    async def _due(self, bounds: Bounds, one: Subscription, config: CronConfig) -> dict[str, Any]:
        slots, complete = await latest_due(
            config.built(), bounds.since, bounds.until, MOST_SLOTS, lambda: bounds.is_over
        )
        tried, started = [], 0
        # The latest first, each with the one before it.
        async for slot, previous in in_slices(zip(reversed(slots), [*slots[-2::-1], None], strict=False)):
            if bounds.is_over:
                complete = False
                break
            event = slot_event(one.active, Firing(slot.utc, 0), None if previous is None else previous.utc)
            stored = staged(event, EventId(new_id(slot.utc)), slot.utc)
            started += judge(one, stored, self._handed).start is not None
            tried.append(slot.utc)
        return {
            "trigger_id": one.active.id, "due": len(tried), "would_start": started,
            "first": tried[-1] if tried else None, "last": tried[0] if tried else None, "complete": complete,
        }  # fmt: skip

    # ------------------------------------------------------------------ rows

    async def _try_rows(self, report: _Report, picture: Picture) -> None:
        by_table: dict[tuple[str, TableName], list[Subscription]] = {}
        for one in picture.subscriptions:
            config = one.active.config
            if isinstance(config, RowConfig) and config.per == "row":
                by_table.setdefault((config.connection, config.table_name), []).append(one)
        for (connection, table), subscriptions in sorted(by_table.items()):
            found = {
                "connection": connection, "table": str(table), "scanned": 0, "would_start": 0, "complete": True,
                "problem": None,
            }  # fmt: skip
            report.rows.append(found)
            try:
                await self._try_table(report, picture, found, table, subscriptions)
            except RequestError as error:
                found.update(complete=False, problem=str(error))
            except UnavailableError as error:
                if not connection:
                    raise
                found.update(complete=False, problem=str(error))

    async def _try_table(
        self, report: _Report, picture: Picture, found: dict[str, Any], table: TableName,
        subscriptions: Sequence[Subscription],
    ) -> None:  # fmt: skip
        now, most, connection = report.bounds.until, report.bounds.most_rows, found["connection"]
        site = self._remotes.site(connection)
        # One more than is looked at, to know whether there are more.
        async for batch in read_rows(site, table, [one.active for one in subscriptions], most + 1):
            if report.bounds.is_over:
                found["complete"] = False
                return
            change = _as_inserted(picture.workflow.tenant_id, table, batch, now)
            async for event in in_slices(events_of(change, connection)):
                if found["scanned"] >= most:
                    found["complete"] = False
                    return
                stored = staged(event, EventId(new_id(now)), now)
                found["scanned"] += 1
                found["would_start"] += self._starts(report, stored, subscriptions, of_row=True)


def _as_inserted(tenant_id: TenantId, table: TableName, batch: Batch, now: datetime) -> RowChange:
    """Return rows as if they were inserted now."""
    interest = Interest(tenant_id, "row", ("insert",))
    return RowChange(
        id=0, table=table, interests=(interest,), operation="insert", old=(), new=batch.rows, transaction_id=0,
        occurred_at=now, row_count=len(batch.rows), left_out=batch.left_out,
    )  # fmt: skip


def _said(picture: Picture, report: _Report) -> dict[str, Any]:
    workflow, bounds = picture.workflow, report.bounds
    return {
        "workflow": workflow.slug,
        "version": workflow.version or None,
        "since": bounds.since,
        "until": bounds.until,
        "events": {
            "scanned": report.scanned, "would_start": report.would_start, "started_then": report.started_then,
            "newly": report.newly, "no_longer": report.no_longer, "complete": report.complete,
            "reached": report.reached,
        },
        "rows": report.rows,
        "schedules": report.schedules,
        "samples": report.samples,
        "refusals": sorted(report.reasons.values(), key=lambda one: -one["count"]),
        "broken": [f"{one.trigger}: {one.reason}" for one in picture.broken],
        "limited": workflow.limits is not None,
    }  # fmt: skip
