"""Matching: which workflows an event starts, and why the others it was offered to do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from hark.daemon.engine.handed_over import HandedOver
from hark.daemon.engine.inputs import InvalidInputsError
from hark.daemon.engine.limits import Evaluated, unlimited
from hark.daemon.engine.payload import encode
from hark.daemon.engine.registry import ActiveWorkflow, Registry, Subscription
from hark.daemon.store.ids import driver_id
from hark.workflows.catalogue import NewEvent, TriggerKind
from hark.workflows.counting import counted
from hark.workflows.errors import ExpressionError, MissingFieldError, UnprocessableError
from hark.workflows.expressions import ROOTS, compile_expression
from hark.workflows.ids import EventId, ExecutionId, derived_id, execution_id
from hark.workflows.kept import Kept
from hark.workflows.templates import Template, compile_template

DEPTH_LIMIT = 20
"""An event this many executions away from the outside world starts nothing: it is a loop."""
_KEPT_TEMPLATES = 2_000_000
"""Characters of the triggers' inputs and subjects that are kept compiled, and 100 for each: 10 bytes each."""
MOST_REFUSALS = 100
"""On routes with no more triggers than this each one is asked, for its reason; on larger ones those that the event may
concern, and the others are only counted."""


@dataclass(slots=True)
class Start:
    """An execution that an event starts."""

    id: ExecutionId
    workflow: ActiveWorkflow
    trigger_id: str | None
    inputs: dict[str, Any]
    encoded: str
    """The inputs as they go on record."""
    subject: tuple[str, str] | None
    mode: str = "production"
    metadata: Mapping[str, Any] | None = None
    ordinal: int = 0
    origin_id: ExecutionId | None = None
    parent_id: UUID | None = None
    parent_path: str | None = None
    limits: Evaluated | None = None
    version: int | None = None
    """Another version than the published one."""
    handed: HandedOver | None = None
    variables: str | None = None
    """The variables that it was handed, as they go on record."""
    sealed: bytes | None = None
    """The secrets that it was handed, as they go on record."""


@dataclass(slots=True)
class Refusal:
    """Why a workflow did not start: a stable word, and the detail for people."""

    workflow_id: UUID
    trigger_id: str
    reason: str
    detail: str | None = None
    condition: str | None = None
    """The condition that did not hold, or could not be evaluated."""


class Sample:
    """Which refusals go on record: all while there are few, and a bounded stream of them while there are many.

    Whatever is not on record can be computed from the event and the versions that were active. So this bounds what is
    written, whatever is published and however much arrives.
    """

    PER_EVENT = 20
    PER_S = 100.0
    BURST = 2000.0

    __slots__ = ("_left", "_since")

    def __init__(self) -> None:
        self._left = self.BURST
        self._since: datetime | None = None

    def grant(self, wanted: int, now: datetime) -> int:
        """Return how many of the refusals of one event are kept."""
        if self._since is not None and now is not self._since:  # all of one flush have the same
            earned = (now - self._since).total_seconds() * self.PER_S
            self._left = min(self.BURST, self._left + max(0.0, earned))
        self._since = now
        granted = min(wanted, self.PER_EVENT, int(self._left))
        self._left -= granted
        return granted


@dataclass(slots=True)
class Match:
    """What became of one event. `derived` are the events that triggers publish under a name of their own (`as`)."""

    event: NewEvent
    event_id: EventId
    starts: list[Start] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    passed_over: int = 0
    """How many triggers did not fire without a refusal of their own."""
    derived: list[Match] = field(default_factory=list)
    view: dict[str, Any] | None = None
    """What expressions see as `event`, once somebody listened."""
    subject: tuple[str, str] | None = None
    """What the event is about: what it says itself, else the first that its triggers name."""

    def all(self) -> Sequence[Match]:
        """Return this match and those of the derived events."""
        return [self, *(part for match in self.derived for part in match.all())] if self.derived else (self,)


def event_view(event: NewEvent, event_id: EventId, now: datetime) -> dict[str, Any]:
    """Return what expressions see as `event`."""
    return {
        "id": str(event_id),
        "type": event.type,
        "source": event.source,
        "data": event.data,
        "subject": {"kind": event.subject[0], "id": event.subject[1]} if event.subject else None,
        "occurred_at": _written(event.occurred_at or now),
    }


