"""What went wrong once, or would if the order of two lines were changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from support.engine import EngineUnderTest, running_engine

from hark.daemon.engine import ingest
from hark.daemon.engine.services import _HomeTransaction
from hark.workflows.errors import UnavailableError
from hark.workflows.ids import DEFAULT_TENANT

PEM = '-----BEGIN KEY-----\nAbC"d\n-----END KEY-----\n'


@pytest.fixture
async def hark(database_url: str) -> AsyncIterator[EngineUnderTest]:
    """Run an engine for the test."""
    async with running_engine(database_url, secrets={"pem": PEM, "digits": "123456"}) as engine:
        yield engine


def flow(steps: str, **fields: str) -> str:
    """Write a workflow that the event GO starts."""
    head = "".join(f"{name}: {value}\n" for name, value in fields.items())
    return f"id: flow\nname: Flow\ntriggers: [{{type: event, event: GO}}]\n{head}steps:\n{steps}\n"


async def again(hark: EngineUnderTest) -> None:
    """Give everything back as a crash does, and let it be taken up again."""
    await hark.engine.executor.abort()
    await hark.database.pool.execute(
        "UPDATE hark.workflow_executions SET status = 'pending', instance_id = NULL WHERE status = 'running'"
    )
    hark.engine.claimer.work_arrived()


async def test_sql_that_is_rolled_back_is_not_on_record(hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release in the middle of COMMIT used to write the record of the step that was rolled back."""
    reached, held = asyncio.Event(), asyncio.Event()
    original = _HomeTransaction.record

    async def record(self: _HomeTransaction, progress: Any) -> None:
        await original(self, progress)
        reached.set()
        await held.wait()

    monkeypatch.setattr(_HomeTransaction, "record", record)
    await hark.database.pool.execute("CREATE TABLE public.marks (n integer)")
    await hark.apply(flow('  - {id: a, action: update_database, with: {sql: "INSERT INTO public.marks VALUES (1)"}}'))
    receipt = await hark.emit("GO")
    await reached.wait()
    hark.engine.executor.interrupt(receipt.executions[0], "released")
    await hark.until(lambda: not hark.engine.executor.runs(receipt.executions[0]))
    assert "a" not in (await hark.execution(receipt.executions[0]))["steps"]
    held.set()
    hark.engine.claimer.work_arrived()
    assert (await hark.ended(receipt.executions[0]))["status"] == "completed"
    assert await hark.database.pool.fetchval("SELECT count(*) FROM public.marks") == 1


async def test_a_workflows_timeout_ends_a_wait(hark: EngineUnderTest) -> None:
    """A walk over what is on record never let the timer fire, and the execution was claimed over and over."""
    await hark.apply(flow("  - {id: w, wait: 1h}", timeout="1500ms"))
    done = await hark.run("GO")
    assert done["status"] == "timeout"


async def test_a_containers_timeout_ends_a_wait_in_it(hark: EngineUnderTest) -> None:
    await hark.apply(flow("  - {id: p, timeout: 1500ms, parallel: {one: [{id: w, wait: 1h}]}}"))
    done = await hark.run("GO")
    assert (done["status"], done["error"]["class"], done["error"]["step"]) == ("failed", "timeout", "p")


async def test_what_follows_a_wait_does_not_wait_for_the_other_branches(hark: EngineUnderTest) -> None:
    """The whole execution used to go on only after its other branches had ended."""
    await hark.apply(
        flow(
            """
  - id: p
    parallel:
      a: [{id: w, wait: 1200ms}, {id: x, action: probe}]
      b: [{id: long, action: probe, with: {hold: true}}]
"""
        )
    )
    receipt = await hark.emit("GO")
    await hark.until(lambda: [call[0] for call in hark.probe.calls] == ["long", "x"])
    assert hark.engine.executor.runs(receipt.executions[0])
    hark.probe.release.set()
    assert (await hark.ended(receipt.executions[0]))["status"] == "completed"


