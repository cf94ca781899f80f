"""Rows that are in a table already, read in parts by the order of a key, in the form in which changes are captured."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

import asyncpg
import orjson

from hark.daemon.store.as_captured import AS_CAPTURED
from hark.daemon.store.capture_site import CaptureSite
from hark.daemon.store.database import Connection, Record, sql
from hark.daemon.store.row_outbox import rows_of
from hark.triggers.row_changes import Interest, RowChange
from hark.triggers.table_name import TableName
from hark.workflows.counting import counted
from hark.workflows.errors import UnprocessableError
from hark.workflows.pushdown import quote_identifier

MOST_BYTES = 4 * 1024 * 1024
_AT_A_TIME = 10
"""A row has up to 4 MiB of JSON: no more of them than this are in memory beyond MOST_BYTES."""
_LARGEST = 1024 * 1024
"""Bytes of a row that is taken as a whole, as in hark.capture_change; of a larger one only columns that are small."""
_SETTINGS = f"{AS_CAPTURED} SET LOCAL enable_sort = off; SET LOCAL enable_incremental_sort = off"
"""The order comes from the key's index."""

Position = Sequence[str]
"""The key of a row as text, column by column."""


@dataclass(frozen=True, slots=True)
class KeyedTable:
    """A table, and the key by whose order it is read."""

    name: TableName
    oid: int
    estimate: int
    """About how many rows it has, by the statistics of PostgreSQL."""
    columns: Sequence[str]
    types: Sequence[str]
    unseen: Sequence[str]
    """Virtual columns, which no trigger sees."""


@dataclass(frozen=True, slots=True)
class ExistingRow:
    """A row as if it were inserted now, and its key."""

    change: RowChange
    position: Position

    @property
    def identity(self) -> str:
        """What tells the row from others of its table: a hash, for the key may be somebody's name."""
        return blake2b(orjson.dumps(self.position), digest_size=16).hexdigest()


async def describe(site: CaptureSite, name: TableName) -> KeyedTable:
    """Look at a table. Raises UnprocessableError when its rows cannot be told apart or put in order."""
    async with _reading(site, name) as connection:
        row = await connection.fetchrow(sql("describe_keyed_table"), name.schema, name.name)
    if row is None:
        raise UnprocessableError(f"there is no table {name}")
    problem = _problem(row)
    if problem is not None:
        raise UnprocessableError(f"{name} {problem}")
    return KeyedTable(name, row["oid"], row["estimate"], row["columns"], row["types"], row["unseen"])


def _problem(row: Record) -> str | None:
    if row["kind"] not in {"r", "p"}:
        return "is no table"
    if row["has_children"]:
        return "has tables that inherit from it: no key holds over all of them"
    if row["columns"] is None:
        return (
            "has no primary key, nor a unique index over columns that are NOT NULL: nothing tells which of its rows "
            "have been run. Add one: ALTER TABLE … ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
        )
    if not row["ordered"]:
        return (
            f"has a key ({', '.join(row['columns'])}) of a type from outside PostgreSQL, whose order is not known "
            "here: give it a unique index over columns of other types that are NOT NULL"
        )
    return None


async def read_part(
    site: CaptureSite, table: KeyedTable, after: Position | None, most: int, interest: Interest, now: datetime
) -> tuple[list[ExistingRow], bool]:
    """Return up to `most` of the rows after a position; and whether there may be more.

    No snapshot is kept between parts: a row is as it is when its part is read. Raises UnprocessableError,
    UnavailableError.
    """
    if after is not None and len(after) != len(table.columns):
        raise UnprocessableError(f"after: the key of {table.name} has {counted(len(table.columns), 'column')}")
    try:
        return await _read(site, table, after, most, interest, now, careful=False)
    except _NoJsonError:
        return await _read(site, table, after, most, interest, now, careful=True)


class _NoJsonError(Exception):
    """Some row has no JSON as a whole."""