@lru_cache(maxsize=16)
def _written(moment: datetime) -> str:
    """Write a time; those that came in one flush have the same."""
    return moment.isoformat()


class _Names:
    """What expressions see for one event, made once for each kind of trigger."""

    __slots__ = ("_data", "_made", "_scope")

    def __init__(self, scope: dict[str, Any], data: Any) -> None:
        self._scope = scope
        self._data = data
        self._made: dict[TriggerKind[Any], dict[str, Any]] = {}

    def of(self, kind: TriggerKind[Any]) -> dict[str, Any]:
        """Return the names for a kind."""
        made = self._made.get(kind)
        if made is None:
            names = kind.scope(self._data)
            made = self._made[kind] = {**self._scope, **names} if names else self._scope
        return made


class Matcher:
    """Offers events to the active workflows. Synchronous and without I/O: part of every flush of arrivals."""

    def __init__(self, registry: Registry, *, handed: Mapping[str, Any]) -> None:
        self._registry = registry
        self._handed = handed
        self._sample = Sample()

    def match(self, event: NewEvent, event_id: EventId, now: datetime) -> Match:
        """Offer an event, and those derived from it, to every workflow on its route."""
        return self._match(event, event_id, now, frozenset())

    def _match(self, event: NewEvent, event_id: EventId, now: datetime, ancestors: frozenset[str]) -> Match:
        match = Match(event, event_id, subject=event.subject)
        route = self._registry.find(event.tenant_id, event.route)
        if route is None:
            return match
        match.view = event_view(event, event_id, now)
        names = _Names({**self._handed, "event": match.view, "now": now}, event.data)
        subscriptions = route.candidates(names.of) if len(route) > MOST_REFUSALS else list(route)
        match.passed_over = len(route) - len(subscriptions)
        started: set[UUID] = set()
        published: set[str] = set()
        for subscription in subscriptions:
            outcome = offer(match, subscription, names.of(subscription.kind))
            if isinstance(outcome, Start) and outcome.workflow.id not in started:
                started.add(outcome.workflow.id)
                match.starts.append(outcome)
            elif isinstance(outcome, Refusal):
                match.refusals.append(outcome)
            concerned = isinstance(outcome, Start) or outcome.reason not in _NOT_MINE
            if subscription.publishes and concerned:
                published.add(subscription.publishes)
        if match.refusals:
            kept = self._sample.grant(len(match.refusals), now)
            match.passed_over += len(match.refusals) - kept
            del match.refusals[kept:]
        if match.subject is not event.subject:
            _tell_subject(match)
        for name in sorted(published - ancestors):
            derived = EventId(derived_id(event_id, "as", name))
            match.derived.append(self._match(_renamed(match, name, now), derived, now, ancestors | {name}))
        return match


