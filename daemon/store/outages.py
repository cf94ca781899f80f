"""What the driver raises when the database is away, or something in it is in the way, as errors of Hark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
from asyncpg import exceptions as pg

from hark.actions.pooled_connection import POOLER_ERRORS, explain
from hark.workflows.errors import ConfigurationError, ReadOnlyError, UnavailableError

AWAY: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    pg.PostgresConnectionError,
    pg.OperatorInterventionError,
    pg.TooManyConnectionsError,
    pg.ReadOnlySQLTransactionError,
    pg.InsufficientResourcesError,
    pg.PostgresSystemError,
    pg.InterfaceError,
    pg.InternalClientError,
    *POOLER_ERRORS,
)
"""What asyncpg raises when the server is away, shutting down, a standby, out of room, or when the connection broke."""
IN_THE_WAY: tuple[type[BaseException], ...] = (
    pg.TransactionRollbackError,
    pg.LockNotAvailableError,
    pg.IdleInTransactionSessionTimeoutError,
)
"""What another transaction was to blame for: the engine's own statements are tried again, like after an outage."""

_OUR_FAULT = (ValueError, pg.UnsupportedClientFeatureError)
"""What looks like those and is a defect of the caller: an argument that does not fit, a feature that is not there."""


@contextmanager
def translated(*also: type[BaseException], name: str = "") -> Iterator[None]:
    """Turn what asyncpg raises when the database is away, and what else is said, into UnavailableError.

    `name` is that of the connection, where it is not the home database. Raises ConfigurationError for a URL of the home
    that the driver does not understand.
    """
    try:
        yield
    except pg.ClientConfigurationError as error:
        if name:  # the rest goes on without it
            raise UnavailableError(f"connection {name}: its URL: {error}") from error
        raise ConfigurationError(f"the URL of the database: {error}") from error
    except (*AWAY, *also) as error:
        if isinstance(error, _OUR_FAULT):
            raise
        whose = f"connection {name}: " if name else ""
        if isinstance(error, pg.ReadOnlySQLTransactionError):
            raise ReadOnlyError(f"{whose}the database takes no writes: {error}") from error
        raise UnavailableError(f"{whose}the database is not available: {explain(error)}") from error


def lock_was_refused(error: UnavailableError) -> bool:
    """Tell whether a statement gave up because it did not get a lock in time, and has changed nothing."""
    return isinstance(error.__cause__, pg.LockNotAvailableError)


async def closed(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Close a connection, also one that does not answer any more."""
    try:
        await connection.close(timeout=2)
    except AWAY:
        connection.terminate()
