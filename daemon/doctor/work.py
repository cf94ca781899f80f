"""The work: who is there to do it, what lies waiting, and whether it finds its place and its secrets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

from hark._version import __version__
from hark.daemon.doctor.active import PublishedTrigger, active_triggers
from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.report import Finding, error, ok, warning
from hark.daemon.secrets import load_secrets
from hark.daemon.store.database import sql
from hark.workflows.counting import counted
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import ROOTS
from hark.workflows.scopes import RESPOND
from hark.workflows.templates import compile_template

DEAD_AFTER_S = 15.0
LONG_PENDING = timedelta(minutes=5)
LONG_IN_OUTBOX = timedelta(minutes=1)
_START_ONE = "start the daemon: `hark run`, or `systemctl start hark`"


async def look_at_instances(case: Case) -> AsyncIterator[Finding]:
    """Find instances that died, and such as run another version."""
    live = 0
    for row in await case.connection.fetch(sql("list_instances")):
        name = f"instance {row['id']} (process {row['pid']} on {row['host']})"
        if row["silent_s"] > DEAD_AFTER_S:
            yield warning(
                f"{name} is dead: silent for {timedelta(seconds=round(row['silent_s']))}, "
                f"with {counted(row['running'], 'execution')} in hand",
                "another instance takes over within 30 s; if none runs, start one",
                instance=str(row["id"]),
            )
            continue
        live += 1
        if row["version"] != __version__:
            yield warning(f"{name} runs Hark {row['version']}, and this is {__version__}", "bring all to one version")
    yield ok(f"{live or 'no'} {'instance works' if live < 2 else 'instances work'} on this database", live=live)


async def _somebody_works(case: Case) -> bool:
    rows = await case.connection.fetch(sql("list_instances"))
    return any(row["silent_s"] <= DEAD_AFTER_S for row in rows)


async def look_at_executions(case: Case) -> AsyncIterator[Finding]:
    """Find executions that wait although nobody is there to take them."""
    if await _somebody_works(case):
        return
    count = await case.connection.fetchval(sql("doctor_count_waiting"), LONG_PENDING)
    if count:
        yield error(
            f"{counted(count, 'execution')} waiting for more than {LONG_PENDING}, and no instance runs",
            _START_ONE,
            waiting=count,
        )


async def look_at_lanes(case: Case) -> AsyncIterator[Finding]:
    """Find limits whose slots do not add up: executions may wait there for a slot that nobody has."""
    count = await case.connection.fetchval(sql("doctor_count_bad_lanes"))
    if count:
        yield warning(
            f"the slots of {counted(count, 'limit')} (concurrency, max_running) do not add up",
            "SELECT hark.sweep_lanes(); the daemon does so every ten minutes",
            lanes=count,
        )


async def look_at_outbox(case: Case) -> AsyncIterator[Finding]:
    """Find row changes that do not become events."""
    row = await case.connection.fetchrow(sql("doctor_get_outbox"), LONG_IN_OUTBOX)
    if row is not None and row["waiting"]:
        late = counted(row["waiting"], "row change has", "row changes have")
        message = f"{late} not become events, the oldest for {round(row['age_s'])} s"
        detail = {"waiting": row["waiting"], "age_s": row["age_s"]}
        if await _somebody_works(case):
            yield error(message, "the daemon's log says why (row_capture.*)", **detail)
        else:
            yield warning(message + ", because no instance runs", _START_ONE, **detail)
    if row is not None and row["parked"]:
        yield warning(
            f"{counted(row['parked'], 'row change')} put aside, of which no events can be made",
            "look at them: SELECT * FROM hark.row_changes WHERE parked_at IS NOT NULL; "
            "to try again, set parked_at to NULL",
            parked=row["parked"],
        )


async def look_at_ends(case: Case) -> AsyncIterator[Finding]:
    """Find ends of executions that wait or were put aside, and triggers that wait for workflows that do not exist."""
    row = await case.connection.fetchrow(sql("doctor_get_ends"), LONG_IN_OUTBOX)
    if row is not None and row["waiting"]:
        ended = counted(row["waiting"], "execution")
        message = f"{ended} ended more than {LONG_IN_OUTBOX} ago, and what follows did not start"
        if await _somebody_works(case):
            yield error(message, "the daemon's log says why (ends.*)", waiting=row["waiting"])
        else:
            yield warning(message + ", because no instance runs", _START_ONE, waiting=row["waiting"])
    if row is not None and row["parked"]:
        yield warning(
            f"{counted(row['parked'], 'end')} of executions put aside: what follows them did not start",
            "look at them: SELECT * FROM hark.execution_ends WHERE parked_at IS NOT NULL; "
            "to try again, set parked_at to NULL",
            parked=row["parked"],
        )
    if row is not None and row["missing"]:
        yield warning(
            f"workflows are to start after others that are not there: {', '.join(row['missing'][:5])}",
            "is the name right? `hark list` shows those that there are",
            missing=row["missing"],
        )


async def look_at_partitions(case: Case) -> AsyncIterator[Finding]:
    """Find weeks, from this one to that after the next, for which the history has no partition."""
    rows = await case.connection.fetch(sql("doctor_list_missing_partitions"))
    if not rows:
        return
    missing = [row["name"] for row in rows]
    tables = sorted({name.rpartition("_")[0] for name in missing})
    calls = "; ".join(f"SELECT hark.create_history_partitions('{table}')" for table in tables)
    advice = f"{calls}; the daemon does so at its start and every ten minutes"
    message = f"the history has no partition {', '.join(missing[:3])}{' …' if len(missing) > 3 else ''}"
    now = any(row["now"] for row in rows)
    if now and await _somebody_works(case):
        yield error(f"{message}: what happens now cannot be stored", advice, missing=missing)
    else:
        yield warning(message, advice, missing=missing)


async def look_at_secrets(case: Case) -> AsyncIterator[Finding]:
    """Find secrets that triggers name and that this environment does not have."""
    known = load_secrets()
    for trigger in await active_triggers(case):
        for name in sorted(_named_secrets(trigger) - known.keys()):
            yield warning(
                f"trigger {trigger.id} of workflow {trigger.workflow} names secrets.{name}, which is not set here",
                f"give the daemon HARK_SECRET_{name.upper()}, or under systemd LoadCredential=secret_{name}:…; "
                "what only the service can see counts for the service",
                secret=name,
                workflow=trigger.workflow,
            )


def _named_secrets(trigger: PublishedTrigger) -> set[str]:
    try:
        expressions = compile_template(dict(trigger.config), ROOTS | RESPOND).expressions
    except ExpressionError:
        return set()  # it was refused when it was applied; what is stored compiles
    paths: list[tuple[Any, ...]] = [
        path for each in expressions for path in each.paths if path not in each.guarded and len(path) > 1
    ]
    return {str(path[1]) for path in paths if path[0] == "secrets"}
