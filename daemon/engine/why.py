"""Why and why not: which workflows a stored event was offered to, which it started, and what kept the others from it.

Little of this is on record: a condition is false again when it is evaluated again, so the answer is computed from the
event and the versions that were active when it was stored. On record is what only that moment knew: what was started,
and what limits have refused.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from hark.daemon.engine.ends import KEY_FAILURES, key_of
from hark.daemon.engine.judging import Stored, Verdict, judge, stored_event
from hark.daemon.engine.missing_columns import MissingColumns
from hark.daemon.engine.registry import Picture, Registry, Subscription
from hark.daemon.engine.slices import in_slices
from hark.daemon.store.database import Database, Record
from hark.triggers.workflow import WorkflowConfig, refusal_of
from hark.workflows.durations import format_duration
from hark.workflows.errors import NotFoundError
from hark.workflows.ids import EventId, TenantId, same_millisecond

Item = dict[str, Any]

PAGE = 1000
"""Workflows that are looked at together, of those that have changed since the event."""
PATIENCE_S = 10.0
"""How long pages of them are looked at, however many there are."""
_MOST_IDLE = 1000

_NEAREST = (
    "started", "joined", "rate_limited", "overlap", "idempotent", "not_on_record", "other_trigger", "awaits_others",
    "depth_limit", "inputs_invalid", "expression_error", "condition_false", "when_false", "not_concerned", "paused",
    "archived", "draft", "not_published", "trigger_broken", "other_route",
)  # fmt: skip
"""What is told first: what started, then what came nearest to it."""


@dataclass(slots=True)
class _Answer:
    """What is found out about one event."""

    stored: Stored
    started: Sequence[Record]
    limited: Mapping[tuple[UUID, str], Record]
    items: list[Item] = field(default_factory=list)
    complete: bool = True
    asked_to: UUID | None = None
    """Where it is not known of all workflows whether they have changed: the last of which it is."""

    def covers(self, workflow_id: UUID) -> bool:
        """Tell whether it is known if a workflow has changed: nothing is said of others."""
        return self.asked_to is None or workflow_id <= self.asked_to

    def add(self, workflow: str, workflow_id: UUID, trigger: str | None, reason: str, **more: Any) -> None:
        """Add a decision."""
        outcome = {"started": "started", "joined": "joined"}.get(reason, "refused")
        self.items.append({
            "workflow": workflow, "workflow_id": workflow_id, "trigger_id": trigger, "outcome": outcome,
            "reason": None if outcome == "started" else reason, "detail": None, "values": {}, "version": None,
            "execution_id": None, "status": None, "rank": _NEAREST.index(reason) if reason in _NEAREST else 5, **more,
        })  # fmt: skip


class Why:
    """Answers for one event, and for the last events that one workflow was about. Reads, and writes nothing."""

    def __init__(
        self, database: Database, registry: Registry, missing: MissingColumns, *, handed: Mapping[str, Any]
    ) -> None:
        self._database = database
        self._registry = registry
        self._missing = missing
        self._handed = handed

    async def of_event(
        self, tenant_id: TenantId, event_id: EventId, *, limit: int, workflow: tuple[UUID, str] | None = None
    ) -> dict[str, Any]:
        """Say what became of an event with every workflow that listens to its like, or with one of all.

        Raises NotFoundError when it is not stored (any more).
        """
        row = await self._database.fetchrow("get_event", tenant_id, event_id)
        if row is None:
            raise NotFoundError(f"there is no event {event_id}; those that started nothing are kept for a short time")
        answer = await self._begin(tenant_id, stored := stored_event(tenant_id, row))
        only = None if workflow is None else workflow[0]
        await self._judge_all(answer, tenant_id, only)
        if workflow is not None and not answer.items:
            answer.add(workflow[1], workflow[0], None, "other_route", detail=await self._elsewhere(answer, *workflow))
        items = sorted(answer.items, key=lambda item: (item["rank"], item["workflow"], item["trigger_id"] or ""))
        reasons: dict[str, int] = {}
        for item in items:
            word = item["reason"] or item["outcome"]
            reasons[word] = reasons.get(word, 0) + 1
        is_change = row["kind"] == "row"
        return {
            "event_id": event_id, "type": row["type"], "kind": row["kind"], "route": row["route"],
            "at": row["created_at"], "considered": len(items), "reasons": reasons, "items": _shown(items[:limit]),
            "complete": answer.complete,
            "warnings": await self._missing.of_change(tenant_id, only, stored.event.data) if is_change else [],
        }  # fmt: skip

    async def of_workflow(
        self, tenant_id: TenantId, workflow_id: UUID, slug: str, *, before: UUID, since: UUID, limit: int
    ) -> dict[str, Any]:
        """Say what became of the last events of the kind that a workflow listens to, newest first."""
        head = await self._database.fetchrow("get_workflow", tenant_id, None, slug, None)
        picture = await self._published(tenant_id, workflow_id, slug)
        subscriptions = () if picture is None else picture.subscriptions
        rows: list[Record] = []
        for route in sorted({route for one in subscriptions for route in one.routes}):
            rows += await self._database.fetch("page_events", tenant_id, route, before, since, limit + 1)
        rows.sort(key=lambda row: row["id"], reverse=True)
        more, rows = len(rows) > limit, rows[:limit]
        events = []
        for row in rows:
            answer = await self._begin(tenant_id, stored_event(tenant_id, row))
            await self._judge_all(answer, tenant_id, workflow_id)
            items = sorted(answer.items, key=lambda item: item["rank"])
            said = {"event_id": row["id"], "type": row["type"], "route": row["route"], "at": row["created_at"]}
            events += [{**said, **item} for item in _shown(items[:1])]
        return {
            "workflow": slug,
            "state": "paused" if head and head["paused_at"] else head["status"] if head else "draft",
            "triggers": [
                {"id": one.active.id, "kind": one.active.kind, "routes": [*one.routes], "when": one.when}
                for one in subscriptions
            ],
            "broken": [] if picture is None else [f"{one.trigger}: {one.reason}" for one in picture.broken],
            "warnings": await self._missing.of_workflow(tenant_id, workflow_id, _connections(subscriptions)),
            "items": events,
            "last": rows[-1]["id"] if more else None,
        }

    # ------------------------------------------------------------------ what is on record

    async def _begin(self, tenant_id: TenantId, stored: Stored) -> _Answer:
        started = await self._database.fetch("list_started", tenant_id, stored.id, *same_millisecond(stored.id))
        recorded = await self._database.fetch("list_decisions", tenant_id, stored.id)
        limited = {(row["workflow_id"], row["trigger_id"]): row for row in recorded if row["reason"] in _LIMITS}
        return _Answer(stored, started, limited)

    # ------------------------------------------------------------------ who was there

    async def _judge_all(self, answer: _Answer, tenant_id: TenantId, only: UUID | None) -> None:
        """Ask everybody who was there when the event was stored."""
        # Before it is read what has changed: who changes in between is then found there.
        listening = self._listening(tenant_id, answer.stored, only)
        changed: set[UUID] = set()
        settled: set[tuple[UUID, str]] = set()
        async for rows in self._activations(answer, tenant_id, only):
            changed.update(row["workflow_id"] for row in rows)
            async for one in in_slices(await self._changed(answer, tenant_id, rows)):
                self._decide(answer, one, settled)
        async for one in in_slices(listening):
            if one.workflow.id not in changed and answer.covers(one.workflow.id):
                self._decide(answer, one, settled)
        await self._idle(answer, tenant_id, changed, only)
        self._rest(answer, settled, only)

    async def _activations(
        self, answer: _Answer, tenant_id: TenantId, only: UUID | None
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield what the workflows were that have changed since, in pages, as long as there is time."""
        until, last = time.monotonic() + PATIENCE_S, UUID(int=0)
        while True:
            rows = await self._database.fetch("list_activations", tenant_id, answer.stored.at, only, last, PAGE)
            yield rows
            if len(rows) < PAGE:
                return
            last = rows[-1]["workflow_id"]
            if time.monotonic() >= until:
                answer.complete, answer.asked_to = False, last
                return

    def _listening(self, tenant_id: TenantId, stored: Stored, only: UUID | None) -> list[Subscription]:
        """Return the triggers that listen to the event by now."""
        found = list(self._registry.find(tenant_id, stored.event.route) or ())
        if stored.event.kind == "workflow":
            found += filter(_awaits_all, self._registry.followers(tenant_id, stored.event.data.get("workflow", "")))
        return [one for one in found if only in (None, one.workflow.id)]

    async def _changed(self, answer: _Answer, tenant_id: TenantId, changed: Sequence[Record]) -> Sequence[Subscription]:
        """Return the triggers on the route that workflows had then which have changed since; note who had them off."""
        had = [row for row in changed if row["version"] is not None and row["state"] is not None]
        pictures = await self._pictures(tenant_id, had)
        found = []
        route = answer.stored.event.route
        for row, picture in zip(had, pictures, strict=True):
            on_route = [] if picture is None else [one for one in picture.subscriptions if route in one.routes]
            if row["state"] == "active":
                found += on_route
                continue
            for one in on_route:
                self._off(answer, one.workflow.slug, one.workflow.id, one.active.id, row["state"], row["since"])
        for row in changed:
            if row["state"] is None and self._listens_now(tenant_id, row["workflow_id"], route):
                detail = f"it was made later, at {row['changed_at']:%Y-%m-%d %H:%M:%S} UTC"
                answer.add(row["slug"], row["workflow_id"], None, "not_published", detail=detail)
        return found

    async def _pictures(self, tenant_id: TenantId, rows: Sequence[Record]) -> list[Picture | None]:
        ids, versions = [row["workflow_id"] for row in rows], [row["version"] for row in rows]
        heads = await self._database.fetch("load_workflow_heads", [tenant_id] * len(ids), ids, versions) if ids else []
        of = {head["workflow_id"]: head for head in heads}
        found: list[Picture | None] = []
        async for row in in_slices(rows):
            head = of.get(row["workflow_id"])
            found.append(None if head is None else self._registry.picture(head, row["slug"], row["since"]))
        return found

    def _listens_now(self, tenant_id: TenantId, workflow_id: UUID, route: str) -> bool:
        picture = self._registry.version_of(tenant_id, workflow_id)
        return picture is not None and any(route in one.routes for one in picture.subscriptions)

    async def _idle(self, answer: _Answer, tenant_id: TenantId, changed: Collection[UUID], only: UUID | None) -> None:
        route = answer.stored.event.route
        rows = await self._database.fetch("list_idle_on_route", tenant_id, route, only, _MOST_IDLE)
        answer.complete &= len(rows) < _MOST_IDLE
        for row in rows:
            if row["workflow_id"] not in changed and answer.covers(row["workflow_id"]):
                self._off(answer, row["slug"], row["workflow_id"], row["trigger_id"], row["state"], row["since"])

    @staticmethod
    def _off(answer: _Answer, slug: str, workflow_id: UUID, trigger: str, state: str, since: datetime) -> None:
        detail = f"{_OFF.get(state, state)} since {since:%Y-%m-%d %H:%M:%S} UTC"
        answer.add(slug, workflow_id, trigger, state, detail=detail)

    # ------------------------------------------------------------------ what they made of it

    def _decide(self, answer: _Answer, one: Subscription, settled: set[tuple[UUID, str]]) -> None:
        workflow, trigger = one.workflow, one.active.id
        settled.add((workflow.id, trigger))
        said = {"version": workflow.version}
        own = [row for row in answer.started if row["workflow_id"] == workflow.id]
        limited = answer.limited.get((workflow.id, trigger))
        if any(row["trigger_id"] == trigger for row in own):
            answer.add(
                workflow.slug,
                workflow.id,
                trigger,
                "started",
                **said,
                execution_id=own[0]["id"],
                status=own[0]["status"],
            )
        elif limited is not None:
            self._limited(answer, workflow.slug, workflow.id, trigger, limited)
        elif answer.stored.event.route not in one.routes:
            reason, detail = _counted(one.active.config, answer.stored)
            answer.add(workflow.slug, workflow.id, trigger, reason, **said, detail=detail)
        else:
            self._tell(answer, one, judge(one, answer.stored, self._handed), started=bool(own))

    @staticmethod
    def _tell(answer: _Answer, one: Subscription, verdict: Verdict, *, started: bool) -> None:
        reason, detail = verdict.reason, verdict.detail
        if verdict.start is not None and started:
            reason, detail = "other_trigger", "another trigger of the workflow has started it for this event"
        elif verdict.start is not None:
            reason, detail = (
                "not_on_record",
                "by all that is known it started; its execution is not on record any more",
            )
        answer.add(
            one.workflow.slug, one.workflow.id, one.active.id, reason or "", version=one.workflow.version,
            detail=detail, values=verdict.values,
        )  # fmt: skip

    @staticmethod
    def _limited(answer: _Answer, slug: str, workflow_id: UUID, trigger: str, row: Record) -> None:
        """Add what a limit has decided: refused, or joined to another execution."""
        if row["reason"] == "batched":
            answer.add(slug, workflow_id, trigger, "joined", execution_id=row["detail"])
        else:
            answer.add(slug, workflow_id, trigger, row["reason"], detail=row["detail"])

    def _rest(self, answer: _Answer, settled: set[tuple[UUID, str]], only: UUID | None) -> None:
        """Add what is on record of workflows that were not asked: started by hand, or by a version that is gone."""
        for row in answer.started:
            if (row["workflow_id"], row["trigger_id"]) not in settled and only in (None, row["workflow_id"]):
                answer.add(
                    row["workflow"], row["workflow_id"], row["trigger_id"], "started", execution_id=row["id"],
                    status=row["status"],
                )  # fmt: skip
        for (workflow_id, trigger), row in answer.limited.items():
            if (workflow_id, trigger) not in settled and only in (None, workflow_id):
                self._limited(answer, row["workflow"], workflow_id, trigger, row)

    # ------------------------------------------------------------------ one workflow

    async def _published(self, tenant_id: TenantId, workflow_id: UUID, slug: str) -> Picture | None:
        """Return the published version of a workflow, also of one that is switched off."""
        picture = self._registry.version_of(tenant_id, workflow_id)
        if picture is not None:
            return picture
        row = await self._database.fetchrow("get_workflow", tenant_id, None, slug, None)
        version = row["published_version"] if row is not None else None
        if row is None or version is None:
            return None
        heads = await self._database.fetch("load_workflow_heads", [tenant_id], [workflow_id], [version])
        return self._registry.picture(heads[0], slug, row["created_at"]) if heads else None

    async def _elsewhere(self, answer: _Answer, workflow_id: UUID, slug: str) -> str:
        """Say why an event does not concern a workflow at all."""
        event = answer.stored.event
        picture = await self._published(event.tenant_id, workflow_id, slug)
        if picture is None:
            return "it is not published"
        if not picture.subscriptions:
            return "it has no trigger that is switched on; it is started by hand or by other workflows"
        listens = ", ".join(f"{one.active.id}: {', '.join(one.routes)}" for one in picture.subscriptions[:10])
        return f"the event came by {event.route}; its triggers listen to others ({listens})"


