"""What pydantic found, in plain words, with what would be right."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from hark.workflows.catalogue import suggestion
from hark.workflows.definition import SLUG, Trigger, Workflow
from hark.workflows.durations import EXPECTED
from hark.workflows.forms.rewrite import Rewrite, slug
from hark.workflows.shape import keys
from hark.workflows.source import Path
from hark.workflows.steps import IDENTIFIER, VERBS, BaseStep, verb_of
from hark.workflows.validation.findings import Finding


@dataclass(frozen=True, slots=True)
class Fault:
    """One error of pydantic: the value it is about, the model that holds the field, and what the field should be."""

    detail: ErrorDetails
    value: Any
    model: type[BaseModel] | None
    annotation: Any
    is_key: bool = False

    @property
    def context(self) -> Mapping[str, Any]:
        """What pydantic knows beside the message: limits, patterns, expected values."""
        return self.detail.get("ctx", {})


Wording = tuple[str, str]
"""A message and a hint."""

_RANK = ("extra_forbidden", "missing", "no_verb", "value_error", "literal_error")


def word(path: Path, faults: Sequence[Fault]) -> Finding:
    """Make one finding of all faults at one path."""
    faults = _fitting(faults)
    fault = min(faults, key=lambda each: _rank(each.detail["type"]))
    kind = fault.detail["type"]
    if kind == "no_verb":
        return _no_verb(path, fault.value)
    if kind == "missing":
        return Finding(path[:-1], *_missing(str(path[-1]), fault))
    if kind == "extra_forbidden":
        return Finding(path, *_unknown(str(path[-1]), fault), key=True)
    message, hint = _single(fault) if len({each.detail["type"] for each in faults}) == 1 else _either(fault, faults)
    return Finding(path, message, hint, key=fault.is_key)


def _rank(kind: str) -> int:
    return _RANK.index(kind) if kind in _RANK else len(_RANK)


def _fitting(faults: Sequence[Fault]) -> Sequence[Fault]:
    """Leave out the members of a union whose very type is another one than the value's, if any others remain."""
    kept = [fault for fault in faults if not fault.detail["type"].endswith("_type")]
    return kept or faults


def _single(fault: Fault) -> Wording:
    kind = fault.detail["type"]
    make = _WORDINGS.get(kind) or next((make for end, make in _ENDINGS.items() if kind.endswith(end)), None)
    return make(fault) if make else (fault.detail["msg"], "")


def _either(fault: Fault, faults: Sequence[Fault]) -> Wording:
    """Word the faults of several members of a union as one."""
    if fault.detail["type"] == "value_error":
        return _value_error(fault)
    wanted = dict.fromkeys(_wanted(each) for each in faults)
    return f"expected {' or '.join(wanted)}, found {spoken(fault.value)}", ""


def _wanted(fault: Fault) -> str:
    stem = fault.detail["type"].partition("_")[0]
    return _TYPES.get(stem, "another value")


