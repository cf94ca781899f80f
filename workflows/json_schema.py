"""The published JSON Schema: what editors complete and check workflows with."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from hark.workflows.catalogue import ActionSpec, Catalogue, TriggerSpec
from hark.workflows.definition import Trigger, Workflow
from hark.workflows.steps import VERBS

Schema = dict[str, Any]

_STEP = {"$ref": "#/$defs/Step"}
_TEMPLATE = {"$ref": "#/$defs/Template"}
_KEPT = ("description", "default", "examples", "title")
"""Keywords that tell about a value, and stay outside when an alternative is added to it."""


def workflow_schema(catalogue: Catalogue) -> Schema:
    """Return the JSON Schema (draft 2020-12) of the native form, with the actions and trigger kinds of a catalogue."""
    schema = _tidy(Workflow.model_json_schema(by_alias=True))
    defs: Schema = schema.pop("$defs")
    common = defs.pop("Trigger")["properties"]
    actions = [action.spec for action in catalogue.actions.values()]
    kinds = [kind.spec for kind in catalogue.triggers.values()]
    for spec in actions:
        _add_config(defs, f"with.{spec.type}", spec.config, spec.literal)
    for kind in kinds:
        _add_config(defs, f"trigger.{kind.kind}", kind.config, ())
        _merge_trigger(defs[f"trigger.{kind.kind}"], kind, common)
    _complete_action(defs["ActionStep"], actions)
    defs["Trigger"] = _trigger(kinds)
    defs["Step"] = _step(defs)
    defs["Template"] = {
        "type": "string",
        "pattern": r"\$\{\{",
        "description": "A text with ${{ expression }}: its value is known only later.",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Hark workflow",
        **{key: value for key, value in schema.items() if key not in {"$schema", "title"}},
        "$defs": dict(sorted(defs.items())),
    }


def write_schema(catalogue: Catalogue) -> str:
    """Return the schema as the file that is published."""
    return json.dumps(workflow_schema(catalogue), ensure_ascii=False, indent=2) + "\n"


def _tidy(value: Any) -> Any:
    """Take away what only pydantic needs: made-up titles, nulls that stand for "not written", the union of verbs."""
    if isinstance(value, list):
        return [_tidy(member) for member in value]
    if not isinstance(value, Mapping):
        return value
    if "ActionStep" in str(value.get("oneOf", "")):
        return dict(_STEP)
    found: Schema = {
        key: _properties(member) if key == "properties" else _tidy(member) for key, member in value.items()
    }
    found.pop("discriminator", None)
    choices = found.get("anyOf")
    if isinstance(choices, list) and found.get("default", ...) is None and {"type": "null"} in choices:
        del found["default"]
        found["anyOf"] = [choice for choice in choices if choice != {"type": "null"}]
    if len(found.get("anyOf", ())) == 1:
        only: Schema = found.pop("anyOf")[0]
        found = {**only, **found}
    return found


def _properties(properties: Mapping[str, Any]) -> Schema:
    """Tidy the schemas of an object's fields; a field may well be called `title` or `default`."""
    return {
        key: _tidy({name: part for name, part in field.items() if name != "title"}) for key, field in properties.items()
    }


def _add_config(defs: Schema, name: str, model: type[BaseModel], literal: Iterable[str]) -> None:
    """Add a config model's schema under a name, and those of its parts under names below it."""
    raw = model.model_json_schema(by_alias=True, ref_template=f"#/$defs/{name}.{{model}}")
    schema = _tidy(raw)
    for part, inner in schema.pop("$defs", {}).items():
        defs[f"{name}.{part}"] = _opened(inner)
    schema.pop("title", None)
    if "$ref" in schema:
        schema = defs.pop(schema["$ref"].removeprefix("#/$defs/"))
    kept = {key: schema["properties"][key] for key in literal if key in schema.get("properties", {})}
    defs[name] = _opened(schema)
    defs[name].get("properties", {}).update(kept)


