"""What executions remember: written by steps, the API and SQL, and seen fresh by whatever reads it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from support.api import ApiUnderTest, running_api
from support.engine import EngineUnderTest, running_engine

from hark.client import ApiError
from hark.daemon.engine import instance as instance_module
from hark.daemon.engine.records import Progress, Recorder, StepRecord
from hark.workflows.ids import DEFAULT_TENANT, derived_id


@pytest.fixture
async def hark(database_url: str) -> AsyncIterator[EngineUnderTest]:
    """Run an engine for the test."""
    async with running_engine(database_url, secrets={"token": "s3cr3t-value"}) as engine:
        yield engine


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    """Serve the API of an engine."""
    async with running_api(database_url, tmp_path) as served:
        yield served


def workflow(steps: str, more: str = "") -> str:
    """Write a workflow that the event GO starts."""
    return f"id: flow\nname: Flow\ntriggers: [{{type: event, event: GO}}]\nsteps:\n{steps}\n{more}"


async def remembered(hark: EngineUnderTest, execution_id: UUID) -> dict[str, tuple[Any, str]]:
    """Return the context as it is in the table."""
    rows = await hark.database.pool.fetch(
        "SELECT key, value, updated_by FROM hark.workflow_context WHERE execution_id = $1", execution_id
    )
    return {row["key"]: (orjson.loads(row["value"]), row["updated_by"]) for row in rows}


async def test_steps_remember_and_later_ones_read_it(hark: EngineUnderTest) -> None:
    steps = """
  - {id: first, remember: {stage: checked, count: "${{ event.data.n + 1 }}", nothing: null}}
  - {id: seen, set: {was: "${{ context }}"}}
  - id: each
    for_each: "[1, 2, 3]"
    do: [{id: add, remember: {count: "${{ context.count + item }}"}}]
"""
    await hark.apply(workflow(steps, 'output: {count: "${{ context.count }}", was: "${{ steps.seen.output.was }}"}'))
    done = await hark.run("GO", {"n": 4})
    assert done["status"] == "completed", done["error"]
    assert done["steps"]["first"]["output"] == {"stage": "checked", "count": 5, "nothing": None}
    assert done["output"] == {"count": 11, "was": {"stage": "checked", "count": 5, "nothing": None}}
    assert await remembered(hark, done["id"]) == {
        "stage": ("checked", "step:first"),
        "nothing": (None, "step:first"),
        "count": (11, "step:each[2].add"),
    }


async def test_what_sql_changes_is_seen_by_the_next_step_and_by_every_turn_of_a_loop(hark: EngineUnderTest) -> None:
    update = "UPDATE hark.workflow_context SET value = to_jsonb((value #>> '{}')::int - 1)"
    steps = f"""
  - {{id: start, remember: {{left: 3}}}}
  - id: down
    while: context.left > 0
    do: [{{id: less, action: update_database, with: {{sql: "{update}"}}}}]
"""
    await hark.apply(workflow(steps))
    done = await hark.run("GO")
    assert done["status"] == "completed", done["error"]
    assert done["steps"]["down"]["output"] == {"iterations": 3}


async def test_a_retried_attempt_reads_the_context_again(hark: EngineUnderTest) -> None:
    steps = """
  - {id: a, remember: {say: old}}
  - id: b
    action: probe
    with: {say: "${{ context.say }}", fail: no, times: 1}
    retry: {retries: 1, delay: 300ms, jitter: none}
