"""The executor: runs executions side by side within this instance's capacity, and sees each one to its record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import structlog

from hark.daemon.engine.abandoning import abandon_all
from hark.daemon.engine.claims import Claimed
from hark.daemon.engine.handed_over import HandedOver
from hark.daemon.engine.interpreter import run_part, run_program
from hark.daemon.engine.job import Job, claimed_job, started_job
from hark.daemon.engine.matcher import Match, Start
from hark.daemon.engine.outcome import Failed, Outcome, Stopped, Suspended
from hark.daemon.engine.parts import part_output
from hark.daemon.engine.payload import Masker, encode
from hark.daemon.engine.programs import Programs, Version
from hark.daemon.engine.records import Change, Progress
from hark.daemon.engine.run import Run, Services
from hark.workflows.catalogue import Catalogue
from hark.workflows.errors import ExpressionError, FencedError, HarkError, UnavailableError

log = structlog.get_logger(__name__)

STOP_S = 10.0
HOLD_S = 0.25
"""How long arrivals are held back while all places are taken."""
MOST_REMEMBERED = 10_000
"""Cancellations that are kept in mind for executions that may begin here in a moment."""
MOST_CLAIMS = 5
"""An execution that was taken so often without being given back has brought its instances down: it is parked."""


@dataclass(frozen=True, slots=True)
class Signals:
    """Whom the executor tells what happened."""

    due: Callable[[datetime], None]
    """An execution waits until then."""
    queued: Callable[[], None]
    """Executions were stored that wait for a place."""
    freed: Callable[[], None]
    """A place is free."""
    backlogged: Callable[[], bool]
    """Whether something in the database may be waiting for a place already."""
    ended: Callable[[UUID, str], None]
    """An execution ended with this status."""


class Opener(Protocol):
    """What opens sealed secrets: the vault, as the executor sees it."""

    def open(self, tenant_id: UUID, execution_id: UUID, sealed: bytes) -> HandedOver:
        """Return what is secret of what an execution was handed. Raises SealedError."""
        ...


class Executor:
    """Owns the tasks of all executions in flight. Safe to stop before start, and twice."""

    def __init__(
        self,
        programs: Programs,
        services: Services,
        catalogue: Catalogue,
        *,
        places: int,
        handed: Mapping[str, Any],
        masker: Masker,
        vault: Opener,
        signals: Signals,
    ) -> None:
        self._programs = programs
        self._services = services
        self._catalogue = catalogue
        self._places = places
        self._reserved = 0
        self._handed = handed
        self._masker = masker
        self._vault = vault
        self._signals = signals
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._runs: dict[UUID, Run] = {}
        self._cancelled_early: dict[UUID, None] = {}
        """Executions that were to be cancelled while they did not run here; in order, the latest last."""
        self._closed = False
        self._roomier = asyncio.Event()
        self.idle = asyncio.Event()
        self.idle.set()
        self._log = log.bind()
        """Bound once: what is below the level then costs next to nothing, and there is a word for every execution."""
        self.ended: dict[str, int] = {}
        """How many executions left this instance, by status."""

    # ------------------------------------------------------------------ capacity

    @property
    def free(self) -> int:
        """How many more executions can run."""
        return 0 if self._closed else self._places - len(self._tasks) - self._reserved

    @property
    def in_flight(self) -> int:
        """How many executions run."""
        return len(self._tasks)

    def runs(self, execution_id: UUID) -> bool:
        """Tell whether an execution runs here."""
        return execution_id in self._tasks

    def reserve(self, most: int) -> int:
        """Take up to `most` free places; return how many."""
        # What waits for a place in the database came first, or is more urgent: new ones go there too, and the claim
        # puts all of them in order.
        taken = 0 if self._signals.backlogged() else max(0, min(most, self.free))
        self._reserved += taken
        return taken

    def give_back(self, count: int) -> None:
        """Return places that were reserved and not used."""
        self._reserved -= count
        self._roomier.set()

    async def room(self, wanted: int, since: float) -> int:
        """Return for how many arrivals there is room; while all places are taken, hold them back for a moment.

        An execution that is stored as waiting and claimed again costs half as much again as one that finds its place.
        Where others wait for a place already, or arrivals have waited since too long ago, they go and wait there.
        """
        deadline = since + HOLD_S
        while not self._closed and not self._signals.backlogged():
            if self.free > 0:
                return min(wanted, self.free)
            self._roomier.clear()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._roomier.wait()
            except TimeoutError:
                break
        return wanted

    def queued(self) -> None:
        """Note that executions were stored which wait for a place."""
        self._signals.queued()

    def put_off(self, moment: datetime) -> None:
        """Note that an execution was stored which may start at a moment."""
        self._signals.due(moment)

    # ------------------------------------------------------------------ beginning

    def launch(self, match: Match, start: Start, now: datetime) -> None:
        """Run an execution that was stored as claimed here, in a reserved place."""
        self._reserved -= 1
        self._begin(started_job(match, start, now))

    def resume(self, claimed: Claimed) -> None:
        """Run an execution that was claimed from the database."""
        self._begin(claimed_job(claimed))

    def _begin(self, job: Job) -> None:
        if job.id in self._tasks or self._closed:
            # Claimed while stopping: it stays ours on record and is given back by the end of the instance.
            return
        self.idle.clear()
        task = asyncio.create_task(self._execute(job), name="execution")
        self._tasks[job.id] = task
        task.add_done_callback(lambda _: self._left(job.id))

    def _left(self, execution_id: UUID) -> None:
        del self._tasks[execution_id]
        self._runs.pop(execution_id, None)
        if not self._tasks:
            self.idle.set()
        self._roomier.set()
        self._signals.freed()

    def _scope_of(self, kind: str, data: Any) -> Mapping[str, Any]:
        trigger = self._catalogue.trigger(kind)
        return trigger.scope(data) if trigger is not None and isinstance(data, dict) else {}

    # ------------------------------------------------------------------ running

    async def _execute(self, job: Job) -> None:
        try:
            if job.claims > MOST_CLAIMS:
                return await self._park(job)
            if job.sealed is not None and not await self._open(job):
                return None
            version = self._programs.ready(job.tenant_id, job.workflow_id, job.version) or await self._load(job)
            if version is not None:
                run = self._runs[job.id] = self._run(job, version)
                job.cancelled = job.cancelled or job.id in self._cancelled_early
                await self._walk(run, job)
        except FencedError:
            log.warning("execution.fenced", execution=str(job.id))
        except Exception as error:  # the edge: a defect here ends this execution, and none besides
            log.exception("execution.broken", execution=str(job.id))
            with suppress(HarkError):
                await self._refuse(job, "internal_error", f"{type(error).__name__}: {error}")

    async def _open(self, job: Job) -> bool:
        """Open the secrets of an execution; one whose secrets cannot be opened ends, and may be retried elsewhere."""
        try:
            opened = self._vault.open(job.tenant_id, job.id, job.sealed or b"")
            job.handed = replace(opened, variables=job.handed.variables)
        except HarkError as error:
            log.warning("execution.sealed", execution=str(job.id), error=str(error))
            await self._refuse(job, "secrets_sealed", str(error))
            return False
        return True

    async def _load(self, job: Job) -> Version | None:
        while True:
            try:
                return await self._programs.get(job.tenant_id, job.workflow_id, job.version)
            except UnavailableError:
                await asyncio.sleep(1)
            except (HarkError, LookupError, ValueError) as error:
                log.exception("execution.program_broken", execution=str(job.id))
                await self._refuse(job, "definition_broken", str(error))
                return None

    async def _park(self, job: Job) -> None:
        """End an execution before anything of it is looked at: something in it has brought its instances down."""
        if job.cancelled:
            return await self._end(job, "cancelled", *_ENDINGS["cancelled"])
        message = f"it was taken {job.claims - 1} times and its instance died every time"
        return await self._end(job, "failed", "poisoned", message)

    async def _refuse(self, job: Job, kind: str, message: str) -> None:
        """End an execution that cannot even begin, or in which the engine itself is at fault."""
        masker = self._masker.beside((*job.handed.secrets.values(), *job.handed.masked))
        await self._end(job, "failed", kind, masker.masked(message))

    async def _end(self, job: Job, status: str, kind: str, message: str) -> None:
        """Put an end on record without a run: what one is made of may be what is wrong."""
        run = self._runs.get(job.id)
        progress = Progress(job.tenant_id, job.id, self._services.licence if run is None else run.licence)
        error = encode({"class": kind, "message": message}, "the error")
        progress.change = Change(status, error=error, completed_at=self._services.now())
        if run is not None:
            run.ending = run.ending or "ended"
        await self._services.commit(progress)
        self._count(job.id, progress.change)

    def _run(self, job: Job, version: Version) -> Run:
        names = {**self._handed, **self._scope_of(job.trigger_type, job.event.get("data"))}
        if job.handed.secrets:
            names["secrets"] = {**names["secrets"], **job.handed.secrets}
        return Run(job, version, self._services, names=names, masker=self._masker)

    async def _walk(self, run: Run, job: Job) -> None:
        if job.cancelled:
            return await self._finish(run, self._interrupted(run, "cancelled"))
        if job.deadline_at is not None and job.deadline_at <= run.now():
            return await self._finish(run, self._interrupted(run, "timeout"))
        alarm = self._arm(run, job.deadline_at)
        try:
            outcome = await (run_program(run) if run.part is None else run_part(run, run.part))
            if isinstance(outcome, Stopped):
                await abandon_all(run)
            if outcome is None and run.program.output_reads_context:
                await run.refresh_context(run.root.scope)
            change = self._change(run, outcome, job.deadline_at)
        except asyncio.CancelledError:
            if run.ending in {None, "fenced"}:
                raise
            change = self._interrupted(run, run.ending)
        finally:
            if alarm is not None:
                alarm.cancel()
        await self._finish(run, change)
        return None

    def _arm(self, run: Run, deadline_at: datetime | None) -> asyncio.TimerHandle | None:
        if deadline_at is None:
            return None
        left = (deadline_at - run.now()).total_seconds()
        return asyncio.get_running_loop().call_later(max(left, 0), self.interrupt, run.id, "timeout")

    def interrupt(self, execution_id: UUID, ending: str) -> bool:
        """Cancel an execution's task; `ending` says what becomes of it. False when it does not run here."""
        task, run = self._tasks.get(execution_id), self._runs.get(execution_id)
        if task is None or run is None:
            if ending == "cancelled":
                self._remember(execution_id)
            return False
        if run.ending is None or ending == "fenced":
            run.ending = ending
            task.cancel()
        return True

    def _remember(self, execution_id: UUID) -> None:
        """Note a cancellation that comes before its execution: it may be on its way here, stored or claimed just now.

        A cancellation stands for ever, so nothing is wrong about remembering it long; most are for other instances.
        """
        self._cancelled_early[execution_id] = None
        if len(self._cancelled_early) > MOST_REMEMBERED:
            del self._cancelled_early[next(iter(self._cancelled_early))]

    def wake(self, execution_id: UUID) -> None:
        """Tell an execution that there is news for it: what waits in it looks again, and it does not wait before."""
        run = self._runs.get(execution_id)
        if run is not None:
            _wake(run)

    def wake_all(self) -> None:
        """Let all that waits here have a look: nobody knows what was missed."""
        for run in self._runs.values():
            _wake(run)

    # ------------------------------------------------------------------ ending

    def _change(self, run: Run, outcome: Outcome, deadline_at: datetime | None) -> Change:
        """Return what an execution becomes by the outcome of its walk."""
        match outcome:
            case None:
                return self._completed(run)
            case Suspended():
                return Change("waiting", due_at=(outcome if deadline_at is None else outcome.by(deadline_at)).due_at)
            case Failed():
                return self._failed(run, outcome)
            case Stopped() if run.part is not None:
                return Change("skipped", output=run.encoded_own(outcome.view()), completed_at=run.now())
            case Stopped(status="failed"):
                return self._failed(run, Failed("stopped", outcome.reason or "stopped by the workflow", ""))
            case Stopped():
                text, _ = run.encoded_output(outcome.output)
                return Change(outcome.status, output=text, completed_at=run.now())

    def _completed(self, run: Run) -> Change:
        try:
            output = None
            if run.part is not None:
                output = run.encoded_output(part_output(run, run.part))[0]
            elif run.program.output is not None:
                run.root.scope["now"] = run.now()
                output = run.encoded_output(run.program.output.render(run.root.scope))[0]
        except (ExpressionError, HarkError) as error:
            return self._failed(run, Failed("output_failed", str(error), ""))
        return Change("completed", output=output, completed_at=run.now())

    def _failed(self, run: Run, failed: Failed) -> Change:
        return Change("failed", error=run.encoded_error(failed.view()), completed_at=run.now())

    def _interrupted(self, run: Run, ending: str) -> Change:
        if ending == "released":
            return Change("pending", pending_reason="released")
        kind, message = _ENDINGS[ending]
        run.note(f"execution.{ending}", None)
        error = encode({"class": kind, "message": message}, "the error")
        return Change(ending, error=error, completed_at=run.now())

    async def _finish(self, run: Run, change: Change) -> None:
        progress = run.take_progress()
        progress.change = change
        # From here on its end is certain: it is written even if nobody waits for it, and nothing interrupts it.
        run.ending = run.ending or "ended"
        await self._services.commit(progress)
        self._count(run.id, change)
        if change.status == "waiting" and run.woken:
            self._signals.due(run.now())
        elif change.due_at is not None:
            self._signals.due(change.due_at)
        self._log.debug("execution.left", execution=run.id, workflow=run.slug, status=change.status)

    def _count(self, execution_id: UUID, change: Change) -> None:
        self.ended[change.status] = self.ended.get(change.status, 0) + 1
        if change.completed_at is not None:
            self._signals.ended(execution_id, change.status)

    # ------------------------------------------------------------------ stopping

    async def drain(self, timeout_s: float) -> None:
        """Begin nothing more; wait for what runs, then give back what still does. Idempotent."""
        self._closed = True
        try:
            async with asyncio.timeout(timeout_s):
                await self.idle.wait()
        except TimeoutError:
            log.info("executor.releasing", executions=len(self._tasks))
        await self._interrupt_all("released")

    async def abort(self) -> None:
        """Drop everything without a word on record: another instance has it now."""
        await self._interrupt_all("fenced")

    async def _interrupt_all(self, ending: str) -> None:
        for execution_id in list(self._tasks):
            if not self.interrupt(execution_id, ending):
                self._tasks[execution_id].cancel()
        if self._tasks:
            # Longer than this only the database can keep them: what is not on record then is done again.
            await asyncio.wait(list(self._tasks.values()), timeout=STOP_S)


def _wake(run: Run) -> None:
    run.woken = True
    run.parking.wake()


_ENDINGS = {
    "cancelled": ("cancelled", "it was cancelled"),
    "timeout": ("timeout", "it took longer than the workflow's timeout"),
}
