"""Nodes and edges of the graph form, and the guard that an edge's condition becomes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydantic.alias_generators import to_snake

from hark.workflows.forms.conditions import Base, to_cel
from hark.workflows.forms.rewrite import Rewrite
from hark.workflows.forms.trace import Traced

INPUTS = Base("inputs")
TESTS = frozenset({"condition", "conditional", "conditional_branch", "if", "branch", "decision", "filter"})
"""Types of nodes that answer yes or no."""
SWITCHES = frozenset({"switch", "switch_case", "router"})
"""Types of nodes that answer with a value."""

_TRUE = frozenset({"if_true", "true", "yes", "then"})
_FALSE = frozenset({"if_false", "false", "no", "else"})
CASES = frozenset({"switch_case", "case"})
"""Words of edges that leave a switch by a case."""
_ALWAYS = frozenset({"", "success", "on_success", "always", "next", "main", "completed"})
_WORDS = _TRUE | _FALSE | CASES | {"default"}


@dataclass(slots=True, eq=False)
class Node:
    """A node of the graph on its way to a step or a trigger."""

    traced: Traced
    fields: dict[str, Traced]
    id: str
    type: Traced
    word: str
    """The type in snake case."""
    config: Traced
    step: str = ""
    """The id of the step that it becomes; empty for a trigger."""
    incoming: list[Edge] = field(default_factory=list)
    outgoing: list[Edge] = field(default_factory=list)

    @property
    def taken(self) -> str:
        """Where the number of the case that was taken is found; null when none was."""
        return f"steps.{self.step}.output.case"

    def cases(self) -> list[Edge]:
        """Return the edges that leave by a case, in the order of the source."""
        return [edge for edge in self.outgoing if edge.word in CASES]


@dataclass(slots=True, eq=False)
class Edge:
    """An edge; `word` is IF_TRUE, IF_FALSE, SWITCH_CASE or DEFAULT in lower case, or a condition's own text."""

    source: Node
    word: str
    condition: Traced | None = None
    value: Traced | None = None


def connect(nodes: dict[str, Node], edges: Traced, rewrite: Rewrite) -> None:
    """Hang the edges on their nodes; what names no node is noted as an error."""
    for member in edges.items():
        fields = member.fields()
        source = _end(nodes, member, fields, ("source", "from"), rewrite)
        target = _end(nodes, member, fields, ("target", "to"), rewrite)
        if source is not None and target is not None:
            edge = _edge(source, fields)
            source.outgoing.append(edge)
            target.incoming.append(edge)


def _end(
    nodes: dict[str, Node], edge: Traced, fields: dict[str, Traced], names: tuple[str, str], rewrite: Rewrite
) -> Node | None:
    found = next((fields[name] for name in names if name in fields), None)
    if found is None:
        rewrite.note(edge, f"an edge without `{names[0]}`", "write {source: node, target: node}", error=True)
        return None
    if str(found.value) not in nodes:
        hint = f"nodes: {', '.join(list(nodes)[:12])}"
        rewrite.note(found, f"an edge names {found.value!r}, but no node has this id", hint, error=True)
        return None
    return nodes[str(found.value)]


def _edge(source: Node, fields: dict[str, Traced]) -> Edge:
    """Read an edge; editors keep the branch in `sourceHandle`, `label` or `type` when there is no condition."""
    condition = fields.get("condition")
    if condition is None or condition.value in (None, ""):
        for key in ("sourceHandle", "label", "type"):
            if key in fields and _word(fields[key].value) in _WORDS and source.word in TESTS | SWITCHES:
                return Edge(source, _word(fields[key].value), None, fields.get("value"))
        return Edge(source, "")
    inner = condition.fields()
    kind = inner.get("type") or inner.get("branch") or condition
    word, value = _word(kind.value), inner.get("value") or fields.get("value")
    name, colon, rest = str(kind.value).partition(":")
    if colon and _word(name) in CASES:
        word, value = "switch_case", kind.put(rest.strip())
    return Edge(source, word, inner.get("condition") or inner.get("expression") or condition, value)


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return "if_true" if value else "if_false"
    return to_snake(value).lower() if isinstance(value, str) else "?"


def guard(node: Node, rewrite: Rewrite) -> Traced | None:
    """Return when a node is reached: by any edge whose source ran and whose condition holds; None means always."""
    tests = [_followed(edge, rewrite) for edge in node.incoming]
    wanted = [test for test in dict.fromkeys(tests) if test is not None]
    if not tests or None in tests:
        return None
    return node.traced.put(wanted[0] if len(wanted) == 1 else " || ".join(f"({test})" for test in wanted))


def _followed(edge: Edge, rewrite: Rewrite) -> str | None:
    """Return what has to hold for an edge to be followed; None when it always is.

    A test that was skipped took no case, and a guard that reads what is missing is false: nothing behind it runs.
    """
    source = edge.source
    if source.word in TESTS and edge.word in _TRUE | _ALWAYS:
        return f"{source.taken} == 0"
    if source.word in TESTS and edge.word in _FALSE | {"default"}:
        return f"{source.taken} == null"
    if source.word in SWITCHES and edge.word in CASES | {"default"}:
        return f"{source.taken} == {'null' if edge.word == 'default' else source.cases().index(edge)}"
    test = None
    if edge.condition is not None and edge.word not in _ALWAYS:
        condition = to_cel(edge.condition, INPUTS, rewrite)
        test = None if condition is None else str(condition.value)
    if always(source, set()):
        return test
    ran = f'steps.{source.step}.status == "completed"'
    return ran if test is None else f"{ran} && ({test})"


def always(node: Node, above: set[int]) -> bool:
    """Tell whether a node is reached in every execution. Nodes in a circle are not; validation refuses those."""
    if not node.incoming:
        return True
    above = above | {id(node)}
    return any(
        edge.word in _ALWAYS and edge.source.word not in TESTS and always(edge.source, above)
        for edge in node.incoming
        if id(edge.source) not in above
    )
