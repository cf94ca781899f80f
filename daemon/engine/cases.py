"""Running the tests of a workflow file: by the real matcher, executor and interpreter, without daemon and database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import orjson

from hark.daemon.engine.case_checks import Mismatch, Seen, check
from hark.daemon.engine.case_services import CaseServices
from hark.daemon.engine.claims import Claimed
from hark.daemon.engine.executor import Executor, Signals
from hark.daemon.engine.handed_over import HandedOver
from hark.daemon.engine.inputs import InvalidInputsError
from hark.daemon.engine.job import Job
from hark.daemon.engine.judging import Stored, Verdict, judge, staged
from hark.daemon.engine.matcher import Match, Start
from hark.daemon.engine.payload import Masker, encode
from hark.daemon.engine.program import Compiler
from hark.daemon.engine.programs import Programs, Version
from hark.daemon.engine.records import Change
from hark.daemon.engine.registry import Picture, Registry, Subscription
from hark.daemon.engine.rehearsal import picture_of
from hark.daemon.engine.run import Run
from hark.triggers.example_data import filled
from hark.workflows.cases import Case, CaseEvent
from hark.workflows.catalogue import Catalogue, NewEvent
from hark.workflows.definition import Body, Workflow
from hark.workflows.errors import HarkError
from hark.workflows.ids import DEFAULT_TENANT, EventId, ExecutionId, WorkflowId, execution_id, new_id

LONGEST_S = 30.0
"""A test that takes longer fails."""
_MOST_WALKS = 10_000
_WORKFLOW = WorkflowId(UUID("00000000-0000-7000-8000-00000000cafe"))


@dataclass(slots=True)
class Outcome:
    """What came of one test."""

    workflow: str
    name: str
    mismatches: list[Mismatch] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether all came as expected."""
        return not self.mismatches


async def run_case(workflow: Workflow, case: Case, catalogue: Catalogue, now: datetime) -> Outcome:
    """Run one test."""
    outcome, since = Outcome(workflow.id, case.name), time.perf_counter()
    stage = _Stage(workflow, case, catalogue, case.moment(now))
    try:
        async with asyncio.timeout(LONGEST_S):
            for index, (event, expected) in enumerate(case.expectations()):
                place = f"events[{index}].expect" if case.events is not None else "expect"
                outcome.mismatches += check(expected, await stage.play(event), place)
    except TimeoutError:
        outcome.mismatches.append(Mismatch("", f"an end within {LONGEST_S:g} s", None, "it takes too long"))
    except HarkError as error:
        outcome.mismatches.append(Mismatch("", None, None, str(error)))
    outcome.took_s = time.perf_counter() - since
    return outcome


class _Ready(Programs):
    """The one program of a test."""

    def __init__(self, version: Version, catalogue: Catalogue) -> None:
        super().__init__(cast("Any", None), catalogue)
        self._version_ready = version

    def ready(self, tenant_id: UUID, workflow_id: UUID, version: int) -> Version:
        """Return it."""
        return self._version_ready


class _Executor(Executor):
    """Keeps what it runs, for those who look at the end."""

    seen: dict[UUID, Run]

    def _run(self, job: Job, version: Version) -> Run:
        run = self.seen[UUID(str(job.id))] = super()._run(job, version)
        return run


class _NoVault:
    """Nothing is sealed in a test."""

    def open(self, tenant_id: UUID, execution_id: UUID, sealed: bytes) -> HandedOver:
        """Return nothing."""
        return HandedOver()


