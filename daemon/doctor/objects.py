"""The live schema against schema.sql, object by object.

schema.sql is run under another name, in a transaction that is rolled back, and both schemas are listed by the same
server: so both are worded the same, which a list made elsewhere, by another version of PostgreSQL, would not be.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import NamedTuple

import asyncpg

from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.report import Finding, error, ok, warning
from hark.daemon.store.database import Connection, sql
from hark.daemon.store.schema import schema_text

_TRANSACTION = re.compile(r"^(BEGIN|COMMIT);$", re.MULTILINE)
_NAME = re.compile(r"\bhark\b")
_PLURALS = {"index": "indexes", "policy": "policies"}
_RESTORE = "restore it as schema.sql has it, as the schema's owner"
_REMOVE = "if nobody needs it, drop it: the next upgrade does not expect it"


class Thing(NamedTuple):
    """What names an object: its kind, the table that it belongs to, if any, and its name."""

    kind: str
    relation: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.relation}.{self.name}" if self.relation else f"{self.kind} {self.name}"


Things = Mapping[Thing, str]
"""Objects with their definitions."""


async def look_at_objects(case: Case) -> AsyncIterator[Finding]:
    """Name everything that is missing, changed or extra in the live schema."""
    there = await _list(case.connection, "hark")
    try:
        expected = await list_expected(case.connection)
    except asyncpg.InsufficientPrivilegeError:
        yield warning(
            "the schema could not be compared: the user may not make the copy that it is compared with",
            "GRANT CREATE on the database to the user for the time of the check; the copy is rolled back",
        )
        return
    for finding in compare(there, expected):
        yield finding
    counts = Counter(thing.kind for thing in there)
    listed = ", ".join(f"{number} {_PLURALS.get(kind, f'{kind}s')}" for kind, number in sorted(counts.items()))
    yield ok(f"looked at {len(there)} objects: {listed}", **counts)


async def list_expected(connection: Connection) -> Things:
    """List what schema.sql makes on this server."""
    name = f"hark_doctor_{secrets.token_hex(4)}"
    text = _NAME.sub(name, _TRANSACTION.sub("", schema_text()))
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SET TRANSACTION READ WRITE; SET LOCAL statement_timeout = '20s'")
        await connection.execute(text)
        await connection.execute("SET LOCAL search_path = pg_catalog")
        return await _list(connection, name)
    finally:
        await transaction.rollback()


async def _list(connection: Connection, schema: str) -> Things:
    rows = await connection.fetch(sql("doctor_list_objects"), schema)
    named = re.compile(rf"\b{schema}\b")
    return {
        Thing(row["kind"], row["relation"], named.sub("hark", row["name"])): named.sub("hark", row["definition"])
        for row in rows
    }


def compare(there: Things, expected: Things) -> Iterator[Finding]:
    """Yield a finding for each difference. Of a table that is missing, or extra, what is on it goes without saying."""
    for thing in _without_parts(expected, there):
        yield error(f"{thing} is missing", _RESTORE, kind=thing.kind, expected=expected[thing])
    for thing in expected.keys() & there.keys():
        if there[thing] != expected[thing]:
            yield error(
                f"{thing} has changed",
                _RESTORE,
                kind=thing.kind,
                expected=expected[thing],
                found=there[thing],
            )
    for thing in _without_parts(there, expected):
        yield warning(f"{thing} is not part of Hark's schema", _REMOVE, kind=thing.kind, found=there[thing])


def _without_parts(things: Things, others: Things) -> list[Thing]:
    """List what is in the one and not in the other, without the parts of tables that are listed themselves."""
    only = sorted(things.keys() - others.keys(), key=str)
    whole = {thing.name for thing in only if thing.kind in {"table", "view", "sequence"}}
    return [thing for thing in only if thing.relation not in whole]
