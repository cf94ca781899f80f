"""Parts of distributed steps are stored together, under the licence of the instance that holds their whole."""

from __future__ import annotations

from uuid import uuid4

import pytest
from support.engine import running_engine

from hark.daemon.engine import part_starts, parts
from hark.daemon.engine.part_starts import StartedPart
from hark.workflows.ids import DEFAULT_TENANT, derived_id

SPREAD = """
id: spread
name: Spread
triggers: [{type: event, event: GO}]
steps:
  - id: each
    for_each: event.data.items
    distribute: true
    parallel: 100
    do: [{id: twice, set: {n: "${{ item * 2 }}"}}]
  - {id: hold, action: probe, with: {hold: true}}
"""


async def test_parts_that_begin_together_are_one_statement(database_url: str) -> None:
    async with running_engine(database_url) as one:
        await one.apply(SPREAD)
        group = one.engine.services.parts._group
        execution = (await one.emit("GO", {"items": list(range(100))})).executions[0]
        await one.until(lambda: one.probe.calls)
        assert (group.written, group.flushes) == (100, 1)
        steps = (await one.execution(execution))["steps"]
        assert [each["n"] for each in steps["each"]["output"]] == [2 * n for n in range(100)]
        # Stored again, or under a licence that is gone, they are nothing.
        known = StartedPart(
            one.engine.instance.id, DEFAULT_TENANT, execution, "each[0]", derived_id(execution, "part", "each[0]"),
            "{}", None,
        )  # fmt: skip
        for part in (known, known._replace(id=uuid4(), licence=uuid4())):
            await one.engine.services.parts.store(part)
        count = "SELECT count(*) FROM hark.workflow_executions WHERE parent_id = $1"
        assert await one.database.pool.fetchval(count, execution) == 100


async def test_parts_are_bounded_by_what_they_hold(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only their number was: with large variables, one statement held all of what thousands of them were handed."""
    monkeypatch.setattr(parts, "MOST_PART", 2000)
    monkeypatch.setattr(part_starts, "MOST_AT_ONCE_BYTES", 5000)
    async with running_engine(database_url) as one:
        await one.apply(SPREAD)
        group = one.engine.services.parts._group
        execution = (await one.emit("GO", {"items": ["x" * 1000] * 20})).executions[0]
        failed = await one.ended(execution)
        assert group.written == 20
        assert group.flushes >= 5
        assert failed["error"]["class"] == "expression_error"  # `item * 2`: the parts themselves have run
        execution = (await one.emit("GO", {"items": ["x" * 3000]})).executions[0]
        failed = await one.ended(execution)
        assert failed["error"]["class"] == "part_too_large"
        assert failed["error"]["step"] == "each"
