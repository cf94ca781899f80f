"""Planning row capture: which database triggers a table needs, given all active `row` triggers that watch it.

A change is captured once, however many workflows want it. For each operation there is either

- a statement trigger with transition tables, which captures all of it: on the table and on every partition or child,
  for the one on a parent does not fire for statements that name a partition; or
- a row trigger with WHEN, if every watcher has a filter that PostgreSQL can check: then a change that interests nobody
  costs the writer next to nothing. Only on a table without partitions: an UPDATE that moves a row to another partition
  is, to row triggers, a DELETE and an INSERT.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hark.triggers.row_changes import Interest
from hark.triggers.row_config import OPERATIONS, Granularity, RowConfig
from hark.triggers.table_name import TableName
from hark.workflows.catalogue import ActiveTrigger
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import compile_expression
from hark.workflows.pushdown import quote_identifier, to_sql

_ROOTS = frozenset({"event", "config", "now", "old", "new"})
_MOST_FILTERS = 20
"""With more different filters on a table, checking them all costs a writer more than capturing."""
_MODIFIER = re.compile(r"\(.*?\)")
_WITH_EQUALITY = frozenset(
    {"smallint", "integer", "bigint", "oid", "boolean", "uuid", "real", "double precision", "numeric", "date", "bytea"}
    | {"jsonb", "timestamp without time zone", "timestamp with time zone", "time without time zone"}
)
_VERSION = "1"
"""Part of every fingerprint; raised when triggers made before have to be made again."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its type as `format_type` writes it, pg_type.typtype, and pg_attribute.attgenerated."""

    name: str
    type: str
    typtype: str = "b"
    generated: str = ""

    @property
    def virtual(self) -> bool:
        """Whether it is computed when read: no trigger ever sees its value."""
        return self.generated == "v"


@dataclass(frozen=True, slots=True)
class Relation:
    """A table, partition or child: its OID, its name for people, and pg_class.relkind."""

    oid: int
    label: str
    kind: str = "r"


@dataclass(frozen=True, slots=True)
class Table:
    """What has to be known about a table to capture it. `descendants` are partitions and children, at any depth."""

    name: TableName
    relation: Relation
    columns: tuple[Column, ...] = ()
    descendants: tuple[Relation, ...] = ()
    parent: str | None = None
    persistence: str = "p"
    may_trigger: bool = True

    @property
    def refusal(self) -> str | None:
        """Say why it cannot be watched, whoever may do what; None if it can."""
        if self.relation.kind in _NO_TABLES:
            return f"{self.name} is {_NO_TABLES[self.relation.kind]}"
        if self.name.schema in {"hark", "information_schema"} or self.name.schema.startswith("pg_"):
            return f"{self.name} belongs to {'Hark itself' if self.name.schema == 'hark' else 'PostgreSQL'}"
        if self.persistence == "t":
            return f"{self.name} is a temporary table: only one session sees it"
        if self.parent is not None:
            return f"{self.name} is a part of {self.parent}: watch {self.parent}, and filter with `when`"
        foreign = [relation.label for relation in self.descendants if relation.kind == "f"]
        if foreign:
            return f"{foreign[0]}, a part of {self.name}, lies on another server: its changes cannot be captured"
        return None


_NO_TABLES = {
    "v": "a view: it holds no rows, watch the table under it",
    "m": "a materialized view: PostgreSQL has no triggers for it, watch the tables under it",
    "f": "a foreign table: its changes happen on another server, watch it there",
}


@dataclass(frozen=True, slots=True)
class Placement:
    """One database trigger. `condition` is SQL for WHEN; `mode` is the second argument of hark.capture_change."""

    relation: Relation
    operation: str
    level: str
    mode: str
    condition: str | None = None

    @property
    def name(self) -> str:
        """The trigger's name; it differs by level, so that one can replace the other in one transaction."""
        return f"hark_capture_{self.operation}" + ("_row" if self.level == "ROW" else "")

    def fingerprint(self) -> str:
        """Return what tells that a trigger in the database was made from this."""
        parts = (_VERSION, self.operation, self.level, self.mode, self.condition or "")
        return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class CapturePlan:
    """All triggers that a table needs, and who gets an event of what; without placements, `problem` says why."""

    table: TableName
    interests: tuple[Interest, ...]
    placements: tuple[Placement, ...] = ()
    unseen: tuple[str, ...] = ()
    """Columns whose values no trigger sees."""
    problem: str | None = None


@dataclass(slots=True)
class _Demand:
    """What the watchers of one operation want. A None among the filters wants everything."""

    granularities: set[Granularity] = field(default_factory=set)
    filters: dict[str | None, None] = field(default_factory=dict)


def plan_captures(triggers: Iterable[ActiveTrigger], tables: Mapping[TableName, Table]) -> list[CapturePlan]:
    """Plan the capture of every table that a trigger watches, in the order of their names."""
    watchers: dict[TableName, list[ActiveTrigger]] = defaultdict(list)
    for trigger in triggers:
        watchers[trigger.config.table_name].append(trigger)
    return [_plan(name, watchers[name], tables.get(name)) for name in sorted(watchers)]


