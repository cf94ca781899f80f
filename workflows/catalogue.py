"""The catalogue: what actions and trigger kinds there are, and what each of them says about itself.

An action or trigger kind is a class with a `spec`. It reaches the world only through the context it is handed, so that
the same class serves the daemon, a test with mocks, and a plug-in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_snake

from hark.workflows.documented import Documented
from hark.workflows.ids import EventId, ExecutionId, TenantId, WorkflowId
from hark.workflows.requirements import Requirement


class Config(Documented):
    """Base of all config models of actions and triggers: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


ConfigT = TypeVar("ConfigT", bound=BaseModel)
ConfigClass = type[BaseModel]


class Effect(StrEnum):
    """What an action does to the world, and so what can be promised about repeating it."""

    PURE = "pure"
    """Nothing outside its output and its logs; runs again after a crash without harm."""
    TRANSACTIONAL = "transactional"
    """Its effect is on the home database and commits together with the step's record: exactly once."""
    EXTERNAL = "external"
    """Its effect is elsewhere: at least once with a stable Idempotency-Key, or at most once by choice."""


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """What an action says about itself."""

    type: str
    name: str
    description: str
    category: str
    effect: Effect
    config: ConfigClass
    example: Mapping[str, Any]
    """A whole step, as it would be written."""
    output_schema: Mapping[str, Any] = field(default_factory=dict)
    permissions: tuple[str, ...] = ()
    literal: frozenset[str] = frozenset()
    """Config fields that must be written out, without `${{ }}`: code such as SQL, and what decides the effect."""
    connections: frozenset[str] = frozenset()
    """Config fields that name a database: one that the daemon does not know is refused when a workflow is published."""
    practice: tuple[str, ...] = ()
    """Advice for the documentation, one sentence or two each."""
    security: tuple[str, ...] = ()
    """What is guarded, and what the author of a workflow must mind."""

    def document(self) -> dict[str, Any]:
        """Return the catalogue entry that CLI, API and documentation show."""
        return {
            "type": self.type,
            "name": self.name,
            "description": self.description,
            "category": self.category,
            "config_schema": self.config.model_json_schema(by_alias=True),
            "output_schema": dict(self.output_schema),
            "example": dict(self.example),
            "permissions": list(self.permissions),
            "effect": self.effect.value,
        }


class Sql(Protocol):
    """A transaction on a database: where `update_database` runs its statements."""

    async def fetch(
        self, sql: str, *args: Any, max_rows: int | None = None, timeout_s: float | None = None
    ) -> list[dict[str, Any]]:
        """Run one parameterised statement (`$1` …) with JSON-typed arguments; return its rows, JSON-typed.

        With `max_rows`, no more than these are taken from the server. Raises ActionError with the SQLSTATE in details.
        """
        ...

    async def execute(self, sql: str, *args: Any, timeout_s: float | None = None) -> int:
        """Run one statement that returns no rows; return how many it changed. Raises like `fetch`."""
        ...


class Http(Protocol):
    """Outgoing HTTP behind the guard against requests to private addresses."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        timeout_s: float,
        max_bytes: int,
        max_redirects: int = 5,
    ) -> HttpAnswer:
        """Send one request, following redirects (each target re-checked); raise ActionError when it cannot be had."""
        ...


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a server answered; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


@dataclass(slots=True)
class ActionContext:
    """What one attempt of a step is handed; valid only until `run` returns."""

    tenant_id: TenantId
    execution_id: ExecutionId
    workflow: str
    step: str
    """The step's path, such as `each[3].mail`."""
    attempt: int
    """Counts from 1."""
    identify: Callable[[], str]
    """Computes the idempotency key: most actions have no use for it."""
    now: datetime
    log: Callable[[str, str, Any], None]
    """`log(level, message, data)` writes to the execution's logs, together with the step's record."""
    http: Http
    settings: Mapping[str, Any]
    """The daemon's settings that actions may read: `smtp_host`, `smtp_port`, `mail_from` …"""
    connect: Callable[[str], AbstractAsyncContextManager[Sql]]
    """`connect(name)` gives an async context manager of Sql on a named connection; `""` is the home database."""
    timeout_s: float | None = None
    """How long this attempt may take; the engine cancels it then, a server may be told the same."""

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this step execution, also after a crash."""
        return self.identify()


@dataclass(frozen=True, slots=True)
class Pause:
    """An action's answer when the step is to go on later: the execution waits, durably and free of cost."""

    until: datetime
    output: Any = None
    """The step's output once the moment has come."""


