"""A form of an approval as fields of a page: drawn from its JSON Schema, and read back into values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import orjson

from hark.workflows.errors import Problem, UnprocessableError

PREFIX = "form."
_TRUE = "true"


@dataclass(frozen=True, slots=True)
class FormField:
    """One field of a form."""

    name: str
    spec: Mapping[str, Any]

    @property
    def key(self) -> str:
        """Its name in the page."""
        return PREFIX + self.name

    @property
    def label(self) -> str:
        """What it is called for people."""
        words = self.name.replace("_", " ")
        return str(self.spec.get("title") or words[:1].upper() + words[1:])

    @property
    def kind(self) -> str:
        """How it is filled in: `choice`, `boolean`, `integer`, `number`, `string`, or `json` for all else."""
        if isinstance(self.spec.get("enum"), list):
            return "choice"
        types = self.spec.get("type")
        names = [types] if isinstance(types, str) else [name for name in types or ["string"] if name != "null"]
        kind = names[0] if len(names) == 1 else "json"
        return kind if kind in ("boolean", "integer", "number", "string") else "json"

    @property
    def required(self) -> bool:
        """Whether approving needs it."""
        return bool(self.spec.get("required"))

    @property
    def choices(self) -> list[tuple[str, str]]:
        """The values of a choice as the page sends them, and as people read them."""
        return [(text_of(value), value if isinstance(value, str) else text_of(value)) for value in self.spec["enum"]]

    @property
    def default(self) -> str:
        """What stands in it at first."""
        if "default" not in self.spec or self.spec["default"] is None:
            return ""
        default = self.spec["default"]
        return default if self.kind == "string" and isinstance(default, str) else text_of(default)

    def read(self, text: str) -> Any:
        """Return the value of what was filled in. Raises ValueError that says what would be right."""
        match self.kind:
            case "string":
                return text.replace("\r\n", "\n")
            case "boolean":
                return text == _TRUE
            case "integer":
                return _number(int, text, "write a whole number, such as 12")
            case "number":
                return _number(float, text, "write a number, such as 12.5")
            case "choice":
                return _chosen(self.spec["enum"], text)
            case _:
                return _json(text)


def fields_of(form: Mapping[str, Mapping[str, Any]]) -> list[FormField]:
    """Return the fields of a form, in the order in which they are declared."""
    return [FormField(name, spec) for name, spec in form.items()]


def values_of(form: Mapping[str, Mapping[str, Any]], sent: Mapping[str, str], *, complete: bool) -> dict[str, Any]:
    """Read what the page sent. An empty field was not filled in; without `complete` what cannot be read is left out.

    Raises UnprocessableError with a problem for each field that cannot be read.
    """
    values: dict[str, Any] = {}
    problems: list[Problem] = []
    for field in fields_of(form):
        text = sent.get(field.key, "")
        if field.kind == "boolean":
            values[field.name] = text == _TRUE
        elif text.strip():
            try:
                values[field.name] = field.read(text)
            except ValueError as error:
                problems.append(Problem(str(error), ("form", field.name)))
    if problems and complete:
        raise UnprocessableError("form: some fields cannot be read", problems)
    return values


def text_of(value: Any) -> str:
    """Write a value so that the page can send it back."""
    return orjson.dumps(value).decode()


def _number(kind: type[int | float], text: str, advice: str) -> Any:
    try:
        value = kind(text.strip())
    except ValueError:
        raise ValueError(advice) from None
    if not isfinite(value):
        raise ValueError(advice)
    return value


def _chosen(values: list[Any], text: str) -> Any:
    for value in values:
        if text_of(value) == text:
            return value
    raise ValueError("choose one of the list")


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"this is no JSON: {error.msg}") from None
