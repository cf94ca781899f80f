"""Tests and dry runs wait for nothing, and say so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.engine import EngineUnderTest, running_engine

from hark.workflows.ids import DEFAULT_TENANT


@pytest.fixture
async def hark(database_url: str) -> AsyncIterator[EngineUnderTest]:
    """Run an engine for the test."""
    async with running_engine(database_url) as engine:
        yield engine


async def run(hark: EngineUnderTest, steps: str, mode: str, mocks: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run a workflow of these steps in a mode."""
    await hark.apply(f"id: flow\nname: Flow\nsteps:\n{steps}")
    metadata = {"mocks": mocks} if mocks else None
    receipt = await hark.engine.start_workflow(DEFAULT_TENANT, "flow", mode=mode, metadata=metadata)
    return await hark.ended(receipt.executions[0], 10)


def not_waited(done: dict[str, Any]) -> list[tuple[str, str]]:
    """Return which steps would have waited, and the mode that kept them from it."""
    return [(one["path"], one["detail"]["mode"]) for one in done["timeline"] if one["type"] == "step.not_waited"]


@pytest.mark.parametrize("mode", ["test", "dry_run"])
async def test_times_are_not_waited_for(hark: EngineUnderTest, mode: str) -> None:
    steps = """
  - {id: long, wait: 30d}
  - {id: date, wait: {until: "2999-01-01T00:00:00Z"}}
  - {id: delay, action: delay, with: {duration: 2h}}
"""
    done = await run(hark, steps, mode)
    assert done["status"] == "completed", done["error"]
    assert not_waited(done) == [("long", mode), ("date", mode), ("delay", mode)]
    assert done["steps"]["date"]["output"] == {"waited_until": "2999-01-01T00:00:00+00:00"}
    assert done["timeline"][1]["detail"]["until"] == "2999-01-01T00:00:00+00:00"


@pytest.mark.parametrize("mode", ["test", "dry_run"])
async def test_an_event_that_is_not_there_has_not_come_in_time(hark: EngineUnderTest, mode: str) -> None:
    steps = """
  - id: tried
    try: [{id: paid, wait_for: {event: PAID, when: event.data.n == 1}}]
    catch: [{id: late, set: {class: "${{ error.class }}", message: "${{ error.message }}"}}]
"""
    done = await run(hark, steps, mode)
    assert done["status"] == "completed", done["error"]
    assert done["steps"]["late"]["output"]["class"] == "timeout"
    assert "give it a mock" in done["steps"]["late"]["output"]["message"]
    assert not_waited(done) == [("paid", mode)]
    for table in ("event_waits", "wait_shapes"):
        assert await hark.database.pool.fetchval(f"SELECT count(*) FROM hark.{table}") == 0


async def test_an_event_that_is_stored_or_mocked_is_taken(hark: EngineUnderTest) -> None:
    for n in (2, 1):
        await hark.emit("PAID", {"n": n})
    steps = "  - {id: paid, wait_for: {event: PAID, when: event.data.n == 1, lookback: 1h}}"
    done = await run(hark, steps, "test")
    assert done["steps"]["paid"]["output"]["data"] == {"n": 1}
    assert not_waited(done) == []
    done = await run(hark, steps, "test", {"paid": {"data": {"n": 7}}})
    assert done["steps"]["paid"]["output"] == {"data": {"n": 7}}


async def test_a_race_against_time_ends_as_it_would(hark: EngineUnderTest) -> None:
    steps = """
  - id: first
    race: true
    parallel:
      paid: [{id: paid, wait_for: {event: PAID}}]
      late: [{id: late, wait: 14d}]
"""
    done = await asyncio.wait_for(run(hark, steps, "dry_run"), 15)
    assert done["steps"]["first"]["output"] == {"winner": "late"}


@pytest.mark.parametrize("mode", ["test", "dry_run"])
async def test_another_attempt_is_not_waited_for(hark: EngineUnderTest, mode: str) -> None:
    await hark.apply("id: child\nname: Child\nsteps: [{id: s, stop: failed, reason: no}]\n")
    retry = "retry: {retries: 2, delay: 1h, jitter: none}"
    steps = f"""
  - {{id: called, call: child, continue_on_error: true, {retry}}}
  - {{id: late, action: delay, with: {{duration: "${{{{ 'soon' }}}}"}}, {retry[:-1]}, when: "true"}}}}
"""
    done = await run(hark, steps, mode)
    assert done["error"]["class"] == "config_invalid"
    assert done["steps"]["called"]["attempt"] == done["steps"]["late"]["attempt"] == 3
    assert not_waited(done) == [("called", mode)] * 2 + [("late", mode)] * 2


@pytest.mark.parametrize("mode", ["test", "dry_run"])
async def test_a_published_event_is_looked_at_and_not_stored(hark: EngineUnderTest, mode: str) -> None:
    """It would start other workflows for real: `follower` has the same mode only if it is called."""
    await hark.apply("{id: follower, name: F, triggers: [{type: event, event: TOLD}], steps: [{id: s, set: {n: 1}}]}")
    done = await run(hark, "  - {id: told, emit: {type: TOLD, data: {n: 1}, key: once}}", mode)
    assert done["status"] == "completed", done["error"]
    notes = [(note["path"], note["detail"]) for note in done["timeline"] if note["type"] == "event.not_stored"]
    assert notes == [("told", {"mode": mode, "type": "TOLD"})]
    assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.events WHERE type = 'TOLD'") == 0
    # Nor is its key taken.
    done = await run(hark, "  - {id: told, emit: {type: TOLD, data: {n: 2}, key: once}}", "production")
    stored = await hark.database.pool.fetchval("SELECT id FROM hark.events WHERE type = 'TOLD'")
    assert done["steps"]["told"]["output"] == {"event_id": str(stored)}
