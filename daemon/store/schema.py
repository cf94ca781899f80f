"""Creating Hark's schema, and telling which version a database has."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import asyncpg

from hark.daemon.store.connecting import connect
from hark.daemon.store.database import Connection, translated
from hark.workflows.errors import ConfigurationError

SCHEMA_VERSION = 1
"""The version that schema.sql has; raised together with a file in migrations/."""

_LOCK = 7020850
"""Advisory lock of whoever creates or upgrades the schema."""


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


async def ensure_schema(url: str) -> SchemaState:
    """Create the schema where there is none and bring an older one up to date.

    Safe when several processes do it at once: one does the work, the others wait and find it done. Raises
    ConfigurationError when the schema is newer than this program, UnavailableError when the database is away.
    """
    with translated():
        connection = await connect(url, server_settings={"application_name": "hark schema"})
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
            state = await schema_state(connection)
            if state.found == 0:
                await _create(connection)
                state = await schema_state(connection)
            else:
                state = await _upgrade(connection, state)
        finally:
            await connection.close()
    if not state.current:
        raise ConfigurationError(str(state))
    return state


async def _create(connection: asyncpg.Connection) -> None:
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