class Action(ABC, Generic[ConfigT]):
    """Something that a step can do."""

    spec: ClassVar[ActionSpec]

    @abstractmethod
    async def run(self, config: ConfigT, context: ActionContext) -> Any:
        """Do it and return the step's output (JSON types) or a Pause. Raises ActionError; may be cancelled."""

    def effect(self, config: Mapping[str, Any]) -> Effect:
        """Return the effect with this raw config; the spec's unless the config makes a difference."""
        return self.spec.effect


@dataclass(slots=True)
class NewEvent:
    """Something that happened, on its way into the record. Nobody changes it (to enforce that costs 2 µs each).

    `route` is the key by which workflows are found, such as `row:public.clients` or `event:CLIENT_CREATED`.
    The same `dedupe_key` from the same `source` is the same event; with another fingerprint it is a conflict.
    """

    tenant_id: TenantId
    kind: str
    type: str
    source: str
    route: str
    data: Any
    subject: tuple[str, str] | None = None
    occurred_at: datetime | None = None
    dedupe_key: str | None = None
    dedupe_ttl: timedelta = timedelta(days=3)
    fingerprint: bytes | None = None
    """What has to be the same when the dedupe_key comes again; None: the data. (A resent webhook has other headers.)"""
    depth: int = 0
    """How many executions stand between this event and the outside world."""
    caused_by: ExecutionId | None = None
    also_caused_by: Sequence[ExecutionId] = ()
    """Of what several ends have made: the other executions."""
    not_before: datetime | None = None
    """Of what is made up for on request: its executions start no sooner, and queue where `overlap` would skip them."""


@dataclass(slots=True)
class Receipt:
    """What became of an event: its id, the executions it started, and whether it had been there before."""

    event_id: EventId
    executions: tuple[ExecutionId, ...]
    duplicate: bool = False


@dataclass(frozen=True, slots=True)
class ActiveTrigger:
    """A trigger of an active workflow's published version, with its config checked and built."""

    tenant_id: TenantId
    workflow_id: WorkflowId
    workflow: str
    version: int
    id: str
    kind: str
    config: Any
    when: str | None = None
    """The trigger's CEL condition, for kinds that can have it checked earlier."""
    published_at: datetime | None = None
    active_since: datetime | None = None
    """When the workflow was last switched on (first published, resumed): nothing from before that is made up for."""
    inputs: Any = None
    """What becomes of the event as inputs, as it was written."""
    subject: Any = None
    """Whom the event is about, as it was written."""


@dataclass(frozen=True, slots=True)
class Health:
    """Whether a listener hears, and what a person should know about it."""

    attached: bool
    detail: str = ""
    unannounced: int = 0
    """How often a look found what no wake-up had told of."""
    needed: bool = True
    """Whether an instance is not ready without it."""
    elsewhere: Mapping[str, Health] = field(default_factory=dict)
    """The same of each other database that it listens to, by the name of the connection."""


class Listener(Protocol):
    """The running part of a trigger kind: turns the outside world into events."""

    async def start(self) -> None:
        """Begin to listen; returns when it hears, or raises."""
        ...

    async def stop(self) -> None:
        """Stop listening and wait until all it took in is stored; idempotent, safe before start."""
        ...

    async def attach(self, triggers: Sequence[ActiveTrigger]) -> None:
        """Listen for exactly these triggers from now on; called at start and after every change."""
        ...

    def health(self) -> Health:
        """Tell whether everything attached is heard right now."""
        ...


@dataclass(frozen=True, slots=True)
class ListenerContext:
    """What a listener is handed. `ports` holds what the daemon offers to particular kinds, by name."""

    emit: Callable[[NewEvent], Awaitable[Receipt]]
    """Store the event and start what matches; returns after the commit. Raises UnavailableError."""
    now: Callable[[], datetime]
    """The database's clock."""
    ports: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TriggerSpec:
    """What a trigger kind says about itself."""

    kind: str
    name: str
    description: str
    config: ConfigClass
    example: Mapping[str, Any]
    """A whole trigger, as it would be written."""
    data_fields: tuple[str, ...]
    """The fields of `event.data`; empty where the data is the sender's own."""
    other_names: tuple[str, ...] = ()
    roots: frozenset[str] = frozenset()
    """Names that expressions see besides `event`: `old` and `new` for rows."""
    late: frozenset[str] = frozenset()
    """Fields whose expressions are evaluated when an execution has ended, not when the trigger is attached."""

    def document(self) -> dict[str, Any]:
        """Return the entry that CLI, API and documentation show."""
        return {
            "kind": self.kind,
            "name": self.name,
            "description": self.description,
            "config_schema": self.config.model_json_schema(by_alias=True),
            "event_data": list(self.data_fields),
            "example": dict(self.example),
            "other_names": list(self.other_names),
        }


