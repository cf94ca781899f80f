"""Conditions written as `{field, operator, value}`, and what they are in CEL."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from hark.workflows.catalogue import suggestion
from hark.workflows.forms.rewrite import Rewrite
from hark.workflows.forms.trace import Traced
from hark.workflows.scopes import ROOTS

_IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
_TEMPLATE = re.compile(r"\s*\$?\{\{(.*)\}\}\s*", re.DOTALL)
_DATA_WORDS = frozenset({"trigger", "trigger_data", "triggerData", "payload", "data", "record", "row"})


@dataclass(frozen=True, slots=True)
class Base:
    """Where a bare field name is looked up.

    `prefixes` name the base itself (`client.status` is the `status` of a client). With `either`, the data is a changed
    row (`event.data.new`) or, when another program published the event, the fields themselves.
    """

    root: str
    prefixes: frozenset[str] = _DATA_WORDS
    either: bool = False

    def test(self, field: str, make: Callable[[str], str]) -> str:
        """Return `make` of the path that a field name means."""
        parts = re.split(r"\.|\[(\d+)\]", field.strip())
        parts = [part for part in parts if part]
        if parts and parts[0] == "input":
            return make(_join("inputs", parts[1:]))
        if len(parts) > 1 and parts[0] in self.prefixes:
            parts = parts[1:]
        elif parts and parts[0] in ROOTS - {"old", "new"} and len(parts) > 1:
            return make(_join(parts[0], parts[1:]))
        if parts and parts[0] in {"old", "new"} and len(parts) > 1:
            return make(_join("event.data", parts) if self.either else _join(parts[0], parts[1:]))
        if not self.either:
            return make(_join(self.root, parts))
        row, plain = make(_join(f"{self.root}.new", parts)), make(_join(self.root, parts))
        return f"(has({self.root}.new) ? {row} : {plain})"


def _join(root: str, parts: Iterable[str]) -> str:
    path = root
    for part in parts:
        if _IDENTIFIER.fullmatch(part):
            path += f".{part}"
        else:
            path += f"[{part}]" if part.isdigit() else f"[{literal(part)}]"
    return path


def literal(value: Any) -> str:
    """Write a JSON value as a CEL literal; a string that is a template gives its expression."""
    if isinstance(value, str):
        template = _TEMPLATE.fullmatch(value)
        if template and "}}" not in template[1]:
            return f"({template[1].strip()})"
    if isinstance(value, list):
        return f"[{', '.join(literal(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)}: {literal(item)}' for key, item in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def unwrap(text: str) -> str:
    """Take `${{ … }}` or `{{ … }}` away from around an expression."""
    template = _TEMPLATE.fullmatch(text)
    return template[1].strip() if template and "}}" not in template[1] else text


def _listed(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(",")]
    return value if isinstance(value, list) else [value]


def _compare(operator: str) -> Callable[[str, Any], str]:
    return lambda path, value: f"{path} {operator} {literal(value)}"


def _method(name: str) -> Callable[[str, Any], str]:
    return lambda path, value: f"{path}.{name}({literal(value)})"


def _contains(path: str, value: Any) -> str:
    return f"(type({path}) == list ? {literal(value)} in {path} : {path}.contains({literal(str(value))}))"


def _between(path: str, value: Any) -> str:
    low, high = [*_listed(value), None, None][:2]
    return f"({path} >= {literal(low)} && {path} <= {literal(high)})"


def _exists(path: str, _value: Any) -> str:
    return f"(has({path}) && {path} != null)"


def _missing(path: str, _value: Any) -> str:
    return f"(!has({path}) || {path} == null)"


def _empty(path: str, _value: Any) -> str:
    return f"(!has({path}) || {path} == null || size({path}) == 0)"


def _not(test: Callable[[str, Any], str]) -> Callable[[str, Any], str]:
    return lambda path, value: f"!{test(path, value)}"


_OPERATORS: dict[str, Callable[[str, Any], str]] = {}
for _names, _test in (
    ("equals eq == = === is equal equal_to", _compare("==")),
    ("not_equals ne neq != !== <> is_not not_equal not_equal_to", _compare("!=")),
    ("greater_than gt > greater after", _compare(">")),
    ("greater_than_or_equal gte ge >= greater_or_equal greater_than_or_equals at_least", _compare(">=")),
    ("less_than lt < less before", _compare("<")),
    ("less_than_or_equal lte le <= less_or_equal less_than_or_equals at_most", _compare("<=")),
    ("in is_in one_of any_of", lambda path, value: f"{path} in {literal(_listed(value))}"),
    ("not_in nin is_not_in none_of", lambda path, value: f"!({path} in {literal(_listed(value))})"),
    ("contains includes has", _contains),
    ("not_contains does_not_contain excludes", _not(_contains)),
    ("starts_with begins_with prefix", _method("startsWith")),
    ("ends_with suffix", _method("endsWith")),
    ("matches regex regexp", _method("matches")),
    ("between", _between),
    ("exists is_set is_not_null not_null", _exists),
    ("not_exists does_not_exist is_not_set is_null null", _missing),
    ("is_empty empty", _empty),
    ("is_not_empty not_empty", _not(_empty)),
    ("is_true true", lambda path, _: f"{path} == true"),
    ("is_false false", lambda path, _: f"{path} == false"),
):
    _OPERATORS.update(dict.fromkeys(_names.split(), _test))

_ALL = ("all", "and", "AND", "conditions", "rules")
_ANY = ("any", "or", "OR")
_EXPRESSION = ("expression", "condition", "cel", "if", "when")


def to_cel(node: Traced, base: Base, rewrite: Rewrite) -> Traced | None:
    """Return one CEL expression for a condition in any accepted style; None when it says nothing."""
    node = node.parsed()
    if isinstance(node.value, bool):
        return node.put("true" if node.value else "false")
    if isinstance(node.value, str):
        return node.put(unwrap(node.value)) if node.value.strip() else None
    if isinstance(node.value, list):
        return _joined(node, node.items(), " && ", base, rewrite)
    fields = node.fields()
    for key in _EXPRESSION:
        if key in fields and "field" not in fields:
            return to_cel(fields[key], base, rewrite)
    for key in (*_ALL, *_ANY):
        if key in fields and "field" not in fields:
            return _joined(node, fields[key].items(), _joint(key, fields), base, rewrite)
    return _comparison(node, fields, base, rewrite)


def listed(node: Traced, base: Base, rewrite: Rewrite) -> list[Traced]:
    """Return the conditions of a list, each as one CEL expression; all must hold."""
    node = node.parsed()
    members = node.items() if isinstance(node.value, list) else [node]
    found = [to_cel(member, base, rewrite) for member in members if member.value not in (None, {}, [])]
    return [condition for condition in found if condition is not None]


def _joint(key: str, fields: dict[str, Traced]) -> str:
    logic = next((fields[name].value for name in ("operator", "logic", "match", "combinator") if name in fields), key)
    return " || " if str(logic).lower() in {"any", "or", "||"} else " && "


def _joined(node: Traced, members: list[Traced], joint: str, base: Base, rewrite: Rewrite) -> Traced | None:
    found = [to_cel(member, base, rewrite) for member in members]
    texts = [str(condition.value) for condition in found if condition is not None]
    if len(texts) > 1:
        texts = [f"({text})" if " && " in text or " || " in text or " ? " in text else text for text in texts]
    return node.put(joint.join(texts)) if texts else None


def _comparison(node: Traced, fields: dict[str, Traced], base: Base, rewrite: Rewrite) -> Traced | None:
    name = next(
        (fields[key] for key in ("field", "left", "path", "property", "key", "variable") if key in fields), None
    )
    if name is None or not isinstance(name.value, str):
        if fields:
            hint = "write an expression, or {field: status, operator: equals, value: lead}"
            rewrite.note(node, "a condition without a field", hint, error=True)
        return None
    operator = next((fields[key] for key in ("operator", "op", "comparison") if key in fields), node.put("equals"))
    word = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s-]+", "_", str(operator.value).strip()).lower()
    test = _OPERATORS.get(word)
    if test is None:
        rewrite.note(operator, f"unknown operator {operator.value!r}", suggestion(word, _OPERATORS), error=True)
        return None
    value = next((fields[key] for key in ("value", "right", "values", "target") if key in fields), node.put(None))
    return node.put(base.test(unwrap(name.value), lambda path: test(path, value.value)))
