"""Steps in their other names and shapes, made native: camel case, `{type, config}`, control actions, missing ids."""

from __future__ import annotations

from typing import Any

from pydantic.alias_generators import to_snake

from hark.workflows.forms.conditions import Base, to_cel, unwrap
from hark.workflows.forms.control import CONTROL, branches
from hark.workflows.forms.rewrite import Rewrite
from hark.workflows.forms.trace import Traced
from hark.workflows.shape import keys, spellings
from hark.workflows.steps import VERBS, Retry, verb_of

STEP_KEYS = frozenset(key for model in VERBS.values() for key in keys(model))
_OTHER_KEYS = {
    "depends_on": "needs",
    "dependencies": "needs",
    "catch_error": "on_error",
    "default_steps": "default",
}
_CONFIG_KEYS = ("config", "params", "parameters", "settings", "configuration")
_ACTION_WORDS = frozenset({"action", "step", "task"})
_CONDITION_WORDS = frozenset({"condition", "conditional", "if", "switch", "branch", "decision"})
_VERB_ACTIONS = frozenset({"set", "remember", "emit", "wait_for", "approve"})
_LISTS = ("then", "else", "do", "default", "try", "catch", "finally", "on_error")
_CEL_KEYS = ("if", "switch", "while", "for_each", "when")

_INPUTS = Base("inputs")


def steps(node: Traced, rewrite: Rewrite) -> Traced:
    """Rewrite a block of steps."""
    node = node.parsed()
    if not isinstance(node.value, list):
        return node
    return node.put([step(member, rewrite) for member in node.items()])


def step(node: Traced, rewrite: Rewrite) -> Traced:
    """Rewrite one step and all that is inside it."""
    if not isinstance(node.value, dict):
        return node
    fields = {_step_key(key): member for key, member in node.fields().items()}
    if rewrite.give_ids:
        _give_id(node, fields, rewrite)
    _typed(fields, rewrite)
    _control(fields, rewrite)
    _action_config(fields, rewrite)
    _expressions(fields, rewrite)
    _retry(fields)
    _inner(fields, rewrite)
    return node.put(fields)


def _step_key(key: str) -> str:
    if key in STEP_KEYS:
        return key
    snake = to_snake(key)
    snake = _OTHER_KEYS.get(snake, snake)
    return snake if snake in STEP_KEYS else key


def _give_id(node: Traced, fields: dict[str, Traced], rewrite: Rewrite) -> None:
    """Give the id `send_email` or `send_email_2` to a step without one, and make others identifiers."""
    own = fields.get("id")
    if own is not None and str(own.value) in rewrite.names:
        fields["id"] = own.put(rewrite.names[str(own.value)])
        return
    word = own.value if own is not None else _word(fields)
    taken = rewrite.take_id(str(word).lower() if own is None else str(word))
    if own is not None:
        rewrite.names[str(own.value)] = taken
    fields["id"] = (own or node).put(taken)


def _word(fields: dict[str, Traced]) -> Any:
    for key in ("action", "type", "action_type", "actionType"):
        if key in fields and isinstance(fields[key].value, str) and fields[key].value.lower() not in _ACTION_WORDS:
            return fields[key].value
    return verb_of(dict.fromkeys(fields)) or "step"


def _typed(fields: dict[str, Traced], rewrite: Rewrite) -> None:
    """Read `{type: SEND_EMAIL, config: {…}}` and `{type: ACTION | CONDITION, …}`."""
    kind = fields.get("type")
    word = kind.value.lower() if kind is not None and isinstance(kind.value, str) else ""
    if word in _CONDITION_WORDS and "action" not in fields:
        del fields["type"]
        branches(fields, rewrite)
    elif word in _ACTION_WORDS or (word and word in fields):
        del fields["type"]
    elif word and verb_of(dict.fromkeys(fields)) is None:
        fields["action"] = fields.pop("type")
    for key in ("action_type", "actionType"):
        if key in fields and "action" not in fields:
            fields["action"] = fields.pop(key)
    if "action" in fields and "with" not in fields:
        _config(fields, rewrite)


