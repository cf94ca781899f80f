"""The PostgreSQL server: whether it is one that Hark's promises can stand on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.report import Finding, error, ok, warning
from hark.daemon.store.database import sql
from hark.daemon.store.schema import ANOTHER_DATABASE, ENCODING
from hark.workflows.counting import counted

OLDEST = 15
OLD_TRANSACTION = timedelta(minutes=10)
_DURABLE = {
    "fsync": "a power failure may destroy the database",
    "full_page_writes": "a power failure may leave half-written pages, and so destroy the database",
    "synchronous_commit": "what was acknowledged in the last second before a crash is lost",
}


async def look_at_version(case: Case) -> AsyncIterator[Finding]:
    """Find out whether the server is new enough."""
    row = await case.connection.fetchrow(sql("doctor_get_version"))
    if row is not None:
        yield judge_version(row["number"], row["name"])


def judge_version(number: int, name: str) -> Finding:
    """Say what a version means: its number, such as 150008, and its name."""
    if number // 10_000 < OLDEST:
        return error(f"the server is PostgreSQL {name}", f"Hark needs version {OLDEST} or newer", version=name)
    return ok(f"PostgreSQL {name}", version=name)


async def look_at_encoding(case: Case) -> AsyncIterator[Finding]:
    """Find out whether the database can hold every text."""
    encoding = await case.connection.fetchval("SHOW server_encoding")
    if encoding != ENCODING:
        yield error(f"the database has the encoding {encoding}; Hark needs {ENCODING}", ANOTHER_DATABASE)


async def look_at_recovery(case: Case) -> AsyncIterator[Finding]:
    """Find out whether the server is a standby."""
    if await case.connection.fetchval("SELECT pg_is_in_recovery()"):
        yield error(
            "the server is a standby: it can only be read",
            "let HARK_DATABASE_URL name the primary, or all hosts: `postgresql://user@one,two/database`",
        )


async def look_at_durability(case: Case) -> AsyncIterator[Finding]:
    """Find settings under which a crash loses what was acknowledged."""
    rows = await case.connection.fetch(sql("doctor_list_settings"), list(_DURABLE))
    for row in rows:
        if row["setting"] == "off":
            name = row["name"]
            yield error(
                f"{name} is off ({row['source']}): {_DURABLE[name]}",
                f"turn it on: ALTER SYSTEM SET {name} = on; SELECT pg_reload_conf(); "
                "if it is set for the role or the database, ALTER ROLE or ALTER DATABASE … RESET it",
                setting=name,
                source=row["source"],
            )


async def look_at_connections(case: Case) -> AsyncIterator[Finding]:
    """Find out whether there are connections enough for an instance."""
    row = await case.connection.fetchrow(sql("doctor_get_connections"))
    if row is not None:
        yield judge_connections(dict(row), case.settings.database_connections)


def judge_connections(figures: dict[str, Any], needed: int) -> Finding:
    """Say what the figures mean for an instance that may open `needed` connections."""
    most = figures["most"]
    free = most - figures["used"] + figures["ours"]
    detail = {**figures, "needed": needed}
    advice = "raise max_connections (or the limit of the role or database), or lower HARK_DATABASE_CONNECTIONS"
    if most < needed:
        return error(
            f"user and database may have {counted(most, 'connection')}; one instance opens up to {needed}",
            advice,
            **detail,
        )
    if free < needed:
        return warning(
            f"others leave {counted(max(free, 0), 'connection')}; one instance opens up to {needed}", advice, **detail
        )
    return ok(f"{free} of {most} connections can be had; one instance opens up to {needed}", **detail)


async def look_at_transactions(case: Case) -> AsyncIterator[Finding]:
    """Find what keeps deleted rows of the outbox and the queues from being cleared away."""
    for row in await case.connection.fetch(sql("doctor_list_old_transactions"), OLD_TRANSACTION):
        age = timedelta(seconds=round(row["age_s"]))
        what = f"prepared transaction {row['name']}" if row["prepared"] else f"a transaction of session {row['name']}"
        yield warning(
            f"{what} ({row['who']}, {row['note']}) is open for {age}: it holds what was deleted since",
            f"COMMIT PREPARED or ROLLBACK PREPARED '{row['name']}'"
            if row["prepared"]
            else f"end it if nobody needs it: SELECT pg_terminate_backend({row['name']})",
            age_s=row["age_s"],
        )