class _Stage:
    """Where the events of one test happen."""

    def __init__(self, workflow: Workflow, case: Case, catalogue: Catalogue, now: datetime) -> None:
        self._workflow = workflow
        self._case = case
        self._catalogue = catalogue
        self._now = now
        self._handed = {"secrets": dict(case.secrets), "config": dict(case.config)}
        registry = Registry(cast("Any", None), catalogue, handed=self._handed, on_change=lambda: None)
        self._picture: Picture = picture_of(registry, DEFAULT_TENANT, workflow, _WORKFLOW, now)
        names = set(Body.model_fields)
        body = workflow.model_dump(mode="json", by_alias=True, exclude_unset=True, include=names)
        self._version = Version(workflow.id, Compiler(catalogue).compile(Body.model_validate(body)))
        self._stored = [None if event is None else self._store(event) for event, _ in case.expectations()]
        self._next = 0

    # ------------------------------------------------------------------ what comes

    async def play(self, event: CaseEvent | None) -> Seen:
        """Let the next event come, or start by hand; return what came of it."""
        stored = self._stored[self._next]
        self._next += 1
        verdict = self._by_hand() if stored is None else self._match(stored)
        if stored is None:
            data = self._case.input or {}
            stored = self._staged(NewEvent(DEFAULT_TENANT, "manual", "manual", "test", f"manual:{_WORKFLOW}", data))
        if verdict.start is None:
            return Seen(event=stored.view, reason=verdict.reason, detail=verdict.detail, values=verdict.values)
        return await self._run(stored, verdict.start)

    def _store(self, event: CaseEvent) -> Stored:
        subject = None if event.subject is None else (event.subject.kind, event.subject.id)
        if event.type is not None:
            route = f"event:{event.type}"
            return self._staged(NewEvent(DEFAULT_TENANT, "event", event.type, "test", route, event.data, subject))
        one = self._trigger(event.trigger)
        kind, config = one.active.kind, one.active.config
        data = filled(kind, config, event.data, self._now)
        return self._staged(
            NewEvent(DEFAULT_TENANT, kind, _type_of(kind, config, data), "test", one.routes[0], data, subject)
        )

    def _staged(self, event: NewEvent) -> Stored:
        return staged(event, EventId(new_id(self._now)), self._now)

    def _trigger(self, name: str | None) -> Subscription:
        """Return the trigger by which an event comes. Raises HarkError."""
        subscriptions = self._picture.subscriptions
        broken = "; ".join(f"{one.trigger}: {one.reason}" for one in self._picture.broken)
        if broken:
            raise HarkError(
                f"a trigger cannot be made: {broken} (give the test what it names, in `secrets` or `config`)"
            )
        if name is None and len(subscriptions) == 1:
            return subscriptions[0]
        for one in subscriptions:
            if one.active.id == name:
                return one
        known = ", ".join(one.active.id for one in subscriptions)
        if name is None:
            raise HarkError(f"say by which trigger the event comes: `trigger: …`, one of: {known or '(there is none)'}")
        raise HarkError(f"the trigger {name!r} is switched off (`enabled: false`)")

    def _match(self, stored: Stored) -> Verdict:
        """Offer an event to all triggers on its route, as the daemon would."""
        first: Verdict | None = None
        for one in self._picture.subscriptions:
            if stored.event.route in one.routes:
                verdict = judge(one, stored, {"config": self._handed["config"]})
                if verdict.start is not None:
                    return verdict
                first = first or verdict
        return first or Verdict(None, "not_concerned", f"no trigger listens to {stored.event.route}")

    def _by_hand(self) -> Verdict:
        workflow, given = self._picture.workflow, self._case.input or {}
        try:
            inputs = workflow.inputs.apply(given)
        except InvalidInputsError as error:
            return Verdict(None, "inputs_invalid", str(error))
        identifier = execution_id(EventId(new_id(self._now)), workflow.id)
        return Verdict(Start(identifier, workflow, None, inputs, encode(inputs, "the inputs"), None))

    # ------------------------------------------------------------------ what comes of it

    async def _run(self, stored: Stored, start: Start) -> Seen:
        case = self._case
        failures = {name: said.model_dump(by_alias=True) for name, said in case.failures.items()}
        start.mode, start.metadata = "test", {"mocks": case.mocks, "failures": failures}
        start.handed = HandedOver(case.variables)
        events = [(one.event.route, dict(one.view)) for one in self._stored if one is not None and one is not stored]
        services = CaseServices(self._now, events)
        play = _Play(services, self._executor(services), stored, start)
        run = await play.to_its_end()
        change = services.of(start.id).change or Change("waiting")
        steps = {path: record for kept in services.kept.values() for path, record in kept.steps.items()}
        return Seen(
            event=stored.view,
            started=True,
            trigger=start.trigger_id,
            inputs=start.inputs,
            status=change.status,
            output=None if change.output is None else orjson.loads(change.output),
            error=None if change.error is None else orjson.loads(change.error),
            variables=dict(run.vars) if run is not None else {},
            context=services.of(start.id).context,
            steps=steps,
            emitted=[{"type": event.type, "data": event.data} for event in services.emitted],
        )

    def _executor(self, services: CaseServices) -> _Executor:
        signals = Signals(
            due=lambda _: None, queued=lambda: None, freed=lambda: None, backlogged=lambda: False,
            ended=lambda *_: None,
        )  # fmt: skip
        executor = _Executor(
            _Ready(self._version, self._catalogue),
            cast("Any", services),
            self._catalogue,
            places=1_000_000,
            handed=self._handed,
            masker=Masker(self._handed["secrets"].values()),
            vault=_NoVault(),
            signals=signals,
        )
        executor.seen = {}
        return executor


