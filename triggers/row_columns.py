"""The columns that a `row` trigger uses, and those that its table no longer has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hark.triggers.row_config import RowConfig
from hark.triggers.row_kinds import mismatches
from hark.workflows.catalogue import ActiveTrigger
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import ROOTS, Expression, compile_expression
from hark.workflows.ids import TenantId, WorkflowId
from hark.workflows.templates import Template, compile_template

if TYPE_CHECKING:
    from hark.triggers.capture_plan import Table

_ROWS = frozenset({"old", "new"})
Place = tuple[str | int, ...]


def columns_used(trigger: ActiveTrigger) -> Iterator[tuple[Place, str]]:
    """Yield the columns that a trigger cannot do without, each with where it stands in the trigger."""
    config: RowConfig = trigger.config
    yield from config.named_columns().items()
    yield from ((("when",), name) for name in _read_by_condition(trigger.when))
    for field, value in (("inputs", trigger.inputs), ("subject", trigger.subject)):
        yield from (((field,), name) for name in _read_by_template(value))


@dataclass(frozen=True, slots=True)
class Lost:
    """A column that a workflow uses and that is not there, or of another type: the rows are captured all the same."""

    tenant_id: TenantId
    workflow_id: WorkflowId
    text: str


def lost_columns(trigger: ActiveTrigger, table: Table) -> list[Lost]:
    """Return the columns that a trigger uses and that are gone, nobody sees, or cannot be what it asks for."""
    there = {column.name: column for column in table.columns}
    found: dict[str, None] = {}
    for _, name in columns_used(trigger):
        if name not in there:
            found[f"uses column {name}, which {table.name} no longer has"] = None
        elif there[name].virtual:
            found[f"uses column {name} of {table.name}, which is computed when it is read: no trigger sees it"] = None
    found.update(dict.fromkeys(mismatches(trigger, table)))
    who = f"workflow {trigger.workflow} (trigger {trigger.id})"
    return [Lost(trigger.tenant_id, trigger.workflow_id, f"{who} {what}") for what in found]


def _read_by_condition(when: str | None) -> Iterable[str]:
    if when is None:
        return ()
    try:
        return _columns_of([compile_expression(when, ROOTS)])
    except ExpressionError:
        return ()  # said elsewhere, with its place


def _read_by_template(value: Any) -> Iterable[str]:
    if value is None:
        return ()
    try:
        template: Template = compile_template(value, ROOTS)
    except ExpressionError:
        return ()
    return _columns_of(template.expressions)


def _columns_of(expressions: Iterable[Expression]) -> Iterable[str]:
    """Name the columns that expressions read, as new.x or event.data.new.x, each once, but those they can miss."""
    found: dict[str, None] = {}
    for expression in expressions:
        for parts in expression.paths:
            rest = parts[2:] if parts[:2] == ("event", "data") else parts
            if parts not in expression.guarded and len(rest) > 1 and rest[0] in _ROWS and isinstance(rest[1], str):
                found[rest[1]] = None
    return found
