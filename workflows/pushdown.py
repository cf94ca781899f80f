"""Push-down: a condition on `old` and `new` as SQL for the WHEN clause of a row trigger.

The contract: the SQL is true for every row for which the condition holds; it may be true for more, because the
condition is evaluated again on the event. So an operand of `&&` that has no SQL is left out, and nothing that could
be wrong in the other direction is translated. Nothing that is translated can fail on a row: that would fail the writer.

What a condition sees is `to_jsonb` of the row, and that decides what each type means:

| column | as JSON | comparison |
|---|---|---|
| text, varchar | string | by code points: `COLLATE "C"` (order only against ASCII, so in every server encoding) |
| uuid | lower-case string | as text |
| smallint, integer, bigint | number, exact | as it is |
| numeric | number, read as a double | against a literal, widened by more than a double rounds |
| boolean | bool | as it is |
| date, timestamp, timestamptz | ISO 8601, in UTC | as that text, whatever the writer's session would show |

All other types are not pushed. CEL's errors act in `&&`, `||` and `!` exactly
like NULL in SQL's AND, OR and NOT; a null, however, equals null and differs from everything else without an error,
hence IS [NOT] DISTINCT FROM. `old` on insert and `new` on delete are missing: NULL.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal as OneOf
from typing import TypeAlias

from hark.workflows.cel.paths import Part, path_of
from hark.workflows.cel.tree import Call, Const, ListNode, Literal, Node, Select
from hark.workflows.expressions import Expression

_Family: TypeAlias = OneOf["text", "integer", "numeric", "boolean"]

_FAMILIES: dict[str, _Family] = {
    **dict.fromkeys(("text", "varchar", "character varying", "uuid"), "text"),
    **dict.fromkeys(("smallint", "integer", "bigint", "int", "int2", "int4", "int8"), "integer"),
    **dict.fromkeys(("numeric", "decimal"), "numeric"),
    **dict.fromkeys(("boolean", "bool"), "boolean"),
    **dict.fromkeys(("date", "timestamp without time zone", "timestamp with time zone"), "text"),
}
_PRECISION = re.compile(r"\(\d\)(?= with)")
_TYPE = re.compile(r"([a-z0-9 ]+?)(\(\d+(, ?-?\d+)?\))?")
_ROWS: dict[str, frozenset[str]] = {
    "insert": frozenset({"new"}),
    "update": frozenset({"old", "new"}),
    "delete": frozenset({"old"}),
}
_ORDERS = frozenset({"<", "<=", ">", ">="})
_NEGATED = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_FLIPPED = {"==": "==", "!=": "!=", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
_DISTINCT = {"==": "IS NOT DISTINCT FROM", "!=": "IS DISTINCT FROM"}
_SYMBOLS = {f"_{symbol}_": symbol for symbol in _NEGATED}
_ERROR = "NULL::boolean"
_EXACT_RANGE = (1e-9, 1e18)
_LARGEST_NUMERIC = 2**53
_RELATIVE_MARGIN, _ABSOLUTE_MARGIN = Decimal("1e-15"), Decimal("1e-20")


def to_sql(expression: Expression, columns: Mapping[str, str], *, operation: str) -> str | None:
    """Translate a condition, or as much of it as has SQL; None when nothing has.

    `columns` maps the columns of the table that may be used to their types as `format_type` writes them; `operation`
    is `insert`, `update` or `delete`.
    """
    sql = Translator.of(columns, operation).condition(expression.node, negated=False)
    return "false" if sql == _ERROR else sql


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of NEW or OLD; `sql` is empty when the operation has no such row."""

    sql: str
    family: _Family


_Operand: TypeAlias = "_Column | Const | None"


