"""Executions from event to record: order, branches, failures, retries, waits."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest
from support.engine import EngineUnderTest, running_engine

from hark.daemon.engine.run import Run
from hark.workflows.errors import ConflictError, UnavailableError, UnprocessableError
from hark.workflows.ids import DEFAULT_TENANT


@pytest.fixture
async def hark(database_url: str) -> AsyncIterator[EngineUnderTest]:
    """Run an engine for the test."""
    async with running_engine(database_url, secrets={"token": "s3cr3t-value"}) as engine:
        yield engine


def workflow(steps: str, **fields: Any) -> str:
    """Write a workflow that the event GO starts."""
    head = "\n".join(f"{name}: {value}" for name, value in fields.items())
    return f"id: flow\nname: Flow\ntriggers: [{{type: event, event: GO}}]\n{head}\nsteps:\n{steps}\n"


async def test_steps_run_in_order_and_pass_their_outputs_on(hark: EngineUnderTest) -> None:
    await hark.apply(
        workflow(
            """
  - {id: a, set: {x: "${{ event.data.n + 1 }}"}}
  - {id: b, action: probe, with: {say: {doubled: "${{ vars.x * 2 }}"}}}
  - {id: c, action: log_event, with: {level: info, message: "got ${{ steps.b.output.doubled }}"}}
""",
            output='{y: "${{ steps.b.output.doubled }}"}',
        )
    )
    done = await hark.run("GO", {"n": 4})
    assert done["status"] == "completed"
    assert done["output"] == {"y": 10}
    assert [(path, step["status"], step["seq"]) for path, step in done["steps"].items()] == [
        ("a", "completed", 0),
        ("b", "completed", 1),
        ("c", "completed", 2),
    ]
    assert done["steps"]["b"]["input"] == {"say": {"doubled": 10}}
    assert [entry["message"] for entry in done["logs"]] == ["got 10"]
    assert done["instance_id"] is None
    assert done["completed_at"] is not None


async def test_an_execution_that_has_ended_leaves_memory_without_the_collector(hark: EngineUnderTest) -> None:
    """What is in a circle stays until the collector comes by, which is seldom: with a thousand in flight, 100 MiB."""
    await hark.apply(
        workflow(
            """
  - {id: a, set: {x: 1}}
  - {id: b, action: probe, with: {say: "${{ vars.x }}"}}
  - {id: c, for_each: "${{ [1, 2] }}", do: [{id: d, action: probe, with: {say: "${{ item }}"}}]}
"""
        )
    )
    await hark.run("GO")
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            await hark.run("GO")
        await hark.until(lambda: not any(type(one) is Run for one in gc.get_objects()))
    finally:
        gc.enable()


async def test_every_event_is_stored_with_the_reason_why_nothing_started(hark: EngineUnderTest) -> None:
    await hark.apply(
        """
id: picky
name: Picky
triggers: [{type: event, event: GO, when: event.data.n > 3}]
conditions: ['inputs.kind == "good"']
steps: [{id: a, set: {x: 1}}]
"""
    )
    nobody = await hark.emit("ELSEWHERE", {"n": 1})
    small = await hark.emit("GO", {"n": 1, "kind": "good"})
    bad = await hark.emit("GO", {"n": 9, "kind": "bad"})
    missing = await hark.emit("GO", {"n": 9})
    assert [len(receipt.executions) for receipt in (nobody, small, bad, missing)] == [0, 0, 0, 0]
    rows = await hark.database.pool.fetch("SELECT event_id, reason, detail FROM hark.event_decisions")
    reasons = {row["event_id"]: (row["reason"], row["detail"]) for row in rows}
    assert reasons[small.event_id][0] == "when_false"
    assert reasons[bad.event_id][0] == "condition_false"
    assert "inputs.kind" in reasons[missing.event_id][1]
    assert nobody.event_id not in reasons
    assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.events WHERE NOT matched") == 4


async def test_a_guard_skips_its_step_and_a_missing_field_is_the_recorded_reason(hark: EngineUnderTest) -> None:
    await hark.apply(
        workflow(
            """
  - {id: a, if: event.data.n > 5, action: probe}
  - {id: b, if: event.data.absent == 1, action: probe}
  - {id: c, action: probe, with: {say: 1}}
