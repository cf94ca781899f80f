"""The way to the home database: to whichever of its hosts takes writes."""

from __future__ import annotations

import time
from typing import Any

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from hark.actions.pooled_connection import connect as driver_connect
from hark.daemon.hosts import Host, hosts_of
from hark.workflows.errors import ReadOnlyError, UnavailableError

_STANDING = (
    "SELECT pg_is_in_recovery() AS in_recovery, current_setting('default_transaction_read_only')::boolean AS read_only"
)
_TIMEOUT_S = 10.0
_PASSING = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    ReadOnlyError,
)
"""After these another host may take us: one is gone, shuts down, starts, hangs up like a proxy with nothing behind it,
or has no room. What a wrong password is to one it is to all."""
STANDBY = (
    "the database is a standby (in recovery): it takes no writes until it is promoted, or its address leads to the "
    "primary"
)
READ_ONLY = "the database takes no writes (default_transaction_read_only is on), like an old primary after a failover"


async def connect(dsn: str | None = None, **options: Any) -> asyncpg.Connection[asyncpg.Record]:
    """Connect to the first host that takes writes, with asyncpg's options; the caller closes it.

    The hosts share the time, else one that is gone without a word would leave nothing of it for the next; asyncpg
    itself would let it. Raises ReadOnlyError when those that answer can only be read, and what asyncpg raises.
    """
    url, options = dsn or "", {"timeout": _TIMEOUT_S, **options, "target_session_attrs": SessionAttribute.any}
    hosts = hosts_of(url)
    if len(hosts) < 2:
        return await _connect(url, options)
    until = time.monotonic() + options["timeout"]
    failures: dict[Host, Exception] = {}
    for number, host in enumerate(hosts):
        share_s = max((until - time.monotonic()) / (len(hosts) - number), 0.1)
        try:
            return await _connect(url, {**options, "timeout": share_s, "host": host.name, "port": host.port})
        except _PASSING as error:
            failures[host] = error
    kind = ReadOnlyError if any(isinstance(error, ReadOnlyError) for error in failures.values()) else UnavailableError
    reasons = "; ".join(f"{host}: {str(error) or type(error).__name__}" for host, error in failures.items())
    raise kind(f"no host of the database takes writes: {reasons}")


async def _connect(url: str, options: dict[str, Any]) -> asyncpg.Connection[asyncpg.Record]:
    connection: asyncpg.Connection[asyncpg.Record] = await driver_connect(url, **options)
    try:
        if _seems_read_only(connection) and (reason := await standing(connection)):
            raise ReadOnlyError(reason)
    except BaseException:
        connection.terminate()
        raise
    return connection


def _seems_read_only(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    """Tell what the server has said by itself, which costs nothing; a pooler may say what was so yesterday."""
    said = connection.get_settings()
    return "on" in (getattr(said, "in_hot_standby", ""), getattr(said, "default_transaction_read_only", ""))


async def standing(connection: Any) -> str:
    """Ask a server why it takes no writes; empty when it does."""
    row = await connection.fetchrow(_STANDING)
    if row["in_recovery"]:
        return STANDBY
    return READ_ONLY if row["read_only"] else ""
