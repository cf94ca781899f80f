"""What is active: the triggers of published workflows, in memory, kept current by the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson
import structlog
from pydantic import ValidationError

from hark.daemon.engine.inputs import InputRules
from hark.daemon.store.database import Database, Record
from hark.workflows.catalogue import ActiveTrigger, Catalogue, NewEvent, TriggerKind
from hark.workflows.durations import parse_duration
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import ROOTS
from hark.workflows.ids import TenantId, WorkflowId
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


@dataclass(frozen=True, slots=True, eq=False)
class Subscription:
    """One trigger of an active workflow, as the matcher meets it. Compared by identity: each version has its own."""

    workflow: ActiveWorkflow
    active: ActiveTrigger
    kind: TriggerKind[Any]
    route: str
    when: str | None
    inputs: Any
    subject: Mapping[str, Any] | None
    publishes: str | None

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
class _Entry:
    """A workflow's part of the registry."""

    workflow: ActiveWorkflow
    subscriptions: tuple[Subscription, ...]
    broken: tuple[BrokenTrigger, ...]


Key = tuple[UUID, UUID]


class Registry:
    """The active workflows by the routes of their triggers.

    `generation` is the database's count of changes at which this picture was taken; whoever stores events has it
    checked, so that an event stored after a publication was answered is always offered to the new version.
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
        self.by_route: dict[tuple[UUID, str], list[Subscription]] = {}
        self._database = database
        self._catalogue = catalogue
        self._handed = handed
        self._on_change = on_change
        self._entries: dict[Key, _Entry] = {}
        self._stamps: dict[Key, tuple[Any, ...]] = {}
        self._turn = asyncio.Lock()

    def find(self, tenant_id: UUID, route: str) -> Sequence[Subscription]:
        """Return the subscriptions on a route."""
        return self.by_route.get((tenant_id, route), ())

    @property
    def triggers(self) -> list[ActiveTrigger]:
        """All triggers of all active workflows."""
        return [subscription.active for entry in self._entries.values() for subscription in entry.subscriptions]

    @property
    def broken(self) -> list[BrokenTrigger]:
        """Triggers that could not be attached."""
        return [broken for entry in self._entries.values() for broken in entry.broken]

    def __len__(self) -> int:
        return len(self._entries)

    async def refresh(self) -> bool:
        """Bring the picture up to date; tells whether anything changed. Raises UnavailableError."""
        async with self._turn:
            if await self._database.fetchval("get_generation") == self.generation:
                return False
            # One statement, one snapshot: the list and the generation that it has.
            rows = await self._database.fetch("list_active_workflows")
            if await self._take([row for row in rows if row["id"] is not None]):
                self._file()
                self._on_change()
            self.generation = rows[0]["generation"]
            return True

    async def _take(self, rows: Sequence[Record]) -> bool:
        stamps = {(row["tenant_id"], row["id"]): tuple(row.values())[:5] for row in rows}
        gone = self._stamps.keys() - stamps.keys()
        new = [key for key, stamp in stamps.items() if self._stamps.get(key) != stamp]
        for key in gone:
            self._entries.pop(key, None)
        if new:
            heads = await self._database.fetch(
                "load_workflow_heads", [key[0] for key in new], [key[1] for key in new], [stamps[key][3] for key in new]
            )
            for head in heads:
                key = (head["tenant_id"], head["workflow_id"])
                self._entries[key] = self._entry(head, stamps[key])
        self._stamps = stamps
        return bool(gone or new)

    def _file(self) -> None:
        by_route: dict[tuple[UUID, str], list[Subscription]] = {}
        for entry in self._entries.values():
            for subscription in entry.subscriptions:
                by_route.setdefault((entry.workflow.tenant_id, subscription.route), []).append(subscription)
        self.by_route = by_route

    def _entry(self, row: Record, stamp: tuple[Any, ...]) -> _Entry:
        head = orjson.loads(row["head"])
        workflow = workflow_of(row, stamp[2], head)
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
        return _Entry(workflow, tuple(subscriptions), tuple(broken))

    def _subscription(
        self, workflow: ActiveWorkflow, trigger: Mapping[str, Any], row: Record, stamp: tuple[Any, ...]
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
            active_since=stamp[4],
        )
        return Subscription(
            workflow=workflow,
            active=active,
            kind=kind,
            route=kind.route(active.config, workflow.id, active.id),
            when=active.when,
            inputs=trigger.get("inputs"),
            subject=trigger.get("subject"),
            publishes=trigger.get("as"),
        )


def workflow_of(row: Record, slug: str, head: Mapping[str, Any]) -> ActiveWorkflow:
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
    )


_GENERIC = frozenset({"id", "type", "as", "when", "subject", "inputs", "enabled"})


def build_config(kind: TriggerKind[Any], trigger: Mapping[str, Any], handed: Mapping[str, Any]) -> Any:
    """Build a trigger's config model; what it names of `handed` (secrets, config) is filled in.

    Raises ExpressionError when a secret is missing, ValidationError when the filled-in config is wrong.
    """
    raw = {name: value for name, value in trigger.items() if name not in _GENERIC}
    return kind.spec.config.model_validate(compile_template(raw, ROOTS).render(handed))
