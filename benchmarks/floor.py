"""The floor: the same rows, written by a bare asyncpg loop in as many transactions, with the same durability.

What differs from row to row comes from here in arrays, what does not as one value. No licence, no matching, nothing
that runs: what a database and its driver take for it, and nothing besides.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg

from benchmarks.work import STEP_OUTPUT, Work
from hark.daemon.store.database import ENGINE_PLANNER
from hark.workflows.ids import DEFAULT_TENANT, new_id

BATCH = 500
_WORKFLOW, _INSTANCE = UUID(int=1), UUID(int=2)

EVENTS = """
INSERT INTO hark.events (tenant_id, id, kind, type, source, route, data, occurred_at, depth, matched)
SELECT $1, u.id, 'event', 'floor', 'bench', 'event:floor', u.data::jsonb, $4, 0, true
FROM unnest($2::uuid[], $3::text[]) AS u (id, data)
"""
EXECUTIONS = """
INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, ordinal, trigger_id, trigger_type,
                                      status, mode, priority, instance_id, claims, depth, inputs, started_at)
SELECT $1, u.id, $5, 1, u.event_id, 0, 'event', 'event', 'running', 'production', 0, $6, 1, 0, u.inputs::jsonb, $4
FROM unnest($2::uuid[], $3::uuid[], $7::text[]) AS u (id, event_id, inputs)
"""
STEPS = """
INSERT INTO hark.workflow_steps (tenant_id, execution_id, path, seq, verb, action_type, status, attempt, input, output,
                                 started_at, completed_at)
SELECT $1, u.execution_id, u.path, u.seq, $6, $7, 'completed', 1, $8::text::jsonb, u.output::jsonb, $9, $9
FROM unnest($2::uuid[], $3::text[], $4::integer[], $5::text[]) AS u (execution_id, path, seq, output)
"""
END = """
UPDATE hark.workflow_executions AS e
SET status = 'completed', instance_id = NULL, completed_at = $3, claims = 0
FROM unnest($1::uuid[], $2::uuid[]) AS u (tenant_id, id) WHERE e.tenant_id = u.tenant_id AND e.id = u.id
"""
# With the tenant as one value PostgreSQL goes through all of its executions and joins them with the array.

Connection = asyncpg.Connection


class Floor:
    """One connection that writes what executions leave. The caller opens and closes it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, url: str) -> Floor:
        """Connect, with the planner settings of the engine's own connections."""
        return cls(await asyncpg.connect(url, server_settings=ENGINE_PLANNER))

    async def close(self) -> None:
        """Disconnect."""
        await self._connection.close()

    async def write(self, count: int, work: Work) -> None:
        """Write the rows of so many executions."""
        for start in range(0, count, BATCH):
            await self._batch(work, range(start, min(start + BATCH, count)))

    async def _batch(self, work: Work, numbers: range) -> None:
        now = datetime.now(UTC)
        events = [new_id(now) for _ in numbers]
        executions = [new_id(now) for _ in numbers]
        async with self._connection.transaction():
            await self._begin(now, events, executions, [f'{{"n": {number}}}' for number in numbers])
        # Strict work ends each step in a transaction of its own; the last step and the end share one either way.
        parts = [[step] for step in range(work.steps)] if work.strict else [list(range(work.steps))]
        for part in parts:
            async with self._connection.transaction():
                await self._steps(now, executions, part, work)
                if part is parts[-1]:
                    await self._connection.execute(END, [DEFAULT_TENANT] * len(executions), executions, now)

    async def _begin(self, now: datetime, events: list[UUID], executions: list[UUID], data: list[str]) -> None:
        await self._connection.execute(EVENTS, DEFAULT_TENANT, events, data, now)
        await self._connection.execute(EXECUTIONS, DEFAULT_TENANT, executions, events, now, _WORKFLOW, _INSTANCE, data)

    async def _steps(self, now: datetime, executions: list[UUID], steps: Sequence[int], work: Work) -> None:
        rows = [(execution, step) for execution in executions for step in steps]
        output = str(STEP_OUTPUT) if work.strict else '{"v": 1}'
        await self._connection.execute(
            STEPS,
            DEFAULT_TENANT,
            [execution for execution, _ in rows],
            [f"s{step}" for _, step in rows],
            [step for _, step in rows],
            [output] * len(rows),
            "action" if work.strict else "set",
            "touch" if work.strict else None,
            f'{{"say": {STEP_OUTPUT}}}' if work.strict else None,
            now,
        )