class Translator:
    """Translates with every `!` pushed down to the comparisons: what is then left out only lets more rows through."""

    def __init__(self, columns: Mapping[str, str], rows: frozenset[str]) -> None:
        self._columns = columns
        self._rows = rows

    @classmethod
    def of(cls, columns: Mapping[str, str], operation: str) -> Translator:
        """Make the translator for an operation."""
        return cls(columns, _ROWS[operation.lower()])

    def as_text(self, node: Node) -> str | None:
        """Return SQL of type text for a column, by which its values can be told apart; None when it is none such."""
        column = self._operand(node)
        known = isinstance(column, _Column) and column.sql and column.family != "numeric"
        return f"{column.sql}::text" if known and isinstance(column, _Column) else None

    def text_of(self, column: Node, literal: Node) -> str | None:
        """Return what `as_text` gives where the column equals a literal; None when nobody can say."""
        known = self._operand(column)
        if not isinstance(known, _Column) or not isinstance(literal, Const):
            return None
        match known.family, literal.value:
            case "text", str(text) if "\0" not in text:
                return text
            case "boolean", bool(value):
                return "true" if value else "false"
            case "integer", int(number) | float(number) if not isinstance(number, bool) and number % 1 == 0:
                return str(int(number))
            case _:
                return None

    def bound_of(self, node: Node) -> tuple[str, str, Decimal | str] | None:
        """Return column, symbol and constant of a comparison by order, the column on the left; None for another."""
        if not isinstance(node, Call) or len(node.args) != 2 or _SYMBOLS.get(node.function) not in _ORDERS:
            return None
        symbol, (a, b) = _SYMBOLS[node.function], map(self._operand, node.args)
        if isinstance(a, Const):
            a, b, symbol = b, a, _FLIPPED[symbol]
        if not isinstance(a, _Column) or not a.sql or not isinstance(b, Const):
            return None
        match b.value:
            case str(text):
                return a.sql, symbol, text
            case int(number) | float(number) if math.isfinite(number):
                return a.sql, symbol, Decimal(number)
            case _:
                return None

    def condition(self, node: Node, *, negated: bool) -> str | None:
        """Translate a condition or its opposite; None when it has no SQL."""
        match node:
            case Call(function="!_", args=(inner,)):
                return self.condition(inner, negated=not negated)
            case Call(function="_&&_" | "_||_", args=args):
                return self._logic(args, negated=negated, conjunction=(node.function == "_&&_") is not negated)
            case Call(function="@in", args=(item, ListNode(elements=elements, optional=optional))) if not optional:
                return self._membership(item, elements, negated=negated)
            case Call(function=function, args=(left, right)) if function in _SYMBOLS:
                symbol = _SYMBOLS[function]
                return self._comparison(_NEGATED[symbol] if negated else symbol, left, right)
            case Select(test=True):
                return self._presence(node, negated=negated)
            case _:
                return self._bare(node, negated=negated)

    def _logic(self, args: Iterable[Node], *, negated: bool, conjunction: bool) -> str | None:
        parts = [self.condition(arg, negated=negated) for arg in args]
        known = [part for part in parts if part is not None]
        if not known or (not conjunction and len(known) < len(parts)):
            return None
        return _joined(known, " AND " if conjunction else " OR ")

    def _membership(self, item: Node, elements: tuple[Node, ...], *, negated: bool) -> str | None:
        """Translate `item in [a, b]` like `item == a || item == b`, with no elements false."""
        column = self._operand(item)
        if not isinstance(column, _Column):
            return None
        if not column.sql:
            return _ERROR
        parts = [self._comparison("!=" if negated else "==", item, element) for element in elements]
        known = [part for part in parts if part is not None]
        if not parts:
            return "true" if negated else "false"
        if not known or (not negated and len(known) < len(parts)):
            return None
        return _joined(known, " AND " if negated else " OR ")

    def _presence(self, node: Select, *, negated: bool) -> str | None:
        """Translate `has(new.column)`. Capture may leave a value out that is too large, so its absence is not sure."""
        column = self._operand(Select(node.operand, node.field, test=False, offset=node.offset))
        if not isinstance(column, _Column):
            return None
        if not column.sql:
            return "true" if negated else "false"
        return None if negated else "true"

    def _bare(self, node: Node, *, negated: bool) -> str | None:
        """Translate a constant or a column that stands alone as a condition."""
        column = self._operand(node)
        if isinstance(column, Const) and isinstance(column.value, bool):
            return "true" if column.value is not negated else "false"
        if not isinstance(column, _Column):
            return None
        if not column.sql:
            return _ERROR
        if column.family != "boolean":
            return None
        return f"(NOT {column.sql})" if negated else column.sql

    def _comparison(self, symbol: str, left: Node, right: Node) -> str | None:
        a, b = self._operand(left), self._operand(right)
        if isinstance(a, Const):
            a, b, symbol = b, a, _FLIPPED[symbol]
        if not isinstance(a, _Column) or b is None:
            return None
        if not a.sql or (isinstance(b, _Column) and not b.sql):
            return _ERROR
        return _between_columns(symbol, a, b) if isinstance(b, _Column) else _with_literal(symbol, a, b.value)

    def _operand(self, node: Node) -> _Operand:
        if isinstance(node, Const):
            return node
        read = path_of(node, ROW_SCOPE)
        if read is None or read.guarded:
            return None
        found = column_of(read.parts)
        return None if found is None else self._column(*found)

    def _column(self, row: str, name: str) -> _Column | None:
        declared = _TYPE.fullmatch(_PRECISION.sub("", self._columns.get(name, "").lower()))
        family = _FAMILIES.get(declared[1]) if declared else None
        if declared is None or family is None:
            return None
        if row not in self._rows:
            return _Column("", family)
        sql = f"{row.upper()}.{quote_identifier(name)}"
        if family == "text":
            sql = f'({_text(declared[1], sql)} COLLATE "C")'
        return _Column(sql, family)