"""
        )
    )
    done = await hark.run("GO", {"n": 1})
    assert {path: step["status"] for path, step in done["steps"].items()} == {
        "a": "skipped",
        "b": "skipped",
        "c": "completed",
    }
    assert "absent" in str(done["steps"]["b"]["output"])
    assert [call[0] for call in hark.probe.calls] == ["c"]


async def test_branches_loops_and_switches_run_what_they_chose(hark: EngineUnderTest) -> None:
    await hark.apply(
        workflow(
            """
  - id: choose
    if: event.data.n > 1
    then: [{id: yes_step, set: {way: "then"}}]
    else: [{id: no_step, set: {way: "else"}}]
  - id: pick
    switch: event.data.country
    cases:
      - {value: [DE, AT], do: [{id: german, set: {hello: Hallo}}]}
      - {when: 'event.data.country == "FR"', do: [{id: french, set: {hello: Salut}}]}
    default: [{id: english, set: {hello: Hello}}]
  - id: each
    for_each: event.data.items
    as: thing
    parallel: 2
    do:
      - {id: call, action: probe, with: {say: "${{ thing }}-${{ index }}"}}
  - id: count
    while: vars.n < 3
    do: [{id: up, set: {n: "${{ vars.n + 1 }}"}}]
""".replace("  - id: choose", "  - {id: zero, set: {n: 0}}\n  - id: choose"),
            output='{said: "${{ vars.way }} ${{ vars.hello }}", n: "${{ vars.n }}", all: "${{ steps.each.output }}"}',
        )
    )
    done = await hark.run("GO", {"n": 2, "country": "AT", "items": ["a", "b", "c"]})
    assert done["output"] == {"said": "then Hallo", "n": 3, "all": ["a-0", "b-1", "c-2"]}
    assert sorted(call[0] for call in hark.probe.calls) == ["each[0].call", "each[1].call", "each[2].call"]
    assert "no_step" not in done["steps"]


async def test_a_graph_runs_what_its_needs_allow(hark: EngineUnderTest) -> None:
    await hark.apply(
        workflow(
            """
  - {id: left, needs: [], action: probe, with: {hold: true, say: l}}
  - {id: right, needs: [], action: probe, with: {say: r}}
  - {id: join, needs: [left, right], action: probe, with: {say: "${{ steps.left.output }}${{ steps.right.output }}"}}
"""
        )
    )
    receipt = await hark.emit("GO")
    await hark.until(lambda: len(hark.probe.calls) == 2)
    assert {call[0] for call in hark.probe.calls} == {"left", "right"}
    hark.probe.release.set()
    done = await hark.ended(receipt.executions[0])
    assert done["steps"]["join"]["output"] == "lr"


async def test_a_failed_step_ends_the_execution_and_says_why(hark: EngineUnderTest) -> None:
    await hark.apply(
        workflow(
            """
  - {id: a, action: probe, with: {fail: no luck}}
  - {id: b, action: probe}
""",
            on_error='[{id: told, action: log_event, with: {level: error, message: "${{ error.message }}"}}]',
        )
    )
    done = await hark.run("GO")
    assert done["status"] == "failed"
    assert done["error"] == {"class": "probed", "message": "no luck", "step": "a", "attempt": 1}
    assert "b" not in done["steps"]
    assert [entry["message"] for entry in done["logs"]] == ["no luck"]


async def test_attempts_are_repeated_as_the_step_says(hark: EngineUnderTest) -> None:
    await hark.apply(
        workflow(
            "  - {id: a, action: probe, with: {fail: not yet, times: 2, say: ok},"
            " retry: {retries: 3, delay: 10ms, jitter: none}}"
        )
    )
    done = await hark.run("GO")
    assert done["status"] == "completed"
    assert [call[1] for call in hark.probe.calls] == [1, 2, 3]
    assert len({call[2] for call in hark.probe.calls}) == 1, "the Idempotency-Key is the same for all attempts"
    assert done["steps"]["a"]["attempt"] == 3
    assert [entry["type"] for entry in done["timeline"]] == ["step.retrying", "step.retrying"]


async def test_try_catch_finally_and_continue_on_error(hark: EngineUnderTest) -> None:
    await hark.apply(
        workflow(
            """
  - id: attempt
    try: [{id: boom, action: probe, with: {fail: bang}}]
    catch: [{id: caught, set: {why: "${{ error.message }}"}}]
    finally: [{id: always, set: {tidy: true}}]
  - {id: shrug, action: probe, with: {fail: whatever}, continue_on_error: true}
  - {id: handled, action: probe, with: {fail: oops}, on_error: [{id: handler, set: {seen: "${{ error.step }}"}}]}
