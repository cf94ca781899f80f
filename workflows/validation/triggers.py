"""Triggers: that there is such a kind, that its config is right, and that what it reads can be there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hark.workflows.catalogue import Catalogue, TriggerKind, suggestion
from hark.workflows.definition import Trigger
from hark.workflows.scopes import RESPOND, TRIGGER, TRIGGER_CONFIG, TRIGGER_INPUTS
from hark.workflows.shape import keys, spellings
from hark.workflows.source import Path
from hark.workflows.validation.actions import warn_of_secrets
from hark.workflows.validation.expressions import check_condition, check_template, is_template
from hark.workflows.validation.findings import Findings
from hark.workflows.validation.names import Known, Scope
from hark.workflows.validation.structure import check_structure

_COMMON = frozenset(keys(Trigger))


@dataclass(frozen=True, slots=True)
class Started:
    """What all triggers together say about the event that an execution starts with."""

    roots: frozenset[str] = frozenset()
    """`old` and `new` when a trigger gives them."""
    data: frozenset[str] | None = None
    """The fields that `event.data` may have; None when they are the sender's own."""


def started(triggers: Any, catalogue: Catalogue) -> Started:
    """Return what steps can know about the event; any workflow may also be started by hand."""
    kinds = [_kind(raw, catalogue) for _, raw in _each(triggers)]
    roots = frozenset(root for kind in kinds if kind is not None for root in kind.spec.roots)
    fields = [kind.spec.data_fields if kind is not None else () for kind in kinds]
    if not fields or not all(fields):
        return Started(roots)
    return Started(roots, frozenset(name for names in fields for name in names))


def _each(triggers: Any) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for index, raw in enumerate(triggers if isinstance(triggers, list) else ()):
        if isinstance(raw, Mapping):
            yield index, raw


def _kind(raw: Mapping[str, Any], catalogue: Catalogue) -> TriggerKind[Any] | None:
    name = raw.get("type")
    return catalogue.trigger(name) if isinstance(name, str) else None


def check_triggers(triggers: Any, known: Known, catalogue: Catalogue, findings: Findings) -> None:
    """Check all triggers of a definition."""
    seen: dict[str, int] = {}
    for index, raw in _each(triggers):
        path = ("triggers", index)
        name = raw.get("id")
        if isinstance(name, str) and name in seen:
            hint = f"triggers[{seen[name]}] has it already"
            findings.error((*path, "id"), f"two triggers have the id `{name}`", hint)
        elif isinstance(name, str):
            seen[name] = index
        kind = _kind(raw, catalogue)
        word = raw.get("type")
        if kind is None and isinstance(word, str):
            findings.error((*path, "type"), f"unknown trigger type `{word}`", catalogue.suggest_trigger(word))
        elif kind is not None:
            _check_config(raw, path, kind, known, findings)
        _check_names(raw, path, kind, known, findings)
        _check_inputs(raw, path, kind, known, findings)


def _check_config(raw: Mapping[str, Any], path: Path, kind: TriggerKind[Any], known: Known, findings: Findings) -> None:
    model = kind.spec.config
    accepted = spellings(model)
    config = {key: value for key, value in raw.items() if key not in _COMMON or key in accepted}
    config = {key: value for key, value in config.items() if key not in {"type", "id"}}
    if model.model_config.get("extra") == "forbid":
        for key in [key for key in config if key not in accepted]:
            hint = suggestion(key, {*keys(model), *_COMMON})
            findings.error((*path, key), f"a {kind.spec.kind} trigger has no field `{key}`", hint, key=True)
            del config[key]
    early = {key: value for key, value in config.items() if key not in kind.spec.late}
    check_template(early, path, Scope(known, TRIGGER_CONFIG), findings)
    fields = frozenset(kind.spec.data_fields) or None
    for key in config.keys() - early.keys():
        check_template(config[key], (*path, key), Scope(known, RESPOND, data=fields), findings)
    built = check_structure(model, config, findings, at=path, open=True)
    if built is not None:
        for text in kind.warnings(built):
            findings.warn(path, text)
    warn_of_secrets(config, path, findings)


def _check_names(
    raw: Mapping[str, Any], path: Path, kind: TriggerKind[Any] | None, known: Known, findings: Findings
) -> None:
    """Check `when`, `inputs` and `subject`, which see the event and, for rows, `old` and `new`."""
    fields = frozenset(kind.spec.data_fields) if kind is not None and kind.spec.data_fields else None
    roots = kind.spec.roots if kind is not None else frozenset({"old", "new"})
    scope = Scope(known, TRIGGER | roots, data=fields)
    if "when" in raw:
        check_condition(raw["when"], (*path, "when"), scope, findings)
    given = replace(scope, roots=TRIGGER_INPUTS | roots)
    for key in ("inputs", "subject"):
        if raw.get(key) is not None:
            check_template(raw[key], (*path, key), given, findings)
    inputs = raw.get("inputs")
    if isinstance(inputs, str) and not is_template(inputs):
        findings.error((*path, "inputs"), "a text is no mapping", 'write {name: value}, or "${{ event.data }}"')


def _check_inputs(
    raw: Mapping[str, Any], path: Path, kind: TriggerKind[Any] | None, known: Known, findings: Findings
) -> None:
    """Check that a trigger's `inputs` name declared inputs, and all that are required."""
    given = raw.get("inputs")
    if not known.inputs or isinstance(given, str):
        return
    required = [name for name, spec in known.inputs.items() if isinstance(spec, Mapping) and _is_required(spec)]
    if isinstance(given, Mapping):
        for name in given:
            if name not in known.inputs:
                hint = suggestion(str(name), known.inputs)
                findings.error((*path, "inputs", name), f"the input `{name}` is not declared", hint, key=True)
    elif kind is None or not kind.spec.data_fields:
        return  # the sender's own data may hold them
    missing = [name for name in required if not isinstance(given, Mapping) or name not in given]
    if missing:
        names = ", ".join(f"`{name}`" for name in missing)
        hint = f"write inputs: {{{missing[0]}: …}} at the trigger, or give the input a default"
        at = (*path, "inputs") if isinstance(given, Mapping) else path
        findings.error(at, f"the trigger does not give the required {names}", hint)


def _is_required(spec: Mapping[str, Any]) -> bool:
    return spec.get("required") is True and "default" not in spec
