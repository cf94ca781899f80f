"""The engine: events in, executions run, everything on record. Composes its parts, starts and stops them in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import structlog

from hark.actions.http_client import HttpClient
from hark.actions.sql import named_connections
from hark.daemon.engine.approval_links import ApprovalLinks
from hark.daemon.engine.approvals import Approvals
from hark.daemon.engine.archive import Archive
from hark.daemon.engine.backfill import Backfill
from hark.daemon.engine.background import Background
from hark.daemon.engine.bulk import Bulk
from hark.daemon.engine.claims import Claimer
from hark.daemon.engine.clock import DatabaseClock
from hark.daemon.engine.ends import Ends
from hark.daemon.engine.erasure import Eraser
from hark.daemon.engine.executor import Executor, Signals
from hark.daemon.engine.figures import Figure
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
from hark.daemon.engine.missing_columns import MissingColumns
from hark.daemon.engine.part_starts import PartStarts
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
from hark.daemon.engine.sealing import Vault
from hark.daemon.engine.services import PATIENCE_S, EngineServices
from hark.daemon.engine.starts import Starts
from hark.daemon.engine.strandings import Strandings, Takings
from hark.daemon.engine.why import Why
from hark.daemon.settings import Settings
from hark.daemon.store.approvals import ApprovalStore
from hark.daemon.store.bulk import Batch, Which
from hark.daemon.store.capture_checks import check_home_tables
from hark.daemon.store.database import Database
from hark.daemon.store.listening import Listening, WakeUps
from hark.daemon.store.schedules import Schedules
from hark.workflows.catalogue import Catalogue, Health, ListenerContext, NewEvent, Receipt
from hark.workflows.errors import ConflictError, FencedError, NotFoundError, UnavailableError
from hark.workflows.ids import EventId, ExecutionId, TenantId, new_id

log = structlog.get_logger(__name__)

TEND_S = 5.0
SOON_S = 1.0
SHARE_S = 0.25
_AWAY_S = 0.3
"""How soon a database that was away is asked again for what somebody waits for."""


class Engine:
    """Everything between the listeners and the record. Owned by the application."""

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
        open_to_all: dict[str, Any] = {"config": {}}
        handed = {"secrets": dict(secrets), **open_to_all}
        self.hearing = Hearing(Listening(database), self._look)
        self.registry = Registry(database, catalogue, handed=handed, on_change=self._triggers_changed)
        self.instance = Instance(
            database,
            self.clock,
            on_fenced=self._fenced,
            on_generation=self._generation_seen,
            on_reclaimed=self._work_arrived,
            backend_pids=self._backend_pids,
        )
        self.recorder = Recorder(database, self.instance, patience=lambda: asyncio.sleep(PATIENCE_S))
        self.vault = Vault(settings, database)
        self.http = HttpClient(allow_networks=settings.http_allow_networks)
        self._connections = named_connections(connections or {})
        self.services = EngineServices(
            http=self.http,
            settings=action_settings(settings),
            now=self.clock.now,
            database=database,
            instance=self.instance,
            recorder=self.recorder,
            connections=self._connections,
            links=ApprovalLinks(settings),
        )
        self.services.vault = self.vault
        self.services.kept_turns = settings.kept_turns
        self.approvals = Approvals(ApprovalStore(database), self.services.links, on_answered=self._work_arrived)
        self.programs = Programs(database, catalogue)
        self.executor = Executor(
            self.programs,
            self.services,
            catalogue,
            places=settings.max_running,
            handed=handed,
            masker=Masker(secrets.values()),
            vault=self.vault,
            signals=Signals(
                due=self._due,
                queued=self._work_arrived,
                freed=self._place_freed,
                ended=self._ended,
                backlogged=lambda: self.claimer.backlogged,
            ),
        )
        takings = Takings()
        self.claimer = Claimer(database, self.instance, self.executor, takings, now=self.clock.now)
        self.matcher = Matcher(self.registry, handed=open_to_all)
        self.ingest = Ingest(
            database,
            self.registry,
            self.matcher,
            self.instance,
            self.executor,
            takings,
            now=self.clock.now,
        )
        self.services.ingest = self.ingest
        self.ends = Ends(database, self.ingest, self.registry, takings)
        self.starts = Starts(
            database,
            self.ingest,
            vault=self.vault,
            now=self.clock.now,
            config=open_to_all["config"],
        )
        self.services.starts = self.starts
        self.services.parts = PartStarts(database, on_queued=self._work_arrived)
        self.repeats = Repeats(
            database, self.programs, self.vault, now=self.clock.now, on_queued=self._work_arrived, on_due=self._due
        )
        self.rows = RowCapture(database, self.ingest, takings, lambda: self.registry.generation)
        self.remotes = Remotes(
            database,
            connections or {},
            self.ingest,
            takings,
            lambda: self.registry.generation,
            watched=lambda name: any(
                trigger.kind == "row" and trigger.config.connection == name for trigger in self.registry.triggers
            ),
        )
        self.rehearsal = Rehearsal(database, self.registry, self.remotes, handed=open_to_all)
        self.why = Why(database, self.registry, MissingColumns(database, self.remotes), handed=open_to_all)
        self.bulk = Bulk(database, self.repeats, self.cancel, now=self.clock.now)
        self.backfill = Backfill(
            database,
            self.registry,
            self.ingest,
            retentions=(settings.retention, settings.failed_retention),
            unmatched=settings.unmatched_retention,
            now=self.clock.now,
        )
        self.lag = Lag(database, self.rows, self.remotes)
        self.row_backfill = RowBackfill(
            database, self.registry, self.ingest, self.remotes, handed=open_to_all, now=self.clock.now
        )
        self.listeners = Listeners(
            catalogue,
            ListenerContext(
                emit=self.emit,
                now=self.clock.now,
                ports={
                    "schedules": Schedules(database),
                    "notify": self.listening,
                    "row": self.rows,
                    "remotes": self.remotes,
                },
            ),
        )
        self.retention = Retention(
            database,
            Policy(
                settings.retention,
                settings.failed_retention,
                settings.unmatched_retention,
                settings.decision_retention,
            ),
            Archive(database, settings.archive),
        )
        self.eraser = Eraser(database, self.retention.archive, now=self.clock.now, elsewhere=self.remotes.settled)
        self.publisher = Publisher(
            self,
            handed=handed,
            checks=(
                check_home_tables,
                RemoteChecks(self.remotes),
                HookConflicts(catalogue, handed),
                self.hearing.check,
            ),
            connections=self.remotes.names,
            refresh=self._follow,
            forget=self.eraser.forget_workflow,
        )
        self.maintenance = Maintenance(database, self.retention, self.eraser)
        self._waiting: dict[UUID, list[asyncio.Future[str]]] = {}
        self._refresh_wanted = asyncio.Event()
        self._attaching, self._unattached, self._started = asyncio.Lock(), False, False
        self._work_to_share = asyncio.Event()
        self._strandings = Strandings(database, takings, self.executor.runs)
        self._tasks = [
            Background("follow registry", self._follow_registry),
            Background("tend", self._tend),
            Background("look elsewhere", self._look_elsewhere),
            Background("share work", self._share_work),
        ]
        self._held_back = {"executions_queued": 0, "executions_delayed": 0, "ends_parked": 0}
        """How many wait for a slot or for their time, and which ends were put aside; as of the last tending."""

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
        await self._follow()
        self.claimer.start()
        await self.listening.listen(frozenset({"hark_registry"}), WakeUps(lambda _: self._refresh_wanted.set()))
        await self.listening.listen(frozenset({"hark_work"}), WakeUps(lambda _: self.claimer.work_arrived()))
        await self.listening.listen(frozenset({"hark_cancel"}), WakeUps(self._cancel_heard))
        await self.listening.listen(frozenset({"hark_wake"}), WakeUps(self._wake_heard))
        await self.listening.listen(frozenset({"hark_ends"}), WakeUps(lambda _: self.ends.wake()))
        await self.hearing.start()
        await self.remotes.start()
        await self.listeners.start()
        self.ends.start()
        self.maintenance.start()
        for task in self._tasks:
            task.start()
        self._started = True
        log.info("engine.started", instance=str(self.instance.id), workflows=len(self.registry))

    async def stop(self) -> None:
        """Stop in order: sources first, then the work, then the record; idempotent. One that fails keeps none back."""
        self._started = False
        self.instance.state = "draining"
        drain_s = self.settings.drain_timeout.total_seconds()
        for stop in (
            self.listeners.stop,
            self.ends.stop,
            self.maintenance.stop,
            self._stop_tasks,
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
            self._connections.aclose,
            self.http.stop,
        ):
            try:
                await stop()
            except Exception:
                log.exception("engine.stop_failed")
        log.info("engine.stopped")

    async def _stop_tasks(self) -> None:
        for task in self._tasks:
            await task.stop()

    # ------------------------------------------------------------------ what others ask for

    def now(self) -> datetime:
        """Tell the time, by the database's clock."""
        return self.clock.now()

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

    async def retry_many(
        self, tenant_id: TenantId, which: Which, *, from_start: bool, spread: timedelta, dry_run: bool
    ) -> Batch:
        """Retry many executions; see `Bulk`."""
        return await self.bulk.retry(tenant_id, which, from_start=from_start, spread=spread, dry_run=dry_run)

    async def replay_many(
        self,
        tenant_id: TenantId,
        which: Which,
        *,
        from_step: str | None,
        version: int | None,
        spread: timedelta,
        dry_run: bool,
    ) -> Batch:
        """Replay many executions; see `Bulk`."""
        return await self.bulk.replay(tenant_id, which, Replay(from_step, version), spread=spread, dry_run=dry_run)

    async def cancel_many(self, tenant_id: TenantId, which: Which, *, reason: str, dry_run: bool) -> Batch:
        """Cancel many executions; see `Bulk`."""
        return await self.bulk.cancel(tenant_id, which, reason=reason, dry_run=dry_run)

    async def cancel(self, tenant_id: TenantId, execution_id: UUID, *, reason: str = "") -> str:
        """Cancel an execution, wherever it runs; returns its status, `running` while its instance still has to hear.

        Raises NotFoundError, ConflictError when it has ended.
        """
        error = orjson.dumps({"class": "cancelled", "message": reason or "it was cancelled"}).decode()
        row = await self.database.fetchrow("cancel_execution", tenant_id, execution_id, error)
        if row is None:
            state = await self.database.fetchrow("get_execution_state", tenant_id, execution_id)
            if state is None:
                raise NotFoundError(f"there is no execution {execution_id}")
            raise ConflictError(f"execution {execution_id} has already ended: {state['status']}")
        detail = orjson.dumps({"reason": reason}).decode() if reason else None
        note = new_id(self.now())
        await self.database.execute(
            "note_timeline", tenant_id, execution_id, note, "execution.cancel_requested", detail
        )
        if row["status"] == "running" and not self.executor.interrupt(execution_id, "cancelled"):
            await self.listening.send("hark_cancel", str(execution_id))
        if row["status"] != "running":
            self._ended(execution_id, row["status"])
        return str(row["status"])

    async def wait_for_end(self, tenant_id: TenantId, execution_id: UUID, timeout_s: float) -> str | None:
        """Wait until an execution has ended; returns its status, None when the time is over first.

        It is looked for once at least, and no look is broken off: that would cancel its statement. A database that is
        away for a moment costs time alone; raises UnavailableError when it still is at the end.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        self._waiting.setdefault(execution_id, []).append(future)
        until = loop.time() + timeout_s
        try:
            while True:
                try:
                    state = await self.database.fetchrow("get_execution_state", tenant_id, execution_id)
                except UnavailableError:
                    if (left := until - loop.time()) <= 0:
                        raise
                    await asyncio.sleep(min(left, _AWAY_S))
                    continue
                if state is not None and state["completed_at"] is not None:
                    return str(state["status"])
                if (left := until - loop.time()) <= 0:
                    return None
                # Another instance may run it: that is seen by looking again.
                done, _ = await asyncio.wait([future], timeout=min(left, 1.0))
                if not done and loop.time() >= until:
                    return None
        finally:
            self._no_longer_waits(execution_id, future)

    def health(self) -> dict[str, Health]:
        """Tell what of this instance works; it is ready when all of it is attached."""
        broken = self.registry.broken
        detail = "; ".join(f"{one.workflow}/{one.trigger}: {one.reason}" for one in broken[:5])
        return {
            "engine": Health(self._started, "" if self._started else "not started, or stopping"),
            "database": self._database_health(),
            "listening": self.hearing.health(),
            "triggers": Health(not broken, detail),
            **self.listeners.health(),
        }

    def _database_health(self) -> Health:
        instance = self.instance
        detail = f"last heartbeat {instance.silent_s:.1f} s ago"
        if instance.trouble:
            detail = f"{instance.trouble}; {detail}"
        return Health(instance.silent_s < 2 * TEND_S and not instance.read_only, detail)

    def stats(self) -> dict[str, float]:
        """Return figures for /metrics."""
        return {
            "executions_in_flight": self.executor.in_flight,
            "executions_free_places": self.executor.free,
            **self._held_back,
            "ingest_backlog": self.ingest.backlog,
            "record_flushes_total": self.recorder.flushes,
            "executions_reclaimed_total": self.instance.reclaimed,
            "heartbeat_age_seconds": self.instance.silent_s,
            "listening_rebuilt_total": self.listening.rebuilt,
            "active_workflows": len(self.registry),
            "clock_skew_seconds": self.clock.skew_s,
            **self.lag.stats(),
            **self.retention.figures.stats(),
            **self.retention.archive.figures.stats(),
        }

    def figures(self) -> Iterator[Figure]:
        """Give the figures for /metrics that have a label."""
        yield from self.lag.figures()
        health = self.listeners.health()
        polls = {"ends": self.ends.unannounced, "claims": self.claimer.unannounced}
        yield Figure(
            "polls_unannounced_total",
            "Looks that found what no wake-up had told of.",
            "part",
            polls | {part: one.unannounced for part, one in health.items() if part.partition("@")[0] == "row"},
        )
        heard = self.listening.heard
        yield Figure(
            "wakeups_total", "Notifications heard.", "channel", {name: one.number for name, one in heard.items()}
        )
        yield Figure(
            "last_wakeup_timestamp_seconds",
            "When the last notification was heard.",
            "channel",
            {name: one.last_at for name, one in heard.items()},
        )

    # ------------------------------------------------------------------ wiring

    @property
    def listening(self) -> Listening:
        """Where notifications are heard, and sent."""
        return self.hearing.listening

    def _triggers_changed(self) -> None:
        self._unattached = True
        self._refresh_wanted.set()

    async def _follow(self) -> None:
        """Bring the registry up to date, and the listeners in line with it."""
        await self.registry.refresh()
        async with self._attaching:
            if self._unattached:
                self._unattached = False
                await self.listeners.attach(self.registry.triggers)

    def _generation_seen(self, generation: int) -> None:
        if generation != self.registry.generation:
            self._refresh_wanted.set()

    def _work_arrived(self) -> None:
        self.claimer.work_arrived()
        self._work_to_share.set()

    def _place_freed(self) -> None:
        self.claimer.place_freed()

    def _due(self, moment: datetime) -> None:
        self.claimer.due(moment)

    def _backend_pids(self) -> list[int]:
        parts = (self.ingest, self.recorder, self.claimer, self.rows, self.services.parts, self.ends)
        pids = [*(part.backend_pid for part in parts), *self.remotes.backend_pids]
        return [pid for pid in pids if pid is not None]

    def _cancel_heard(self, payload: str) -> None:
        with suppress(ValueError):
            self.executor.interrupt(UUID(payload), "cancelled")

    def _wake_heard(self, payload: str) -> None:
        if not payload:
            self.executor.wake_all()
        with suppress(ValueError):
            self.executor.wake(UUID(payload))
        self.claimer.work_arrived()

    def _no_longer_waits(self, execution_id: UUID, future: asyncio.Future[str]) -> None:
        waiting = self._waiting.get(execution_id, [])
        if future in waiting:
            waiting.remove(future)
        if not waiting:
            self._waiting.pop(execution_id, None)

    def _ended(self, execution_id: UUID, status: str) -> None:
        self.hearing.expect()
        for future in self._waiting.pop(execution_id, ()):
            if not future.done():
                future.set_result(status)

    async def _fenced(self) -> None:
        """Drop all that is held: another instance has it now, and nothing of it may be written under a new licence."""
        await self.executor.abort()
        self.recorder.discard(FencedError("another instance has taken over"))

    async def _follow_registry(self) -> None:
        while True:
            await self._refresh_wanted.wait()
            self._refresh_wanted.clear()
            try:
                await self._follow()
            except UnavailableError as error:
                log.warning("registry.refresh_postponed", error=str(error))
                await asyncio.sleep(1)
                self._refresh_wanted.set()
            except Exception:
                log.exception("registry.refresh_broken")

    async def _share_work(self) -> None:
        """Wake the other instances when there is more than this one has places for; not more often than it helps."""
        while True:
            await self._work_to_share.wait()
            self._work_to_share.clear()
            with suppress(UnavailableError):
                await self.listening.send("hark_work", "")
            await asyncio.sleep(SHARE_S)

    async def _tend(self) -> None:
        """Catch up, every few seconds, on what a lost message or answer would have told."""
        while True:
            await asyncio.sleep(SOON_S if self._strandings.suspects else TEND_S)
            try:
                await self._tell_runs()
                for row in await self.database.fetch("count_held_back"):
                    self._held_back = dict(row)
                await self.lag.look()
                if await self._strandings.release(self.instance.id):
                    self.claimer.work_arrived()
            except UnavailableError:
                continue  # the heartbeat tells about it
            except Exception:
                log.exception("engine.tending_broken")

    async def _look_elsewhere(self) -> None:
        """Measure how far named connections are behind. Apart from the rest: they may be slow to answer."""
        while self.remotes.names:
            await asyncio.sleep(TEND_S)
            try:
                await self.lag.look_elsewhere()
            except UnavailableError:
                continue
            except Exception:
                log.exception("engine.looking_broken")

    async def _tell_runs(self) -> None:
        """Tell what runs here that it is to end, or that there is news for it."""
        for row in await self.database.fetch("find_cancelled", self.instance.id):
            self.executor.interrupt(row["id"], "cancelled")
        for row in await self.database.fetch("find_woken", self.instance.id):
            self.executor.wake(row["id"])

    async def _look(self, everything: bool) -> None:  # noqa: FBT001 - what Hearing calls
        """Look for what messages would tell: ends, cancelling, news; and for work and triggers."""
        if everything:
            self._refresh_wanted.set()
            self.claimer.work_arrived()
        self.ends.wake()
        await self._tell_runs()


def action_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that actions may read."""
    names = ("smtp_host", "smtp_port", "smtp_username", "smtp_tls")
    password = settings.smtp_password
    return {
        **{name: getattr(settings, name) for name in names},
        "smtp_password": password.get_secret_value() if password else None,
        "mail_from": settings.mail_from,
        "mail_dir": settings.mail_dir,
    }