""",
            output='["${{ vars.why }}", "${{ vars.tidy }}", "${{ vars.seen }}", "${{ steps.shrug.status }}"]',
        )
    )
    done = await hark.run("GO")
    assert done["status"] == "completed"
    assert done["output"] == ["bang", True, "handled", "failed"]


async def test_a_timeout_ends_an_attempt_and_a_workflow_timeout_the_execution(hark: EngineUnderTest) -> None:
    await hark.apply(workflow("  - {id: a, action: probe, with: {hold: true}, timeout: 50ms}"))
    done = await hark.run("GO")
    assert (done["status"], done["error"]["class"]) == ("failed", "timeout")
    await hark.apply(workflow("  - {id: a, action: probe, with: {hold: true}}", timeout="100ms"))
    done = await hark.run("GO")
    assert (done["status"], done["error"]["class"]) == ("timeout", "timeout")
    assert done["steps"]["a"]["status"] == "cancelled"


async def test_stop_ends_the_execution_with_its_status(hark: EngineUnderTest) -> None:
    await hark.apply(workflow("  - {id: a, stop: skipped, reason: nothing to do}\n  - {id: b, action: probe}"))
    done = await hark.run("GO")
    assert done["status"] == "skipped"
    assert hark.probe.calls == []


async def test_a_wait_gives_its_place_back_and_goes_on_at_its_time(hark: EngineUnderTest) -> None:
    await hark.apply(workflow("  - {id: a, action: probe}\n  - {id: w, wait: 1500ms}\n  - {id: b, action: probe}"))
    receipt = await hark.emit("GO")
    execution = receipt.executions[0]

    async def waits() -> bool:
        return bool((await hark.execution(execution))["status"] == "waiting")

    await hark.until(waits)
    row = await hark.execution(execution)
    assert row["instance_id"] is None
    assert row["due_at"] is not None
    assert hark.engine.executor.in_flight == 0
    done = await hark.ended(execution)
    assert [call[0] for call in hark.probe.calls] == ["a", "b"]
    assert done["steps"]["b"]["started_at"] >= datetime.fromisoformat(done["steps"]["w"]["output"]["waited_until"])


async def test_sql_steps_commit_with_their_record(hark: EngineUnderTest) -> None:
    await hark.database.pool.execute("CREATE TABLE public.marks (n integer UNIQUE)")
    await hark.apply(
        workflow(
            """
  - id: insert
    action: update_database
    with: {sql: "INSERT INTO public.marks VALUES (:n) RETURNING n", params: {n: "${{ event.data.n }}"}}
  - id: twice
    action: update_database
    with: {sql: "INSERT INTO public.marks VALUES (:n)", params: {n: "${{ event.data.n }}"}}
    continue_on_error: true
"""
        )
    )
    done = await hark.run("GO", {"n": 7})
    assert done["status"] == "completed"
    assert done["steps"]["insert"]["output"]["rows"] == [{"n": 7}]
    assert done["steps"]["twice"]["status"] == "failed"
    assert "unique" in done["steps"]["twice"]["error"]["class"]
    assert await hark.database.pool.fetchval("SELECT count(*) FROM public.marks") == 1


async def test_secrets_are_nowhere_on_record(hark: EngineUnderTest) -> None:
    await hark.apply(
        workflow(
            """
  - {id: a, action: probe, with: {say: "Bearer ${{ secrets.token }}"}}
  - {id: b, action: log_event, with: {message: "token ${{ secrets.token }} used"}}
  - {id: c, action: probe, with: {fail: "denied for ${{ secrets.token }}"}}
