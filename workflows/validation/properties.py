"""Declared inputs and outputs: JSON Schema properties, with `required` beside the schema."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import jsonschema_rs

from hark.workflows.catalogue import suggestion
from hark.workflows.source import Path
from hark.workflows.validation.findings import Findings

TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_OTHER_TYPES = {
    "str": "string",
    "text": "string",
    "date": "string",
    "datetime": "string",
    "email": "string",
    "uuid": "string",
    "int": "integer",
    "float": "number",
    "double": "number",
    "decimal": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
    "map": "object",
    "json": "object",
}
FORMATS = (
    "date",
    "date-time",
    "duration",
    "email",
    "hostname",
    "idn-email",
    "ipv4",
    "ipv6",
    "json-pointer",
    "regex",
    "time",
    "uri",
    "uri-reference",
    "uuid",
)
KEYWORDS = (
    "$comment",
    "additionalProperties",
    "allOf",
    "anyOf",
    "const",
    "contains",
    "contentEncoding",
    "contentMediaType",
    "default",
    "dependentRequired",
    "deprecated",
    "description",
    "else",
    "enum",
    "examples",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "format",
    "if",
    "items",
    "maxContains",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minContains",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "multipleOf",
    "not",
    "oneOf",
    "pattern",
    "patternProperties",
    "prefixItems",
    "properties",
    "propertyNames",
    "readOnly",
    "required",
    "then",
    "title",
    "type",
    "uniqueItems",
    "writeOnly",
)


def check_properties(declared: Any, path: Path, findings: Findings) -> None:
    """Check every declared property."""
    if isinstance(declared, Mapping):
        for name, spec in declared.items():
            if isinstance(spec, Mapping):
                _check_property(spec, (*path, name), findings)


def _check_property(spec: Mapping[str, Any], path: Path, findings: Findings) -> None:
    before = len(findings.found)
    types = spec.get("type")
    listed = isinstance(types, list)
    for index, name in enumerate(types if isinstance(types, list) else [types]):
        if isinstance(name, str) and name not in TYPES:
            place = (*path, "type", index) if listed else (*path, "type")
            findings.error(place, f"unknown type '{name}'", _type_hint(name))
    for key in spec:
        if key not in KEYWORDS and not key.startswith("x-"):
            near = get_close_matches(key, KEYWORDS, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "JSON Schema has no such keyword; own ones begin with x-"
            findings.error((*path, key), f"unknown keyword `{key}`", hint, key=True)
    name = spec.get("format")
    if isinstance(name, str) and name not in FORMATS:
        findings.warn((*path, "format"), f"the format '{name}' is not checked", suggestion(name, FORMATS))
    if len(findings.found) == before:
        _check_schema(spec, path, findings)


def _type_hint(name: str) -> str:
    other = _OTHER_TYPES.get(name.lower())
    return f"did you mean {other}?" if other else suggestion(name.lower(), TYPES)


def _check_schema(spec: Mapping[str, Any], path: Path, findings: Findings) -> None:
    """Check the keywords' own values, and that the default is one that the schema accepts."""
    schema = {key: value for key, value in spec.items() if key != "required"}
    try:
        jsonschema_rs.meta.validate(schema)
        validator = jsonschema_rs.Draft202012Validator(schema)
    except jsonschema_rs.ValidationError as error:
        findings.error((*path, *error.instance_path), f"not valid JSON Schema: {error.message}", "see json-schema.org")
        return
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        findings.error(path, f"not valid JSON Schema: {error}", "see json-schema.org")
        return
    if spec.get("default") is not None:
        for fault in validator.iter_errors(spec["default"]):
            message = f"the default does not fit: {fault.message}"
            findings.error((*path, "default", *fault.instance_path), message, "change the default or the schema")
            return
