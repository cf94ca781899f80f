"""The databases of named connections: whether what active workflows ask for there can be had, and is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

import orjson

from hark.actions.builtin import builtin_actions
from hark.daemon.doctor.active import active_triggers
from hark.daemon.doctor.capture import captured_faults, row_triggers
from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.report import Finding, error, warning
from hark.daemon.doctor.work import LONG_IN_OUTBOX
from hark.daemon.secrets import load_connections
from hark.daemon.store.capture_site import CaptureSite
from hark.daemon.store.database import Connection, Database, sql
from hark.daemon.store.remote_schema import DROP, Home, HomeItselfError, home_of, is_made, refusals, refuse_home
from hark.triggers.by_connection import by_connection
from hark.workflows.catalogue import ActiveTrigger, Catalogue
from hark.workflows.connections import is_home, spelled, variable
from hark.workflows.counting import counted
from hark.workflows.errors import ConfigurationError, UnavailableError
from hark.workflows.validation.connections import connections_of_steps

_AWAY = "row changes there stay in its outbox, and come when it is back; messages on its channels are gone meanwhile"
_SEEN = "this command sees its own environment; the daemon's may be another one"


async def look_elsewhere(case: Case) -> AsyncIterator[Finding]:
    """Find connections that are not set or do not answer, and what is not captured in their databases."""
    watching = by_connection((await row_triggers(case))[0])
    watching.pop("", None)
    hearing, working = await _hearing(case), await _working(case)
    left = {row["connection"] for row in await case.connection.fetch(sql("list_remotes"))}
    listened = sorted({*watching, *hearing, *left})
    if not (listened or working):
        return
    home = await home_of(case.connection)
    try:
        urls = load_connections()
    except ConfigurationError as fault:
        yield warning(f"not looked at: {fault}", "put that right, and look again")
        return
    for name in sorted(working.keys() - urls.keys()):
        yield _unset_for("have steps on", name, working[name])
    for name in listened:
        if name not in urls:
            yield _unset(name, home, {trigger.workflow for trigger in watching[name]} | hearing[name])
            continue
        async for finding in _look(name, urls, home, watching[name]):
            yield finding


async def _hearing(case: Case) -> defaultdict[str, set[str]]:
    """Return the workflows with `notify` triggers on other databases, by connection."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for one in await active_triggers(case):
        written = one.config.get("connection")
        if one.kind == "notify" and not is_home(written):
            found[spelled(str(written))].add(one.workflow)
    return found


async def _working(case: Case) -> defaultdict[str, set[str]]:
    """Return the workflows with steps on other databases, by connection."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    catalogue = Catalogue(builtin_actions())
    for row in await case.connection.fetch(sql("doctor_list_elsewhere")):
        for _, name in connections_of_steps(orjson.loads(row["definition"]), catalogue):
            found[name].add(row["slug"])
    return found


def _unset_for(what: str, name: str, workflows: set[str]) -> Finding:
    of, remedy = ", ".join(sorted(workflows)), f"set {variable(name)}; {_SEEN}"
    return warning(f"workflows {what} connection {name}, which is not set: {of}", remedy)


def _unset(name: str, home: Home, workflows: set[str]) -> Finding:
    if workflows:
        return _unset_for("listen to", name, workflows)
    return warning(
        f"triggers may be left in the database of connection {name}, which nobody watches any more",
        f"with {variable(name)} set the daemon takes them off; or there DROP SCHEMA {home.schema} CASCADE, and "
        "here take it out of hark.remotes",
    )


async def _look(
    name: str, urls: Mapping[str, str], home: Home, triggers: Sequence[ActiveTrigger]
) -> AsyncIterator[Finding]:
    database = Database(urls[name], pool_size=1, name=name)
    try:
        with refusals(name):
            async with database.reading() as connection:
                async for finding in _faults(connection, CaptureSite(database, home.schema), home, triggers):
                    yield replace(finding, message=f"connection {name}: {finding.message}")
    except HomeItselfError as fault:
        yield error(str(fault), DROP)
    except UnavailableError as fault:
        yield error(str(fault), _AWAY)
    finally:
        await database.stop()


async def _faults(
    connection: Connection, site: CaptureSite, home: Home, triggers: Sequence[ActiveTrigger]
) -> AsyncIterator[Finding]:
    await refuse_home(connection, home, site.database.name)
    made = await is_made(connection, home)
    async for _, finding in captured_faults(connection, triggers, site.schema, made=made):
        yield finding
    row = await connection.fetchrow(site.sql("doctor_get_outbox"), LONG_IN_OUTBOX) if made else None
    if row is not None and row["waiting"]:
        late = counted(row["waiting"], "row change has", "row changes have")
        message = f"{late} not become events, the oldest for {round(row['age_s'])} s"
        yield warning(message, "the daemon's log and /readyz say why")
    if row is not None and row["parked"]:
        yield warning(
            f"{counted(row['parked'], 'row change')} put aside, of which no events can be made",
            f"look at them there, in {site.schema}.row_changes: those with parked_at",
        )
