"""Rows of tables of the user's own, read for people who want to know what a trigger would make of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import asyncpg

from hark.daemon.store.as_captured import AS_CAPTURED
from hark.daemon.store.capture_checks import check_tables
from hark.daemon.store.capture_site import CaptureSite
from hark.daemon.store.capture_triggers import describe_tables
from hark.daemon.store.database import Connection
from hark.daemon.store.row_outbox import rows_of
from hark.triggers.row_changes import Row
from hark.triggers.table_name import TableName
from hark.workflows.catalogue import ActiveTrigger
from hark.workflows.errors import UnprocessableError

_AT_A_TIME = 100
_LARGEST = 1024 * 1024
"""Bytes of a row as JSON; larger ones are passed over."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of a table, without the columns that no trigger sees."""

    rows: Sequence[Row]
    left_out: Sequence[str]


async def read_rows(
    site: CaptureSite, table: TableName, triggers: Sequence[ActiveTrigger], most: int
) -> AsyncIterator[Batch]:
    """Yield the rows of a table in batches, in no order, `most` at the most, for `row` triggers that watch it.

    Raises UnprocessableError, also when one of the triggers could not be published: what nobody may watch (Hark's own
    tables, the catalogues, views), nobody gets to read either. A cursor in a read-only transaction: nothing is locked
    but against DROP, and no more than a batch is in memory.
    """
    # A table's name cannot be a parameter.
    text = (
        f"SELECT CASE WHEN octet_length(j.row) <= {_LARGEST} THEN j.row END AS row "  # noqa: S608
        f"FROM {table.sql} AS t CROSS JOIN LATERAL (SELECT row_to_json(t.*)::text) AS j (row) LIMIT $1"
    )
    try:
        async with site.database.reading() as connection:
            await connection.execute(AS_CAPTURED)
            await _refuse_bad(site, connection, triggers)
            left_out = await _unseen(connection, table)
            cursor = await connection.cursor(text, most)
            while records := await cursor.fetch(_AT_A_TIME):
                rows = [rows_of(f"[{record['row']}]")[0] for record in records if record["row"] is not None]
                yield Batch([{name: row[name] for name in row if name not in left_out} for row in rows], left_out)
    except (asyncpg.SyntaxOrAccessError, asyncpg.DataError, asyncpg.LockNotAvailableError) as error:
        raise UnprocessableError(f"{table} cannot be read: {error}") from error
    except asyncpg.QueryCanceledError as error:
        raise UnprocessableError(f"{table} cannot be read within 15 s") from error


async def _unseen(connection: Connection, table: TableName) -> Sequence[str]:
    """Return the columns of a table that a trigger has no value of: virtual ones."""
    found = (await describe_tables(connection, {table})).get(table)
    return [column.name for column in found.columns if column.virtual] if found is not None else ()


async def _refuse_bad(site: CaptureSite, connection: Connection, triggers: Sequence[ActiveTrigger]) -> None:
    problems = await check_tables(connection, triggers, site.schema)
    if problems:
        raise UnprocessableError("; ".join(map(str, problems)))
