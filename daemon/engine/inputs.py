"""The inputs of an execution: defaults filled in, then checked against what the workflow declares."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import jsonschema_rs


class InvalidInputsError(ValueError):
    """The inputs do not fit the declaration; the message says which one and what would be right, `path` where."""

    def __init__(self, message: str, path: str = "inputs") -> None:
        super().__init__(message)
        self.path = path


class InputRules:
    """Declared inputs (JSON Schema properties with `required`), ready to be applied."""

    __slots__ = ("__dict__", "_defaults", "_required", "declared")

    def __init__(self, declared: Mapping[str, Mapping[str, Any]]) -> None:
        self.declared = declared
        self._defaults = {name: spec["default"] for name, spec in declared.items() if "default" in spec}
        self._required = [name for name, spec in declared.items() if spec.get("required")]

    @cached_property
    def _validator(self) -> Any:
        properties = {
            name: {key: value for key, value in spec.items() if key != "required"}
            for name, spec in self.declared.items()
        }
        schema = {"type": "object", "properties": properties, "required": self._required}
        return jsonschema_rs.validator_for(schema, validate_formats=True)

    def apply(self, given: Mapping[str, Any], root: str = "inputs") -> dict[str, Any]:
        """Return the inputs with defaults; raises InvalidInputsError, whose path begins with `root`."""
        if not self.declared:
            return dict(given)
        inputs = {**self._defaults, **given}
        if not self._validator.is_valid(inputs):
            raise self._first_fault(inputs, root)
        return inputs

    def _first_fault(self, inputs: Mapping[str, Any], root: str) -> InvalidInputsError:
        error = next(self._validator.iter_errors(inputs))
        where = ".".join(str(part) for part in (root, *error.instance_path))
        absent = getattr(error.kind, "property", None) if error.schema_path[-1:] == ["required"] else None
        return InvalidInputsError(f"{where}: {error.message}", f"{where}.{absent}" if absent else where)