"""
        )
    )
    done = await hark.run("GO")
    assert done["status"] == "failed"
    assert "s3cr3t-value" not in str(done)
    assert done["steps"]["a"]["output"] == "Bearer ***"


async def test_the_same_key_is_one_event_and_other_content_is_refused(hark: EngineUnderTest) -> None:
    await hark.apply(workflow("  - {id: a, action: probe}"))
    first = await hark.emit("GO", {"n": 1}, dedupe_key="k")
    again = await hark.emit("GO", {"n": 1}, dedupe_key="k")
    assert again.duplicate
    assert (again.event_id, again.executions) == (first.event_id, first.executions)
    with pytest.raises(ConflictError):
        await hark.emit("GO", {"n": 2}, dedupe_key="k")
    assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.events") == 1
    assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.workflow_executions") == 1


async def test_data_that_jsonb_cannot_hold_is_refused_and_harms_nobody(hark: EngineUnderTest) -> None:
    with pytest.raises(UnprocessableError):
        await hark.emit("GO", {"bad": "a\x00b"})
    receipt = await hark.emit("GO", {"fine": "\\u0000 written out"})
    stored = await hark.database.pool.fetchval(
        "SELECT data ->> 'fine' FROM hark.events WHERE id = $1", receipt.event_id
    )
    assert stored == "\\u0000 written out"


async def test_a_manual_start_checks_the_inputs(hark: EngineUnderTest) -> None:
    await hark.apply(
        workflow("  - {id: a, set: {x: 1}}", inputs="{email: {type: string, format: email, required: true}}")
    )
    with pytest.raises(UnprocessableError, match="email"):
        await hark.engine.start_workflow(DEFAULT_TENANT, "flow", inputs={})
    receipt = await hark.engine.start_workflow(DEFAULT_TENANT, "flow", inputs={"email": "a@example.org"})
    done = await hark.ended(receipt.executions[0])
    assert (done["status"], done["trigger_type"]) == ("completed", "manual")


async def test_emit_publishes_once_and_the_depth_ends_a_loop(hark: EngineUnderTest) -> None:
    await hark.apply(workflow('  - {id: again, emit: {type: GO, data: {n: "${{ event.data.n + 1 }}"}}}'))
    await hark.emit("GO", {"n": 0})

    async def stopped() -> Any:
        return await hark.database.pool.fetchval(
            "SELECT count(*) FROM hark.event_decisions WHERE reason = 'depth_limit'"
        )

    assert await hark.until(stopped) == 1
    assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.workflow_executions") == 21


async def test_cancel_ends_a_running_and_a_waiting_execution(hark: EngineUnderTest) -> None:
    await hark.apply(workflow("  - {id: a, action: probe, with: {hold: true}}\n  - {id: w, wait: 1h}"))
    receipt = await hark.emit("GO")
    await hark.probe.called.wait()
    assert await hark.engine.cancel(DEFAULT_TENANT, receipt.executions[0], reason="not needed") == "running"
    done = await hark.ended(receipt.executions[0])
    assert done["status"] == "cancelled"
    assert done["steps"]["a"]["status"] == "cancelled"
    hark.probe.release.set()
    receipt = await hark.emit("GO")

    async def waits() -> bool:
        return bool((await hark.execution(receipt.executions[0]))["status"] == "waiting")

    await hark.until(waits)
    assert await hark.engine.cancel(DEFAULT_TENANT, receipt.executions[0], reason="") == "cancelled"
    with pytest.raises(ConflictError):
        await hark.engine.cancel(DEFAULT_TENANT, receipt.executions[0], reason="")


async def test_who_waits_for_the_end_waits_on_while_the_database_is_away(
    hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hark.apply("id: w\nname: W\ntriggers: [{type: event, event: GO}]\nsteps: [{id: a, set: {n: 1}}]\n")
    started = (await hark.emit("GO")).executions[0]
    fetchrow, refused = hark.database.fetchrow, 2

    async def refusing(query: str, *args: Any) -> Any:
        nonlocal refused
        if query == "get_execution_state" and refused:
            refused -= 1
            raise UnavailableError("away")
        return await fetchrow(query, *args)

    monkeypatch.setattr(hark.database, "fetchrow", refusing)
    assert await hark.engine.wait_for_end(DEFAULT_TENANT, started, 10) == "completed"
    refused = 1
    with pytest.raises(UnavailableError):
        await hark.engine.wait_for_end(DEFAULT_TENANT, started, 0)


async def test_retry_goes_on_at_the_step_that_failed(hark: EngineUnderTest) -> None:
    await hark.apply(
        workflow(
            """
  - {id: a, action: probe, with: {say: kept}}
  - id: each
    for_each: event.data.items
    do:
      - {id: ok, action: probe}
      - {id: bad, if: 'index == 1', action: probe, with: {fail: broken}}
""",
            on_error="[{id: told, action: probe}]",
        )
    )
    failed = await hark.run("GO", {"items": [1, 2]})
    assert failed["error"]["step"] == "each[1].bad"
    hark.probe.calls.clear()
    again = await hark.engine.retry(DEFAULT_TENANT, failed["id"])
    done = await hark.ended(again)
    assert [call[0] for call in hark.probe.calls] == ["each[1].bad", "told"]
    assert (done["origin_id"], done["ordinal"]) == (failed["id"], 1)
    hark.probe.calls.clear()
    done = await hark.ended(await hark.engine.retry(DEFAULT_TENANT, failed["id"], from_start=True))
    assert hark.probe.calls[0][0] == "a"
    assert done["ordinal"] == 2
