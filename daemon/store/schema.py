"""Creating Hark's schema, and telling which version a database has."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import asyncpg

from hark.actions.pooled_connection import Way, open_connection
from hark.daemon.store.connecting import connect
from hark.daemon.store.database import PLAIN_STRINGS, Connection, Database
from hark.daemon.store.outages import closed
from hark.workflows.errors import ConfigurationError, UnavailableError

SCHEMA_VERSION = 1
"""The version that schema.sql has; raised together with a file in migrations/."""

_LOCK = 7020850
"""Advisory lock of whoever creates or upgrades the schema."""
_PATIENCE_S = 600.0
ENCODING = "UTF8"
ANOTHER_DATABASE = (
    "make one, CREATE DATABASE hark TEMPLATE template0 ENCODING 'UTF8', and name that in HARK_DATABASE_URL; tables of "
    "this one are watched from there when it is named in HARK_CONNECTION_APP"
)
"""What to do where the database has another encoding: none can be changed."""


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Which version is there (0: none) and which one this program needs."""

    found: int
    needed: int = SCHEMA_VERSION

    @property
    def current(self) -> bool:
        """Whether the daemon can work with it."""
        return self.found == self.needed

    def __str__(self) -> str:
        if self.found == 0:
            return "the database has no schema `hark`"
        if self.found < self.needed:
            return (
                f"the schema has version {self.found}, older than the {self.needed} that is needed: run `hark migrate`"
            )
        if self.found > self.needed:
            return f"the schema has version {self.found}, newer than the {self.needed} of this program: upgrade Hark"
        return f"the schema has version {self.found}"


def schema_text() -> str:
    """Return schema.sql."""
    return (resources.files("hark") / "schema.sql").read_text(encoding="utf-8")


async def schema_state(connection: Connection) -> SchemaState:
    """Look which version the database has."""
    if await connection.fetchval("SELECT to_regclass('hark.schema_migrations')") is None:
        return SchemaState(found=0)
    return SchemaState(found=await connection.fetchval("SELECT max(version) FROM hark.schema_migrations") or 0)


async def ensure_schema(url: str, way: Way | None = None) -> SchemaState:
    """Create the schema where there is none and bring an older one up to date; `way` is how the database is reached.

    Safe when several processes do it at once: one does the work, the others wait and find it done. Raises
    ConfigurationError when the schema is newer than this program or cannot be made in this database, UnavailableError
    when the database is away.
    """
    database = Database(url, way=way)
    async with database.only_one(_LOCK, patience_s=_PATIENCE_S) as hold:
        if hold is None:
            raise UnavailableError(f"another process has been at the schema for {_PATIENCE_S:g} s")
        connection = await open_connection(
            url, await database.way(), {"application_name": "hark schema", **PLAIN_STRINGS}, opener=connect, timeout=10
        )
        try:
            state = await _bring(connection)
        finally:
            await closed(connection)
    if not state.current:
        raise ConfigurationError(str(state))
    return state


async def _bring(connection: asyncpg.Connection) -> SchemaState:
    state = await schema_state(connection)
    if state.found:
        return await _upgrade(connection, state)
    await _create(connection)
    return await schema_state(connection)


async def _create(connection: asyncpg.Connection) -> None:
    # Asked apart: where the schema cannot even be said in the encoding, no statement of it is looked at.
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != ENCODING:
        raise ConfigurationError(f"the database has the encoding {encoding}, and Hark needs UTF8: {ANOTHER_DATABASE}")
    try:
        await connection.execute(schema_text())
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigurationError(
            f"the database user may not create the schema: {error}; "
            "grant CREATE on the database, or run `psql -f schema.sql` as its owner",
        ) from error


async def _upgrade(connection: asyncpg.Connection, state: SchemaState) -> SchemaState:
    """Apply the files of migrations/ that lie between; each is a transaction of its own."""
    for version in range(state.found + 1, state.needed + 1):
        name = f"{version:04d}.sql"
        await connection.execute((resources.files("hark") / "migrations" / name).read_text(encoding="utf-8"))
    return await schema_state(connection)
