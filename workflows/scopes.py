"""Which names an expression sees, by where it stands.

The daemon evaluates an expression with exactly the names that it was checked with here.
"""

from __future__ import annotations

ROOTS = frozenset(
    {
        "config",
        "context",
        "error",
        "event",
        "events",
        "execution",
        "index",
        "inputs",
        "item",
        "new",
        "now",
        "old",
        "secrets",
        "steps",
        "vars",
    },
)
"""Every name there is; a loop may give its item another one."""

TRIGGER = frozenset({"event", "config", "now"})
"""In a trigger's `when`; `old` and `new` too where the kind has them."""
TRIGGER_INPUTS = TRIGGER
"""In a trigger's `inputs` and `subject`."""
TRIGGER_CONFIG = frozenset({"config", "secrets"})
"""In the fields of a trigger's kind: they are read when the trigger is attached, before anything has happened."""
START = frozenset({"event", "inputs", "config", "now"})
"""In `conditions`, and in the keys of `concurrency`, `idempotency`, `throttle`, `rate_limit`, `debounce`, `batch`."""
STEP = frozenset({"event", "inputs", "vars", "steps", "context", "config", "secrets", "execution", "now"})
"""In steps and in `output`; `error` where one is handled, `item` (or its other name) and `index` in a loop."""

RESPOND = frozenset({"event", "inputs", "steps", "output", "error", "execution", "config", "now"})
"""In what a trigger answers once its execution has ended (`respond` of webhooks); `output` is the workflow's."""

BATCH = frozenset({"events"})
"""In steps and `output` of a workflow with `batch`: the events that it has collected, in the order of arrival."""

EVENT_FIELDS = ("id", "type", "source", "data", "subject", "occurred_at")
EXECUTION_FIELDS = (
    "id",
    "workflow",
    "version",
    "mode",
    "started_at",
    "event_id",
    "trigger_type",
    "trigger",
    "approval_url",
)
STEP_FIELDS = ("output", "status", "error")
ERROR_FIELDS = ("class", "message", "step", "attempt", "details")

_STEPS_ONLY = "it exists only in steps"
_ROWS_ONLY = "only row triggers have old and new; what came is in event.data"
ELSEWHERE = {
    "context": _STEPS_ONLY,
    "error": "it exists only in catch, on_error and retry.when",
    "events": "it exists only in steps of workflows with `batch`",
    "execution": _STEPS_ONLY,
    "index": "it exists only in loops",
    "inputs": "they are made from this: read event here",
    "item": "it exists only in for_each, under the name that `as` gives it",
    "new": _ROWS_ONLY,
    "old": _ROWS_ONLY,
    "secrets": "they can be read in steps and in the fields of a trigger's own kind",
    "steps": _STEPS_ONLY,
    "vars": _STEPS_ONLY,
}
"""For names that are known but cannot be read at some place: where they can."""
