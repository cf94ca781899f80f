"""What is active: the triggers of published workflows, in memory, kept current by the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import structlog
from pydantic import ValidationError

from hark.daemon.engine.inputs import InputRules
from hark.daemon.engine.limits import Limits, limits_of
from hark.daemon.engine.route_index import RouteIndex
from hark.daemon.engine.slices import in_slices
from hark.daemon.store.database import Database, Record
from hark.workflows.catalogue import ActiveTrigger, Catalogue, NewEvent, TriggerKind
from hark.workflows.durations import parse_duration
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import ROOTS
from hark.workflows.ids import TenantId, WorkflowId
from hark.workflows.requirements import Requirement, requirements
from hark.workflows.templates import compile_template

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ActiveWorkflow:
    """What the matcher has to know of an active workflow; its steps are loaded when it runs."""

    tenant_id: TenantId
    id: WorkflowId
    slug: str
    version: int
    conditions: tuple[str, ...]
    inputs: InputRules
    priority: int
    timeout: timedelta | None
    limits: Limits | None


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """One trigger of an active workflow, as the matcher meets it. Compared by identity: each version has its own."""

    workflow: ActiveWorkflow
    active: ActiveTrigger
    kind: TriggerKind[Any]
    routes: Sequence[str]
    when: str | None
    inputs: Any
    subject: Mapping[str, Any] | None
    publishes: str | None
    requirements: tuple[Requirement, ...] = ()
    """What an event must have to be worth offering to it."""

    def refusal(self, event: NewEvent) -> str | None:
        """Say why the event does not concern this trigger."""
        return self.kind.refusal(self.active.config, event)


@dataclass(frozen=True, slots=True)
class BrokenTrigger:
    """A trigger that could not be attached, and why."""

    workflow: str
    trigger: str
    reason: str


@dataclass(frozen=True, slots=True)
class Picture:
    """One version of a workflow, as the matcher meets it."""

    workflow: ActiveWorkflow
    subscriptions: tuple[Subscription, ...]
    broken: tuple[BrokenTrigger, ...]


Key = tuple[UUID, UUID]
Stamp = tuple[str, int, datetime]
"""What a workflow's part is made from, besides its versions, which never change: slug, version, active since when."""

_HEADS = 500
"""How many definitions are loaded at a time."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """A workflow's part of the registry, and what it was made from."""

    workflow: ActiveWorkflow
    subscriptions: tuple[Subscription, ...]
    broken: tuple[BrokenTrigger, ...]
    stamp: Stamp


