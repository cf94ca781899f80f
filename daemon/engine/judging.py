"""What a trigger makes of a stored event, evaluated apart from the flow of events, with the values that it saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from hark.daemon.engine.inputs import InvalidInputsError
from hark.daemon.engine.matcher import Match, Start, event_view, inputs_of, offer, scope_of
from hark.daemon.engine.registry import Subscription
from hark.daemon.store.database import Record
from hark.workflows.catalogue import NewEvent
from hark.workflows.cel.lookup import MISSING, find
from hark.workflows.cel.paths import dotted
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import ROOTS, Expression, compile_expression
from hark.workflows.ids import EventId, TenantId

_MOST_VALUES = 20
_LONGEST_VALUE = 500
"""Characters of the JSON of one value that is shown."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored event, as it was offered."""

    id: EventId
    event: NewEvent
    view: Mapping[str, Any]
    at: datetime
    """When it was stored: `now` for its conditions."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one trigger makes of one event: a start, or the reason why not."""

    start: Start | None
    reason: str | None = None
    detail: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    """What stood at the paths that the condition reads; those that were not there are left out."""


def stored_event(tenant_id: TenantId, row: Record) -> Stored:
    """Make a stored event of its row, with its data."""
    event = NewEvent(
        tenant_id=tenant_id,
        kind=row["kind"],
        type=row["type"],
        source=row["source"],
        route=row["route"],
        data=orjson.loads(row["data"]),
        subject=(row["subject_kind"], row["subject_id"]) if row["subject_kind"] is not None else None,
        occurred_at=row["occurred_at"],
        depth=row["depth"],
        caused_by=row["caused_by"],
    )
    return staged(event, EventId(row["id"]), row["created_at"])


def staged(event: NewEvent, event_id: EventId, at: datetime) -> Stored:
    """Make an event ready to be judged."""
    return Stored(event_id, event, event_view(event, event_id, at), at)


def judge(subscription: Subscription, stored: Stored, handed: Mapping[str, Any], *, values: bool = True) -> Verdict:
    """Offer an event to a trigger; nothing is stored. To look up the `values` takes as long as all the rest."""
    scope = scope_of(stored.event, stored.view, subscription.kind, handed, stored.at)
    outcome = offer(Match(stored.event, stored.id), subscription, scope)
    if isinstance(outcome, Start):
        return Verdict(outcome)
    seen = _values(outcome.condition, subscription, stored, scope) if values and outcome.condition is not None else {}
    return Verdict(None, outcome.reason, outcome.detail, seen)


def _values(condition: str, subscription: Subscription, stored: Stored, scope: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a condition saw."""
    expression = compile_expression(condition, ROOTS)
    if "inputs" in expression.roots:
        try:
            given = subscription.workflow.inputs.apply(inputs_of(subscription, stored.event, dict(scope)))
        except (ExpressionError, InvalidInputsError):
            given = {}
        scope = {**scope, "inputs": given}
    return values_of(expression, scope)


def values_of(expression: Expression, scope: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what stands at the paths that an expression reads, cut where it is long; what is not there is left out."""
    seen: dict[str, Any] = {}
    for parts in expression.paths[:_MOST_VALUES]:
        known = parts[: parts.index(...)] if ... in parts else parts
        value = find(scope, known)  # type: ignore[arg-type]  # without what is computed, it is names and indices
        if value is not MISSING:
            seen[dotted(known)] = _shown(value)
    return seen


def _shown(value: Any) -> Any:
    """Return a value as it is shown: what is long is cut."""
    text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return orjson.loads(text) if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…"