_LIMITS = frozenset({"rate_limited", "overlap", "idempotent", "batched"})
"""What the database decides by what else there was: it cannot be computed again."""
_OFF = {
    "paused": "its triggers were switched off",
    "archived": "it was out of service",
    "draft": "it was not published",
}


def _connections(subscriptions: Iterable[Subscription]) -> set[str]:
    """Name the databases whose tables triggers watch; that of Hark has none."""
    return {one.active.config.connection for one in subscriptions if one.active.kind == "row"}


def _awaits_all(one: Subscription) -> bool:
    config = one.active.config
    return isinstance(config, WorkflowConfig) and config.all_ is not None


def _counted(config: WorkflowConfig, stored: Stored) -> tuple[str, str]:
    """Say what the end of one workflow is to a trigger that waits for several."""
    unconcerned = refusal_of(config, stored.event.data)
    if unconcerned is not None:
        return "not_concerned", unconcerned
    try:
        key = key_of(config, stored.view)
    except KEY_FAILURES as error:
        return "expression_error", f"the key of this end, {config.key}: {error}"
    names, span = ", ".join(config.followed), format_duration(config.within or timedelta(0))
    alike = "" if config.key is None else f" with the key {key.decode(errors='replace')[:200]}"
    return "awaits_others", f"it counts this end, and starts once all of {names} have ended{alike} within {span}"


def _shown(items: Iterable[Item]) -> list[Item]:
    """Leave out what is only for sorting."""
    return [{name: value for name, value in item.items() if name != "rank"} for item in items]
