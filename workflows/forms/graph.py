"""The graph form: nodes and edges, as visual editors keep them."""

from __future__ import annotations

from typing import Any

from pydantic.alias_generators import to_snake

from hark.workflows.forms import native
from hark.workflows.forms.conditions import to_cel, unwrap
from hark.workflows.forms.control import CONTROL
from hark.workflows.forms.edges import INPUTS, SWITCHES, TESTS, Node, connect, guard
from hark.workflows.forms.flat import BESIDE, imported, keep_version
from hark.workflows.forms.rewrite import Imported, Rewrite, slug
from hark.workflows.forms.trace import Traced
from hark.workflows.forms.trigger import kind_name

_ENDS = frozenset({"end", "finish"})
_NODE_KEYS = frozenset({"id", "type", "name", "label", "config", "data", "position", "description", "parameters"})
_BRANCHES = frozenset({"then", "else", "branches", "cases"})
_BESIDE = frozenset({"id", "triggers", "enabled", "viewport", *BESIDE})


def is_graph(fields: dict[str, Traced]) -> bool:
    """Tell whether a definition has the graph form."""
    return "nodes" in fields and "steps" not in fields


def graph(node: Traced, rewrite: Rewrite) -> tuple[Traced, Imported]:
    """Rewrite a definition of the graph form: edges become `needs`, and guards where they are conditional."""
    rewrite.give_ids = True
    fields = {key: member for key, member in node.fields().items() if member.value is not None}
    nodes = _nodes(fields.pop("nodes", node.put([])).parsed(), rewrite)
    connect(nodes, fields.pop("edges", node.put([])).parsed(), rewrite)
    triggers = [found for found in nodes.values() if _is_trigger(found, rewrite)]
    steps = [found for found in nodes.values() if found not in triggers and found.word not in _ENDS]
    for found in steps:
        found.step = rewrite.names[found.id] = rewrite.take_id(found.id)
    result = _head(node, fields)
    own = fields["triggers"].items() if "triggers" in fields else []
    if triggers or own:
        result["triggers"] = node.put([*own, *(_trigger(found, rewrite) for found in triggers)])
    result["steps"] = node.put([_step(found, rewrite) for found in steps])
    return native.workflow(node.put(result), rewrite), imported(fields, "graph")


def _head(node: Traced, fields: dict[str, Traced]) -> dict[str, Traced]:
    """Return all that is neither node nor edge; an id that is no slug is made one."""
    names = ("workflowId", "workflow_id", "slug", "id", "name")
    own = next((fields[name] for name in names if name in fields), node.put("workflow"))
    head = {"id": own.put(slug(own.value)), "name": own.put(str(own.value))}
    head.update({key: member for key, member in fields.items() if key not in _BESIDE})
    keep_version(head, fields)
    return head


def _nodes(listed: Traced, rewrite: Rewrite) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for member in listed.items():
        fields = member.fields()
        identity = fields.get("id")
        if identity is None or identity.value is None:
            rewrite.note(member, "a node without `id`", "give every node an id; edges name it", error=True)
            continue
        name = str(identity.value)
        if name in found:
            rewrite.note(identity, f"two nodes have the id {name!r}", "ids are unique", error=True)
            continue
        data = fields.get("data", member.put({})).parsed()
        kind = fields.get("type") or data.fields().get("type") or member.put("")
        config = next((fields[key] for key in ("config", "parameters") if key in fields), data).parsed()
        word = to_snake(str(kind.value).replace("-", "_").replace(".", "_")).lower()
        found[name] = Node(member, fields, name, kind, word, config)
    return found


def _is_trigger(node: Node, rewrite: Rewrite) -> bool:
    if node.word == "trigger" or node.word.startswith("trigger_") or node.word.endswith("_trigger"):
        return rewrite.catalogue is None or rewrite.catalogue.action(node.word) is None
    if node.incoming or rewrite.catalogue is None or rewrite.catalogue.action(node.word):
        return False
    return rewrite.catalogue.trigger(kind_name(node.word, rewrite)) is not None


def _trigger(node: Node, rewrite: Rewrite) -> Traced:
    identity = node.fields["id"].put(Rewrite().take_id(node.id))
    if node.word == "trigger":
        return native.as_trigger(node.traced.put({"config": node.config, "id": identity}))
    word = node.word.removeprefix("trigger_").removesuffix("_trigger")
    return node.traced.put({**node.config.fields(), "id": identity, "type": node.type.put(kind_name(word, rewrite))})


def _step(node: Node, rewrite: Rewrite) -> Traced:
    fields: dict[str, Any] = {"id": node.fields["id"]}
    name = node.fields.get("name") or node.fields.get("label")
    if name is not None:
        fields["name"] = name
    if "description" in node.fields:
        fields["description"] = node.fields["description"]
    fields.update(_verb(node, rewrite))
    fields.update({key: value for key, value in node.fields.items() if key not in _NODE_KEYS})
    before = dict.fromkeys(edge.source.step for edge in node.incoming if edge.source.step)
    fields["needs"] = node.traced.put(list(before))
    reached = guard(node, rewrite)
    if reached is not None:
        own = fields.get("if")
        fields["if"] = reached if own is None else reached.put(f"({own.value}) && ({reached.value})")
    return node.traced.put(fields)


def _verb(node: Node, rewrite: Rewrite) -> dict[str, Traced]:
    """Return the verb of a node's step. A test becomes a switch of empty cases; the guards behind it read which."""
    config = node.config.fields()
    if node.word in TESTS and not config.keys() & _BRANCHES:
        test = to_cel(node.config, INPUTS, rewrite)
        if test is None:
            hint = 'write config: {condition: inputs.country == "DE"}'
            rewrite.note(node.traced, f"the node {node.id!r} tests nothing", hint, error=True)
        case = node.config.put({"when": test or node.traced.put("true"), "do": node.config.put([])})
        return {"switch": node.type.put("true"), "cases": node.config.put([case])}
    if node.word in SWITCHES and "cases" not in config:
        return _switch(node, config)
    action = node.word if node.word in CONTROL else node.type.value
    return {"action": node.type.put(action), "with": node.config}


def _switch(node: Node, config: dict[str, Traced]) -> dict[str, Traced]:
    asked = next((config[key] for key in ("value", "expression", "field", "on") if key in config), None)
    text = "null" if asked is None else INPUTS.test(unwrap(str(asked.value)), str)
    values = [edge.value or node.traced.put(None) for edge in node.cases()]
    cases = [value.put({"value": value, "do": value.put([])}) for value in values]
    return {"switch": (asked or node.traced).put(text), "cases": node.traced.put(cases)}
