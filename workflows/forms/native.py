"""The native form in its other names: camel case at the top, steps and triggers as their own files have it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from pydantic.alias_generators import to_snake

from hark.workflows.definition import Batch, Concurrency, Debounce, Idempotency, Rate, Retention, Workflow
from hark.workflows.forms import step as step_form
from hark.workflows.forms.rewrite import Rewrite
from hark.workflows.forms.step import expression, known_keys
from hark.workflows.forms.trace import Traced
from hark.workflows.forms.trigger import triggers
from hark.workflows.shape import keys, spellings

_KEYS = frozenset(keys(Workflow))
_OTHER_KEYS = {"workflow_id": "id", "slug": "id", "schema_version": "schema"}
_LIMITS: dict[str, type[BaseModel]] = {
    "concurrency": Concurrency,
    "idempotency": Idempotency,
    "throttle": Rate,
    "rate_limit": Rate,
    "debounce": Debounce,
    "batch": Batch,
}


def workflow(node: Traced, rewrite: Rewrite) -> Traced:
    """Rewrite a whole definition of the native form."""
    fields = node.fields()
    renamed: dict[str, Traced] = {}
    for key, member in fields.items():
        name = _key(key)
        renamed[name if name == key or name not in fields else key] = member
    _move_trigger_steps(renamed)
    for key in ("steps", "on_error"):
        if key in renamed:
            renamed[key] = step_form.steps(renamed[key], rewrite)
    if "triggers" in renamed:
        renamed["triggers"] = triggers(renamed["triggers"], rewrite)
    if "conditions" in renamed:
        conditions = renamed["conditions"]
        if isinstance(conditions.value, list):
            renamed["conditions"] = conditions.put([expression(member) for member in conditions.items()])
    for key, model in _LIMITS.items():
        if key in renamed:
            renamed[key] = _limit(renamed[key], model)
    if "retention" in renamed:
        renamed["retention"] = _retention(renamed["retention"])
    return node.put(renamed)


def _key(key: str) -> str:
    if key in _KEYS:
        return key
    snake = to_snake(key)
    snake = _OTHER_KEYS.get(snake, snake)
    return snake if snake in _KEYS else key


def _limit(node: Traced, model: type[BaseModel]) -> Traced:
    if not isinstance(node.value, dict):
        return node
    fields = known_keys(node, spellings(model))
    if "key" in fields:
        fields["key"] = expression(fields["key"])
    return node.put(fields)


def _retention(node: Traced) -> Traced:
    """Write a bare duration, which is how long executions stay, in full."""
    if isinstance(node.value, str | int | float) and not isinstance(node.value, bool):
        return node.put({"for": node})
    return node.put(known_keys(node, spellings(Retention))) if isinstance(node.value, dict) else node


def _move_trigger_steps(fields: dict[str, Traced]) -> None:
    """Move steps of the type TRIGGER to where triggers stand."""
    block = fields.get("steps")
    if block is None or not isinstance(block.value, list):
        return
    found = [member for member in block.items() if _is_trigger(member.value)]
    if not found:
        return
    fields["steps"] = block.put([member for member in block.items() if not _is_trigger(member.value)])
    own = fields["triggers"].items() if "triggers" in fields else []
    fields["triggers"] = block.put([*own, *(as_trigger(member) for member in found)])


def _is_trigger(value: Any) -> bool:
    return isinstance(value, dict) and str(value.get("type", "")).lower() == "trigger"


def as_trigger(node: Traced) -> Traced:
    """Return a step of the type TRIGGER as a trigger; its kind stands beside the type, or in its config."""
    fields = dict(node.fields())
    config = fields.pop("config", node.put({})).parsed().fields()
    fields.pop("type", None)
    fields.pop("name", None)
    for key in ("trigger_type", "triggerType", "kind"):
        for place in (fields, config):
            if key in place and "type" not in fields:
                fields["type"] = place.pop(key)
    if "type" in config and "type" not in fields:
        fields["type"] = config.pop("type")
    return node.put({**config, **fields})
