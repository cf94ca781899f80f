"""Hark's schema in the database: there, of this program's version, and open to the daemon's user."""

from __future__ import annotations

from collections.abc import AsyncIterator

from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.report import Finding, error, ok
from hark.daemon.store.database import sql
from hark.daemon.store.schema import SchemaState, schema_state

_SHOWN = 4


async def look_at_schema(case: Case) -> AsyncIterator[Finding]:
    """Find out whether the schema is the one that this program needs."""
    there = await case.connection.fetchrow(sql("doctor_get_schema"))
    if there is None:
        may_create = await case.connection.fetchval("SELECT has_database_privilege(current_database(), 'CREATE')")
        yield _missing(may_create=may_create)
    elif not there["may_use"]:
        yield error(
            f"user {there['who']} may not use the schema `hark`",
            f'as its owner ({there["owner"]}): GRANT USAGE, CREATE ON SCHEMA hark TO "{there["who"]}"',
        )
    else:
        yield judge(await schema_state(case.connection))


def _missing(*, may_create: bool) -> Finding:
    if may_create:
        advice = "`hark run` makes it at its start, and so does `psql -f schema.sql`"
    else:
        advice = (
            "GRANT CREATE on the database to the user and start `hark run`, or run `psql -f schema.sql` as its owner"
        )
    return error("the database has no schema `hark`", advice)


def judge(state: SchemaState) -> Finding:
    """Say what the version of a schema means for this program."""
    detail = {"found": state.found, "needed": state.needed}
    if state.current:
        return ok(str(state), **detail)
    if state.found == 0:
        advice = "rename it if it is not Hark's (ALTER SCHEMA hark RENAME TO …); else restore it from a backup"
        return error("there is a schema `hark`, but it does not say which version it has", advice, **detail)
    if state.found < state.needed:
        advice = "run `hark migrate`, or restart the daemon: it brings the schema up to date at its start"
    else:
        advice = "upgrade this Hark, or use the one that made the schema; an older one must not write there"
    return error(str(state), advice, **detail)


async def look_at_privileges(case: Case) -> AsyncIterator[Finding]:
    """Find what the daemon's user would need and does not have in the schema."""
    rows = await case.connection.fetch(sql("doctor_list_missing_privileges"))
    if not rows:
        return
    missing = [row["what"] for row in rows]
    remedies = [row["remedy"] for row in rows]
    more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
    yield error(
        f"user {await case.connection.fetchval('SELECT current_user')} lacks {', '.join(missing[:_SHOWN])}{more}",
        f"as the schema's owner: {'; '.join(remedies[:_SHOWN])}{' …' if more else ''}; "
        "or let Hark connect as the role that made the schema",
        missing=missing,
        remedies=remedies,
    )
