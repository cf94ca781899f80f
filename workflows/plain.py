"""A definition's model as plain JSON types, with keys in the order in which the language is written."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from pydantic import BaseModel

from hark.workflows.definition import SCHEMA, Trigger, Workflow
from hark.workflows.durations import format_duration, parse_duration
from hark.workflows.shape import keys
from hark.workflows.steps import BaseStep, Case, FieldSpec

_FIRST = ("id", "name", "description", "needs", "if")
_BLOCKS = ("then", "else", "cases", "default", "do", "try", "catch", "finally")
_LAST = ("timeout", "retry", "continue_on_error", "on_error", "inputs", "outputs")
_EXTRA = "*"
"""Stands for the fields that a model only lets pass: those of a trigger's kind, keywords of JSON Schema."""
_NULL_COUNTS: dict[type[BaseModel], str] = {Case: "value", FieldSpec: "default"}
"""Fields in which a null that is written says more than nothing."""


def to_plain(workflow: Workflow) -> dict[str, Any]:
    """Return the definition as it would be written: with its schema, and without defaults that nobody wrote."""
    return {"schema": SCHEMA, **_model(workflow, defaults=True)}


def to_canonical(workflow: Workflow) -> dict[str, Any]:
    """Return the definition without anything that is a default, written or not."""
    return _model(workflow, defaults=False)


def _model(model: BaseModel, *, defaults: bool) -> dict[str, Any]:
    kind = type(model)
    found: dict[str, Any] = {}
    for key in _order(kind):
        if key == _EXTRA:
            found.update(_value(model.__pydantic_extra__ or {}, defaults=defaults))
        elif _attribute(kind, key) in model.model_fields_set:
            value = getattr(model, _attribute(kind, key))
            if defaults or not _is_default(kind, key, value):
                found[key] = _value(value, defaults=defaults)
    return found


def _value(value: Any, *, defaults: bool) -> Any:
    if isinstance(value, BaseModel):
        return _model(value, defaults=defaults)
    if isinstance(value, timedelta):
        return format_duration(value)
    if isinstance(value, dict):
        return {key: _value(member, defaults=defaults) for key, member in value.items()}
    if isinstance(value, list):
        return [_value(member, defaults=defaults) for member in value]
    return value


def _is_default(model: type[BaseModel], key: str, value: Any) -> bool:
    if value is None and _NULL_COUNTS.get(model) == key:
        return False
    info = keys(model)[key]
    if info.is_required():
        return False
    default = info.get_default(call_default_factory=True, validated_data={})
    if info.validate_default and isinstance(default, str):
        default = parse_duration(default)
    return bool(value == default) and isinstance(value, bool) == isinstance(default, bool)


@cache
def _attributes(model: type[BaseModel]) -> dict[str, str]:
    return dict(zip(keys(model), model.model_fields, strict=True))


def _attribute(model: type[BaseModel], key: str) -> str:
    """Return the attribute that holds a key's value: `if_` for `if`."""
    return _attributes(model)[key]


@cache
def _order(model: type[BaseModel]) -> tuple[str, ...]:
    """Return a model's keys in the order of writing."""
    names = list(keys(model))
    if issubclass(model, Trigger):
        return ("id", "type", _EXTRA, *(name for name in names if name not in {"id", "type"}))
    if not issubclass(model, BaseStep):
        return (*names, _EXTRA)
    own = [name for name in names if name not in {*_FIRST, *_LAST, *_BLOCKS}]
    inside = [name for name in _BLOCKS if name in names]
    return (*_FIRST, *own, *inside, *_LAST)
