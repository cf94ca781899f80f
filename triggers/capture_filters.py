"""What the watchers of a table ask of a change, as SQL for the WHEN clause of one trigger, however many they are.

A few filters are joined with OR. More of them are folded by what they ask of a column by equality: all such texts
become one set, and one look into it answers for all; or by order: the widest of their bounds stands for all. That asks
less than each of them did, which lets more through and never less. Whatever cannot be folded stays beside, and too much
of it makes a trigger without a condition.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from hark.triggers.row_config import RowConfig
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import ROOTS, Expression, compile_expression
from hark.workflows.pushdown import quote_identifier, to_sql
from hark.workflows.pushdown_keys import Bound, Bounds, Keys, bounds_of, keys_of, widest

if TYPE_CHECKING:
    from hark.triggers.capture_plan import Column, Table

MOST_JOINED = 8
"""Each session reads the condition of a trigger again for each statement: more than so many cost it more than a set."""
MOST_SETS = 4
MOST_BYTES = 256 * 1024
"""What all sets of a trigger may hold: each session keeps a copy of them in its memory."""

_MODIFIER = re.compile(r"\(.*?\)")
_WITH_EQUALITY = frozenset(
    {"smallint", "integer", "bigint", "oid", "boolean", "uuid", "real", "double precision", "numeric", "date", "bytea"}
    | {"jsonb", "timestamp without time zone", "timestamp with time zone", "time without time zone"}
)
_TEXTS = frozenset({"text", "character varying"})


@dataclass(frozen=True, slots=True)
class Filter:
    """What one watcher asks of one operation.

    `sql` is true for every change that concerns it, and for as few others as possible; it never fails on a row. `keys`
    are the columns that must have one of some texts, `bounds` those that must not lie beyond a constant.
    """

    sql: str
    keys: Keys
    bounds: Bounds = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeySet:
    """A set of texts, and the function in the schema of row capture that tells whether it holds one."""

    function: str
    content: str
    """The texts as the keys of a JSON object: PostgreSQL finds one among many by halving."""
    digest: str
    """What tells one set from another."""

    @classmethod
    def of(cls, function: str, texts: Iterable[str]) -> KeySet:
        """Make the set of some texts."""
        content = orjson.dumps(dict.fromkeys(sorted(texts), 0))
        return cls(function, content.decode(), hashlib.blake2b(content, digest_size=8).hexdigest())


@dataclass(frozen=True, slots=True)
class Guard:
    """The condition of a trigger, and the sets that it looks into."""

    sql: str
    sets: tuple[KeySet, ...] = ()


def filter_of(config: RowConfig, when: str | None, operation: str, table: Table) -> Filter | None:
    """Return what a trigger asks of a change; None when no part of it can be said in SQL."""
    if operation == "truncate":
        return None
    columns = {column.name: compared_as(column) for column in table.columns if not column.virtual}
    conditions = [found for source in _conditions(config, when, operation) if (found := _compiled(source)) is not None]
    pushed = {condition: to_sql(condition, columns, operation=operation) for condition in conditions}
    parts = [_changed(group, columns) for group in _change_groups(config, operation)]
    known = dict.fromkeys(part for part in (*parts, *pushed.values()) if part is not None and table.can_say(part))
    if not known:
        return None
    keys: Keys = {}
    bounds: Bounds = {}
    for condition, sql in pushed.items():
        if sql in known:
            keys.update(keys_of(condition, columns, operation=operation))
            bounds.update(bounds_of(condition, columns, operation=operation))
    return Filter(" AND ".join(known), keys, bounds)


def joined(filters: Iterable[Filter], prefix: str, schema: str = "hark") -> Guard | None:
    """Return a condition that is true wherever one of the filters is; None when checking it would cost too much.

    `prefix` begins the names of the functions of its sets, which lie in `schema`.
    """
    different = {each.sql: each for each in filters}
    if len(different) <= MOST_JOINED:
        return Guard(_or(sorted(different)))
    texts, rest = _folded(different.values())
    size = sum(len(text.encode()) + 1 for one in texts.values() for text in one)
    if len(rest) > MOST_JOINED or len(texts) > MOST_SETS or size > MOST_BYTES:
        return None
    sets = {column: KeySet.of(f"{prefix}{number}", texts[column]) for number, column in enumerate(sorted(texts))}
    looks = [f"{schema}.{quote_identifier(one.function)}({column})" for column, one in sets.items()]
    return Guard(_or([*looks, *sorted(rest)]), tuple(sets.values()))


def _folded(filters: Iterable[Filter]) -> tuple[Mapping[str, set[str]], Sequence[str]]:
    """Put each filter's texts into the set of one column, and return what stays beside the sets.

    Of several columns the one is taken in which the filters differ most: its set lets the fewest rows through.
    """
    ordered = list(filters)
    different: dict[str, set[str]] = defaultdict(set)
    for each in ordered:
        for column, texts in each.keys.items():
            different[column] |= texts
    chosen: dict[str, set[str]] = defaultdict(set)
    rest = []
    for each in ordered:
        if each.keys:
            column = max(each.keys, key=lambda one: (len(different[one]), one))
            chosen[column] |= each.keys[column]
        else:
            rest.append(each)
    return chosen, _bounded(rest)


def _bounded(filters: Sequence[Filter]) -> Sequence[str]:
    """Put the widest bound in place of all that bound a column on one side, and return what has none as it is.

    Of several columns the one is taken that most of the filters bound: the fewer there are, the less is checked.
    """
    uses = Counter(side for each in filters for side in each.bounds)
    chosen: dict[tuple[str, bool], list[Bound]] = defaultdict(list)
    rest = []
    for each in filters:
        if each.bounds:
            side = max(each.bounds, key=lambda one: (uses[one], one))
            chosen[side].append(each.bounds[side])
        else:
            rest.append(each.sql)
    return [*(widest(bounds, below=side[1]).sql for side, bounds in chosen.items()), *rest]


def _or(conditions: Sequence[str]) -> str:
    return " OR ".join(conditions) if len(conditions) == 1 else " OR ".join(f"({each})" for each in conditions)


def bare_type(type_name: str) -> str:
    """Take off what a type is limited to: `numeric(9,2)` is numeric."""
    return _MODIFIER.sub("", type_name)


def compared_as(column: Column) -> str:
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
    """Compare as stored where a type has no `=`, or one that does not see every difference (citext, interval, …).

    As text two numbers in an array or a point may look the same: the writer's session says how many digits there are.
    """
    type_name = bare_type(type_name)
    if type_name in _WITH_EQUALITY:
        return f"OLD.{column} IS DISTINCT FROM NEW.{column}"
    if type_name in _TEXTS:
        return f'(OLD.{column}::text COLLATE "C") IS DISTINCT FROM (NEW.{column}::text COLLATE "C")'
    return f"pg_catalog.record_image_ne(ROW(OLD.{column}), ROW(NEW.{column}))"


def _conditions(config: RowConfig, when: str | None, operation: str) -> Iterator[str]:
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


def _compiled(source: str) -> Expression | None:
    try:
        return compile_expression(source, ROOTS)
    except ExpressionError:
        return None