async def test_branches_that_all_wait_give_the_execution_back(hark: EngineUnderTest) -> None:
    await hark.apply(flow("  - {id: p, parallel: {a: [{id: w, wait: 1500ms}], b: [{id: v, wait: 1h}]}, race: true}"))
    receipt = await hark.emit("GO")
    await hark.until(lambda: not hark.engine.executor.in_flight)
    assert (await hark.execution(receipt.executions[0]))["status"] == "waiting"
    assert (await hark.ended(receipt.executions[0]))["steps"]["p"]["output"] == {"winner": "a"}


async def test_a_wake_up_is_not_lost_against_a_suspension(hark: EngineUnderTest) -> None:
    """What runs is marked, and what is marked does not wait; the claim takes the mark away."""
    await hark.apply(flow("  - {id: h, action: probe, with: {hold: true}}\n  - {id: w, wait: 1h}"))
    (execution,) = (await hark.emit("GO")).executions
    await hark.probe.called.wait()
    wake = "SELECT hark.wake_executions(tenant_id, ARRAY[id]) FROM hark.workflow_executions"
    await hark.database.pool.execute(wake)
    assert (await hark.execution(execution))["woken"]
    hark.probe.release.set()
    claims = "SELECT status = 'waiting' AND NOT woken FROM hark.workflow_executions"
    await hark.until(lambda: hark.database.pool.fetchval(claims))


async def test_a_timeout_of_try_still_runs_catch_and_finally(hark: EngineUnderTest) -> None:
    await hark.apply(
        flow(
            """
  - id: t
    timeout: 100ms
    try: [{id: slow, action: probe, with: {hold: true}}]
    catch: [{id: caught, set: {why: "${{ error.class }}"}}]
    finally: [{id: tidy, set: {tidied: true}}]
""",
            output='["${{ vars.why }}", "${{ vars.tidied }}"]',
        )
    )
    assert (await hark.run("GO"))["output"] == ["timeout", True]


async def test_outputs_that_are_too_large_together_fail_the_loop(hark: EngineUnderTest) -> None:
    await hark.apply(
        flow('  - {id: e, for_each: [1, 2, 3, 4, 5, 6], do: [{id: big, set: {x: "${{ event.data.text }}"}}]}')
    )
    done = await hark.run("GO", {"text": "x" * 900_000})
    assert (done["status"], done["error"]["step"]) == ("failed", "e")


async def test_secrets_of_several_lines_and_of_digits_are_masked(hark: EngineUnderTest) -> None:
    await hark.apply(
        flow(
            """
  - {id: a, action: log_event, with: {message: "key ${{ secrets.pem }}"}}
  - {id: b, set: {number: 991234569, exact: "${{ secrets.digits }}"}}
  - {id: c, emit: {type: TOLD, data: {key: "${{ secrets.pem }}"}}}
"""
        )
    )
    done = await hark.run("GO")
    assert done["status"] == "completed"
    assert done["logs"][0]["message"] == "key ***"
    assert done["steps"]["b"]["output"] == {"number": 991234569, "exact": "***"}
    assert "BEGIN" not in str(done)
    assert await hark.database.pool.fetchval("SELECT data ->> 'key' FROM hark.events WHERE type = 'TOLD'") == "***"


async def test_an_emit_that_is_repeated_is_the_same_event_though_it_tells_another_time(hark: EngineUnderTest) -> None:
    await hark.apply(
        flow(
            """
  - {id: say, emit: {type: TOLD, data: {at: "${{ now }}"}}}
  - {id: h, action: probe, with: {hold: true}}
"""
        )
    )
    receipt = await hark.emit("GO")
    await hark.probe.called.wait()
    await hark.database.pool.execute("DELETE FROM hark.workflow_steps WHERE path = 'say'")
    await again(hark)
    await hark.until(lambda: len(hark.probe.calls) == 2)
    hark.probe.release.set()
    assert (await hark.ended(receipt.executions[0]))["status"] == "completed"
    assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.events WHERE type = 'TOLD'") == 1


