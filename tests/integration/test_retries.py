"""Retries and time-outs as they are kept: each field of `retry`, and the time-outs of attempt, step and workflow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from support.engine import EngineUnderTest, running_engine

from hark.workflows.errors import ActionError
from hark.workflows.ids import DEFAULT_TENANT, time_of


@pytest.fixture
async def hark(database_url: str) -> AsyncIterator[EngineUnderTest]:
    """Run an engine for the test."""
    async with running_engine(database_url) as engine:
        yield engine


def workflow(retry: str, **fields: str) -> str:
    """Write a workflow whose only step fails and is repeated."""
    more = "".join(f", {name}: {value}" for name, value in fields.items())
    step = f"{{id: a, action: probe, with: {{fail: no}}, retry: {{{retry}}}{more}}}"
    return f"id: flow\nname: Flow\ntriggers: [{{type: event, event: GO}}]\nsteps: [{step}]\n"


def delays(execution: dict[str, Any]) -> list[float]:
    """Return the delays in ms that were kept before each repetition, as they are on the timeline."""
    notes = [note for note in execution["timeline"] if note["type"] == "step.retrying"]
    return [
        (datetime.fromisoformat(note["detail"]["due_at"]) - time_of(note["id"])).total_seconds() * 1000
        for note in notes
    ]


DELAYS = (
    ("retries: 3, delay: 20ms, backoff: constant, jitter: none", [20, 20, 20]),
    ("retries: 3, delay: 20ms, backoff: linear, jitter: none", [20, 40, 60]),
    ("retries: 3, delay: 10ms, backoff: exponential, factor: 3, jitter: none", [10, 30, 90]),
    ("retries: 3, delay: 10ms, factor: 10, max_delay: 40ms, jitter: none", [10, 40, 40]),
    ("retries: 0", []),
)


async def test_delays_grow_as_the_step_says(hark: EngineUnderTest) -> None:
    for retry, expected in DELAYS:
        hark.probe.calls.clear()
        await hark.apply(workflow(retry))
        done = await hark.run("GO")
        assert (done["status"], done["error"]["attempt"]) == ("failed", len(expected) + 1)
        # What the record's own commit takes on a busy machine is no longer to wait for.
        assert delays(done) == pytest.approx(expected, abs=2, rel=0.4), retry
        assert [attempt for _, attempt, _ in hark.probe.calls] == list(range(1, len(expected) + 2))


async def test_jitter_spreads_them(hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    for jitter, drawn, expected in (("full", 0.25, 25), ("equal", 0.5, 75), ("none", 0.1, 100)):
        monkeypatch.setattr(hark.engine.services, "random", lambda drawn=drawn: drawn)
        await hark.apply(workflow(f"retries: 1, delay: 100ms, jitter: {jitter}"))
        assert delays(await hark.run("GO")) == pytest.approx([expected], abs=2), jitter


async def test_no_attempt_starts_after_max_duration(hark: EngineUnderTest) -> None:
    await hark.apply(workflow("retries: 50, delay: 60ms, backoff: constant, jitter: none, max_duration: 150ms"))
    done = await hark.run("GO")
    step = done["steps"]["a"]
    assert 2 <= step["attempt"] <= 3
    assert (step["completed_at"] - step["started_at"]).total_seconds() < 0.25


async def test_when_decides_by_the_error_and_what_it_cannot_read_is_a_no_on_record(hark: EngineUnderTest) -> None:
    await hark.apply(workflow("retries: 5, delay: 1ms, when: error.attempt < 3 && error.class == 'probed'"))
    assert (await hark.run("GO"))["error"]["attempt"] == 3
    await hark.apply(workflow("retries: 5, delay: 1ms, when: error.details.missing == 1"))
    done = await hark.run("GO")
    assert done["error"]["attempt"] == 1
    (note,) = [note for note in done["timeline"] if note["type"] == "step.not_retried"]
    assert "missing" in note["detail"]["reason"]


async def test_what_the_remote_side_asks_for_is_waited_for_and_what_cannot_help_is_not_repeated(
    hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [ActionError("busy", retry_after_s=0.2), ActionError("never", retryable=False)]

    async def run(_config: Any, _context: Any) -> Any:
        raise failures.pop(0)

    monkeypatch.setattr(hark.probe, "run", run)
    await hark.apply(workflow("retries: 5, delay: 1ms"))
    done = await hark.run("GO")
    assert (done["error"]["message"], done["error"]["attempt"]) == ("never", 2)
    assert delays(done) == pytest.approx([200], abs=2)


async def test_a_long_delay_releases_the_execution_and_counts_on(hark: EngineUnderTest) -> None:
    await hark.apply(workflow("retries: 1, delay: 1200ms, jitter: none"))
    receipt = await hark.emit("GO")
    identifier: UUID = receipt.executions[0]

    async def waits() -> bool:
        return (await hark.execution(identifier))["status"] == "waiting"

    await hark.until(waits)
    assert (await hark.execution(identifier))["steps"]["a"]["status"] == "retrying"
    done = await hark.ended(identifier)
    assert [attempt for _, attempt, _ in hark.probe.calls] == [1, 2]
    assert len({key for _, _, key in hark.probe.calls}) == 1
    assert (done["status"], done["claims"]) == ("failed", 0)


async def test_an_attempts_timeout_is_repeated_and_the_workflows_is_not(hark: EngineUnderTest) -> None:
    text = workflow("retries: 1, delay: 1ms", timeout="50ms").replace("fail: no", "hold: true")
    await hark.apply(text)
    done = await hark.run("GO")
    assert (done["status"], done["error"]["class"], done["error"]["attempt"]) == ("failed", "timeout", 2)
    await hark.apply("timeout: 600ms\n" + text.replace("timeout: 50ms", "timeout: 10s"))
    done = await hark.run("GO")
    assert (done["status"], done["error"]["class"]) == ("timeout", "timeout")
    assert done["steps"]["a"]["status"] == "cancelled"


async def test_a_containers_timeout_bounds_all_attempts_in_it(hark: EngineUnderTest) -> None:
    steps = """
  - id: bounded
    timeout: 600ms
    parallel:
      x: [{id: a, action: probe, with: {fail: no}, retry: {retries: 99, delay: 150ms, backoff: constant, jitter: none}}]
      y: [{id: b, action: probe, with: {hold: true}}]
    on_error: [{id: seen, set: {kind: "${{ error.class }}"}}]
"""
    await hark.apply(f"id: flow\nname: Flow\ntriggers: [{{type: event, event: GO}}]\nsteps:\n{steps}")
    done = await hark.run("GO")
    assert done["status"] == "completed", done["error"]
    assert (done["steps"]["bounded"]["error"]["class"], done["steps"]["seen"]["output"]) == (
        "timeout",
        {"kind": "timeout"},
    )
    assert 2 <= sum(1 for step, _, _ in hark.probe.calls if step == "a") <= 5


async def test_retry_and_timeout_where_they_do_nothing_are_told(hark: EngineUnderTest) -> None:
    text = "id: flow\nname: Flow\nsteps: [{id: a, set: {x: 1}, retry: 3, timeout: 1s}, {id: b, wait: 1ms, timeout: 1s}]"
    (applied,) = await hark.apply(text)
    assert [warning.path for warning in applied.warnings] == [
        ("steps", 0, "retry"), ("steps", 0, "timeout"), ("steps", 1, "timeout"),
    ]  # fmt: skip
    assert await hark.engine.start_workflow(DEFAULT_TENANT, "flow")