"""
    await hark.apply(workflow(steps))
    receipt = await hark.emit("GO")
    await hark.until(hark.probe.called.is_set)
    await hark.database.pool.execute("UPDATE hark.workflow_context SET value = '\"new\"'")
    done = await hark.ended(receipt.executions[0])
    assert done["steps"]["b"]["output"] == "new"


async def test_programs_that_do_not_read_the_context_never_ask_for_it(
    hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    fetch = hark.database.fetch

    async def counting(query: str, *args: Any) -> Any:
        asked.append(query)
        return await fetch(query, *args)

    monkeypatch.setattr(hark.database, "fetch", counting)
    await hark.apply(workflow('  - {id: a, remember: {x: 1}}\n  - {id: b, set: {y: "${{ event.data }}"}}'))
    await hark.run("GO")
    assert "load_context" not in asked
    await hark.apply(workflow('  - {id: a, remember: {x: 1}}\n  - {id: b, set: {y: "${{ context.x }}"}}'))
    await hark.run("GO")
    assert asked.count("load_context") == 1


async def test_secrets_are_masked_and_values_that_are_too_large_fail_the_step(hark: EngineUnderTest) -> None:
    steps = """
  - {id: a, remember: {token: "is ${{ secrets.token }}"}}
  - {id: b, remember: {large: "${{ event.data }}"}}
"""
    await hark.apply(workflow(steps))
    done = await hark.run("GO", "x" * 300_000)
    assert (await remembered(hark, done["id"])) == {"token": ("is ***", "step:a")}
    assert done["error"]["class"] == "context_too_large"
    assert "'large' has 300002 bytes" in done["error"]["message"]


async def test_a_retry_takes_along_what_was_remembered(hark: EngineUnderTest) -> None:
    steps = """
  - {id: a, remember: {x: 1}}
  - {id: b, action: probe, with: {fail: no, times: 1, say: "${{ context.x }}"}}
"""
    await hark.apply(workflow(steps))
    failed = await hark.run("GO")
    again = await hark.engine.retry(DEFAULT_TENANT, failed["id"])
    done = await hark.ended(again)
    assert (done["steps"]["b"]["status"], done["steps"]["b"]["input"]["say"]) == ("failed", 1)
    fresh = await hark.ended(await hark.engine.retry(DEFAULT_TENANT, failed["id"], from_start=True))
    assert (await remembered(hark, fresh["id"])) == {"x": (1, "step:a")}


async def test_a_flush_that_is_written_twice_does_not_undo_what_came_in_between(hark: EngineUnderTest) -> None:
    """The answer to a COMMIT was lost, an API call changed the value, and the flush is repeated."""
    await hark.apply(workflow("  - {id: hold, action: probe, with: {hold: true}}"))
    identifier = (await hark.emit("GO")).executions[0]
    services = hark.engine.services
    recorder: Recorder = services._recorder

    def progress() -> Progress:
        made = Progress(DEFAULT_TENANT, identifier, services.licence)
        now = services.now()
        made.steps["a"] = StepRecord("a", 7, "remember", "completed", started_at=now, completed_at=now)
        made.remember(identifier, "k", "1", "a")
        return made

    await recorder.submit(progress())
    assert await remembered(hark, identifier) == {"k": (1, "step:a")}
    await hark.database.execute("set_context", DEFAULT_TENANT, identifier, "k", "2", "key:ann", 1000)
    await recorder.submit(progress())
    assert await remembered(hark, identifier) == {"k": (2, "key:ann")}


async def test_what_is_remembered_is_on_record_with_its_step_or_not_at_all(
    hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An instance loses its licence with a `remember` that is not on record: it counts once all the same."""
    monkeypatch.setattr(instance_module, "HEARTBEAT_S", 0.2)
    add = "{{id: {0}, remember: {{n: \"${{{{ context[?'n'].orValue(0) + 1 }}}}\"}}}}"
    steps = "\n".join(
        f"  - {step}"
        for step in (add.format("a"), "{id: hold, action: probe, with: {hold: true}}", add.format("b"), add.format("c"))
    )
    await hark.apply(workflow(steps, 'output: "${{ context.n }}"'))
    identifier = (await hark.emit("GO")).executions[0]
    await hark.until(hark.probe.called.is_set)
    await hark.database.pool.execute("DELETE FROM hark.instances")
    hark.probe.release.set()
    done = await hark.ended(identifier)
    assert (done["status"], done["output"]) == ("completed", 3)
    assert [step for step, _, _ in hark.probe.calls] == ["hold", "hold"]
    assert await remembered(hark, identifier) == {"n": (3, "step:c")}