async def test_a_graph_that_failed_begins_nothing_new_when_it_is_walked_again(hark: EngineUnderTest) -> None:
    await hark.apply(
        flow(
            """
  - {id: bad, needs: [], action: probe, with: {fail: broken}}
  - {id: one, needs: [], wait: 100ms}
  - {id: two, needs: [one], action: probe}
""",
            on_error="[{id: w, wait: 1500ms}, {id: told, action: probe}]",
        )
    )
    done = await hark.run("GO")
    assert done["status"] == "failed"
    assert [call[0] for call in hark.probe.calls] == ["bad", "told"]


async def test_items_that_wait_keep_their_places(hark: EngineUnderTest) -> None:
    await hark.apply(
        flow(
            """
  - id: e
    for_each: [1, 2, 3, 4, 5]
    parallel: 2
    do: [{id: begin, action: probe}, {id: w, wait: 1h}]
"""
        )
    )
    receipt = await hark.emit("GO")

    async def waits() -> bool:
        return bool((await hark.execution(receipt.executions[0]))["status"] == "waiting")

    await hark.until(waits)
    assert sorted(call[0] for call in hark.probe.calls) == ["e[0].begin", "e[1].begin"]


async def test_inputs_that_cannot_be_stored_keep_nobody_else_from_starting(hark: EngineUnderTest) -> None:
    await hark.apply(
        """
id: greedy
name: Greedy
triggers: [{type: event, event: GO, inputs: {text: "${{ event.data.parts.join(string(b'\\\\000')) }}"}}]
steps: [{id: a, set: {x: 1}}]
---
id: modest
name: Modest
triggers: [{type: event, event: GO}]
steps: [{id: a, set: {x: 1}}]
"""
    )
    receipt = await hark.emit("GO", {"parts": ["a", "b"]})
    assert len(receipt.executions) == 1
    assert (await hark.ended(receipt.executions[0]))["status"] == "completed"
    reason = await hark.database.pool.fetchval("SELECT reason FROM hark.event_decisions")
    assert reason == "inputs_invalid"