class TriggerKind(ABC, Generic[ConfigT]):
    """A kind of trigger: its config, how events find it, and the listener that hears for it."""

    spec: ClassVar[TriggerSpec]

    @abstractmethod
    def route(self, config: ConfigT, workflow_id: WorkflowId, trigger_id: str) -> str:
        """Return the key under which the matcher files a trigger; an event with this `route` is offered to it."""

    def routes(self, config: ConfigT, workflow_id: WorkflowId, trigger_id: str) -> Sequence[str]:
        """Return all keys under which the matcher files a trigger, `route` first; most have that one alone."""
        return (self.route(config, workflow_id, trigger_id),)

    def follows(self, config: ConfigT) -> Sequence[str]:
        """Return the slugs of the workflows whose executions' ends it is about."""
        return ()

    def refusal(self, config: ConfigT, event: NewEvent) -> str | None:
        """Say why this event, which came by the trigger's route, does not concern it; None if it does. Hot path."""
        return None

    def requirements(self, config: ConfigT) -> Iterable[Requirement]:
        """Yield what an event must have lest `refusal` refuses it, as far as values at paths can say it."""
        return ()

    def warnings(self, config: ConfigT) -> Sequence[str]:
        """Say what is allowed but probably not meant, such as a webhook that anybody may call."""
        return ()

    def listener(self, context: ListenerContext) -> Listener | None:
        """Make the kind's one listener; None when nothing has to run (the event comes through the API)."""
        return None

    def scope(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the names of `spec.roots` for an event's data."""
        return {}


class Catalogue:
    """All actions and trigger kinds that this process knows."""

    def __init__(self, actions: Iterable[Action[Any]] = (), triggers: Iterable[TriggerKind[Any]] = ()) -> None:
        self.actions: dict[str, Action[Any]] = {}
        self.triggers: dict[str, TriggerKind[Any]] = {}
        self._trigger_names: dict[str, TriggerKind[Any]] = {}
        for action in actions:
            self.add_action(action)
        for kind in triggers:
            self.add_trigger(kind)

    def add_action(self, action: Action[Any]) -> None:
        """Register an action; its type must be new."""
        if action.spec.type in self.actions:
            raise ValueError(f"two actions have the type {action.spec.type!r}")
        self.actions[action.spec.type] = action

    def add_trigger(self, kind: TriggerKind[Any]) -> None:
        """Register a trigger kind under its name and other names; they must be new."""
        for name in (kind.spec.kind, *kind.spec.other_names):
            if name in self._trigger_names:
                raise ValueError(f"two trigger kinds have the name {name!r}")
            self._trigger_names[name] = kind
        self.triggers[kind.spec.kind] = kind

    def action(self, name: str) -> Action[Any] | None:
        """Find an action by any spelling of its type: `send_email`, `SEND_EMAIL`, `sendEmail`."""
        return self.actions.get(name) or self.actions.get(name.lower()) or self.actions.get(to_snake(name))

    def trigger(self, name: str) -> TriggerKind[Any] | None:
        """Find a trigger kind by its name or another name of it."""
        return self._trigger_names.get(name) or self._trigger_names.get(name.lower())

    def suggest_action(self, name: str) -> str:
        """Return a hint for an unknown action."""
        return suggestion(to_snake(name), self.actions)

    def suggest_trigger(self, name: str) -> str:
        """Return a hint for an unknown trigger kind."""
        return suggestion(name.lower(), self.triggers)


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "did you mean …?", or the list of what there is when nothing is near."""
    known = sorted(known)
    near = get_close_matches(name, known, n=2)
    if near:
        return f"did you mean {' or '.join(near)}?"
    shown = ", ".join(known[:12])
    return f"one of: {shown}{', …' if len(known) > 12 else ''}" if known else ""
