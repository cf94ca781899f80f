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
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from operator import is_
from typing import Any

from hark.triggers.capture_filters import Filter, KeySet, bare_type, compared_as, filter_of, joined
from hark.triggers.row_changes import Interest
from hark.triggers.row_columns import Lost, lost_columns
from hark.triggers.row_config import OPERATIONS, Granularity, RowConfig
from hark.triggers.table_name import TableName
from hark.workflows.catalogue import ActiveTrigger

_PLAIN = frozenset(
    {"smallint", "integer", "bigint", "numeric", "boolean", "text", "character varying", "character", "uuid", "json"}
    | {"jsonb", "date", "timestamp without time zone", "time without time zone", "timestamp with time zone"}
)
"""Types in whose JSON no setting of a session shows but the time zone, which capture has set to UTC."""
_VERSION = "4"
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
    capture_schema: str = "hark"
    """Where the functions of row capture are in its database."""
    encoding: str = "UTF8"
    """Of its database: what a trigger's condition is kept in."""

    def can_say(self, sql: str) -> bool:
        """Tell whether a condition can be kept there. Nothing but its letters is sure to be in every encoding."""
        return sql.isascii() or self.encoding in {"UTF8", "SQL_ASCII"}

    @property
    def refusal(self) -> str | None:
        """Say why it cannot be watched, whoever may do what; None if it can."""
        if self.relation.kind in _NO_TABLES:
            return f"{self.name} is {_NO_TABLES[self.relation.kind]}"
        ours = self.name.schema in {"hark", self.capture_schema}
        if ours or self.name.schema == "information_schema" or self.name.schema.startswith("pg_"):
            return f"{self.name} belongs to {'Hark itself' if ours else 'PostgreSQL'}"
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
    """One database trigger. `condition` is SQL for WHEN; `mode` is the second argument of its function."""

    relation: Relation
    operation: str
    level: str
    mode: str
    condition: str | None = None
    sets: tuple[KeySet, ...] = ()
    """What the condition looks into; made together with the trigger."""
    formatted: bool = False
    """Whether settings of a session would show in the JSON of the columns."""

    @property
    def name(self) -> str:
        """The trigger's name; it differs by level, so that one can replace the other in one transaction."""
        return f"hark_capture_{self.operation}" + ("_row" if self.level == "ROW" else "")

    @property
    def function(self) -> str:
        """The function that it calls: for each kind of change one, of those in schema.sql."""
        if self.operation == "truncate":
            return "capture_change"
        return f"capture_{'row' if self.level == 'ROW' else self.operation}" + ("_formatted" if self.formatted else "")

    def fingerprint(self) -> str:
        """Return what tells that a trigger in the database was made from this."""
        sets = [one.digest for one in self.sets]
        parts = (_VERSION, self.function, self.level, self.mode, self.condition or "", *sets)
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
    warnings: tuple[Lost, ...] = ()


@dataclass(slots=True)
class _Made:
    """The plan of a table, once there is one, and what it was made from."""

    table: Table | None
    triggers: Sequence[ActiveTrigger] = ()
    plan: CapturePlan | None = None
    filters: dict[int, _Filters] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Filters:
    """What a trigger asks of each operation. It holds the trigger, lest another one get its place in memory."""

    trigger: ActiveTrigger
    by_operation: dict[str, Filter | None] = field(default_factory=dict)
    _lost: tuple[Lost, ...] | None = None

    def lost(self, table: Table) -> tuple[Lost, ...]:
        """Return what it uses and the table does not have."""
        if self._lost is None:
            self._lost = tuple(lost_columns(self.trigger, table))
        return self._lost

    def of(self, operation: str, table: Table) -> Filter | None:
        """Return what it asks of an operation; None when it wants everything."""
        if operation not in self.by_operation:
            self.by_operation[operation] = self._made(operation, table)
        return self.by_operation[operation]

    def _made(self, operation: str, table: Table) -> Filter | None:
        config: RowConfig = self.trigger.config
        whole = config.per == "statement" or config.capture == "all"
        return None if whole else filter_of(config, self.trigger.when, operation, table)