async def test_an_event_that_starts_nothing_is_stored_once_though_the_answer_was_lost(
    hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statement does not ask whether it is there, so the second attempt has to be another one."""
    commit = ingest.Ingest._commit

    async def lost(self: ingest.Ingest, arrivals: Any) -> Any:
        await commit(self, arrivals)
        raise UnavailableError("the answer was lost")

    monkeypatch.setattr(ingest.Ingest, "_commit", lost)
    receipt = await hark.emit("NOBODY")
    stored = "SELECT array_agg(id) FROM hark.events WHERE type = 'NOBODY'"
    assert await hark.database.pool.fetchval(stored) == [receipt.event_id]


async def test_an_event_that_would_have_started_nothing_is_offered_to_what_was_published_meanwhile(
    hark: EngineUnderTest, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statement holds it to what is active now, as that of all others does."""
    insert, turn = ingest._insert_alone, hark.engine.registry._turn
    outcomes: list[object] = []

    async def inserted(*arguments: Any) -> object:
        outcomes.append(await insert(*arguments))
        turn.release()
        return outcomes[-1]

    monkeypatch.setattr(ingest, "_insert_alone", inserted)
    async with running_engine(database_url) as other:
        await turn.acquire()
        await other.apply(flow("  - {id: a, set: {x: 1}}"))
        receipt = await hark.emit("GO")
    assert (outcomes, len(receipt.executions)) == ([None], 1)


async def test_waiting_for_an_end_leaves_nothing_behind(hark: EngineUnderTest) -> None:
    await hark.apply(flow("  - {id: a, set: {x: 1}}"))
    await hark.run("GO")
    done = await hark.run("GO")
    await hark.ended(done["id"])
    assert len(hark.engine._awaited_ends) == 0


async def test_a_cancel_that_comes_while_an_execution_goes_to_wait_is_heard(hark: EngineUnderTest) -> None:
    await hark.apply(flow("  - {id: h, action: probe, with: {hold: true}}\n  - {id: w, wait: 1h}"))
    receipt = await hark.emit("GO")
    await hark.probe.called.wait()
    # As another instance writes it, whose message is lost.
    await hark.database.pool.execute("UPDATE hark.workflow_executions SET cancel_requested_at = now()")
    hark.probe.release.set()
    assert (await hark.ended(receipt.executions[0]))["status"] == "cancelled"


async def test_a_retry_has_the_workflows_timeout_too(hark: EngineUnderTest) -> None:
    await hark.apply(flow("  - {id: bad, action: probe, with: {fail: broken}}", timeout="1h"))
    failed = await hark.run("GO")
    following = await hark.engine.retry(failed["tenant_id"], failed["id"])
    assert (await hark.ended(following))["deadline_at"] is not None


async def test_executions_that_nobody_runs_are_given_back(hark: EngineUnderTest) -> None:
    """The answer to a claim was lost after its COMMIT: on record as running here, and nobody knew."""
    await hark.apply(flow("  - {id: a, action: probe, with: {hold: true}}"))
    receipt = await hark.emit("GO")
    await hark.probe.called.wait()
    await hark.engine.executor.abort()
    strandings = hark.engine.tending.strandings
    with strandings._takings.under_way():
        assert await strandings.release(hark.engine.instance.id) == 0, "it may be on its way"
        assert await strandings.release(hark.engine.instance.id) == 0
    assert await strandings.release(hark.engine.instance.id) == 1
    hark.probe.release.set()
    hark.engine.claimer.work_arrived()
    assert (await hark.ended(receipt.executions[0]))["status"] == "completed"


async def test_a_flush_that_is_written_again_late_changes_nothing(
    hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to its COMMIT was lost, and before it came again another instance was an attempt further.

    It set the attempts back, and left a wait for an event that had come.
    """
    pool, lane, old, differences = hark.database.pool, hark.engine.recorder._lane, uuid4(), []
    await pool.execute("INSERT INTO hark.instances (id, host, pid, version) VALUES ($1, '', 0, '')", old)
    dump = (
        "SELECT (SELECT array_agg(s::text ORDER BY path) FROM hark.workflow_steps AS s),"
        " (SELECT array_agg(w::text ORDER BY path) FROM hark.event_waits AS w)"
    )
    flushes: list[Any] = []
    fetch = lane.fetch

    async def write(query: str, *arguments: Any) -> list[Any]:
        rows = await fetch(query, *arguments)
        before = await pool.fetchrow(dump)
        for late in flushes:
            await fetch(query, old, *late[1:])
        differences.append((before, await pool.fetchrow(dump)))
        if arguments[2]:  # gives executions up: only then may another instance have them before it comes again
            flushes.append(arguments)
        return rows

    monkeypatch.setattr("hark.daemon.engine.parking.HELD_S", 0.0)
    monkeypatch.setattr(lane, "fetch", write)
    steps = (
        "  - {id: a, action: probe, with: {fail: broken}, retry: {retries: 2, delay: 50ms}, continue_on_error: true}\n"
        "  - {id: w, wait_for: {event: NEWS}}\n  - {id: b, action: probe}"
    )
    await hark.apply(flow(steps))
    receipt = await hark.emit("GO")
    status = "SELECT status = 'waiting' AND EXISTS (SELECT FROM hark.event_waits) FROM hark.workflow_executions"
    await hark.until(lambda: pool.fetchval(status), "the wait for the event")
    await hark.emit("NEWS")
    assert (await hark.ended(receipt.executions[0]))["status"] == "completed"
    assert len(flushes) >= 4
    assert all(before == after for before, after in differences)


async def test_a_short_look_for_an_end_does_not_break_its_statement_off(
    hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the database was slow, such looks used to cancel statement after statement, and never saw the end."""
    await hark.apply(flow("  - {id: a, set: {x: 1}}"))
    execution = await hark.run("GO")
    fetchrow = hark.database.fetchrow

    async def slow(query: str, *args: Any) -> Any:
        await asyncio.sleep(0.1)
        return await fetchrow(query, *args)

    monkeypatch.setattr(hark.database, "fetchrow", slow)
    assert await hark.engine.wait_for_end(DEFAULT_TENANT, execution["id"], 0.02) == "completed"
    assert await hark.engine.wait_for_end(DEFAULT_TENANT, uuid4(), 0.02) is None
