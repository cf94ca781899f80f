"""The state tables hold in the database, whoever writes: each change that they do not name is refused there."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from hark.workflows.ids import DEFAULT_TENANT, new_id
from hark.workflows.states import ENDED_EXECUTION, EXECUTION, STEP

_EXECUTION = """
INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, trigger_type, status, error,
                                      instance_id, completed_at)
SELECT $1, $2::uuid, $2, 1, $2, 'manual', $3, '{}', CASE WHEN $4 THEN $2 END, CASE WHEN $5 THEN now() END
"""
_STEP = """
INSERT INTO hark.workflow_steps (tenant_id, execution_id, path, seq, verb, status) VALUES ($1, $2, 'a', 0, 'wait', $3)
"""
_CHANGES = {
    "workflow_executions": """
        UPDATE hark.workflow_executions
        SET status = $2, instance_id = CASE WHEN $3 THEN id END, completed_at = CASE WHEN $4 THEN now() END
        WHERE id = $1
    """,
    "workflow_steps": "UPDATE hark.workflow_steps SET status = $2 WHERE execution_id = $1",
}


async def begin(connection: asyncpg.Connection, table: str, status: str) -> UUID:
    """Put an execution or a step on record with a status."""
    made = new_id(datetime.now(UTC))
    about: tuple[Any, ...] = (DEFAULT_TENANT, made, status)
    if table == "workflow_steps":
        await connection.execute(_STEP, *about)
    else:
        await connection.execute(_EXECUTION, *about, status == "running", status in ENDED_EXECUTION)
    return made


async def change(connection: asyncpg.Connection, table: str, made: UUID, status: str) -> bool:
    """Try to give it another status; False when the database refuses."""
    about: tuple[Any, ...] = (made, status)
    if table == "workflow_executions":
        about += (status == "running", status in ENDED_EXECUTION)
    try:
        async with connection.transaction():
            return await connection.execute(_CHANGES[table], *about) == "UPDATE 1"
    except asyncpg.RestrictViolationError:
        return False


@pytest.mark.parametrize("table, states", [("workflow_executions", EXECUTION), ("workflow_steps", STEP)])
async def test_the_database_makes_the_changes_of_the_table_and_refuses_all_others(
    connection: asyncpg.Connection, table: str, states: Mapping[str, frozenset[str]]
) -> None:
    found: dict[str, set[str]] = {status: set() for status in states}
    for was in states:
        for becomes in states.keys() - {was}:
            if await change(connection, table, await begin(connection, table, was), becomes):
                found[was].add(becomes)
    assert found == states


@pytest.mark.parametrize("table, states", [("workflow_executions", EXECUTION), ("workflow_steps", STEP)])
async def test_a_status_that_is_written_again_is_no_change(
    connection: asyncpg.Connection, table: str, states: Mapping[str, frozenset[str]]
) -> None:
    for status in states:
        assert await change(connection, table, await begin(connection, table, status), status)


async def test_the_refusal_names_the_table_and_both_statuses(connection: asyncpg.Connection) -> None:
    made = await begin(connection, "workflow_steps", "completed")
    with pytest.raises(asyncpg.RestrictViolationError, match="workflow_steps that is completed never becomes running"):
        await connection.execute(_CHANGES["workflow_steps"], made, "running")


@pytest.mark.parametrize(
    "what, becomes, noted",
    [
        ({}, "cancelled", True),
        ({}, "timeout", True),
        ({"instance_id": "x"}, "completed", False),  # with a whole flush, by record_progress.sql
        ({"instance_id": "x"}, "failed", False),
        ({"mode": "test"}, "cancelled", False),
        ({"mode": "dry_run"}, "cancelled", False),
        ({"part": "y"}, "cancelled", False),
    ],
)
async def test_whoever_ends_an_execution_notes_it_for_its_followers_and_leaves_no_step_open(
    connection: asyncpg.Connection, what: Mapping[str, str], becomes: str, noted: bool
) -> None:
    """Ends that are nobody's to follow are not noted: those of tests and of parts; an owner notes them itself."""
    made = await begin(connection, "workflow_executions", "running" if "instance_id" in what else "waiting")
    await connection.execute(_STEP, DEFAULT_TENANT, made, "waiting")
    await connection.execute(
        "INSERT INTO hark.workflows (tenant_id, id, slug, name) VALUES ($1, $2, 'w', 'W')", DEFAULT_TENANT, made
    )
    await connection.execute(
        "INSERT INTO hark.workflow_triggers (tenant_id, workflow_id, id, kind, route, config) "
        "VALUES ($1, $2, 't', 'workflow', 'w', '{}')", DEFAULT_TENANT, made,
    )  # fmt: skip
    await connection.execute("INSERT INTO hark.followed_workflows VALUES ($1, 'w', $2, 't')", DEFAULT_TENANT, made)
    if "part" in what:
        await connection.execute("UPDATE hark.workflow_executions SET part = '{}', parent_id = id, parent_path = 'a'")
    await connection.execute("UPDATE hark.workflow_executions SET mode = $1", what.get("mode", "production"))
    assert await change(connection, "workflow_executions", made, becomes)
    ends = await connection.fetch("SELECT execution_id FROM hark.execution_ends")
    assert [end["execution_id"] for end in ends] == ([made] if noted else [])
    step = await connection.fetchval("SELECT status FROM hark.workflow_steps")
    assert step == ("waiting" if becomes == "completed" else "cancelled")
