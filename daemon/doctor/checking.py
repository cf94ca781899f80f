"""What a check is, and how one is run: bounded in time, and whatever happens to it becomes a finding."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace

import asyncpg

from hark.actions.pooled_connection import Way
from hark.daemon.doctor.report import Finding, error, ok, warning
from hark.daemon.settings import Settings
from hark.daemon.store.database import Connection


@dataclass(frozen=True, slots=True)
class Case:
    """What a check of the database has at hand. The connection is read-only, and in no transaction."""

    settings: Settings
    connection: Connection
    way: Way = Way.DIRECT
    """How the database is reached."""
    wall: Callable[[], float] = time.time
    """This machine's clock: the very thing that is to be compared with the database's."""


@dataclass(frozen=True, slots=True)
class LocalCheck:
    """A check of this machine. `look` yields what it finds, and runs in a thread; `good` is said if that is nothing."""

    name: str
    look: Callable[[Settings], Iterable[Finding]]
    good: str = ""
    limit_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Check:
    """A check of the database; otherwise the same."""

    name: str
    look: Callable[[Case], AsyncIterator[Finding]]
    good: str = ""
    limit_s: float = 10.0


async def run_local(check: LocalCheck, settings: Settings) -> list[Finding]:
    """Run a check of this machine."""
    return await _settle(check, asyncio.to_thread(lambda: list(check.look(settings))))


async def run(check: Check, case: Case) -> list[Finding]:
    """Run a check of the database."""

    async def look() -> list[Finding]:
        return [finding async for finding in check.look(case)]

    return await _settle(check, look())


async def _settle(check: Check | LocalCheck, work: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        async with asyncio.timeout(check.limit_s):
            found = await work
    except (TimeoutError, asyncpg.QueryCanceledError, asyncpg.LockNotAvailableError):
        found = [
            warning("not known: it took too long to look", "look again when the machine and the database are less busy")
        ]
    except asyncpg.InsufficientPrivilegeError as refusal:
        found = [
            error(
                f"not known: the database user may not look ({refusal})", "grant what `privileges` says, and look again"
            )
        ]
    except Exception as failure:  # noqa: BLE001 - one check that breaks must not hide what the others find
        found = [
            error(
                f"the check itself failed: {type(failure).__name__}: {failure}", "this is a defect of Hark; report it"
            )
        ]
    if not found and check.good:
        found = [ok(check.good)]
    return [replace(finding, check=check.name) for finding in found]
