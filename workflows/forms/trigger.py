"""Triggers in their other names and shapes, made native: `{type: WEBHOOK, config: {…}}`, missing ids, camel case."""

from __future__ import annotations

from pydantic.alias_generators import to_snake

from hark.workflows.definition import Trigger
from hark.workflows.forms.rewrite import Rewrite
from hark.workflows.forms.step import expression, known_keys
from hark.workflows.forms.trace import Traced
from hark.workflows.shape import keys, spellings

_KINDS = {
    "schedule": "cron",
    "scheduled": "cron",
    "cron_schedule": "cron",
    "timer": "cron",
    "interval": "cron",
    "event_subscription": "event",
    "subscription": "event",
    "http": "webhook",
    "database": "row",
    "db": "row",
    "table": "row",
    "row_change": "row",
    "database_change": "row",
    "start": "manual",
    "on_demand": "manual",
    "workflow_completed": "workflow",
}
_FIELDS = {
    "cron": {
        "cron": "schedule",
        "expression": "schedule",
        "cron_expression": "schedule",
        "interval": "every",
        "run_at": "at",
        "tz": "timezone",
    },
    "event": {"event_type": "event", "event_name": "event"},
    "row": {"table_name": "table", "operation": "operations", "events": "operations"},
    "webhook": {"method": "methods", "url": "path", "webhook_path": "path"},
}
_COMMON = frozenset(keys(Trigger))


def triggers(node: Traced, rewrite: Rewrite) -> Traced:
    """Rewrite a list of triggers and give those without an id one: the kind, numbered when there are several."""
    node = node.parsed()
    if not isinstance(node.value, list):
        return node
    members = [trigger(member, rewrite) for member in node.items()]
    taken = {str(member.fields()["id"].plain()) for member in members if "id" in member.fields()}
    return node.put([_with_id(member, taken) for member in members])


def _with_id(node: Traced, taken: set[str]) -> Traced:
    fields = node.fields()
    kind = fields.get("type")
    if "id" in fields or kind is None or not isinstance(kind.value, str):
        return node
    base = to_snake(kind.value).replace(".", "_")
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return node.put({"id": node.put(name), **fields})


def trigger(node: Traced, rewrite: Rewrite) -> Traced:
    """Rewrite one trigger."""
    if not isinstance(node.value, dict):
        return node
    fields = {_common_key(key): member for key, member in node.fields().items()}
    config = fields.get("config")
    if config is not None and isinstance(config.parsed().value, dict):
        del fields["config"]
        fields = {**config.parsed().fields(), **fields}
    kind = fields.get("type")
    if kind is not None and isinstance(kind.value, str):
        name = kind_name(kind.value, rewrite)
        fields["type"] = kind.put(name)
        fields = _kind_fields(node.put(fields), name, rewrite)
    if "when" in fields:
        fields["when"] = expression(fields["when"])
    return node.put(fields)


def kind_name(word: str, rewrite: Rewrite) -> str:
    """Return the name of a trigger kind, from any name of it; an unknown one as it is."""
    snake = to_snake(word.replace("-", "_").replace(" ", "_")).lower()
    for name in (word, snake, _KINDS.get(snake, "")):
        found = rewrite.catalogue.trigger(name) if rewrite.catalogue and name else None
        if found is not None:
            return found.spec.kind
    return _KINDS.get(snake, snake if word.isupper() else word)


def _common_key(key: str) -> str:
    snake = to_snake(key)
    return snake if snake in _COMMON else key


def _kind_fields(node: Traced, kind: str, rewrite: Rewrite) -> dict[str, Traced]:
    """Write the fields of the kind the way its model does."""
    found = rewrite.catalogue.trigger(kind) if rewrite.catalogue else None
    known = {key: key for key in _COMMON}
    if found is not None:
        known.update(spellings(found.spec.config))
    known.update({other: name for other, name in _FIELDS.get(kind, {}).items() if other not in known})
    return known_keys(node, known)