class CapturePlanner:
    """Plans the same captures again and again: only what has changed is worked out anew. One caller at a time."""

    def __init__(self) -> None:
        self._made: dict[TableName, _Made] = {}

    def read(
        self, watchers: Mapping[TableName, Sequence[ActiveTrigger]], tables: Mapping[TableName, Table]
    ) -> Iterator[None]:
        """Work out what each trigger asks for, one at every step, so that the caller may let others run in between."""
        for name, triggers in watchers.items():
            table = tables.get(name)
            if table is not None:
                made = self._made_for(name, table)
                for trigger in triggers:
                    filters = made.filters.setdefault(id(trigger), _Filters(trigger))
                    filters.lost(table)
                    for operation in trigger.config.operations:
                        filters.of(operation, table)
                    yield

    def plan(
        self, watchers: Mapping[TableName, Sequence[ActiveTrigger]], tables: Mapping[TableName, Table]
    ) -> list[CapturePlan]:
        """Plan the capture of each table for those who watch it, in the order of the tables' names."""
        return [self._planned(name, watchers[name], tables.get(name)) for name in sorted(watchers)]

    def forget(self, names: Iterable[TableName]) -> None:
        """Drop what is remembered of tables that nobody watches any more."""
        for name in names:
            self._made.pop(name, None)

    def _planned(self, name: TableName, triggers: Sequence[ActiveTrigger], table: Table | None) -> CapturePlan:
        made = self._made_for(name, table)
        if made.plan is None or not same(made.triggers, triggers):
            known = made.filters
            made.filters = {id(trigger): known.get(id(trigger)) or _Filters(trigger) for trigger in triggers}
            made.triggers, made.plan = triggers, _plan(name, triggers, table, made.filters)
        return made.plan

    def _made_for(self, name: TableName, table: Table | None) -> _Made:
        """Return what is remembered of a table; nothing when it looks different by now."""
        made = self._made.get(name)
        if made is None or made.table != table:
            made = self._made[name] = _Made(table)
        return made


def same(one: Sequence[ActiveTrigger], other: Sequence[ActiveTrigger]) -> bool:
    """Tell whether two lists hold the very same triggers; those of another version are others."""
    return len(one) == len(other) and all(map(is_, one, other))


def watchers_of(triggers: Iterable[ActiveTrigger]) -> dict[TableName, list[ActiveTrigger]]:
    """Sort triggers by the table that they watch."""
    watchers: dict[str, list[ActiveTrigger]] = defaultdict(list)
    for trigger in triggers:
        watchers[trigger.config.table].append(trigger)
    return {TableName.parse(table): watching for table, watching in watchers.items()}


def plan_captures(triggers: Iterable[ActiveTrigger], tables: Mapping[TableName, Table]) -> list[CapturePlan]:
    """Plan the capture of every table that a trigger watches, in the order of their names."""
    return CapturePlanner().plan(watchers_of(triggers), tables)


def _plan(
    name: TableName, triggers: Sequence[ActiveTrigger], table: Table | None, filters: Mapping[int, _Filters]
) -> CapturePlan:
    interests = _interests(triggers)
    problem = f"there is no table {name}" if table is None else table.refusal
    if table is None or problem is not None:
        return CapturePlan(name, interests, problem=problem)
    placements: list[Placement] = []
    for operation in OPERATIONS:
        watching = [trigger for trigger in triggers if operation in trigger.config.operations]
        if watching:
            placements.extend(_placements(table, operation, watching, filters))
    unseen = tuple(column.name for column in table.columns if column.virtual)
    warnings = tuple(lost for trigger in triggers for lost in filters[id(trigger)].lost(table))
    return CapturePlan(name, interests, tuple(placements), unseen, warnings=warnings)


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


def _placements(
    table: Table, operation: str, watching: Sequence[ActiveTrigger], filters: Mapping[int, _Filters]
) -> Iterable[Placement]:
    if operation == "truncate":
        yield Placement(table.relation, operation, "STATEMENT", "row")
        for part in table.descendants:
            if part.kind == "r":  # what is partitioned again has nothing of its own to truncate
                yield Placement(part, operation, "STATEMENT", "partition")
        return
    formatted = _formatted(table)
    if not table.descendants and table.relation.kind == "r":
        asked = _asked(table, operation, watching, filters)
        guard = (
            None if asked is None else joined(asked, f"wants_{table.relation.oid}_{operation}_", table.capture_schema)
        )
        if guard is not None:
            yield Placement(table.relation, operation, "ROW", "row", guard.sql, guard.sets, formatted)
            return
    mode = "statement" if all(trigger.config.per == "statement" for trigger in watching) else "row"
    for relation in (table.relation, *table.descendants):
        yield Placement(relation, operation, "STATEMENT", mode, formatted=formatted)


def _formatted(table: Table) -> bool:
    """Tell whether settings of a session would show in the JSON of its rows. Children may have more columns than it."""
    names = {bare_type(compared_as(column)).removesuffix("[]") for column in table.columns}
    return not names <= _PLAIN or (bool(table.descendants) and table.relation.kind != "p")


def _asked(
    table: Table, operation: str, watching: Sequence[ActiveTrigger], filters: Mapping[int, _Filters]
) -> Sequence[Filter] | None:
    """Return what each watcher asks of the rows; None when one of them wants everything."""
    asked = []
    for trigger in watching:
        found = filters[id(trigger)].of(operation, table)
        if found is None:
            return None
        asked.append(found)
    return asked