class Registry:
    """The active workflows by the routes of their triggers.

    `generation` is the database's count of changes at which this picture was taken; whoever stores events has it
    checked, so that an event stored after a publication was answered is always offered to the new version. While the
    picture is being changed it is 0, which the database never has: nothing is stored that was matched meanwhile.
    `on_change` is called after every change; the listeners follow in their own time, events do not wait for them.
    """

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        *,
        handed: Mapping[str, Any],
        on_change: Callable[[], None],
    ) -> None:
        self.generation = 0
        self._database = database
        self._catalogue = catalogue
        self._handed = handed
        self._on_change = on_change
        self._entries: dict[Key, _Entry] = {}
        self._routes: dict[tuple[UUID, str], RouteIndex] = {}
        self._followers: dict[tuple[UUID, str], dict[Subscription, None]] = {}
        """By whose ends they follow."""
        self._broken: dict[Key, tuple[BrokenTrigger, ...]] = {}
        self._turn = asyncio.Lock()

    def find(self, tenant_id: UUID, route: str) -> RouteIndex | None:
        """Return the subscriptions on a route; None when there are none."""
        return self._routes.get((tenant_id, route))

    def followers(self, tenant_id: UUID, slug: str) -> Sequence[Subscription]:
        """Return the subscriptions to the ends of a workflow's executions."""
        return [*self._followers.get((tenant_id, slug), ())]

    def version_of(self, tenant_id: UUID, workflow_id: UUID) -> Picture | None:
        """Return the active version of a workflow; None when none is."""
        entry = self._entries.get((tenant_id, workflow_id))
        return None if entry is None else Picture(entry.workflow, entry.subscriptions, entry.broken)

    def picture(self, row: Mapping[str, Any] | Record, slug: str, active_since: datetime) -> Picture:
        """Make the triggers of a version that need not be active, from its row with the head of its definition."""
        entry = self._entry(row, (slug, row["version"], active_since))
        return Picture(entry.workflow, entry.subscriptions, entry.broken)

    @property
    def triggers(self) -> list[ActiveTrigger]:
        """All triggers of all active workflows."""
        return [subscription.active for entry in self._entries.values() for subscription in entry.subscriptions]

    def watches(self, connection: str) -> bool:
        """Whether a trigger watches rows in the database of a named connection."""
        return any(trigger.kind == "row" and trigger.config.connection == connection for trigger in self.triggers)

    @property
    def broken(self) -> list[BrokenTrigger]:
        """Triggers that could not be attached."""
        return [one for broken in self._broken.values() for one in broken]

    def __len__(self) -> int:
        return len(self._entries)

    async def refresh(self) -> bool:
        """Bring the picture up to date; tells whether anything changed. Raises UnavailableError."""
        async with self._turn:
            if await self._database.fetchval("get_generation") == self.generation:
                return False
            # One statement, one snapshot: what changed and the generation that it leads to.
            rows = await self._database.fetch("list_changed_workflows", self.generation)
            whole = self.generation < rows[0]["removed_in"] or not self.generation
            if whole and self.generation:
                rows = await self._database.fetch("list_changed_workflows", 0)
            if await self._take(await self._changes(rows, whole=whole)):
                self._on_change()
            self.generation = rows[0]["generation"]
            return True

    async def _changes(self, rows: Sequence[Record], *, whole: bool) -> dict[Key, _Entry | None]:
        """Make the parts of workflows that are new or different; None for those that are gone."""
        active: dict[Key, Stamp] = {}
        gone = set(self._entries) if whole else set()
        async for row in in_slices(row for row in rows if row["id"] is not None):
            key = (row["tenant_id"], row["id"])
            if row["is_active"]:
                active[key] = (row["slug"], row["version"], row["active_since"])
                gone.discard(key)
            elif key in self._entries:
                gone.add(key)
        new = [key for key, stamp in active.items() if key not in self._entries or self._entries[key].stamp != stamp]
        changes: dict[Key, _Entry | None] = dict.fromkeys(gone)
        for start in range(0, len(new), _HEADS):
            part = new[start : start + _HEADS]
            tenants, ids, versions = zip(*((*key, active[key][1]) for key in part), strict=True)
            heads = await self._database.fetch("load_workflow_heads", tenants, ids, versions)
            async for head in in_slices(heads):
                key = (head["tenant_id"], head["workflow_id"])
                changes[key] = self._entry(head, active[key])
        return changes

    async def _take(self, changes: Mapping[Key, _Entry | None]) -> bool:
        """Put the new parts in the place of the old ones."""
        if changes:
            self.generation = 0
        async for key, entry in in_slices(changes.items()):
            self._drop(key)
            if entry is not None:
                self._add(key, entry)
        return bool(changes)

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        self._broken.pop(key, None)
        for place, subscription in _places(entry):
            route = self._routes[place]
            route.remove(subscription)
            if not route:
                del self._routes[place]
        for place, subscription in _followed(entry):
            others = self._followers[place]
            del others[subscription]
            if not others:
                del self._followers[place]

    def _add(self, key: Key, entry: _Entry) -> None:
        self._entries[key] = entry
        if entry.broken:
            self._broken[key] = entry.broken
        for place, subscription in _places(entry):
            self._routes.setdefault(place, RouteIndex()).add(subscription)
        for place, subscription in _followed(entry):
            self._followers.setdefault(place, {})[subscription] = None

    def _entry(self, row: Mapping[str, Any] | Record, stamp: Stamp) -> _Entry:
        head = orjson.loads(row["head"])
        workflow = workflow_of(row, stamp[0], head)
        subscriptions, broken = [], []
        for trigger in head.get("triggers", ()):
            if trigger.get("enabled") is False:
                continue
            try:
                subscriptions.append(self._subscription(workflow, trigger, row, stamp))
            except (ExpressionError, ValidationError, ValueError) as error:
                reason = str(error).splitlines()[0]
                broken.append(BrokenTrigger(workflow.slug, trigger["id"], reason))
                log.warning("registry.trigger_broken", workflow=workflow.slug, trigger=trigger["id"], reason=reason)
        return _Entry(workflow, tuple(subscriptions), tuple(broken), stamp)

    def _subscription(
        self, workflow: ActiveWorkflow, trigger: Mapping[str, Any], row: Mapping[str, Any] | Record, stamp: Stamp
    ) -> Subscription:
        kind = self._catalogue.trigger(trigger["type"])
        if kind is None:
            raise ValueError(f"there is no trigger kind {trigger['type']!r} here")
        active = ActiveTrigger(
            tenant_id=workflow.tenant_id,
            workflow_id=workflow.id,
            workflow=workflow.slug,
            version=workflow.version,
            id=trigger["id"],
            kind=kind.spec.kind,
            config=build_config(kind, trigger, self._handed),
            when=trigger.get("when"),
            published_at=row["created_at"],
            active_since=stamp[2],
            inputs=trigger.get("inputs"),
            subject=trigger.get("subject"),
        )
        return Subscription(
            workflow=workflow,
            active=active,
            kind=kind,
            routes=kind.routes(active.config, workflow.id, active.id),
            when=active.when,
            inputs=active.inputs,
            subject=active.subject,
            publishes=trigger.get("as"),
            requirements=tuple(_requirements(workflow, kind, active, publishes=trigger.get("as") is not None)),
        )


