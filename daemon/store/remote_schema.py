"""What row capture needs in the database of a named connection: a schema of its own, from a part of schema.sql."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

import asyncpg

from hark.daemon.store.capture_site import in_schema, sql_in
from hark.daemon.store.database import Connection, Database, Record, sql
from hark.daemon.store.schema import schema_text
from hark.workflows.errors import UnavailableError
from hark.workflows.pushdown import quote_identifier

DROP = "drop `connection` from the trigger"
_LOCK = 7020854
"""Advisory lock, in the other database, of whoever makes the schema or changes it."""
_BANNER = re.compile(r"^-- -{40,} (.+)$", re.MULTILINE)
_SECTION = "row capture"
_CALLED = "\n-- These are called by the daemon.\n"
_NAME = re.compile(r"^CREATE OR REPLACE FUNCTION (\w+)\(", re.MULTILINE)
_COMMENTS = re.compile(r"^(?:--.*\n|COMMENT ON (?:.|\n)*?';\n)", re.MULTILINE)


class HomeItselfError(UnavailableError):
    """A named connection leads to the home database, which triggers listen to without one."""


class OtherNameError(UnavailableError):
    """Another connection, known to other instances alone, leads to the same database and is used for it by now."""


@dataclass(frozen=True, slots=True)
class Home:
    """Which Hark this is: the identity that goes with its data, and the server and database on which they lie."""

    identity: UUID
    place: str

    @property
    def schema(self) -> str:
        """The name of its schema in other databases."""
        return f"hark_{self.identity.hex[:8]}"


class Outbox(NamedTuple):
    """What tells an outbox from all others, and from one that was dropped and made anew, or restored."""

    identity: UUID
    relation: int
    """The OID of the table that holds the changes."""


@dataclass(frozen=True, slots=True)
class CaptureText:
    """The SQL that makes row capture in a schema."""

    tables: str
    functions: str

    @property
    def layout(self) -> str:
        """What tells these tables from others; comments do not count."""
        return _digest(_COMMENTS.sub("", self.tables))

    @property
    def version(self) -> str:
        """What tells these functions from others."""
        return _digest(self.functions)

    @property
    def called(self) -> list[str]:
        """The names of those functions that the daemon calls, and no writer's statement."""
        return _NAME.findall(self.functions.partition(_CALLED)[2])


def _digest(text: str) -> str:
    return blake2b(text.encode(), digest_size=8).hexdigest()


@cache
def capture_text(schema: str) -> CaptureText:
    """Take the section of row capture out of schema.sql, for a schema of another name."""
    text = schema_text()
    banners = list(_BANNER.finditer(text))
    number = next(n for n, found in enumerate(banners) if found[1] == _SECTION)
    section = in_schema(text[banners[number].end() : banners[number + 1].start()], schema)
    tables, first, rest = section.partition("\nCREATE FUNCTION")
    return CaptureText(tables + "\n", first.replace("CREATE", "CREATE OR REPLACE") + _replacing(rest))


def _replacing(functions: str) -> str:
    return functions.replace("\nCREATE FUNCTION", "\nCREATE OR REPLACE FUNCTION")


@contextmanager
def refusals(name: str) -> Iterator[None]:
    """Turn what the database of a named connection refuses into UnavailableError, which says the name."""
    try:
        yield
    except asyncpg.PostgresError as error:
        raise UnavailableError(f"connection {name}: {error}") from error


async def find_home(database: Database) -> Home:
    """Return which Hark the home database belongs to."""
    async with database.reading() as connection:
        return await home_of(connection)


async def home_of(connection: Connection) -> Home:
    """Return which Hark the home database belongs to, on a connection to it."""
    row = await connection.fetchrow(sql("get_home"))
    if row is None:
        raise UnavailableError("the row of hark.outbox is gone: INSERT INTO hark.outbox DEFAULT VALUES")
    return Home(row["identity"], row["place"])


async def refuse_home(connection: Connection, home: Home, name: str) -> None:
    """Raise HomeItselfError when a named connection leads to the home database."""
    if await connection.fetchval(sql("get_place")) == home.place:
        raise HomeItselfError(f"connection {name} leads to the home database itself")


async def is_made(connection: Connection, home: Home) -> bool:
    """Tell whether row capture has been made there."""
    return await connection.fetchval("SELECT to_regclass($1)", f"{home.schema}.outbox") is not None


