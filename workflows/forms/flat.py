"""The flat form: one row of a table, with `trigger_type`, `trigger_config`, `conditions` and an array of actions."""

from __future__ import annotations

import re
from typing import Any

from hark.workflows.forms import native
from hark.workflows.forms.conditions import Base, listed
from hark.workflows.forms.rewrite import Imported, Rewrite, Watch, slug
from hark.workflows.forms.trace import Traced
from hark.workflows.forms.trigger import kind_name

_OPERATIONS = {
    "CREATED": "insert",
    "INSERTED": "insert",
    "ADDED": "insert",
    "UPDATED": "update",
    "MODIFIED": "update",
    "DELETED": "delete",
    "REMOVED": "delete",
}
_TABLE = ("table", "table_name", "tableName", "entity_table", "source_table")
_FROM = ("from", "from_value", "from_status", "fromStatus", "old_status", "old_value", "previous_status")
_TO = ("to", "to_value", "to_status", "toStatus", "new_status", "new_value")
_COLUMNS = ("columns", "column", "fields", "field", "watch_fields")
_FILTERS = ("conditions", "condition", "filters", "filter")
_EVENT_KEYS = ("event", "event_type", "eventType")
BESIDE = frozenset(
    {
        "slug",
        "workflow_id",
        "workflowId",
        "version",
        "status",
        "is_active",
        "isActive",
        "active",
        "is_template",
        "isTemplate",
        "template",
        "created_by",
        "createdBy",
        "created_at",
        "createdAt",
        "updated_at",
        "updatedAt",
    }
)
"""What rows and documents of other systems say beside the definition."""
_KEPT = ("name", "description", "category", "tags", "inputs", "timeout", "metadata", "priority")
_STATES = {"active": True, "published": True, "enabled": True, "draft": False, "inactive": False, "disabled": False}


def is_flat(fields: dict[str, Traced]) -> bool:
    """Tell whether a definition has the flat form."""
    return not fields.keys() & {"steps", "nodes"} and bool(
        fields.keys() & {"actions", "trigger_type", "triggerType", "trigger_config", "triggerConfig"}
    )


def flat(node: Traced, rewrite: Rewrite) -> tuple[Traced, Imported]:
    """Rewrite a definition of the flat form."""
    rewrite.give_ids = True
    fields = {key: member for key, member in node.fields().items() if member.value is not None}
    event = _text(fields, "trigger_type", "triggerType")
    config = _first(fields, "trigger_config", "triggerConfig")
    made, base, watch = _trigger(event, config.parsed() if config else node.put({}), rewrite)
    result: dict[str, Traced] = {"id": _id(node, fields)}
    result.update({key: fields[key].parsed() if key != "name" else fields[key] for key in _KEPT if key in fields})
    if made is not None:
        result["triggers"] = (event or node).put([made])
    if "conditions" in fields:
        result["conditions"] = fields["conditions"].put(listed(fields["conditions"], base, rewrite))
    actions = fields.get("actions", node.put([])).parsed()
    result["steps"] = _ordered(actions) if isinstance(actions.value, list) else actions
    for key in ("on_error", "onError"):
        if key in fields:
            result["on_error"] = fields[key].parsed()
    keep_version(result, fields)
    return native.workflow(node.put(result), rewrite), imported(fields, "flat", watch)


def imported(fields: dict[str, Traced], form: str, watch: Watch | None = None) -> Imported:
    """Return what a row or document says beside its definition."""
    state = _text(fields, "status")
    active = _first(fields, "is_active", "isActive", "active", "enabled")
    template = _first(fields, "is_template", "isTemplate", "template")
    version, author = _first(fields, "version"), _first(fields, "created_by", "createdBy")
    return Imported(
        form=form,
        active=_flag(active) if active else _STATES.get(str(state.value).lower()) if state else None,
        template=_flag(template) if template else None,
        version=None if version is None else str(version.value),
        created_by=None if author is None else str(author.value),
        watch=watch,
    )


def _flag(node: Traced) -> bool:
    return str(node.value).lower() in {"true", "t", "yes", "1"}


def keep_version(result: dict[str, Traced], fields: dict[str, Traced]) -> None:
    """Keep the version that another system has counted, as metadata."""
    version = fields.get("version")
    if version is not None:
        metadata = result["metadata"].fields() if "metadata" in result else {}
        result["metadata"] = version.put({"version": version, **metadata})


def _id(node: Traced, fields: dict[str, Traced]) -> Traced:
    own = _first(fields, "slug", "workflow_id", "workflowId")
    if own is not None:
        return own.put(slug(own.value))
    name = fields.get("name", node.put("workflow"))
    return name.put(slug(name.value))


def _first(fields: dict[str, Traced], *names: str) -> Traced | None:
    return next((fields[name] for name in names if name in fields), None)


def _text(fields: dict[str, Traced], *names: str) -> Traced | None:
    found = _first(fields, *names)
    return found if found is not None and isinstance(found.value, str) and found.value.strip() else None


