"""What the handlers are handed: the engine and publisher as far as they call them, and the rest of the process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from hark.daemon.api.auth import KeyRing
from hark.daemon.api.bodies import BodyReader
from hark.daemon.engine.approvals import Approvals
from hark.daemon.engine.backfill import Backfill
from hark.daemon.engine.bulk import Bulk
from hark.daemon.engine.erasure import Eraser
from hark.daemon.engine.figures import Figure
from hark.daemon.engine.group_commit import Waiter
from hark.daemon.engine.handed_over import HandedOver
from hark.daemon.engine.matcher import Match
from hark.daemon.engine.rehearsal import Rehearsal
from hark.daemon.engine.remotes import Remotes
from hark.daemon.engine.retention import Retention
from hark.daemon.engine.row_backfill import RowBackfill
from hark.daemon.engine.why import Why
from hark.daemon.settings import Settings
from hark.daemon.store.database import Database
from hark.daemon.store.listing import Listing
from hark.workflows.catalogue import ActiveTrigger, Catalogue, Health, Http, NewEvent, Receipt
from hark.workflows.errors import Problem
from hark.workflows.ids import ExecutionId, TenantId
from hark.workflows.loading import Loaded


class RegistryPort(Protocol):
    """What is active, as far as webhooks need to know it."""

    generation: int

    @property
    def triggers(self) -> Sequence[ActiveTrigger]:
        """All triggers of all active workflows; another list for every generation."""
        ...


class EnginePort(Protocol):
    """The engine, as far as requests reach it."""

    @property
    def registry(self) -> RegistryPort:
        """What is active."""
        ...

    @property
    def http(self) -> Http:
        """Outgoing HTTP."""
        ...

    @property
    def approvals(self) -> Approvals:
        """What waits for an answer of people."""
        ...

    @property
    def bulk(self) -> Bulk:
        """What retries, replays and cancels many executions."""
        ...

    @property
    def backfill(self) -> Backfill:
        """What makes up for slots."""
        ...

    @property
    def row_backfill(self) -> RowBackfill:
        """What runs rows that are there."""
        ...

    @property
    def remotes(self) -> Remotes:
        """The databases of named connections."""
        ...

    @property
    def rehearsal(self) -> Rehearsal:
        """What tells what workflows would have started."""
        ...

    @property
    def why(self) -> Why:
        """What tells why events started what they did, and nothing else."""
        ...

    @property
    def retention(self) -> Retention:
        """What lets history go."""
        ...

    @property
    def eraser(self) -> Eraser:
        """What erases subjects."""
        ...

    def now(self) -> datetime:
        """Return the database's clock."""
        ...

    async def emit(self, event: NewEvent) -> Receipt:
        """Store an event and start what matches; returns after the commit."""
        ...

    async def emit_all(self, events: Sequence[NewEvent]) -> list[Receipt]:
        """Store events and start what matches, all of them or none; returns after the commit."""
        ...

    def submit(self, event: NewEvent, waiter: Waiter[Receipt]) -> None:
        """Store an event for somebody who is told of it after the commit; raises, and tells, what `emit` raises."""
        ...

    def try_out(self, event: NewEvent) -> Match:
        """Tell what an event would start now, and why it would not start the rest; nothing is stored."""
        ...

    async def start_workflow(
        self,
        tenant_id: TenantId,
        slug: str,
        *,
        inputs: Mapping[str, Any] | None = None,
        mode: str = "production",
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        source: str = "api",
        handed: HandedOver | None = None,
    ) -> Receipt:
        """Start a workflow by hand."""
        ...

    async def cancel(self, tenant_id: TenantId, execution_id: UUID, *, reason: str = "") -> str:
        """Cancel an execution; returns its status."""
        ...

    async def retry(
        self,
        tenant_id: TenantId,
        execution_id: UUID,
        *,
        from_start: bool = False,
        secrets: Mapping[str, str] | None = None,
    ) -> ExecutionId:
        """Run an ended execution again, as a new one."""
        ...

    async def replay(
        self,
        tenant_id: TenantId,
        execution_id: UUID,
        *,
        from_step: str | None = None,
        version: int | None = None,
        inputs: Mapping[str, Any] | None = None,
        secrets: Mapping[str, str] | None = None,
    ) -> ExecutionId:
        """Run an ended execution again from any step, with another version or other inputs, as a new one."""
        ...

    async def wait_for_end(self, tenant_id: TenantId, execution_id: UUID, timeout_s: float) -> str | None:
        """Return the status in which an execution ends, None when that takes longer."""
        ...

    def health(self) -> Mapping[str, Health]:
        """Tell of every part whether it works."""
        ...

    def figures(self) -> Iterator[Figure]:
        """Return the figures for /metrics that have a label."""
        ...

    def stats(self) -> Mapping[str, float]:
        """Return counters and gauges by name."""
        ...


class AppliedPort(Protocol):
    """What became of one applied definition."""

    @property
    def slug(self) -> str: ...
    @property
    def workflow_id(self) -> UUID: ...
    @property
    def outcome(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def status(self) -> str: ...
    @property
    def warnings(self) -> Sequence[Problem]: ...


class PublisherPort(Protocol):
    """Publication of definitions, as far as requests reach it."""

    async def apply(
        self,
        tenant_id: TenantId,
        workflows: Sequence[Loaded],
        *,
        dry_run: bool = False,
        prune: bool = False,
        created_by: UUID | None = None,
    ) -> Sequence[AppliedPort]:
        """Store and publish definitions: all or nothing."""
        ...

    async def pause(self, tenant_id: TenantId, slug: str) -> None:
        """Switch a workflow's triggers off."""
        ...

    async def resume(self, tenant_id: TenantId, slug: str) -> None:
        """Switch them on again."""
        ...

    async def archive(self, tenant_id: TenantId, slug: str) -> None:
        """Take a workflow out of service and keep its history."""
        ...

    async def delete(self, tenant_id: TenantId, slug: str, *, force: bool = False) -> None:
        """Delete a workflow with its history."""
        ...


@dataclass(slots=True)
class Services:
    """Everything that handlers use; made once by the composition root."""

    engine: EnginePort
    publisher: PublisherPort
    database: Database
    settings: Settings
    catalogue: Catalogue
    keys: KeyRing
    listing: Listing = field(init=False)
    bodies: BodyReader = field(init=False)
    requests: dict[tuple[str, int], int] = field(default_factory=dict, init=False)
    """How many requests were answered, by area and status."""
    in_flight: int = field(default=0, init=False)
    most_in_flight: int = field(init=False)
    crowded: bool = field(default=False, init=False)
    """So many connections are served that none is kept open after its answer."""
    listeners: int = field(default=0, init=False)
    """How many follow `/api/live`."""
    stopping: bool = False
    """Set by the composition root when the process is told to stop: not ready any more, and no new work."""

    def __post_init__(self) -> None:
        self.listing = Listing(self.database)
        self.most_in_flight = self.settings.max_requests
        self.bodies = BodyReader(
            timeout_s=self.settings.body_timeout.total_seconds(), most_at_once=max(1, self.most_in_flight // 2)
        )