def _opened(schema: Schema) -> Schema:
    """Let a template stand for every member of an object or list, at any depth."""
    found = dict(schema)
    if "properties" in found:
        found["properties"] = {key: _or_template(member) for key, member in found["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(found.get(key), dict):
            found[key] = _or_template(found[key])
    for key in ("anyOf", "oneOf", "allOf", "prefixItems"):
        if key in found:
            found[key] = [_opened(member) for member in found[key]]
    return found


def _or_template(schema: Any) -> Any:
    """Return a schema that accepts a template as well, unless it accepts any text already."""
    if not isinstance(schema, dict) or not schema or "const" in schema:
        return schema
    opened = _opened(schema)
    narrow = opened.keys() & {"pattern", "enum", "format", "maxLength", "minLength"}
    types = opened.get("type")
    if not opened.keys() - set(_KEPT) or ("string" in _listed(types) and not narrow):
        return opened
    outside = {key: opened.pop(key) for key in _KEPT if key in opened}
    choices = opened.pop("anyOf") if opened.keys() == {"anyOf"} else [opened]
    return {**outside, "anyOf": [*choices, dict(_TEMPLATE)]}


def _listed(types: Any) -> list[Any]:
    return types if isinstance(types, list) else [types]


def _spellings(name: str) -> list[str]:
    return [name, name.upper()] if name != name.upper() else [name]


def _complete_action(step: Schema, actions: Iterable[ActionSpec]) -> None:
    """Let the action's name decide what `with` holds."""
    actions = list(actions)
    names = [{"const": spec.type, "description": spec.description} for spec in actions]
    others = [spelling for spec in actions for spelling in _spellings(spec.type)[1:]]
    step["properties"]["action"] = {
        "description": "What to do; `hark actions` lists them. Upper case is the same, and a plug-in's has a dot.",
        "anyOf": [*names, {"enum": others}, {"type": "string", "pattern": r"\."}],
    }
    step["allOf"] = [
        {
            "if": {"properties": {"action": {"enum": _spellings(spec.type)}}, "required": ["action"]},
            "then": {"properties": {"with": {"$ref": f"#/$defs/with.{spec.type}"}}, **_needs_with(spec)},
        }
        for spec in actions
    ]


def _needs_with(spec: ActionSpec) -> Schema:
    return {"required": ["with"]} if any(info.is_required() for info in spec.config.model_fields.values()) else {}


def _merge_trigger(schema: Schema, kind: TriggerSpec, common: Mapping[str, Any]) -> None:
    """Put the fields that every trigger has beside those of the kind."""
    schema["properties"] = {
        **{key: value for key, value in common.items() if key in {"id", "type"}},
        **schema.get("properties", {}),
        **{key: value for key, value in common.items() if key not in {"id", "type"}},
    }
    schema["description"] = kind.description
    schema["type"] = "object"


def _trigger(kinds: Iterable[TriggerSpec]) -> Schema:
    kinds = list(kinds)
    names = [{"const": kind.kind, "description": kind.description} for kind in kinds]
    others = [name for kind in kinds for name in (*kind.other_names, kind.kind.upper())]
    return {
        "type": "object",
        "description": (Trigger.__doc__ or "").partition("\n")[0],
        "required": ["type"],
        "properties": {"type": {"description": "Its kind.", "anyOf": [*names, {"enum": others}]}},
        "allOf": [
            {
                "if": {"properties": {"type": {"enum": [kind.kind, *kind.other_names, kind.kind.upper()]}}},
                "then": {"$ref": f"#/$defs/trigger.{kind.kind}"},
            }
            for kind in kinds
        ],
    }


def _step(defs: Mapping[str, Schema]) -> Schema:
    """Let the verb decide about a step; without one, offer all of them."""
    offered = {verb: {"description": (model.__doc__ or "").strip()} for verb, model in VERBS.items()}
    schema: Schema = {
        "type": "object",
        "required": ["id"],
        "properties": {"id": defs["StopStep"]["properties"]["id"], **offered},
        "anyOf": [{"required": [verb]} for verb in VERBS],
    }
    for verb, model in reversed(VERBS.items()):
        schema = {"if": {"required": [verb]}, "then": {"$ref": f"#/$defs/{model.__name__}"}, "else": schema}
    return {"description": "A step: an id, one verb, and what belongs to it.", **schema}
