"""Fresh databases for tests: one template per schema, one copy per test."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg

# The schema of the test databases is worthless after the test: nothing has to survive a power failure.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}

# To work out a password 4,096 times protects it; a test opens a dozen connections.
_QUICK_PASSWORD = """
DO $$ BEGIN
    EXECUTE format('SET LOCAL scram_iterations = 1; ALTER ROLE %I PASSWORD %L', current_user, {password});
END $$
"""
_TEMPLATE_LOCK = 0x4841524B

_MEMORY = Path("/dev/shm")
_ROOM = 2 << 30


def quick_place() -> Path | None:
    """Return where a server's files cost no disk (a copy of the template takes 25 ms there, up to 400 on a busy disk).

    None means the usual temporary directory: there is no file system in memory, or it has less room than 2 GiB.
    """
    try:
        return _MEMORY if shutil.disk_usage(_MEMORY).free > _ROOM and os.access(_MEMORY, os.W_OK) else None
    except OSError:
        return None


def with_database(url: str, name: str) -> str:
    """Return the URL of another database on the same server."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect for the length of a block."""
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def quicken_password(url: str) -> None:
    """Keep the password of a server's user, but as one that takes no time to prove. For PostgreSQL from 16 on."""
    password = unquote(urlsplit(url).password or "")
    async with connected(url) as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", _TEMPLATE_LOCK)
        literal = await connection.fetchval("SELECT quote_literal($1::text)", password)
        await connection.execute(_QUICK_PASSWORD.format(password=literal))


def share_types() -> None:
    """Have the driver ask once for the types of Hark's schema, not on each connection, which takes the server 10 ms.

    Copies of a template have the same types under the same numbers; a server gives no number twice.
    """
    ask: Any = asyncpg.Connection._introspect_types  # type: ignore[attr-defined]
    known: dict[tuple[Any, frozenset[int]], Any] = {}

    async def introspect(self: Any, oids: Iterable[int], timeout: float | None) -> Any:  # noqa: ASYNC109 - the driver's
        key = (self._addr, frozenset(oids))
        found = known.get(key)
        if found is None:
            found = await ask(self, oids, timeout)
            if all(row["ns"] in {"hark", "pg_catalog"} for row in found[0]):
                known[key] = found
        return found

    asyncpg.Connection._introspect_types = introspect  # type: ignore[attr-defined]


async def make_template(url: str, schema: str) -> str:
    """Make the database that holds `schema` and nothing else, unless it is there, and return its name.

    Several pytest workers may ask at once, also for a server that they share with another session.
    """
    name = f"hark_template_{hashlib.sha256(schema.encode()).hexdigest()[:12]}"
    async with connected(url) as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", _TEMPLATE_LOCK)
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await _fill_template(connection, url, name, schema)
    return name


async def _fill_template(connection: asyncpg.Connection, url: str, name: str, schema: str) -> None:
    scratch = f"{name}_new"
    await connection.execute(f"DROP DATABASE IF EXISTS {scratch} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {scratch} TEMPLATE template0")
    async with connected(with_database(url, scratch)) as inside:
        await inside.execute(schema)
    await connection.execute(f"ALTER DATABASE {scratch} RENAME TO {name}")
    # A copy fails while anybody is connected to what is copied.
    await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")


@asynccontextmanager
async def fresh_database(url: str, template: str) -> AsyncIterator[str]:
    """Make a copy of the template for the length of a block, and give its URL."""
    name = f"hark_test_{secrets.token_hex(6)}"
    async with connected(url) as connection:
        # Copying files takes 20 to 60 ms, the default (through the log) 200.
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    try:
        yield with_database(url, name)
    finally:
        async with connected(url) as connection:
            await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