def _places(entry: _Entry | None) -> Iterator[tuple[tuple[UUID, str], Subscription]]:
    """Yield the subscriptions of an entry, each with where it is filed."""
    if entry is not None:
        for subscription in entry.subscriptions:
            for route in subscription.routes:
                yield (entry.workflow.tenant_id, route), subscription


def _followed(entry: _Entry | None) -> Iterator[tuple[tuple[UUID, str], Subscription]]:
    """Yield the subscriptions of an entry that are about ends of executions, each with the workflow that it follows."""
    if entry is not None:
        for subscription in entry.subscriptions:
            for slug in subscription.kind.follows(subscription.active.config):
                yield (entry.workflow.tenant_id, slug), subscription


def _requirements(
    workflow: ActiveWorkflow, kind: TriggerKind[Any], active: ActiveTrigger, *, publishes: bool
) -> Iterator[Requirement]:
    """Yield what an event must have to start the workflow, or to be published by the trigger under another name."""
    yield from kind.requirements(active.config)
    if active.when is not None:
        yield from requirements(active.when)
    if not publishes:  # what the workflow's conditions refuse is published all the same
        for condition in workflow.conditions:
            yield from requirements(condition)


def workflow_of(row: Mapping[str, Any] | Record, slug: str, head: Mapping[str, Any]) -> ActiveWorkflow:
    """Return what the matcher knows of a workflow, from its row and the head of its definition."""
    return ActiveWorkflow(
        tenant_id=TenantId(row["tenant_id"]),
        id=WorkflowId(row["workflow_id"]),
        slug=slug,
        version=row["version"],
        conditions=tuple(head.get("conditions", ())),
        inputs=InputRules(head.get("inputs") or {}),
        priority=head.get("priority", 0),
        timeout=parse_duration(head["timeout"]) if head.get("timeout") is not None else None,
        limits=limits_of(row["tenant_id"], row["workflow_id"], head),
    )


_GENERIC = frozenset({"id", "type", "as", "when", "subject", "inputs", "enabled"})


def build_config(kind: TriggerKind[Any], trigger: Mapping[str, Any], handed: Mapping[str, Any]) -> Any:
    """Build a trigger's config model; what it names of `handed` (secrets, config) is filled in.

    Raises ExpressionError when a secret is missing, ValidationError when the filled-in config is wrong.
    """
    raw = {name: value for name, value in trigger.items() if name not in _GENERIC}
    late = {name: raw.pop(name) for name in kind.spec.late & raw.keys()}
    return kind.spec.config.model_validate({**compile_template(raw, ROOTS).render(handed), **late})
