"""The live schema at work: how much it holds, whether deletion leaves nothing behind, how quick it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from uuid import UUID

import orjson

from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.report import Finding, error, ok
from hark.daemon.store.database import sql
from hark.workflows.ids import new_id

_TIMES = 3


async def look_at_sizes(case: Case) -> AsyncIterator[Finding]:
    """Tell how many rows the tables have, as the planner estimates them, and their sizes."""
    rows = await case.connection.fetch(sql("doctor_list_sizes"))
    total = sum(row["rows"] for row in rows)
    size = sum(row["bytes"] for row in rows)
    detail = {"rows": {row["name"]: row["rows"] for row in rows}, "bytes": {row["name"]: row["bytes"] for row in rows}}
    yield ok(f"about {total:,} rows in {len(rows)} tables, {size / 1024**2:,.1f} MiB", **detail)


async def look_at_cascades(case: Case) -> AsyncIterator[Finding]:
    """Make a workflow with all that hangs on one, delete it, look for remains, and roll all of it back."""
    now: datetime = await case.connection.fetchval("SELECT now()")
    tenant, workflow, execution = (new_id(now) for _ in range(3))
    transaction = case.connection.transaction()
    await transaction.start()
    try:
        # Short: as long as it lasts, nobody can publish a workflow.
        await case.connection.execute("SET TRANSACTION READ WRITE; SET LOCAL statement_timeout = '3s'")
        slug = f"doctor-{execution}"
        await case.connection.execute(sql("doctor_plant_workflow"), tenant, workflow, execution, slug)
        planted = await _remains(case, tenant, workflow, execution)
        await case.connection.execute(sql("delete_workflow"), tenant, workflow)
        left = await _remains(case, tenant, workflow, execution)
    finally:
        await transaction.rollback()
    if left:
        yield error(
            f"deleting a workflow leaves rows behind in {', '.join(sorted(left))}",
            "the trigger workflows_erase_history or a foreign key is missing or changed: restore it from schema.sql",
            left=left,
        )
    else:
        yield ok(f"deleting a workflow deletes what belongs to it in {len(planted)} tables", planted=planted)


async def _remains(case: Case, tenant: UUID, workflow: UUID, execution: UUID) -> dict[str, int]:
    rows = await case.connection.fetch(sql("doctor_count_remains"), tenant, workflow, execution)
    return {row["name"]: row["rows"] for row in rows if row["rows"]}


async def look_at_lookups(case: Case) -> AsyncIterator[Finding]:
    """Measure, in the server, the look-ups that everything waits for."""
    sample = await case.connection.fetchrow(sql("doctor_pick_sample"))
    if sample is None:
        return
    look_ups = (
        ("workflows by trigger", "doctor_look_up_workflows", (sample["trigger_tenant"], sample["route"])),
        ("executions by workflow", "doctor_look_up_executions", (sample["tenant"], sample["workflow"])),
        ("steps by execution", "doctor_look_up_steps", (sample["tenant"], sample["execution"])),
    )
    for name, query, arguments in look_ups:
        took_ms = min([await _time_ms(case, query, *arguments) for _ in range(_TIMES)])
        yield ok(f"{name}: {took_ms:.3f} ms", look_up=name, ms=took_ms)


async def _time_ms(case: Case, query: str, *arguments: object) -> float:
    plan = orjson.loads(await case.connection.fetchval(sql(query), *arguments))
    return float(plan[0]["Execution Time"])