ROW_SCOPE = frozenset({"event", "new", "old"})
"""The names under which conditions see a row."""


def column_of(parts: Sequence[Part]) -> tuple[str, str] | None:
    """Return which row, `old` or `new`, and which column of it a path reads; None when it is no column."""
    match parts:
        case ("event", "data", "new" | "old" as row, str() as name) | ("new" | "old" as row, str() as name):
            return row, name
        case _:
            return None


def _text(type_name: str, sql: str) -> str:
    """Write a column as the text that its JSON holds; that of a time is in UTC, the writer's session somewhere else."""
    match type_name:
        case "date" | "timestamp without time zone":
            return f"({_json_text(sql)})"
        case "timestamp with time zone":
            utc = _json_text(f"timezone('UTC', {sql})")
            moment = f"replace(({utc}) || '+00:00', ' BC+00:00', '+00:00 BC')"
            return f"(CASE WHEN isfinite({sql}) THEN {moment} ELSE {_json_text(sql)} END)"
        case _:
            return f"{sql}::text"


def _json_text(sql: str) -> str:
    return f"pg_catalog.to_json({sql}) #>> '{{}}'"


def _joined(parts: list[str], word: str) -> str:
    return parts[0] if len(parts) == 1 else f"({word.join(parts)})"


def _between_columns(symbol: str, a: _Column, b: _Column) -> str | None:
    """Compare two columns of one family.

    Numerics only for change, and then as they are written: different ones may be one double, and equal ones two
    numbers in JSON (9007199254740993 is read exactly, 9007199254740993.0 is not).
    """
    if a.family != b.family:
        return None
    if a.family == "numeric":
        return f"({a.sql}::text IS DISTINCT FROM {b.sql}::text)" if symbol == "!=" else None
    if symbol in _DISTINCT:
        return f"({a.sql} {_DISTINCT[symbol]} {b.sql})"
    return f"({a.sql} {symbol} {b.sql})" if a.family == "integer" else None


def _with_literal(symbol: str, column: _Column, value: Literal) -> str | None:
    if value is None:
        return {"==": f"({column.sql} IS NULL)", "!=": f"({column.sql} IS NOT NULL)"}.get(symbol)
    if column.family == "numeric":
        return _numeric(symbol, column.sql, value)
    literal = _literal(column.family, value, ordered=symbol in _ORDERS)
    if literal is None:
        return None
    return f"({column.sql} {_DISTINCT.get(symbol, symbol)} {literal})"


def _literal(family: _Family, value: Literal, *, ordered: bool) -> str | None:
    """Write a literal that compares with a column of this family as it does in CEL; None when it does not."""
    if isinstance(value, bool):
        return ("true" if value else "false") if family == "boolean" and not ordered else None
    if isinstance(value, str):
        readable = "\0" not in value and (value.isascii() or not ordered)
        return quote_text(value) if family == "text" and readable else None
    return _number(value) if isinstance(value, int | float) and family == "integer" else None


def _number(value: float) -> str | None:
    """Write a number exactly; a double of very many digits is not worth it."""
    smallest, largest = _EXACT_RANGE
    if not isinstance(value, int) and value != 0 and not smallest <= abs(value) <= largest:
        return None
    text = format(Decimal(value), "f")
    return f"({text})" if text.startswith("-") else text


def _numeric(symbol: str, sql: str, value: Literal) -> str | None:
    """Compare a numeric with a literal. The condition sees the nearest double, which may lie on its other side."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LARGEST_NUMERIC:
        return None  # beyond, 9007199254740993.0 is a double and 9007199254740993 an int of another value
    number = _number(value)
    if number is None:
        return None
    exact = Decimal(value)
    margin = abs(exact) * _RELATIVE_MARGIN + _ABSOLUTE_MARGIN
    low, high = (f"({bound:f})" for bound in (exact - margin, exact + margin))
    if symbol == "!=":
        return f"({sql} IS DISTINCT FROM {number})"
    if symbol == "==":
        return f"(({sql} BETWEEN {low} AND {high}) IS TRUE)"
    return f"({sql} <= {high})" if symbol in {"<", "<="} else f"({sql} >= {low})"


def quote_identifier(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Quote text for SQL, safe whatever `standard_conforming_strings` is; the text holds no NUL."""
    quoted = "'" + text.replace("'", "''").replace("\\", "\\\\") + "'"
    return f"E{quoted}" if "\\" in text else quoted
