"""Stand-ins for what the daemon hands to listeners: a clock that tests move, a store that can be away."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hark.triggers.ports import Ears, ScheduleState, TriggerKey
from hark.workflows.catalogue import ActiveTrigger, ListenerContext, NewEvent, Receipt
from hark.workflows.errors import ConflictError, UnavailableError
from hark.workflows.ids import DEFAULT_TENANT, EventId, WorkflowId, derived_id

WORKFLOW = WorkflowId(UUID("01890000-0000-7000-8000-000000000001"))


def at(text: str) -> datetime:
    """Read an ISO moment; UTC when it names no offset."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def active(kind: str, config: Any, **fields: Any) -> ActiveTrigger:
    """Make an active trigger of the workflow `report`."""
    known = {"tenant_id": DEFAULT_TENANT, "workflow_id": WORKFLOW, "workflow": "report", "version": 1, "id": kind}
    return ActiveTrigger(**{**known, "kind": kind, "config": config, **fields})


class Clock:
    """A clock that stands until a test moves it."""

    def __init__(self, start: str) -> None:
        self.time = at(start)

    def __call__(self) -> datetime:
        return self.time


class Events:
    """The record of events as the database keeps it: one per (tenant, source, key); it can be away, or break."""

    def __init__(self) -> None:
        self.stored: dict[tuple[object, ...], NewEvent] = {}
        self.offered = 0
        self.failure: Exception | None = None

    async def emit(self, event: NewEvent) -> Receipt:
        self.offered += 1
        if self.failure is not None:
            raise self.failure
        key = (event.tenant_id, event.source, event.dedupe_key or self.offered)
        known = self.stored.setdefault(key, event)
        if (known.fingerprint or known.data) != (event.fingerprint or event.data):
            raise ConflictError("the same key with other data")
        return Receipt(EventId(derived_id(WORKFLOW, *key)), (), duplicate=known is not event)

    @property
    def data(self) -> list[Any]:
        return [event.data for event in self.stored.values()]

    def go_away(self) -> None:
        self.failure = UnavailableError("the database is away")

    def come_back(self) -> None:
        self.failure = None


class Schedules:
    """A SchedulePort in memory."""

    def __init__(self) -> None:
        self.states: dict[TriggerKey, ScheduleState] = {}
        self.away = False

    async def last_slots(self, keys: Sequence[TriggerKey]) -> Mapping[TriggerKey, ScheduleState]:
        self._check()
        return {key: self.states[key] for key in keys if key in self.states}

    async def record_slots(self, states: Sequence[ScheduleState]) -> None:
        self._check()
        for state in states:
            known = self.states.get(state.key, state)
            slots = [slot for slot in (known.last_slot, state.last_slot) if slot]
            later = max(known.settled_until, state.settled_until)
            self.states[state.key] = replace(state, settled_until=later, last_slot=max(slots, default=None))

    def _check(self) -> None:
        if self.away:
            raise UnavailableError("the database is away")


class HandAlarm:
    """An Alarm that rings when the test says so."""

    def __init__(self) -> None:
        self.delay: timedelta | None = None
        self.ring: Callable[[], None] = lambda: None

    def start(self, ring: Callable[[], None]) -> None:
        self.ring = ring

    def set(self, delay: timedelta) -> None:
        self.delay = delay

    def stop(self) -> None:
        self.delay = None


def context(events: Events, now: Callable[[], datetime], **ports: Any) -> ListenerContext:
    """Make what a listener is handed; unless told otherwise there are no named connections."""
    return ListenerContext(events.emit, now, {"remotes": NoRemotes(), **ports})


class NoRemotes:
    """A RemotesPort without any connection."""

    names: Sequence[str] = ()
    silent: Sequence[str] = ()
    prefix = "hark_00000000"

    async def captured(self) -> Sequence[str]:
        return ()


class Line:
    """A NotifyPort in memory; messages go to all that listen. It can be away."""

    def __init__(self) -> None:
        self.ears: dict[Ears, frozenset[str]] = {}
        self.away = False
        self.deaf = ""
        self.trouble = ""

    async def listen(self, channels: frozenset[str], ears: Ears) -> None:
        self.ears[ears] = channels
        if channels and not self.away:
            ears.tuned(channels)

    async def send(self, channel: str, payload: str) -> None:
        if self.away:
            raise UnavailableError("the database is away")
        for ears, channels in list(self.ears.items()):
            if channel in channels:
                ears.hear(channel, payload)