class _Play:
    """One execution of a test, with its parts."""

    def __init__(self, services: CaseServices, executor: _Executor, stored: Stored, start: Start) -> None:
        self._services = services
        self._executor = executor
        self._stored = stored
        self._start = start
        self._rows: dict[UUID, dict[str, Any]] = {}
        services.on_part = self._begin_part
        services.on_ended = lambda _id, _change: None

    async def to_its_end(self) -> Run | None:
        """Run it until it has ended; what waits for nothing but its parts goes on when they have."""
        start, services, executor = self._start, self._services, self._executor
        match = Match(self._stored.event, self._stored.id, view=dict(self._stored.view))
        own = UUID(str(start.id))
        self._rows[own] = self._row(own, None, None, None)
        try:
            executor.reserve(1)
            executor.launch(match, start, self._services.now())
            for _ in range(_MOST_WALKS):
                await executor.idle.wait()
                change = services.of(own).change
                if change is not None and change.completed_at is not None:
                    break
                if not self._go_on():
                    break
        finally:
            await executor.abort()
        return executor.seen.get(own)

    def _go_on(self) -> bool:
        """Take up what has parked; tells whether there was any."""
        waiting = [found for found, kept in self._services.kept.items() if kept.change and not kept.change.completed_at]
        for found in waiting:
            self._services.of(found).change = None
            self._executor.resume(self._claimed(found))
        return bool(waiting)

    def _begin_part(self, run: Run, child: ExecutionId, path: str, part: str) -> None:
        own, parent = UUID(str(child)), UUID(str(run.id))
        self._rows[own] = self._row(own, parent, path, part)
        self._executor.resume(self._claimed(own))

    def _row(self, own: UUID, parent: UUID | None, path: str | None, part: str | None) -> dict[str, Any]:
        start, event = self._start, self._stored.event
        return {
            "tenant_id": DEFAULT_TENANT, "id": own, "workflow_id": start.workflow.id, "version": 0,
            "event_id": self._stored.id, "trigger_id": start.trigger_id, "trigger_type": event.kind,
            "inputs": start.encoded, "mode": "test", "depth": event.depth, "started_at": self._services.now(),
            "deadline_at": None, "claims": 1, "metadata": orjson.dumps(start.metadata).decode(),
            "cancel_requested_at": None, "part": part, "parent_id": parent, "parent_path": path,
            "variables": None if start.handed is None else start.handed.encoded_variables, "sealed": None,
        }  # fmt: skip

    def _claimed(self, own: UUID) -> Claimed:
        row = self._rows[own]
        steps = dict(self._services.of(own).steps)
        return Claimed(cast("Any", row), dict(self._stored.view), steps, self._around(row))

    def _around(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the steps that a part sees: those of its whole, and of what that is a part of."""
        found: dict[str, Any] = {}
        path = None if row["part"] is None else orjson.loads(row["part"])["path"]
        line: list[UUID] = []
        while row["parent_id"] is not None:
            line.append(row["parent_id"])
            row = self._rows[row["parent_id"]]
        for whole in reversed(line):
            found.update(self._services.around(whole, path or ""))
        return found


_TYPES = {"cron": "cron.due", "notify": "notify.received", "webhook": "webhook.received"}


def _type_of(kind: str, config: Any, data: Any) -> str:
    """Return the type of event that a listener makes."""
    if kind in _TYPES:
        return _TYPES[kind]
    if kind == "event":
        return str(config.event)
    more = {"row": "operation", "workflow": "status"}.get(kind)
    return f"{kind}.{data[more]}" if more is not None else kind


def cases_of(workflow: Workflow, only: Sequence[str]) -> list[tuple[int, Case]]:
    """Return the tests of a workflow whose names hold one of some texts, all without any, each with its number."""
    return [
        (index, case)
        for index, case in enumerate(workflow.tests)
        if not only or any(text.lower() in case.name.lower() for text in only)
    ]
