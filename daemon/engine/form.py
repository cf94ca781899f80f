"""Forms of approvals: what people fill in, with defaults, held to the form's JSON Schema field by field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from hark.workflows.errors import Problem, UnprocessableError


class FormRules:
    """A form: JSON Schema properties with `required` beside them."""

    def __init__(self, fields: Mapping[str, Mapping[str, Any]]) -> None:
        self.fields = fields

    def read(self, given: Any, *, complete: bool = True) -> dict[str, Any]:
        """Return the values with the defaults; without `complete` what is required may be missing.

        Raises UnprocessableError with a problem for each field that does not fit.
        """
        if not isinstance(given, Mapping):
            raise UnprocessableError(
                "form: it is a mapping of the form's fields", [Problem("not a mapping", ("form",))]
            )
        values = {**self._defaults(), **given} if complete else dict(given)
        problems = [*self._unknown(values), *self._misfits(values, complete=complete)]
        if problems:
            said = "; ".join(f"{problem.path[-1]}: {problem.message}" for problem in problems)
            raise UnprocessableError(f"form: {said}", problems)
        return values

    def fitting(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of the values that fit."""
        return {
            name: value for name, value in given.items() if name in self.fields and not _fault(self.fields[name], value)
        }

    def _defaults(self) -> dict[str, Any]:
        return {name: spec["default"] for name, spec in self.fields.items() if "default" in spec}

    def _unknown(self, values: Mapping[str, Any]) -> list[Problem]:
        known = ", ".join(self.fields) or "none"
        hint = f"its fields are: {known}"
        return [
            Problem("the form has no such field", ("form", name), hint) for name in values if name not in self.fields
        ]

    def _misfits(self, values: Mapping[str, Any], *, complete: bool) -> list[Problem]:
        problems = []
        for name, spec in self.fields.items():
            if name in values:
                fault = _fault(spec, values[name])
                if fault is not None:
                    problems.append(Problem(fault, ("form", name)))
            elif complete and spec.get("required"):
                problems.append(Problem("it is required", ("form", name)))
        return problems


def _fault(spec: Mapping[str, Any], value: Any) -> str | None:
    schema = {key: part for key, part in spec.items() if key != "required"}
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)
    return next((error.message for error in validator.iter_errors(value)), None)
