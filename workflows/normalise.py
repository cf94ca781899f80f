"""Normalising: whatever accepted form a definition has, one native form comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hark.workflows.catalogue import Catalogue
from hark.workflows.forms import native
from hark.workflows.forms.flat import BESIDE, flat, imported, is_flat
from hark.workflows.forms.graph import graph, is_graph
from hark.workflows.forms.rewrite import Imported, Note, Rewrite
from hark.workflows.forms.trace import Origins, Traced

_IDS = frozenset({"id", "workflow_id", "workflowId", "slug"})


@dataclass(frozen=True, slots=True)
class Normalised:
    """A definition in the native form, and what rewriting it has found."""

    value: Any
    origins: Origins
    imported: Imported
    notes: tuple[Note, ...]


def normalise(value: Any, catalogue: Catalogue | None = None) -> Normalised:
    """Rewrite a definition of any form; a value that is no mapping comes back as it is.

    The result is not valid yet: what is wrong in the source is still wrong. With a catalogue the fields of actions and
    triggers are rewritten too.
    """
    rewrite = Rewrite(catalogue)
    origins = Origins()
    if not isinstance(value, dict):
        return Normalised(value, origins, Imported(), ())
    node = _unwrapped(Traced(value))
    fields = node.fields()
    if is_graph(fields):
        made, beside = graph(node, rewrite)
    elif is_flat(fields):
        made, beside = flat(node, rewrite)
    else:
        made, beside = _native(node, rewrite)
    return Normalised(origins.settle(made), origins, beside, tuple(rewrite.notes))


def _native(node: Traced, rewrite: Rewrite) -> tuple[Traced, Imported]:
    """Rewrite the native form; what other systems write beside a definition is told apart."""
    fields = node.fields()
    beside = {key: member for key, member in fields.items() if key in BESIDE - _IDS}
    kept = node.put({key: member for key, member in fields.items() if key not in BESIDE - _IDS}) if beside else node
    return native.workflow(kept, rewrite), imported(beside, "native")


def _unwrapped(node: Traced) -> Traced:
    """Take a definition out of the row or request that carries it: `{name, tags, definition: {…}}`."""
    fields = node.fields()
    inner = fields.get("definition")
    if inner is None or fields.keys() & {"steps", "nodes", "actions"}:
        return node
    inner = inner.parsed()
    if not isinstance(inner.value, dict):
        return node
    outer = {key: member for key, member in fields.items() if key != "definition" and member.value is not None}
    own = {key: member for key, member in inner.fields().items() if key not in _shadowed(outer)}
    return node.put({**own, **outer})


def _shadowed(outer: dict[str, Traced]) -> frozenset[str]:
    """Return the names of the id when an outer id replaces it."""
    return _IDS if outer.keys() & _IDS else frozenset()