def spoken(value: Any) -> str:
    """Name a value for a message: short ones are shown, others told by their type."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"'{value}'" if len(value) <= 60 and "\n" not in value else "a text"
    return "a list" if isinstance(value, list) else "a mapping"


def _no_verb(path: Path, value: Any) -> Finding:
    if not isinstance(value, Mapping):
        return Finding(path, f"a step is a mapping, found {spoken(value)}", "write {id: name, action: …}")
    known = {key for model in VERBS.values() for key in keys(model)}
    for key in value:
        near = get_close_matches(key, VERBS, n=1) if key not in known else []
        if near:
            return Finding((*path, key), f"unknown verb `{key}`", f"did you mean {near[0]}?", key=True)
    if "if" in value:
        return Finding(path, "`if` needs `then`, or a verb that it guards", "write then: [steps], or action: …")
    verbs = ", ".join("if/then" if verb == "then" else verb for verb in VERBS)
    return Finding(path, "a step needs a verb", f"one of: {verbs}")


def _missing(name: str, fault: Fault) -> Wording:
    message = f"`{name}` is missing"
    value = fault.detail["input"]
    if not isinstance(value, Mapping) or name != "id":
        return message, ""
    if fault.model is Workflow:
        return message, f"add id: {slug(value.get('name') or 'my-workflow')}"
    if fault.model is not None and issubclass(fault.model, BaseStep):
        title = value.get("name") or value.get("action") or verb_of(dict(value)) or "step"
        return message, f"every step needs an id of its own, such as id: {Rewrite().take_id(str(title).lower())}"
    return message, ""


def _unknown(name: str, fault: Fault) -> Wording:
    if fault.model is None:
        return f"unknown field `{name}`", ""
    if issubclass(fault.model, BaseStep) and name in VERBS:
        verb = next(verb for verb, model in VERBS.items() if model is fault.model)
        verb = "if" if verb == "then" else verb
        return f"a step has one verb, and this one has `{verb}` already", "make it two steps"
    return f"unknown field `{name}`", suggestion(name, keys(fault.model))


def _value_error(fault: Fault) -> Wording:
    """Split what a validator has raised into what is wrong and what would be right."""
    text = str(fault.context.get("error", fault.detail["msg"]))
    if text == EXPECTED:
        return f"{spoken(fault.value)} is not a duration", text
    message, write, rest = text.partition("write ")
    message = message.strip(" ;:,(")
    if write and message:
        return message, (write + rest).removesuffix(")")
    if write:
        return f"{spoken(fault.value)} is not right", text
    message, _, hint = text.partition("; ")
    return message, hint


def _pattern(fault: Fault) -> Wording:
    pattern = fault.context.get("pattern")
    shown = spoken(fault.value)
    if pattern == SLUG:
        return f"{shown} is not an id", f"lower-case letters, digits, - and _, such as {slug(fault.value)}"
    if pattern == IDENTIFIER:
        near = Rewrite().take_id(str(fault.value))
        return f"{shown} is not an id", f"letters, digits and _, not beginning with a digit, such as {near}"
    return f"{shown} does not match {pattern}", ""


def _literal(fault: Fault) -> Wording:
    options = re.findall(r"'([^']*)'", str(fault.context.get("expected", "")))
    if fault.model in {Workflow, Trigger} and options == ["hark/v1"]:
        return f"unknown schema {spoken(fault.value)}", "this version reads schema: hark/v1"
    hint = suggestion(fault.value, options) if isinstance(fault.value, str) else f"one of: {', '.join(options)}"
    return f"{spoken(fault.value)} is not accepted here", hint


def _type(fault: Fault) -> Wording:
    hint = ""
    wanted = _wanted(fault)
    if wanted == "text" and isinstance(fault.value, int | float | bool):
        shown = str(fault.value).lower() if isinstance(fault.value, bool) else str(fault.value)
        hint = f'put it in quotes: "{shown}"'
    if wanted == "a list" and fault.value is not None and not isinstance(fault.value, Mapping):
        hint = "write [item, item], or items that begin with `- `"
    return f"expected {wanted}, found {spoken(fault.value)}", hint


def _limit(phrase: str, key: str) -> Callable[[Fault], Wording]:
    def make(fault: Fault) -> Wording:
        return f"{spoken(fault.value)} is out of range: it must be {phrase} {fault.context.get(key)}", ""

    return make


def _length(fault: Fault) -> Wording:
    least, most = fault.context.get("min_length"), fault.context.get("max_length")
    unit = "characters" if fault.detail["type"].startswith("string") else "items"
    if least == 1:
        return "it must not be empty", ""
    return (f"it has fewer than {least} {unit}", "") if least else (f"it has more than {most} {unit}", "")


_TYPES = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "dict": "a mapping",
    "model": "a mapping",
    "time": "a duration",
    "datetime": "a moment",
    "date": "a date",
}
_WORDINGS: dict[str, Callable[[Fault], Wording]] = {
    "value_error": _value_error,
    "string_pattern_mismatch": _pattern,
    "literal_error": _literal,
    "enum": _literal,
    "greater_than_equal": _limit("at least", "ge"),
    "greater_than": _limit("more than", "gt"),
    "less_than_equal": _limit("at most", "le"),
    "less_than": _limit("less than", "lt"),
    "string_too_short": _length,
    "string_too_long": _length,
    "too_short": _length,
    "too_long": _length,
}
_ENDINGS: dict[str, Callable[[Fault], Wording]] = {"_type": _type, "_parsing": _type, "_from_float": _type}