async def _read(
    site: CaptureSite, table: KeyedTable, after: Position | None, most: int, interest: Interest, now: datetime,
    *, careful: bool,
) -> tuple[list[ExistingRow], bool]:  # fmt: skip
    found: list[ExistingRow] = []
    size = 0
    async with _reading(site, table.name, careful=careful) as connection:
        cursor = await connection.cursor(_text(site.schema, table, after), careful, table.oid, most, *(after or ()))
        while size < MOST_BYTES and (records := await cursor.fetch(_AT_A_TIME)):
            size += sum(len(record["row"]) for record in records)
            found += [_row(table, record, interest, now) for record in records]
    return found, size >= MOST_BYTES or len(found) == most


def _text(schema: str, table: KeyedTable, after: Position | None) -> str:
    """Write the statement. Names are quoted and types are as format_type writes them: neither can be a parameter.

    OFFSET 0 keeps the parts apart: merged, the slow way would be gone for every row, and its result thrown away.
    """
    names = [f"hark_tuple.{quote_identifier(column)}" for column in table.columns]
    keys = [f"key{number}" for number in range(len(names))]
    selected = ", ".join(f"{name} AS {key}" for name, key in zip(names, keys, strict=True))
    values = ", ".join(f"${4 + number}::text::{type_name}" for number, type_name in enumerate(table.types))
    beyond = "" if after is None else f"WHERE ROW({', '.join(names)}) > ROW({values})"
    relation = table.name.sql
    texts = ", ".join(f"part.{key}::text" for key in keys)
    return f"""
        SELECT ARRAY[{texts}] AS position, coalesce(slow.content, quick.content) AS row, slow.left_out, slow.error
        FROM (SELECT ROW(hark_tuple.*)::{relation} AS tuple, {selected}
              FROM {relation} AS hark_tuple {beyond} ORDER BY {", ".join(names)} LIMIT $3) AS part
        CROSS JOIN LATERAL (
            SELECT CASE WHEN NOT $1::boolean AND pg_column_size(part.tuple) <= {_LARGEST}
                        THEN row_to_json(part.tuple)::text END AS content OFFSET 0) AS quick
        LEFT JOIN LATERAL (
            SELECT c.content, c.left_out, c.error FROM {schema}.careful_row_json($2::oid, part.tuple) AS c
            WHERE coalesce(octet_length(quick.content) > {_LARGEST}, true) OFFSET 0) AS slow ON true
        ORDER BY {", ".join(f"part.{key}" for key in keys)}
    """  # noqa: S608


def _row(table: KeyedTable, record: Record, interest: Interest, now: datetime) -> ExistingRow:
    row = rows_of(f"[{record['row']}]")[0]
    for column in table.unseen:
        row.pop(column, None)
    change = RowChange(
        id=0, table=table.name, interests=(interest,), operation="insert", old=(), new=(row,), transaction_id=0,
        occurred_at=now, row_count=1, left_out=(*(record["left_out"] or ()), *table.unseen), error=record["error"],
    )  # fmt: skip
    return ExistingRow(change, record["position"])


@asynccontextmanager
async def _reading(site: CaptureSite, name: TableName, *, careful: bool = True) -> AsyncIterator[Connection]:
    """Hand out a connection that reads as capture writes; raises UnprocessableError for what the table refuses."""
    try:
        async with site.database.reading() as connection:
            await connection.execute(_SETTINGS)
            yield connection
    except asyncpg.QueryCanceledError as error:
        raise UnprocessableError(f"{name} cannot be read within 15 s") from error
    except (asyncpg.SyntaxOrAccessError, asyncpg.LockNotAvailableError) as error:
        raise UnprocessableError(f"{name} cannot be read: {error}") from error
    except asyncpg.PostgresError as error:
        if careful:
            raise UnprocessableError(f"{name} cannot be read: {error}") from error
        raise _NoJsonError from error