def _plan(name: TableName, triggers: Sequence[ActiveTrigger], table: Table | None) -> CapturePlan:
    interests = _interests(triggers)
    problem = f"there is no table {name}" if table is None else table.refusal
    if table is None or problem is not None:
        return CapturePlan(name, interests, problem=problem)
    placements: list[Placement] = []
    for operation in OPERATIONS:
        watching = [trigger for trigger in triggers if operation in trigger.config.operations]
        if watching:
            placements.extend(_placements(table, operation, _demand(watching, operation, table)))
    unseen = tuple(column.name for column in table.columns if column.virtual)
    return CapturePlan(name, interests, tuple(placements), unseen)


def _interests(triggers: Sequence[ActiveTrigger]) -> tuple[Interest, ...]:
    wanted: dict[tuple[Any, Granularity], set[str]] = defaultdict(set)
    for trigger in triggers:
        wanted[trigger.tenant_id, trigger.config.per].update(trigger.config.operations)
    return tuple(
        sorted(
            Interest(tenant, per, tuple(operation for operation in OPERATIONS if operation in operations))
            for (tenant, per), operations in wanted.items()
        )
    )


def _demand(triggers: Sequence[ActiveTrigger], operation: str, table: Table) -> _Demand:
    demand = _Demand()
    for trigger in triggers:
        config: RowConfig = trigger.config
        demand.granularities.add(config.per)
        whole = config.per == "statement" or config.capture == "all"
        demand.filters[None if whole else row_filter(config, trigger.when, operation, table)] = None
    return demand


def _placements(table: Table, operation: str, demand: _Demand) -> Iterable[Placement]:
    if operation == "truncate":
        yield Placement(table.relation, operation, "STATEMENT", "row")
        for part in table.descendants:
            if part.kind == "r":  # what is partitioned again has nothing of its own to truncate
                yield Placement(part, operation, "STATEMENT", "partition")
        return
    condition = _joined_filters(demand.filters)
    if condition is not None and not table.descendants and table.relation.kind == "r":
        yield Placement(table.relation, operation, "ROW", "row", condition)
        return
    mode = "statement" if demand.granularities == {"statement"} else "row"
    for relation in (table.relation, *table.descendants):
        yield Placement(relation, operation, "STATEMENT", mode)


def _joined_filters(filters: Mapping[str | None, None]) -> str | None:
    """Join filters with OR; None when something wants everything."""
    known = sorted(condition for condition in filters if condition is not None)
    if len(known) < len(filters) or len(known) > _MOST_FILTERS:
        return None
    return " OR ".join(known) if len(known) == 1 else " OR ".join(f"({condition})" for condition in known)


def row_filter(config: RowConfig, when: str | None, operation: str, table: Table) -> str | None:
    """Write SQL that is true for every change that concerns a trigger, and for as few others as possible.

    None when no part of what it asks for can be said in SQL. It never fails on a row.
    """
    if operation == "truncate":
        return None
    columns = {column.name: _compared_as(column) for column in table.columns if not column.virtual}
    parts = [_changed(group, columns) for group in _change_groups(config, operation)]
    parts += [_pushed(source, columns, operation) for source in _conditions(config, when, operation)]
    known = dict.fromkeys(part for part in parts if part is not None)
    return " AND ".join(known) if known else None


def _compared_as(column: Column) -> str:
    """Enums are compared by their labels, which is what their JSON holds."""
    return "text" if column.typtype == "e" else column.type


def _change_groups(config: RowConfig, operation: str) -> Iterable[Sequence[str]]:
    return (group for group in (config.columns, config.transition_columns) if group) if operation == "update" else ()


def _changed(names: Sequence[str], columns: Mapping[str, str]) -> str | None:
    """Say that one of these columns has another value. What looks different in JSON must differ here too."""
    if not all(name in columns for name in names):
        return None
    return "(" + " OR ".join(_differs(quote_identifier(name), columns[name]) for name in names) + ")"


def _differs(column: str, type_name: str) -> str:
    """Compare as text where a type has no `=`, or one that does not see every difference (citext, interval, …)."""
    if _MODIFIER.sub("", type_name) in _WITH_EQUALITY:
        return f"OLD.{column} IS DISTINCT FROM NEW.{column}"
    return f'(OLD.{column}::text COLLATE "C") IS DISTINCT FROM (NEW.{column}::text COLLATE "C")'


def _conditions(config: RowConfig, when: str | None, operation: str) -> Iterable[str]:
    """Yield what must hold as CEL, with `from` and `to` in the same language as `when`."""
    before = config.from_ if operation != "insert" else None
    after = config.to if operation != "delete" else None
    for root, values in (("old", before), ("new", after)):
        for column, value in (values or {}).items():
            operator = "in" if isinstance(value, list) else "=="
            yield f"{root}[{_literal(column)}] {operator} {_literal(value)}"
    if when is not None:
        yield when


def _literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _pushed(source: str, columns: Mapping[str, str], operation: str) -> str | None:
    try:
        return to_sql(compile_expression(source, _ROOTS), columns, operation=operation)
    except ExpressionError:
        return None