def scope_of(
    event: NewEvent, view: Mapping[str, Any], kind: TriggerKind[Any], handed: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """Return what the expressions of a trigger of one kind see."""
    return _Names({**handed, "event": view, "now": now}, event.data).of(kind)


def offer(match: Match, subscription: Subscription, scope: dict[str, Any]) -> Start | Refusal:
    """Offer the event of a match to one trigger; return what it starts, or why not."""
    event, workflow, trigger_id = match.event, subscription.workflow, subscription.active.id
    unconcerned = subscription.refusal(event)
    if unconcerned is not None:
        return Refusal(workflow.id, trigger_id, "not_concerned", unconcerned)
    if subscription.when is not None:
        failed = _fault(subscription.when, scope)
        if failed is not None:
            return Refusal(workflow.id, trigger_id, "when_false", failed, subscription.when)
    if event.depth > DEPTH_LIMIT:
        detail = f"this event is {counted(event.depth, 'execution')} away from its origin: a loop?"
        return Refusal(workflow.id, trigger_id, "depth_limit", detail)
    try:
        # First of all: also what does not start is about somebody, and is erased with them.
        named = _subject(subscription, scope)
        if match.subject is None:
            match.subject = named
        inputs = workflow.inputs.apply(inputs_of(subscription, event, scope))
        encoded = encode(inputs, "the inputs")
    except (ExpressionError, InvalidInputsError, UnprocessableError) as error:
        return Refusal(workflow.id, trigger_id, "inputs_invalid", str(error))
    identifier = driver_id(execution_id(match.event_id, workflow.id))
    start = Start(identifier, workflow, trigger_id, inputs, encoded, named or event.subject)
    return _refused(start, subscription, {**scope, "inputs": inputs}, event.not_before) or start


def _refused(
    start: Start, subscription: Subscription, scope: Mapping[str, Any], not_before: datetime | None
) -> Refusal | None:
    """Ask the workflow's conditions, and give the start its limits; return what is to be on record if it is refused."""
    workflow, trigger_id = subscription.workflow, subscription.active.id
    for condition in workflow.conditions:
        failed = _fault(condition, scope)
        if failed is not None:
            return Refusal(workflow.id, trigger_id, "condition_false", failed, condition)
    limits = workflow.limits
    if limits is None and not_before is not None and not_before > scope["now"]:
        limits = unlimited(workflow.tenant_id, workflow.id, workflow.timeout)
    if limits is not None:
        overlap = getattr(subscription.active.config, "overlap", None)
        try:
            start.limits = limits.evaluate(scope, overlap, not_before=not_before)
        except ExpressionError as error:
            return Refusal(workflow.id, trigger_id, "expression_error", str(error))
    return None


_NOT_MINE = frozenset({"not_concerned", "when_false"})
"""Refusals that say that the trigger itself did not fire: then it publishes nothing either."""


def _tell_subject(match: Match) -> None:
    """Put what triggers have named where the event names nothing, and in what it starts without a word about it."""
    if match.view is not None and match.subject is not None:
        match.view["subject"] = {"kind": match.subject[0], "id": match.subject[1]}
    for start in match.starts:
        start.subject = start.subject or match.subject


def _renamed(match: Match, name: str, now: datetime) -> NewEvent:
    """Return the event as a trigger publishes it under a name of its own."""
    event = match.event
    return NewEvent(
        tenant_id=event.tenant_id,
        kind="event",
        type=name,
        source=event.source,
        route=f"event:{name}",
        data=event.data,
        subject=match.subject,
        occurred_at=event.occurred_at or now,
        depth=event.depth,
        caused_by=event.caused_by,
        not_before=event.not_before,
    )


def _fault(condition: str, scope: Mapping[str, Any]) -> str | None:
    """Evaluate a condition; return what to put on record when it does not hold, None when it does."""
    try:
        return None if compile_expression(condition, ROOTS).holds(scope) else condition
    except MissingFieldError as error:
        return f"{condition}: {error.path} is missing"
    except ExpressionError as error:
        return f"{condition}: {error}"


def inputs_of(subscription: Subscription, event: NewEvent, scope: Mapping[str, Any]) -> Mapping[str, Any]:
    """Render a trigger's inputs; without a mapping, an event's or a manual start's own data are the inputs."""
    if subscription.inputs is None:
        own = event.kind in {"event", "manual"} and isinstance(event.data, dict)
        return event.data if own else {}
    inputs = _template(subscription, "inputs", subscription.inputs).render(scope)
    if not isinstance(inputs, Mapping):
        raise InvalidInputsError("the trigger's `inputs` give no object")
    return inputs


def _subject(subscription: Subscription, scope: Mapping[str, Any]) -> tuple[str, str] | None:
    if subscription.subject is None:
        return None
    rendered = _template(subscription, "subject", subscription.subject).render(scope)
    if rendered["id"] in (None, ""):
        return None
    return str(rendered["kind"]), str(rendered["id"])


def _template(subscription: Subscription, part: str, source: Any) -> Template:
    """Return a part of a trigger compiled; those used last are kept, ten thousand if they are short."""
    found = _templates.get((subscription, part))
    if found is None:
        found = compile_template(source, ROOTS)
        _templates.put((subscription, part), found, len(str(source)) + 100)
    return found


_templates: Kept[tuple[Subscription, str], Template] = Kept(_KEPT_TEMPLATES)
