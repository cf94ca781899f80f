"""Row capture: whether the database captures exactly what the active `row` triggers ask for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from pydantic import ValidationError

from hark.daemon.doctor.active import PublishedTrigger, active_triggers
from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.report import Finding, error, warning
from hark.daemon.store.capture_checks import check_tables
from hark.daemon.store.capture_site import HOME_SCHEMA, in_schema
from hark.daemon.store.capture_triggers import Found, describe_tables, find_triggers
from hark.daemon.store.database import Connection, sql
from hark.triggers.capture_plan import CapturePlan, Placement, plan_captures
from hark.triggers.row_config import RowConfig
from hark.workflows.catalogue import ActiveTrigger
from hark.workflows.errors import Problem
from hark.workflows.ids import TenantId, WorkflowId

_MAKE_ANEW = "restart the daemon, or pause and resume the workflow: then the trigger is made anew"


async def look_at_capture(case: Case) -> AsyncIterator[Finding]:
    """Find watched tables and columns that are gone, and triggers that are missing, disabled, changed or left over."""
    watching, unreadable = await row_triggers(case)
    for finding in unreadable:
        yield finding
    here = [trigger for trigger in watching if not trigger.config.connection]
    troubled = set()
    async for table, finding in captured_faults(case.connection, here):
        troubled.add(table)
        yield finding
    for row in await case.connection.fetch(sql("list_watches"), None, None):
        table = f"{row['schema_name']}.{row['table_name']}"
        if row["problem"] and row["found"] and table not in troubled:
            yield warning(f"{table}: the daemon has noted that {row['problem']}", "the daemon tries again by itself")


async def row_triggers(case: Case) -> tuple[list[ActiveTrigger], list[Finding]]:
    """Return the active `row` triggers of all databases, and what there is to say of those that cannot be read."""
    watching: list[ActiveTrigger] = []
    unreadable: list[Finding] = []
    for published in await active_triggers(case):
        if published.kind == "row":
            try:
                watching.append(_active(published))
            except ValidationError as refusal:
                unreadable.append(_unreadable(published, refusal))
    return watching, unreadable


async def captured_faults(
    connection: Connection, watching: Sequence[ActiveTrigger], schema: str = HOME_SCHEMA, *, made: bool = True
) -> AsyncIterator[tuple[str, Finding]]:
    """Yield what is wrong in one database with what is watched there, and of which table; `""` for none.

    `made` tells whether row capture has been there at all.
    """
    for problem in await check_tables(connection, watching, schema):
        yield "", _impossible(problem)
    tables = await describe_tables(connection, {trigger.config.table_name for trigger in watching}, schema)
    found = await find_triggers(connection, schema=schema) if made else []
    for table, finding in _differences(plan_captures(watching, tables), found, schema):
        yield table, finding


def _active(trigger: PublishedTrigger) -> ActiveTrigger:
    return ActiveTrigger(
        tenant_id=TenantId(trigger.tenant_id),
        workflow_id=WorkflowId(trigger.workflow_id),
        workflow=trigger.workflow,
        version=trigger.version,
        id=trigger.id,
        kind=trigger.kind,
        config=RowConfig.model_validate(trigger.config),
        when=trigger.when,
        inputs=trigger.inputs,
        subject=trigger.subject,
    )


def _unreadable(trigger: PublishedTrigger, refusal: ValidationError) -> Finding:
    reason = refusal.errors()[0]["msg"]
    return error(
        f"trigger {trigger.id} of workflow {trigger.workflow} cannot be understood: {reason}",
        "correct it and apply the workflow again",
        workflow=trigger.workflow,
    )


def _impossible(problem: Problem) -> Finding:
    workflow, trigger, *_ = problem.path
    return error(
        f"trigger {trigger} of workflow {workflow}: {problem.message}",
        f"{problem.hint}; or correct the workflow and apply it again".removeprefix("; or "),
        workflow=workflow,
        trigger=trigger,
    )


def _differences(plans: Sequence[CapturePlan], found: Sequence[Found], schema: str) -> Iterator[tuple[str, Finding]]:
    """Yield the table and what is wrong with it."""
    there = {(trigger.relation, trigger.name): trigger for trigger in found}
    wanted = set()
    for plan in plans:
        for placement in plan.placements:
            name = in_schema(placement.name, schema)
            key = (placement.relation.oid, name)
            wanted.add(key)
            finding = _compare(placement, name, there.get(key))
            if finding is not None:
                yield str(plan.table), finding
    for key, trigger in there.items():
        if key not in wanted and not trigger.off:
            yield (
                trigger.label,
                warning(
                    f"{trigger.label} is captured by {trigger.name}, although no active workflow watches it so",
                    "the daemon removes it at its next start; until then it costs the writers time",
                    table=trigger.label,
                ),
            )


def _compare(placement: Placement, name: str, there: Found | None) -> Finding | None:
    label = placement.relation.label
    detail = {"table": label, "trigger": name}
    unseen = f"what {placement.operation} does there is not seen"
    if there is None:
        return error(f"{label} is watched, but its trigger {name} is gone: {unseen}", _MAKE_ANEW, **detail)
    if not there.enabled:
        return error(
            f"{label} is watched, but somebody has disabled its trigger {name}: {unseen}",
            f"ALTER TABLE {label} ENABLE TRIGGER {name}",
            **detail,
        )
    if there.arguments[2:3] != (placement.fingerprint(),):
        return warning(f"the trigger {name} on {label} does not fit the active workflows", _MAKE_ANEW, **detail)
    return None
