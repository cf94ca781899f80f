"""The way to the database: a connection, or why there is none and what to do."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from dataclasses import dataclass, replace
from urllib.parse import unquote, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from hark.actions.pooled_connection import Way, explain, open_connection
from hark.actions.pooler import find_way
from hark.actions.tls_files import UnusableFileError
from hark.daemon.configuration import mask_url
from hark.daemon.doctor.report import Finding, error, ok
from hark.daemon.hosts import hosts_of
from hark.daemon.postgres.home import existing_url
from hark.daemon.runtime_file import read_running
from hark.daemon.settings import Settings
from hark.daemon.store.connecting import connect
from hark.daemon.store.database import PLAIN_STRINGS, Connection
from hark.workflows.errors import ConfigurationError, ReadOnlyError, UnavailableError

CONNECT_S = 5.0
_SESSION = {
    "application_name": "hark doctor",
    "search_path": "pg_catalog",
    "timezone": "UTC",
    "default_transaction_read_only": "on",
    "statement_timeout": "8s",
    "lock_timeout": "2s",
    "jit": "off",
    **PLAIN_STRINGS,
}

_CORRECT = "correct it in HARK_DATABASE_URL (`hark settings` says where the value came from)"
_EXPLANATIONS: tuple[tuple[type[BaseException], str, str], ...] = (
    # The more special ones first: the first that fits is said.
    (asyncpg.InvalidPasswordError, "the database refuses the password of user {user}", _CORRECT),
    (
        asyncpg.InvalidAuthorizationSpecificationError,
        "the database does not let user {user} in ({error})",
        "create the role, or allow it in pg_hba.conf: docs/operations.md, Another PostgreSQL",
    ),
    (
        asyncpg.InvalidCatalogNameError,
        "there is no database {database} at {place}",
        f"CREATE DATABASE {{database}}, or {_CORRECT}",
    ),
    (
        asyncpg.CannotConnectNowError,
        "the database takes no connections now ({error})",
        "wait: it is starting, recovering or shutting down; its own log says which, and how far it is",
    ),
    (
        asyncpg.TooManyConnectionsError,
        "all connections of the database are taken ({error})",
        "end sessions that nobody needs, or raise max_connections or the limit of the role or database",
    ),
    (
        asyncpg.InsufficientPrivilegeError,
        "user {user} may not connect ({error})",
        "GRANT CONNECT ON DATABASE {database} TO {user}",
    ),
    (asyncpg.ClientConfigurationError, "the URL of the database cannot be used ({error})", _CORRECT),
    (
        UnusableFileError,
        "{error}",
        "put it there for this user to read, or name another one: in HARK_DATABASE_URL, which goes before variables",
    ),
    (
        ssl.SSLError,
        "the encrypted connection to {place} failed ({error})",
        "look at sslmode and sslrootcert in the URL",
    ),
    (socket.gaierror, "no machine is known as {host}", f"{_CORRECT}; does the name resolve from here?"),
    (ConnectionRefusedError, "nothing listens at {place}", "is PostgreSQL running, and are host and port right?"),
    (FileNotFoundError, "there is no socket of a PostgreSQL at {place}", "is it running, and is the path right?"),
    (PermissionError, "this user may not reach {place}", "run as a user that may, or connect over the network"),
    (
        TimeoutError,
        f"{{place}} did not answer within {CONNECT_S:g} s",
        "is it the right host, and does a firewall let you through?",
    ),
    (OSError, "{place} cannot be reached ({error})", "is PostgreSQL running, and are host and port right?"),
)
_FAILURES = (
    OSError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    UnavailableError,
)
_NOT_RUNNING = (ConnectionRefusedError, FileNotFoundError)


@dataclass(frozen=True, slots=True)
class Access:
    """A connection, which the receiver closes, or None; and what is to be said about it."""

    connection: Connection | None
    finding: Finding
    way: Way = Way.DIRECT


async def reach(settings: Settings) -> Access:
    """Connect to the home database. Starts no server."""
    try:
        url = settings.database_url or await asyncio.to_thread(existing_url, settings.data_dir)
    except (ConfigurationError, OSError) as failure:
        advice = "run as the user that the daemon runs as, or restore the data directory from a backup"
        return _without(error(f"the embedded PostgreSQL cannot be reached: {failure}", advice))
    if url is None:
        return _without(_nothing_yet(settings))
    began = time.perf_counter()
    try:
        way = Way.said(settings.database_pooler) or await find_way(url, CONNECT_S)
        reason = await _no_writes(url, way)
        connection = await open_connection(
            url,
            way,
            _SESSION,
            timeout=CONNECT_S,
            target_session_attrs=SessionAttribute.any if reason else SessionAttribute.primary,
        )
    except (*_FAILURES, ValueError) as failure:
        return _without(_explain(settings, url, failure))
    took_ms = round((time.perf_counter() - began) * 1000, 1)
    found = ok(f"connected to {mask_url(url)} in {took_ms:g} ms", connect_ms=took_ms)
    if reason:
        found = error(reason, "let HARK_DATABASE_URL name the primary, or all hosts", connect_ms=took_ms)
    return Access(connection, replace(found, check="database"), way)


async def _no_writes(url: str, way: Way) -> str:
    """Return why the database takes no writes, empty when it does: the session of the checks takes none anyway."""
    try:
        connection = await open_connection(
            url, way, {"application_name": "hark doctor"}, opener=connect, timeout=CONNECT_S
        )
    except ReadOnlyError as refusal:
        return str(refusal)
    await connection.close(timeout=2)
    return ""


def _without(finding: Finding) -> Access:
    return Access(None, replace(finding, check="database"))


def _nothing_yet(settings: Settings) -> Finding:
    place = settings.data_dir
    if os.path.lexists(place) and not os.access(place, os.R_OK | os.X_OK):
        return error(f"whether there is an embedded PostgreSQL in {place} cannot be seen", "run as its owner")
    return ok(f"there is no database yet: `hark run` makes an embedded PostgreSQL in {place}")


def _explain(settings: Settings, url: str, failure: Exception) -> Finding:
    if settings.database_url is None and isinstance(failure, _NOT_RUNNING):
        running = read_running(settings.data_dir)
        if running is None or not running.lives:
            return ok("the embedded PostgreSQL is not running, because no daemon is; `hark run` starts both")
        return error(
            f"the embedded PostgreSQL is gone, although the daemon (process {running.pid}) lives",
            f"restart the daemon; {settings.data_dir / 'postgres/data/log'} says why the server ended",
        )
    words = _words(url, failure)
    for kind, message, advice in _EXPLANATIONS:
        if isinstance(failure, kind):
            return error(message.format(**words), advice.format(**words))
    return error(f"the database cannot be used ({explain(failure)})", _CORRECT)


def _words(url: str, failure: Exception) -> dict[str, str]:
    parts = urlsplit(url)
    host = ", ".join(each.name for each in hosts_of(url) if not each.name.startswith("/")) or "the local socket"
    return {
        "place": mask_url(url),
        "host": host,
        "user": unquote(parts.username or "") or "of this process",
        "database": unquote(parts.path.lstrip("/")) or "of that name",
        "error": explain(failure),
    }
