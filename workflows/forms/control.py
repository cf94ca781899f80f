"""Branches and loops as other systems write them, made verbs: `if`, `switch`, `for_each`, `while`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pydantic.alias_generators import to_snake

from hark.workflows.forms.conditions import Base, literal, to_cel, unwrap
from hark.workflows.forms.rewrite import Rewrite
from hark.workflows.forms.trace import Traced

Fields = dict[str, Traced]

_INPUTS = Base("inputs")
_THEN = ("then", "if_true", "true", "true_branch", "on_true", "true_steps", "true_actions", "true_path", "then_steps")
_ELSE = ("else", "if_false", "false", "false_branch", "on_false", "false_steps", "false_actions", "else_steps")
_BODY = ("do", "steps", "actions", "body", "loop", "each")
_ITEMS = ("for_each", "items", "collection", "list", "over", "array", "items_path", "source")
_NAMES = ("as", "item_variable", "item_name", "item_var", "variable", "item")
_WHILE = ("while", "condition", "while_condition", "expression")
_TIMES = ("times", "count", "iterations", "repeat")
_LIMIT = ("max_iterations", "max_items", "limit")
_VALUE = ("switch", "value", "on", "expression", "field", "variable")


def _take(fields: Fields, names: Iterable[str]) -> Traced | None:
    """Return the first of these fields, in snake or camel case or capitals, and remove it."""
    for name in names:
        for key in fields:
            if key == name or to_snake(key).lower() == name:
                return fields.pop(key)
    return None


def _block(node: Traced | None) -> Traced | None:
    """Return a block of steps: a list, or one step alone, or what a mapping has under `steps`."""
    if node is None:
        return None
    node = node.parsed()
    if isinstance(node.value, dict):
        inner = _take(dict(node.fields()), _BODY)
        return inner.parsed() if inner is not None else node.put([node])
    return node


def _expression(node: Traced) -> Traced:
    return node.put(unwrap(node.value)) if isinstance(node.value, str) else node


def conditional(config: Fields, fields: Fields, node: Traced, rewrite: Rewrite) -> None:
    """Write CONDITIONAL_BRANCH as `if/then/else`, or as a `switch` when it has cases."""
    config = dict(config)
    if "cases" in config:
        switch(config, fields, node, rewrite)
        return
    then, otherwise = _block(_take(config, _THEN)), _block(_take(config, _ELSE))
    if "branches" in config:
        fields["branches"] = config.pop("branches")
        fields.update({key: config[key] for key in config if key not in fields})
        branches(fields, rewrite)
        return
    guard = fields.pop("if", None)
    condition = to_cel(node.put(config), _INPUTS, rewrite)
    texts = [str(part.value) for part in (guard, condition) if part is not None]
    if not texts:
        rewrite.note(node, "a branch without a condition", 'write condition: inputs.country == "DE"', error=True)
    fields["if"] = node.put(" && ".join(f"({text})" for text in texts) if len(texts) > 1 else "".join(texts))
    fields["then"] = then or node.put([])
    if otherwise is not None:
        fields["else"] = otherwise


def switch(config: Fields, fields: Fields, node: Traced, _rewrite: Rewrite) -> None:
    """Write a switch whose cases are a list of `{value, steps}` or a mapping from value to steps."""
    cases = config.pop("cases", node.put([])).parsed()
    default = _block(_take(config, ("default", "else")))
    value = _take(config, _VALUE)
    fields["switch"] = _subject(value, node)
    found = [_case(case) for case in cases.items()]
    found += [body.put({"value": body.put(name), "do": _block(body) or body}) for name, body in cases.fields().items()]
    fields["cases"] = cases.put(found)
    if default is not None:
        fields["default"] = default


def _subject(value: Traced | None, node: Traced) -> Traced:
    if value is None:
        return node.put("null")
    if isinstance(value.value, str):
        return value.put(_INPUTS.test(unwrap(value.value), str) if value.value.isidentifier() else unwrap(value.value))
    return value.put(literal(value.value))


def _case(node: Traced) -> Traced:
    fields = dict(node.fields())
    body = _block(_take(fields, _BODY))
    kept: dict[str, Any] = {"do": body or node.put([])}
    when = _take(fields, ("when", "condition"))
    value = _take(fields, ("value", "case", "equals"))
    if when is not None:
        kept["when"] = _expression(when)
    else:
        kept["value"] = value or node.put(None)
    return node.put(kept)


def branches(fields: Fields, rewrite: Rewrite) -> None:
    """Write `branches: [{type: IF_TRUE | IF_FALSE | SWITCH_CASE | DEFAULT, …}]` as `if/then/else` or `switch`."""
    listed = fields.pop("branches", None)
    if listed is None:
        _unbranched(fields, rewrite)
        return
    by_type: dict[str, list[Traced]] = {}
    for branch in listed.parsed().items():
        kind = branch.fields().get("type", branch.put("DEFAULT"))
        by_type.setdefault(to_snake(str(kind.value)).lower(), []).append(branch)
    own = [key for key in ("condition", "expression", "value", "field") if key in fields]
    merged: Fields = {}
    merged.update((key, fields.pop(key)) for key in own)
    for key in ("config", "with"):
        if key in fields:
            merged.update(fields.pop(key).parsed().fields())
    if by_type.keys() & {"switch_case", "case"}:
        cases = [*by_type.get("switch_case", []), *by_type.get("case", [])]
        merged["cases"] = listed.put(cases)
        merged["default"] = _only(by_type.get("default"), listed)
        switch(merged, fields, listed, rewrite)
        return
    merged["then"] = _only(by_type.get("if_true"), listed)
    merged["else"] = _only(by_type.get("if_false") or by_type.get("default"), listed)
    first = by_type.get("if_true", [listed])[0].fields().get("condition")
    if first is not None and "condition" not in merged:
        merged["condition"] = first
    conditional(merged, fields, listed, rewrite)


def _only(found: list[Traced] | None, node: Traced) -> Traced:
    if not found:
        return node.put([])
    return _block(found[0]) or node.put([])


def _unbranched(fields: Fields, rewrite: Rewrite) -> None:
    """Write a step of type CONDITION whose branches stand in its own fields or in its config."""
    own = next((fields.pop(key) for key in ("config", "with") if key in fields), None)
    if own is not None:
        conditional(own.parsed().fields(), fields, own, rewrite)
    elif "then" in fields and "condition" in fields:
        condition = to_cel(fields.pop("condition"), _INPUTS, rewrite)
        if condition is not None:
            fields["if"] = condition


def loop(config: Fields, fields: Fields, node: Traced, rewrite: Rewrite) -> None:
    """Write LOOP as `for_each` over its items, a number of times, or as `while` its condition holds."""
    config = dict(config)
    body, limit = _block(_take(config, _BODY)), _take(config, _LIMIT)
    items, times = _take(config, _ITEMS), _take(config, _TIMES)
    if items is None and times is None:
        condition = to_cel(_take(config, _WHILE) or node.put("false"), _INPUTS, rewrite)
        fields["while"] = condition or node.put("false")
        if limit is not None:
            fields["max_iterations"] = limit
    else:
        fields["for_each"] = _iterated(items, times, node)
        name = _take(config, _NAMES)
        if name is not None:
            fields["as"] = name
        if limit is not None:
            fields["max_items"] = limit
        if "parallel" in config:
            fields["parallel"] = config["parallel"]
    fields["do"] = body or node.put([])


def _iterated(items: Traced | None, times: Traced | None, node: Traced) -> Traced:
    if items is not None:
        items = items.parsed()
        if isinstance(items.value, str):
            text = unwrap(items.value)
            return items.put(_INPUTS.test(text, str) if text.isidentifier() else text)
        return items
    count = times.value if times is not None else 0
    return (times or node).put(list(range(count)) if isinstance(count, int) and 0 <= count <= 10_000 else count)


def pause(config: Fields, fields: Fields, node: Traced, _rewrite: Rewrite) -> None:
    """Write an action WAIT as the verb."""
    duration = _take(config, ("duration", "for", "delay"))
    fields["wait"] = duration if duration is not None else node.put(config)


CONTROL: dict[str, Callable[[Fields, Fields, Traced, Rewrite], None]] = {
    "conditional_branch": conditional,
    "condition": conditional,
    "conditional": conditional,
    "branch": conditional,
    "switch": switch,
    "loop": loop,
    "for_loop": loop,
    "while_loop": loop,
    "for_each": loop,
    "while": loop,
    "wait": pause,
}
"""Actions of other systems that are verbs here: `(config, step's fields, place, rewrite)`."""