async def ensure_outbox(
    connection: Connection, home: Home, name: str, others: frozenset[str], *, watched: bool, leads: bool
) -> Outbox:
    """Make row capture in the database of a named connection, or bring it up to date; return what its outbox is.

    Several instances may do so at once; only who `leads` replaces functions that another version of Hark has made.
    `others` are the names of all connections: one database has one of them. A connection that was renamed takes it
    over when something is `watched` through the new name; else OtherNameError is raised. Raises UnavailableError with
    what is in the way, and what to do about it.
    """
    try:
        async with connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            await refuse_home(connection, home, name)
            if not await is_made(connection, home):
                await _create(connection, home, name)
            return await _checked(connection, home, name, others, watched=watched, leads=leads)
    except asyncpg.InsufficientPrivilegeError as error:
        raise UnavailableError(f"connection {name}: {error}; {_grant(home)}") from error


def _grant(home: Home) -> str:
    return (
        "let its user make what row capture needs there: GRANT CREATE ON DATABASE … TO the user, or "
        f"CREATE SCHEMA {home.schema} AUTHORIZATION the user"
    )


async def _create(connection: Connection, home: Home, name: str) -> None:
    text = capture_text(home.schema)
    if await connection.fetchval("SELECT to_regnamespace($1)", home.schema) is None:
        # IF NOT EXISTS would ask for the right to make schemas also where somebody else has made it.
        await connection.execute(f"CREATE SCHEMA {quote_identifier(home.schema)}")
    await _run(connection, home, text.tables + text.functions)
    await _claim(connection, home, name, text.layout, text.version)


async def _run(connection: Connection, home: Home, text: str) -> None:
    await connection.execute("SELECT set_config('search_path', $1, true)", f"{home.schema}, pg_catalog")
    await connection.execute(text)
    await connection.execute("SET LOCAL search_path = pg_catalog, pg_temp")


async def _replace(connection: Connection, home: Home, text: CaptureText) -> None:
    """Put these functions in the place of another version's.

    Those that the daemon calls are dropped first: with other arguments there would be two of one name, and with another
    result they could not be replaced. Writers may be just about to call the others, so these keep what they have.
    """
    for row in await connection.fetch(sql_in(home.schema, "list_capture_functions"), text.called):
        await connection.execute(f"DROP FUNCTION {row['signature']}")
    await _run(connection, home, text.functions)


async def _claim(connection: Connection, home: Home, name: str, layout: str, functions: str) -> None:
    claim = sql_in(home.schema, "claim_outbox")
    await connection.execute(claim, home.identity, home.place, name, layout, functions)


async def second_name(connection: Connection, home: Home, name: str, others: frozenset[str]) -> str | None:
    """Say so if row capture there goes by the name of another connection, which is set as well."""
    if not await is_made(connection, home):
        return None
    row = await connection.fetchrow(sql_in(home.schema, "get_outbox"))
    return None if row is None or row["home"] != home.identity else _second_name(row["connection"], name, others)


def _second_name(used: str, name: str, others: frozenset[str]) -> str | None:
    if used == name or used not in others:
        return None
    return f"the same database is connection {used}: name that one in triggers"


async def _checked(
    connection: Connection, home: Home, name: str, others: frozenset[str], *, watched: bool, leads: bool
) -> Outbox:
    row = await connection.fetchrow(sql_in(home.schema, "get_outbox"))
    text = capture_text(home.schema)
    problem = "its row is gone" if row is None else _problem(row, home, name, others, text)
    if row is None or problem is not None:
        raise UnavailableError(f"connection {name}: schema {home.schema}: {problem}")
    if row["connection"] != name and not watched:
        raise OtherNameError(f"connection {name}: {row['connection']} leads to the same database, and is used for it")
    functions = text.version if leads else row["functions"]
    if row["functions"] != functions:
        await _replace(connection, home, text)
    if (row["connection"], row["functions"]) != (name, functions):
        await _claim(connection, home, name, text.layout, functions)
    return Outbox(row["identity"], row["relation"])


def _problem(row: Record, home: Home, name: str, others: frozenset[str], text: CaptureText) -> str | None:
    """Say why an outbox may not be emptied by this home through this connection, and what would set that right."""
    if row["home"] != home.identity:
        return f"it belongs to another Hark, {row['home']}"
    if row["place"] != home.place:
        return (
            f"its changes are moved to a home elsewhere ({row['place']}); this one ({home.place}) is a copy of it, or "
            "it was moved here. A copy needs a new hark.outbox.identity (gen_random_uuid()) here, and a restart. "
            f"If it was moved, set {home.schema}.outbox.place on {name} to '{home.place}'"
        )
    if (second := _second_name(row["connection"], name, others)) is not None:
        return second
    if row["layout"] != text.layout:
        return (
            "it was made by another version of Hark: with that version pause the workflows that watch it, until its "
            f"outbox is empty; then DROP SCHEMA {home.schema} CASCADE"
        )
    return None
