"""What a step declares of its inputs and outputs: where that has a meaning, and whether what is written out fits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from hark.workflows.source import Path
from hark.workflows.validation.expressions import is_template, texts
from hark.workflows.validation.findings import Findings
from hark.workflows.validation.outline import Step
from hark.workflows.validation.properties import check_properties

_WITH = ("action", "call")
_NO_MAPPING = {
    "for_each": "the output of `for_each` is a list",
    "stop": "`stop` ends the execution, and no step reads its output",
}


def check_declared(step: Step, findings: Findings) -> None:
    """Check a step's `inputs` and `outputs`."""
    inputs, outputs = step.raw.get("inputs"), step.raw.get("outputs")
    path = (*step.path, "inputs")
    check_properties(inputs, path, findings)
    check_properties(outputs, (*step.path, "outputs"), findings)
    if inputs and step.verb not in _WITH:
        hint = "take it out; actions and calls may have it"
        findings.error(path, f"`inputs` declare what `with` gives, and `{step.verb}` has no `with`", hint, key=True)
    elif isinstance(inputs, Mapping):
        _check_given(step, inputs, findings)
    if outputs and step.verb in _NO_MAPPING:
        hint = "take it out; declare them on a step inside of it" if step.verb == "for_each" else "take it out"
        findings.error((*step.path, "outputs"), _NO_MAPPING[step.verb] + ", not a mapping of fields", hint, key=True)


def with_defaults(step: Step) -> Any:
    """Return what `with` gives, together with the defaults of the declared inputs that it leaves out."""
    given, inputs = step.raw.get("with", {}), step.raw.get("inputs")
    if not isinstance(given, Mapping) or not isinstance(inputs, Mapping):
        return given
    declared = {name: spec for name, spec in inputs.items() if isinstance(spec, Mapping)}
    return {**{name: spec["default"] for name, spec in declared.items() if "default" in spec}, **given}


def place_given(step: Step, key: str) -> Path:
    """Return where a value of `with_defaults` stands: under `with`, or as the default of a declared input."""
    if key in step.raw.get("with", {}):
        return (*step.path, "with", key)
    return (*step.path, "inputs", key, "default")


def _check_given(step: Step, inputs: Mapping[str, Any], findings: Findings) -> None:
    given = with_defaults(step)
    if not isinstance(given, Mapping):
        return
    at = (*step.path, "with") if "with" in step.raw else step.path
    for name, spec in inputs.items():
        if not isinstance(spec, Mapping):
            continue
        if name not in given:
            if spec.get("required") is True:
                findings.error(at, f"the declared input `{name}` is missing", f"write {name}: under with")
        elif not any(is_template(text) for _, text in texts(given[name], ())):
            _check_value(spec, given[name], (*at, name), findings)


def _check_value(spec: Mapping[str, Any], value: Any, path: Path, findings: Findings) -> None:
    schema = {key: part for key, part in spec.items() if key != "required"}
    try:
        validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError):
        return  # said where it is declared
    for fault in validator.iter_errors(value):
        message = f"it does not fit the declared input: {fault.message}"
        findings.error((*path, *fault.instance_path), message, "change the value or what `inputs` declares")
        return