async def test_parts_of_a_distributed_step_share_the_context_of_the_whole(hark: EngineUnderTest) -> None:
    """Whatever the order of the parts, the steps behind them see one context."""
    steps = """
  - id: each
    for_each: [1, 2, 3, 4, 5, 6, 7, 8]
    parallel: 8
    distribute: true
    do: [{id: note, remember: {last: "${{ item }}", own: here}}]
  - {id: seen, set: {last: "${{ context.last }}"}}
"""
    await hark.apply(workflow(steps))
    done = await hark.run("GO")
    assert done["status"] == "completed", done["error"]
    assert done["steps"]["seen"]["output"]["last"] in range(1, 9)
    context = await remembered(hark, done["id"])
    assert context["own"][0] == "here"
    assert context.keys() == {"last", "own"}


async def test_parts_that_remember_one_key_in_one_flush_and_again_undo_nothing(hark: EngineUnderTest) -> None:
    await hark.apply(workflow("  - {id: hold, action: probe, with: {hold: true}}"))
    whole = (await hark.emit("GO")).executions[0]
    services = hark.engine.services

    def flush() -> list[Any]:
        """Submit what the parts remember, for one flush."""
        return [services._recorder.submit(part(identifier)) for identifier in parts]

    def part(identifier: UUID) -> Progress:
        made = Progress(DEFAULT_TENANT, identifier, services.licence)
        now = services.now()
        made.steps["a"] = StepRecord("a", 0, "remember", "completed", started_at=now, completed_at=now)
        made.remember(whole, "k", "1", "a")
        return made

    parts = [derived_id(whole, "part", n) for n in range(6)]
    async with asyncio.timeout(5):
        before = services._recorder.flushes
        await asyncio.gather(*flush())
        # A flush that the database refuses is written again part by part.
        assert services._recorder.flushes - before <= 2
        await hark.database.execute("set_context", DEFAULT_TENANT, whole, "k", "2", "key:ann", 1000)
        await asyncio.gather(*flush())
    assert await remembered(hark, whole) == {"k": (2, "key:ann")}


async def test_sql_functions_set_and_get_it_as_long_as_it_runs(hark: EngineUnderTest) -> None:
    steps = """
  - {id: hold, action: probe, with: {hold: true}}
  - {id: seen, set: {x: "${{ context.x }}", none: "${{ context.none }}"}}
"""
    await hark.apply(workflow(steps))
    identifier = (await hark.emit("GO")).executions[0]
    await hark.until(hark.probe.called.is_set)
    pool = hark.database.pool
    for value in ("1", '{"deep": [2]}'):
        await pool.execute("SELECT hark.set_workflow_context($1, 'x', $2::jsonb)", identifier, value)
    await pool.execute("SELECT hark.set_workflow_context($1, 'none', NULL)", identifier)
    rows = await pool.fetch("SELECT * FROM hark.get_workflow_context($1)", identifier)
    assert [(row["key"], orjson.loads(row["value"])) for row in rows] == [("none", None), ("x", {"deep": [2]})]
    assert rows[0]["updated_by"] == await pool.fetchval("SELECT session_user::text")
    assert len(await pool.fetch("SELECT * FROM hark.get_workflow_context($1, 'x')", identifier)) == 1
    with pytest.raises(asyncpg.ProgramLimitExceededError, match="300002 bytes"):
        await pool.execute("SELECT hark.set_workflow_context($1, 'x', to_jsonb(repeat('x', 300000)))", identifier)
    with pytest.raises(asyncpg.CheckViolationError):
        await pool.execute("SELECT hark.set_workflow_context($1, '', '1')", identifier)
    hark.probe.release.set()
    done = await hark.ended(identifier)
    assert done["steps"]["seen"]["output"] == {"x": {"deep": [2]}, "none": None}
    with pytest.raises(asyncpg.ObjectNotInPrerequisiteStateError, match="already ended: completed"):
        await pool.execute("SELECT hark.set_workflow_context($1, 'x', '1')", identifier)
    with pytest.raises(asyncpg.NoDataFoundError, match="there is no execution"):
        await pool.execute("SELECT hark.set_workflow_context($1, 'x', '1')", uuid4())


