"""The engine: events in, executions run, everything on record. Composes its parts, starts and stops them in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from hark.actions.http_client import HttpClient
from hark.daemon.engine.approvals import Approvals
from hark.daemon.engine.archive import Archive
from hark.daemon.engine.awaited_ends import AwaitedEnds
from hark.daemon.engine.backfill import Backfill
from hark.daemon.engine.bulk import Bulk
from hark.daemon.engine.canceller import Canceller
from hark.daemon.engine.claims import Claimer
from hark.daemon.engine.clock import DatabaseClock
from hark.daemon.engine.ends import Ends
from hark.daemon.engine.erasure import Eraser
from hark.daemon.engine.executor import Executor, Signals
from hark.daemon.engine.figures import Figure
from hark.daemon.engine.following import Following
from hark.daemon.engine.group_commit import Waiter
from hark.daemon.engine.handed_over import HandedOver
from hark.daemon.engine.hearing import Hearing
from hark.daemon.engine.hook_conflicts import HookConflicts
from hark.daemon.engine.ingest import Ingest
from hark.daemon.engine.instance import Instance
from hark.daemon.engine.lag import Lag
from hark.daemon.engine.listeners import Listeners
from hark.daemon.engine.maintenance import Maintenance
from hark.daemon.engine.matcher import Match, Matcher
from hark.daemon.engine.messages import Messages
from hark.daemon.engine.missing_columns import MissingColumns
from hark.daemon.engine.payload import Masker
from hark.daemon.engine.programs import Programs
from hark.daemon.engine.publisher import Publisher
from hark.daemon.engine.records import Recorder
from hark.daemon.engine.registry import Registry
from hark.daemon.engine.rehearsal import Rehearsal
from hark.daemon.engine.remote_checks import RemoteChecks
from hark.daemon.engine.remotes import Remotes
from hark.daemon.engine.repeats import Repeats, Replay
from hark.daemon.engine.retention import Policy, Retention
from hark.daemon.engine.row_backfill import RowBackfill
from hark.daemon.engine.row_capture import RowCapture
from hark.daemon.engine.services import PATIENCE_S, EngineServices
from hark.daemon.engine.starts import Starts
from hark.daemon.engine.strandings import Strandings, Takings
from hark.daemon.engine.tending import Tending
from hark.daemon.engine.vitals import figures_of, health_of, stats_of
from hark.daemon.engine.why import Why
from hark.daemon.settings import Settings
from hark.daemon.store.approvals import ApprovalStore
from hark.daemon.store.capture_checks import check_home_tables
from hark.daemon.store.database import Database
from hark.daemon.store.listening import Listening
from hark.daemon.store.schedules import Schedules
from hark.workflows.catalogue import Catalogue, Health, ListenerContext, NewEvent, Receipt
from hark.workflows.errors import FencedError
from hark.workflows.ids import EventId, ExecutionId, TenantId, new_id

log = structlog.get_logger(__name__)


class Engine:
    """Everything between the listeners and the record. Owned by the application.

    Its parts are made in groups, in the order in which they need each other. Where two need each other, the one that
    is made first is handed a method of the engine.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        catalogue: Catalogue,
        *,
        secrets: Mapping[str, str],
        connections: Mapping[str, str] | None = None,
    ) -> None:
        self.settings = settings
        self.database = database
        self.catalogue = catalogue
        self.clock = DatabaseClock()
        self.now = self.clock.now
        self.started = False
        self._open_to_all: dict[str, Any] = {"config": {}}
        self._handed = {"secrets": dict(secrets), **self._open_to_all}
        self._takings = Takings()
        self._awaited_ends = AwaitedEnds(database)
        self._join_the_instances()
        self._make_work(Masker(secrets.values()), connections or {})
        self._make_ways_in()
        self._make_listeners(connections or {})
        self._make_upkeep()
        self._make_history()
        self._make_offers()

    def _join_the_instances(self) -> None:
        """Make what this process has to be one of the instances: ears, a picture of what is active, a licence."""
        self.listening = Listening(self.database)
        self.registry = Registry(self.database, self.catalogue, handed=self._handed, on_change=self._triggers_changed)
        self.instance = Instance(
            self.database,
            self.clock,
            on_fenced=self._fenced,
            on_generation=self._generation_seen,
            on_reclaimed=self._work_arrived,
            backend_pids=self._backend_pids,
        )

    def _make_work(self, masker: Masker, connections: Mapping[str, str]) -> None:
        """Make what runs executions, puts them on record, and takes those that wait."""
        self.http = HttpClient(allow_networks=self.settings.http_allow_networks)
        self.recorder = Recorder(self.database, self.instance, patience=lambda: asyncio.sleep(PATIENCE_S))
        self.services = EngineServices(
            self.settings,
            self.database,
            self.instance,
            self.recorder,
            http=self.http,
            now=self.now,
            connections=connections,
            on_queued=self._work_arrived,
        )
        self.programs = Programs(self.database, self.catalogue)
        self.executor = Executor(
            self.programs,
            self.services,
            self.catalogue,
            places=self.settings.max_running,
            handed=self._handed,
            masker=masker,
            vault=self.services.vault,
            signals=self._signals(),
        )
        self.claimer = Claimer(self.database, self.instance, self.executor, self._takings, now=self.now)

    def _signals(self) -> Signals:
        return Signals(
            due=self._due,
            queued=self._work_arrived,
            freed=self._place_freed,
            ended=self._ended,
            backlogged=lambda: self.claimer.backlogged,
        )

    def _make_ways_in(self) -> None:
        """Make what starts executions: for events, for ends, by hand, and again."""
        self.matcher = Matcher(self.registry, handed=self._open_to_all)
        self.ingest = Ingest(
            self.database, self.registry, self.matcher, self.instance, self.executor, self._takings, now=self.now
        )
        self.ends = Ends(self.database, self.ingest, self.registry, self._takings)
        vault, config = self.services.vault, self._open_to_all["config"]
        self.starts = Starts(self.database, self.ingest, vault=vault, now=self.now, config=config)
        self.services.ingest, self.services.starts = self.ingest, self.starts
        self.repeats = Repeats(
            self.database, self.programs, vault, now=self.now, on_queued=self._work_arrived, on_due=self._due
        )

    def _make_listeners(self, connections: Mapping[str, str]) -> None:
        """Make what listens, here and in other databases, and what measures how far behind it is."""
        captured = (self.ingest, self._takings, lambda: self.registry.generation)
        self.rows = RowCapture(self.database, *captured)
        self.remotes = Remotes(self.database, connections, *captured, watched=self.registry.watches)
        self.lag = Lag(self.database, self.rows, self.remotes)
        ports = {
            "schedules": Schedules(self.database),
            "notify": self.listening,
            "row": self.rows,
            "remotes": self.remotes,
        }
        self.listeners = Listeners(self.catalogue, ListenerContext(emit=self.emit, now=self.now, ports=ports))

    def _make_upkeep(self) -> None:
        """Make what keeps this instance in line with the database and with the other instances."""
        self.following = Following(self.registry, self.listeners)
        self.messages = Messages(
            self.listening, self.database, self.instance, self.executor, self.claimer, self.ends, self.following
        )
        self.hearing = Hearing(self.listening, self.messages.look)
        strandings = Strandings(self.database, self._takings, self.executor.runs)
        self.tending = Tending(
            self.database, self.instance, self.claimer, self.messages, strandings, self.lag, self.remotes
        )

    def _make_history(self) -> None:
        """Make what lets history go, and erases what is about a subject."""
        archive = Archive(self.database, self.settings.archive)
        self.retention = Retention(self.database, Policy.of(self.settings), archive)
        self.eraser = Eraser(self.database, archive, now=self.now, elsewhere=self.remotes.settled)
        self.maintenance = Maintenance(self.database, self.retention, self.eraser)

    def _make_offers(self) -> None:
        """Make what is there for people who ask: it does nothing by itself."""
        database, registry, remotes, handed = self.database, self.registry, self.remotes, self._open_to_all
        self.approvals = Approvals(ApprovalStore(database), self.services.links, on_answered=self._work_arrived)
        self.rehearsal = Rehearsal(database, registry, remotes, handed=handed)
        self.why = Why(database, registry, MissingColumns(database, remotes), handed=handed)
        self.canceller = Canceller(database, self.executor, self.listening, now=self.now, on_ended=self._ended)
        self.bulk = Bulk(database, self.repeats, self.cancel, now=self.now)
        self.backfill = Backfill(database, registry, self.ingest, policy=Policy.of(self.settings), now=self.now)
        self.row_backfill = RowBackfill(database, registry, self.ingest, remotes, handed=handed, now=self.now)
        self.publisher = Publisher(
            self,
            handed=self._handed,
            checks=(
                check_home_tables,
                RemoteChecks(remotes),
                HookConflicts(self.catalogue, self._handed),
                self.hearing.check,
            ),
            connections=remotes.names,
            refresh=self.following.follow,
            forget=self.eraser.forget_workflow,
        )

    # ------------------------------------------------------------------ life

    async def start(self) -> None:
        """Start everything; returns when events are taken and listeners are attached."""
        await self.instance.start()
        await self.http.start()
        self.recorder.start()
        self.programs.start()
        self.services.looks.start()
        self.services.parts.start()
        self.ingest.start()
        await self.following.follow()
        self.claimer.start()
        await self.messages.listen()
        await self.hearing.start()
        await self.remotes.start()
        await self.listeners.start()
        self.ends.start()
        self.maintenance.start()
        self.following.start()
        self.tending.start()
        self.messages.start()
        self.started = True
        log.info("engine.started", instance=str(self.instance.id), workflows=len(self.registry))

    async def stop(self) -> None:
        """Stop in order: sources first, then the work, then the record; idempotent. One that fails keeps none back."""
        self.started = False
        self.instance.state = "draining"
        drain_s = self.settings.drain_timeout.total_seconds()
        for stop in (
            self.listeners.stop,
            self.ends.stop,
            self.maintenance.stop,
            self.following.stop,
            self.tending.stop,
            self.messages.stop,
            self.remotes.stop,
            self.claimer.stop,
            lambda: self.executor.drain(drain_s),
            self.programs.stop,
            self.ingest.stop,
            self.recorder.stop,
            self.services.looks.stop,
            self.services.parts.stop,
            self.hearing.stop,
            self.instance.stop,
            self.services.home.stop,
            self.services.connections.aclose,
            self.http.stop,
        ):
            try:
                await stop()
            except Exception:
                log.exception("engine.stop_failed")
        log.info("engine.stopped")

    # ------------------------------------------------------------------ what others ask for

    async def emit(self, event: NewEvent) -> Receipt:
        """Store an event and start what matches; returns after the commit."""
        receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self.submit(event, receipt)
        return await receipt

    async def emit_all(self, events: Sequence[NewEvent]) -> list[Receipt]:
        """Store events and start what matches, all of them or none; returns after the commit."""
        return await self.ingest.take_all(events)

    def submit(self, event: NewEvent, waiter: Waiter[Receipt]) -> None:
        """Store an event for somebody who is told of it after the commit; raises, and tells, what `emit` raises."""
        self.ingest.submit(event, waiter)

    def try_out(self, event: NewEvent) -> Match:
        """Tell what an event would start now, and why it would not start the rest; nothing is stored."""
        return self.matcher.match(event, EventId(new_id(self.now())), self.now())

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
        """Start a workflow by hand; see `Starts.start`."""
        return await self.starts.start(
            tenant_id, slug, inputs=inputs or {}, mode=mode, key=key, metadata=metadata, source=source,
            handed=handed or HandedOver(),
        )  # fmt: skip

    async def retry(
        self,
        tenant_id: TenantId,
        execution_id: UUID,
        *,
        from_start: bool = False,
        secrets: Mapping[str, str] | None = None,
    ) -> ExecutionId:
        """Run an ended execution again; see `Repeats.retry`."""
        handed = HandedOver.checked(None, secrets)
        return await self.repeats.retry(tenant_id, execution_id, from_start=from_start, secrets=handed.secrets)

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
        """Run an ended execution again from any step; see `Repeats.replay`."""
        handed = HandedOver.checked(None, secrets)
        wanted = Replay(from_step, version, inputs, handed.secrets)
        return await self.repeats.replay(tenant_id, execution_id, wanted)

    async def cancel(self, tenant_id: TenantId, execution_id: UUID, *, reason: str = "") -> str:
        """Cancel an execution, wherever it runs; see `Canceller.cancel`."""
        return await self.canceller.cancel(tenant_id, execution_id, reason=reason)

    async def wait_for_end(self, tenant_id: TenantId, execution_id: UUID, timeout_s: float) -> str | None:
        """Wait until an execution has ended; see `AwaitedEnds.wait`."""
        return await self._awaited_ends.wait(tenant_id, execution_id, timeout_s)

    def health(self) -> dict[str, Health]:
        """Tell what of this instance works; it is ready when all of it is attached."""
        return health_of(self)

    def stats(self) -> dict[str, float]:
        """Return figures for /metrics."""
        return stats_of(self)

    def figures(self) -> Iterator[Figure]:
        """Give the figures for /metrics that have a label."""
        return figures_of(self)

    # ------------------------------------------------------------------ what parts are told of others

    def _triggers_changed(self) -> None:
        self.following.triggers_changed()

    def _generation_seen(self, generation: int) -> None:
        self.following.generation_seen(generation)

    def _work_arrived(self) -> None:
        self.messages.work_arrived()

    def _place_freed(self) -> None:
        self.claimer.place_freed()

    def _due(self, moment: datetime) -> None:
        self.claimer.due(moment)

    def _backend_pids(self) -> list[int]:
        parts = (self.ingest, self.recorder, self.claimer, self.rows, self.services.parts, self.ends)
        pids = [*(part.backend_pid for part in parts), *self.remotes.backend_pids]
        return [pid for pid in pids if pid is not None]

    def _ended(self, execution_id: UUID, status: str) -> None:
        self.hearing.expect()
        self._awaited_ends.tell(execution_id, status)

    async def _fenced(self) -> None:
        """Drop all that is held: another instance has it now, and nothing of it may be written under a new licence."""
        await self.executor.abort()
        self.recorder.discard(FencedError("another instance has taken over"))
