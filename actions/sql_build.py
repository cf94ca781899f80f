"""Building INSERT, UPDATE, DELETE and upsert from tables and values; identifiers are quoted, values are parameters."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Row = Mapping[str, Any]

_NAME_PART = re.compile(r'"(?:[^"\0]|"")+"|[^".\0]+')
MOST_VALUES = 32_767
"""The most parameters that a statement may have: the protocol counts them in 16 bits."""


def quote(name: str) -> str:
    """Quote one identifier, taken exactly as written. Raises ValueError for one that cannot be."""
    if not name or "\0" in name:
        raise ValueError(f"{name!r} is no name of a column")
    return '"' + name.replace('"', '""') + '"'


def quote_table(name: str) -> str:
    """Quote `table` or `schema.table`; a part with a dot in it is written in double quotes. Raises ValueError."""
    parts = _NAME_PART.findall(name)
    if ".".join(parts) != name or len(parts) > 2:
        raise ValueError(f"{name!r} is no table: write table or schema.table")
    return ".".join(part if part.startswith('"') else quote(part) for part in parts)


@dataclass(slots=True)
class Built:
    """A statement under construction: its text with `$1` …, and the values for them."""

    text: str = ""
    values: list[Any] = field(default_factory=list)

    def bind(self, value: Any) -> str:
        """Add a value and return its place; raises ValueError when there are too many."""
        if len(self.values) >= MOST_VALUES:
            raise ValueError(f"a statement takes at most {MOST_VALUES} values: split the rows over several steps")
        self.values.append(value)
        return f"${len(self.values)}"


def build_insert(table: str, rows: Sequence[Row], conflict: Sequence[str] = (), returning: Sequence[str] = ()) -> Built:
    """Insert rows that all have the same columns; with `conflict`, rows that exist by these columns are updated."""
    built = Built()
    columns = list(rows[0])
    missing = [column for column in conflict if column not in columns]
    if missing:
        raise ValueError(f"`conflict` names {missing[0]}, for which `values` has no value")
    if any(set(row) != set(columns) for row in rows):
        raise ValueError("all rows of `values` need the same columns")
    if columns:
        places = ", ".join("(" + ", ".join(built.bind(row[column]) for column in columns) + ")" for row in rows)
        what = f"({_list(columns)}) VALUES {places}"
    else:
        what = "DEFAULT VALUES"
    built.text = f"INSERT INTO {quote_table(table)} {what}{_on_conflict(columns, conflict)}{_returning(returning)}"
    return built


def build_update(table: str, values: Row, where: Row, returning: Sequence[str] = ()) -> Built:
    """Update the rows that `where` describes."""
    built = Built()
    changes = ", ".join(f"{quote(column)} = {built.bind(value)}" for column, value in values.items())
    condition = _where(built, where)
    built.text = f"UPDATE {quote_table(table)} SET {changes}{condition}{_returning(returning)}"  # noqa: S608  quoted
    return built


def build_delete(table: str, where: Row, returning: Sequence[str] = ()) -> Built:
    """Delete the rows that `where` describes."""
    built = Built()
    condition = _where(built, where)
    built.text = f"DELETE FROM {quote_table(table)}{condition}{_returning(returning)}"  # noqa: S608  quoted
    return built


def _list(columns: Sequence[str]) -> str:
    return ", ".join(quote(column) for column in columns)


def _where(built: Built, where: Row) -> str:
    return " WHERE " + " AND ".join(_equals(built, column, value) for column, value in where.items())


def _equals(built: Built, column: str, value: Any) -> str:
    if value is None:
        return f"{quote(column)} IS NULL"
    if isinstance(value, list):
        return f"{quote(column)} = ANY({built.bind(value)})"
    return f"{quote(column)} = {built.bind(value)}"


def _on_conflict(columns: Sequence[str], conflict: Sequence[str]) -> str:
    if not conflict:
        return ""
    changes = [f"{quote(column)} = EXCLUDED.{quote(column)}" for column in columns if column not in conflict]
    return f" ON CONFLICT ({_list(conflict)}) DO " + (f"UPDATE SET {', '.join(changes)}" if changes else "NOTHING")


def _returning(columns: Sequence[str]) -> str:
    return f" RETURNING {'*' if list(columns) == ['*'] else _list(columns)}" if columns else ""