HOLDING = """
id: holding
name: Holding
steps:
  - {id: a, remember: {x: 1}}
  - {id: hold, action: probe, with: {hold: true}}
  - {id: b, set: {x: "${{ context.x }}", z: "${{ context[?'z'].orValue(0) }}"}}
"""


async def test_the_api_reads_and_changes_the_context_while_the_execution_runs(api: ApiUnderTest) -> None:
    await api.client.apply({"holding.yaml": HOLDING})
    identifier = (await api.client.start("holding")).execution_id
    assert identifier is not None
    await api.hark.until(api.hark.probe.called.is_set)
    assert {one.key: one.value for one in (await api.client.context(identifier)).items} == {"x": 1}
    entry = await api.client.remember(identifier, "x", {"deep": [None, 2.5]})
    assert (entry.key, entry.value, entry.updated_by) == ("x", {"deep": [None, 2.5]}, "key:admin")
    await api.client.remember(identifier, "with/slash", None)
    path = f"/api/executions/{identifier}/context"
    assert (await api.get(f"{path}/with%2Fslash"))[1]["value"] is None
    await api.client.forget(identifier, "with/slash")
    assert (await api.get(f"{path}/with%2Fslash"))[0] == 404
    assert (await api.send("DELETE", f"{path}/gone"))[0] == 404
    status, problem = await api.send("PUT", f"{path}/z")
    assert (status, problem["detail"]) == (422, "body: it is empty; send the value as JSON")
    assert (await api.send("PUT", f"{path}/z", data=b'"' + b"x" * 262_144 + b'"'))[0] == 422
    assert (await api.send("PUT", f"{path}/{'k' * 201}", data=b"1"))[0] == 422
    assert (await api.send("PUT", f"/api/executions/{uuid4()}/context/z", data=b"1"))[0] == 404
    assert (await api.send("PUT", f"{path}/z", data=b"1", key=await api.add_key("read")))[0] == 403

    api.hark.probe.release.set()
    await api.hark.ended(identifier)
    detail = await api.client.execution(identifier)
    assert next(step for step in detail.steps if step.path == "b").output == {"x": {"deep": [None, 2.5]}, "z": 0}
    assert detail.context == {"x": {"deep": [None, 2.5]}}
    with pytest.raises(ApiError, match="already ended: completed") as caught:
        await api.client.remember(identifier, "x", 2)
    assert caught.value.status == 409
    assert (await api.send("DELETE", f"{path}/x"))[0] == 409


async def test_a_context_has_room_for_a_thousand_keys(api: ApiUnderTest) -> None:
    await api.client.apply({"holding.yaml": HOLDING})
    identifier = (await api.client.start("holding")).execution_id
    assert identifier is not None
    await api.hark.until(api.hark.probe.called.is_set)
    await api.hark.database.pool.execute(
        "INSERT INTO hark.workflow_context (tenant_id, execution_id, key, value) "
        "SELECT $1, $2, 'k' || n, '1' FROM generate_series(1, 999) AS n", DEFAULT_TENANT, identifier,
    )  # fmt: skip
    assert (await api.client.remember(identifier, "k1", 2)).value == 2
    with pytest.raises(ApiError, match="remembers 1000 keys already"):
        await api.client.remember(identifier, "another", 2)