def _ordered(actions: Traced) -> Traced:
    """Sort actions by their own order, where they have one, and take it away."""
    members = actions.items()
    keys = ("order", "position", "step_index", "sequence", "step")
    orders = [_first(member.fields(), *keys) for member in members]
    numbers = [order.value if order is not None and isinstance(order.value, int) else None for order in orders]
    if members and all(number is not None for number in numbers):
        members = [member for _, _, member in sorted(zip(numbers, range(len(members)), members, strict=True))]
        members = [
            member.put({key: value for key, value in member.fields().items() if key not in keys}) for member in members
        ]
    return actions.put(members)


def watch_of(event: str) -> Watch | None:
    """Return the row watch behind an event type such as CLIENT_CREATED, CLIENT_STATUS_CHANGED, ORDER_DELETED."""
    changed = re.fullmatch(r"([A-Z][A-Z0-9]*)(?:_([A-Z0-9_]+))?_CHANGED", event)
    if changed:
        columns = (changed[2].lower(),) if changed[2] else ()
        return Watch(event, changed[1].lower(), ("update",), columns)
    entity, _, verb = event.rpartition("_")
    if entity and verb in _OPERATIONS and re.fullmatch(r"[A-Z][A-Z0-9_]*", entity):
        return Watch(event, entity.lower(), (_OPERATIONS[verb],))
    return None


def _trigger(event: Traced | None, config: Traced, rewrite: Rewrite) -> tuple[Traced | None, Base, Watch | None]:
    """Make the one trigger of the row; tell also where its conditions look their fields up, and the watch it needs."""
    if event is None:
        return None, Base("inputs"), None
    fields = config.fields()
    kind = kind_name(str(event.value), rewrite)
    if rewrite.catalogue and rewrite.catalogue.trigger(kind):
        return config.put({**fields, "type": event.put(kind)}), Base("event.data"), None
    watch = watch_of(str(event.value))
    prefixes = Base("").prefixes | ({watch.entity} if watch else set())
    if _first(fields, *_TABLE) is not None:
        return _row(event, config, watch, rewrite, Base("new", prefixes)), Base("new", prefixes), None
    base = Base("event.data", prefixes, either=True)
    made: dict[str, Traced] = {"type": event.put("event"), "event": event}
    tests = _tests(fields, watch, base, rewrite)
    if tests:
        made["when"] = config.put(" && ".join(tests))
    return event.put(made), base, watch


def _take(fields: dict[str, Traced], names: tuple[str, ...]) -> Traced | None:
    return next((fields.pop(name) for name in names if name in fields), None)


def _row(event: Traced, config: Traced, watch: Watch | None, rewrite: Rewrite, base: Base) -> Traced:
    """Make a row trigger that publishes the event type as well."""
    fields = dict(config.fields())
    made: dict[str, Any] = {"type": event.put("row"), "table": _take(fields, _TABLE), "as": event}
    columns = _take(fields, _COLUMNS)
    if "operations" not in fields and "operation" not in fields and watch:
        made["operations"] = event.put(list(watch.operations))
    if columns is not None:
        made["columns"] = columns if isinstance(columns.value, list) else columns.put([columns])
    elif watch and watch.columns:
        made["columns"] = event.put(list(watch.columns))
    for name, spellings in (("from", _FROM), ("to", _TO)):
        value = _take(fields, spellings)
        if value is not None:
            made[name] = value
    tests = [str(test.value) for key in _FILTERS if key in fields for test in listed(fields.pop(key), base, rewrite)]
    if tests:
        made["when"] = config.put(" && ".join(tests))
    if watch:
        row = "old" if watch.operations == ("delete",) else "new"
        made["subject"] = event.put({"kind": event.put(watch.entity), "id": event.put(f"${{{{ {row}.id }}}}")})
    return config.put({**fields, **made})


def _tests(fields: dict[str, Traced], watch: Watch | None, base: Base, rewrite: Rewrite) -> list[str]:
    """Return what the trigger's config asks of an event, as expressions."""
    fields = {key: member for key, member in fields.items() if key not in _EVENT_KEYS and member.value is not None}
    tests = [str(test.value) for key in _FILTERS if key in fields for test in listed(fields.pop(key), base, rewrite)]
    column = watch.columns[0] if watch and watch.columns else "status"
    named = _take(fields, _COLUMNS)
    if named is not None and isinstance(named.value, str):
        column = named.value
    before, after = _take(fields, _FROM), _take(fields, _TO)
    if before is not None:
        tests += _equal(before, f"old.{column}", base, rewrite)
    if after is not None:
        tests += _equal(after, column, base, rewrite)
    for key, member in fields.items():
        if isinstance(member.value, str | int | float | bool) and member.value != "":
            tests += _equal(member, key, base, rewrite)
            rewrite.note(member, f"`{key}` in trigger_config is read as the condition {key} == {member.value!r}")
        elif member.value not in ({}, [], ""):
            rewrite.note(member, f"`{key}` in trigger_config means nothing here", "write it as a condition", error=True)
    return tests


def _equal(value: Traced, field: str, base: Base, rewrite: Rewrite) -> list[str]:
    operator = "in" if isinstance(value.value, list) else "equals"
    test = {"field": value.put(field), "operator": value.put(operator), "value": value}
    return [str(found.value) for found in listed(value.put([value.put(test)]), base, rewrite)]