def _config(fields: dict[str, Traced], rewrite: Rewrite) -> None:
    for key in _CONFIG_KEYS:
        if key in fields:
            fields["with"] = fields.pop(key).parsed()
            return
    loose = [key for key in fields if key not in STEP_KEYS] if rewrite.give_ids else []
    if loose:
        action = fields["action"]
        fields["with"] = action.put({key: fields.pop(key) for key in loose})


def _control(fields: dict[str, Traced], rewrite: Rewrite) -> None:
    """Turn actions that are verbs here into those: `set`, CONDITIONAL_BRANCH, LOOP."""
    action = fields.get("action")
    if action is None or not isinstance(action.value, str):
        return
    word = to_snake(action.value).lower()
    config = fields.get("with", action.put({})).parsed()
    if word in _VERB_ACTIONS and word not in fields:
        del fields["action"]
        fields.pop("with", None)
        fields[word] = config
    elif word in CONTROL:
        del fields["action"]
        fields.pop("with", None)
        CONTROL[word](dict(config.fields()), fields, config, rewrite)


def _action_config(fields: dict[str, Traced], rewrite: Rewrite) -> None:
    """Write the fields of an action's config the way its model does: `templateId` becomes `template_id`."""
    config, name = fields.get("with"), fields.get("action")
    if config is None:
        return
    config = fields["with"] = config.parsed()
    found = rewrite.catalogue.action(name.value) if rewrite.catalogue and name and isinstance(name.value, str) else None
    if found is None or not isinstance(config.value, dict):
        return
    fields["with"] = config.put(known_keys(config, spellings(found.spec.config)))


def known_keys(config: Traced, known: dict[str, str]) -> dict[str, Traced]:
    """Return a config's fields under the keys of its model, where they are another spelling of one."""
    fields = config.fields()
    renamed: dict[str, Traced] = {}
    for key, member in fields.items():
        name = known.get(key) or known.get(to_snake(key)) or key
        renamed[name if name == key or name not in fields else key] = member
    return renamed


def _expressions(fields: dict[str, Traced], rewrite: Rewrite) -> None:
    """Take `${{ }}` from around what is an expression anyway; accept `{field, operator, value}` as a guard."""
    for key in _CEL_KEYS:
        if key in fields:
            fields[key] = expression(fields[key])
    for key in ("conditions", "condition"):
        if key in fields and "if" not in fields:
            condition = to_cel(fields.pop(key), _INPUTS, rewrite)
            if condition is not None:
                fields["if"] = condition
    if "wait_for" in fields:
        fields["wait_for"] = _inside(fields["wait_for"], "when")
    if "cases" in fields:
        fields["cases"] = fields["cases"].put([_inside(case, "when") for case in fields["cases"].items()])


def expression(node: Traced) -> Traced:
    """Return an expression without `${{ }}` around it; a boolean becomes its literal."""
    if isinstance(node.value, bool):
        return node.put("true" if node.value else "false")
    if isinstance(node.value, str) and node.value.lstrip().startswith("${{"):
        return node.put(unwrap(node.value))
    return node


def _inside(node: Traced, key: str) -> Traced:
    fields = node.fields()
    if key not in fields:
        return node
    return node.put({**fields, key: expression(fields[key])})


def _retry(fields: dict[str, Traced]) -> None:
    """Write the fields of `retry` in snake case; a bare number is the number of retries."""
    retry = fields.get("retry")
    if retry is None:
        return
    if isinstance(retry.value, int) and not isinstance(retry.value, bool):
        fields["retry"] = retry.put({"retries": retry})
    elif isinstance(retry.value, dict):
        fields["retry"] = _inside(retry.put(known_keys(retry, spellings(Retry))), "when")


def _inner(fields: dict[str, Traced], rewrite: Rewrite) -> None:
    for key in _LISTS:
        if key in fields:
            fields[key] = steps(fields[key], rewrite)
    if "cases" in fields:
        fields["cases"] = fields["cases"].put([_case(case, rewrite) for case in fields["cases"].items()])
    named = fields.get("parallel")
    if named is not None and isinstance(named.value, dict):
        fields["parallel"] = named.put({name: steps(branch, rewrite) for name, branch in named.fields().items()})


def _case(node: Traced, rewrite: Rewrite) -> Traced:
    fields = node.fields()
    if "do" not in fields:
        return node
    return node.put({**fields, "do": steps(fields["do"], rewrite)})
