"""Replays: an ended execution run again from any of its steps, with the same or another version or input."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from support.engine import EngineUnderTest, running_engine

from hark.workflows.errors import ConflictError, UnprocessableError
from hark.workflows.ids import DEFAULT_TENANT


@pytest.fixture
async def hark(database_url: str) -> AsyncIterator[EngineUnderTest]:
    async with running_engine(database_url) as engine:
        yield engine


def flow(steps: str, head: str = "") -> str:
    return f"id: flow\nname: Flow\n{head}triggers: [{{type: event, event: GO}}]\nsteps:\n{steps}"


def probe(name: str, say: str = "1", indent: int = 2) -> str:
    return f"{' ' * indent}- {{id: {name}, action: probe, with: {{say: {say}}}}}\n"


ALL = (
    probe("a")
    + "  - id: pick\n    if: 'true'\n    then:\n"
    + probe("inside", indent=6)
    + "  - id: each\n    for_each: [10, 20, 30]\n    do:\n"
    + probe("x", indent=6)
    + probe("y", "'${{ item }}'", indent=6)
    + "  - id: both\n    parallel:\n      left:\n"
    + probe("l1", indent=8)
    + probe("l2", indent=8)
    + "      right:\n"
    + probe("r1", indent=8)
    + probe("z", "'${{ steps.a.output }}'")
)


async def replayed(hark: EngineUnderTest, origin: UUID, **options: Any) -> tuple[list[str], dict[str, Any]]:
    """Replay to the end; return the steps that ran anew, and the new execution."""
    before = len(hark.probe.calls)
    again = await hark.engine.replay(DEFAULT_TENANT, origin, **options)
    done = await hark.ended(again)
    return [path for path, _, _ in hark.probe.calls[before:]], done


@pytest.mark.parametrize(
    "from_step, ran",
    [
        (None, "a inside each[0].x each[0].y each[1].x each[1].y each[2].x each[2].y l1 r1 l2 z"),
        ("inside", "inside each[0].x each[0].y each[1].x each[1].y each[2].x each[2].y l1 r1 l2 z"),
        ("each[1].y", "each[1].y each[2].x each[2].y l1 r1 l2 z"),
        ("l2", "l2 z"),
        ("both", "l1 r1 l2 z"),
        ("z", "z"),
    ],
)
async def test_the_step_and_what_follows_run_anew(hark: EngineUnderTest, from_step: str | None, ran: str) -> None:
    await hark.apply(flow(ALL))
    first = await hark.run("GO")
    calls, done = await replayed(hark, first["id"], from_step=from_step)
    assert sorted(calls) == sorted(ran.split())
    assert (done["status"], done["ordinal"], done["origin_id"]) == ("completed", 1, first["id"])
    assert done["steps"].keys() == first["steps"].keys()
    assert done["steps"]["each"]["output"] == [10, 20, 30]
    kept = set(first["steps"]) - set(ran.split())
    leaves = {path for path in kept if first["steps"][path]["verb"] == "action"}
    for path in leaves:
        assert done["steps"][path]["completed_at"] == first["steps"][path]["completed_at"], path


async def test_both_timelines_tell_of_it(hark: EngineUnderTest) -> None:
    await hark.apply(flow(ALL))
    first = await hark.run("GO")
    _, done = await replayed(hark, first["id"], from_step="z")
    (note,) = [one for one in done["timeline"] if one["type"] == "execution.replay"]
    assert note["detail"] == {"execution_id": str(first["id"]), "from_step": "z", "version": 1}
    (note,) = [one for one in (await hark.execution(first["id"]))["timeline"] if one["type"] == "execution.replayed"]
    assert note["detail"]["execution_id"] == str(done["id"])


async def test_another_version_keeps_what_is_the_same_in_it(hark: EngineUnderTest) -> None:
    await hark.apply(flow(probe("a") + probe("b")))
    first = await hark.run("GO")
    await hark.apply(flow(probe("a", "9") + probe("new") + probe("b", "2") + probe("c")))
    calls, done = await replayed(hark, first["id"], from_step="b", version=2)
    assert calls == ["new", "b", "c"]
    assert (done["version"], done["steps"]["a"]["output"], done["steps"]["b"]["output"]) == (2, 1, 2)
    calls, done = await replayed(hark, first["id"], from_step="b")
    assert (calls, done["version"], done["ordinal"]) == (["b"], 1, 2)


@pytest.mark.parametrize(
    "steps, said",
    [
        (probe("b"), "step 'a', which ran before 'b', is not there"),
        ("  - {id: a, wait: 0s}\n" + probe("b"), "step 'a'"),
        (probe("b") + probe("a"), "step 'a' comes after 'b' there"),
        (probe("a"), "it has no step 'b'"),
    ],
)
async def test_a_version_in_which_the_record_has_no_meaning_is_refused(
    hark: EngineUnderTest, steps: str, said: str
) -> None:
    await hark.apply(flow(probe("a") + probe("b")))
    first = await hark.run("GO")
    await hark.apply(flow(steps))
    with pytest.raises(UnprocessableError, match=said):
        await hark.engine.replay(DEFAULT_TENANT, first["id"], from_step="b", version=2)
    count = "SELECT count(*) FROM hark.workflow_executions"
    assert await hark.database.pool.fetchval(count) == 1


async def test_another_input_runs_from_the_start_and_is_held_to_the_declaration(hark: EngineUnderTest) -> None:
    head = "inputs: {n: {type: integer, required: true}}\n"
    await hark.apply(flow(probe("a", "'${{ inputs.n }}'"), head))
    first = await hark.run("GO", {"n": 1})
    calls, done = await replayed(hark, first["id"], inputs={"n": 2})
    assert (calls, done["inputs"], done["steps"]["a"]["output"]) == (["a"], {"n": 2}, 2)
    with pytest.raises(UnprocessableError, match="input"):
        await hark.engine.replay(DEFAULT_TENANT, first["id"], inputs={"n": "two"})
    with pytest.raises(UnprocessableError, match="runs from its start"):
        await hark.engine.replay(DEFAULT_TENANT, first["id"], inputs={"n": 2}, from_step="a")


async def test_what_was_not_reached_or_has_not_ended_is_refused(hark: EngineUnderTest) -> None:
    await hark.apply(flow(probe("a") + "  - {id: w, wait: 1h}\n" + probe("b")))
    receipt = await hark.emit("GO")
    execution = receipt.executions[0]

    async def waits() -> bool:
        return (await hark.execution(execution))["status"] == "waiting"

    await hark.until(waits)
    with pytest.raises(ConflictError, match="ended"):
        await hark.engine.replay(DEFAULT_TENANT, execution)
    await hark.engine.cancel(DEFAULT_TENANT, execution)
    for path in ("b", "nowhere", "a[1].b", "a[0]", ""):
        with pytest.raises(UnprocessableError, match="has reached"):
            await hark.engine.replay(DEFAULT_TENANT, execution, from_step=path)


async def test_a_step_beside_that_failed_runs_again_with_its_handlers(hark: EngineUnderTest) -> None:
    steps = (
        "  - id: both\n    parallel:\n      left:\n" + probe("l1", indent=8) + "      right:\n"
        "        - {id: r1, action: probe, with: {fail: no, times: 1}}\n"
    )
    await hark.apply(flow(steps))
    first = await hark.run("GO")
    assert first["status"] == "failed"
    calls, done = await replayed(hark, first["id"], from_step="l1")
    assert sorted(calls) == ["l1", "r1"]
    assert done["status"] == "failed"


async def test_what_steps_remembered_that_run_anew_is_forgotten(hark: EngineUnderTest) -> None:
    steps = "  - {id: m1, remember: {one: 1}}\n  - {id: m2, remember: {two: 2}}\n" + probe(
        "z", "'${{ has(context.two) }}'"
    )
    await hark.apply(flow(steps))
    first = await hark.run("GO")
    await hark.database.pool.execute("UPDATE hark.workflow_context SET key = 'old' WHERE key = 'two'")
    _, done = await replayed(hark, first["id"], from_step="m2")
    keys = await hark.database.pool.fetch(
        "SELECT key FROM hark.workflow_context WHERE execution_id = $1 ORDER BY key", done["id"]
    )
    assert [row["key"] for row in keys] == ["one", "two"]


async def test_what_holds_the_step_is_entered_again_with_its_decision(hark: EngineUnderTest) -> None:
    branch = "  - id: pick\n    if: 'HOLDS'\n    then:\n" + probe("x", indent=6) + "    else:\n" + probe("y", indent=6)
    await hark.apply(flow(branch.replace("HOLDS", "true")))
    first = await hark.run("GO")
    await hark.apply(flow(branch.replace("HOLDS", "false")))
    calls, done = await replayed(hark, first["id"], from_step="x", version=2)
    assert (calls, done["steps"]["pick"]["output"]) == (["x"], {"branch": "then"})
    calls, _ = await replayed(hark, first["id"], from_step="pick", version=2)
    assert calls == ["y"]


HELD = "  - {id: a, action: probe, with: {hold: true}}\n"


@pytest.mark.parametrize("change", ["publish", "pause", "archive"])
async def test_what_runs_ends_with_its_version_whatever_becomes_of_the_workflow(
    hark: EngineUnderTest, change: str
) -> None:
    await hark.apply(flow(HELD + probe("b", "1")))
    receipt = await hark.emit("GO")
    await hark.probe.called.wait()
    if change == "publish":
        await hark.apply(flow(probe("c", "2")))
    else:
        state = {"pause": "paused_at = now()", "archive": "status = 'archived'"}[change]
        await hark.database.pool.execute(f"UPDATE hark.workflows SET {state}")
        assert not (await hark.emit("GO")).executions
    hark.probe.release.set()
    done = await hark.ended(receipt.executions[0])
    assert (done["status"], done["version"], done["steps"]["b"]["output"]) == ("completed", 1, 1)
    again = await hark.ended(await hark.engine.retry(DEFAULT_TENANT, done["id"], from_start=True))
    assert (again["status"], again["version"], again["ordinal"]) == ("completed", 1, 1)


async def test_what_is_entered_again_has_forgotten_the_stop_that_it_ended_with(hark: EngineUnderTest) -> None:
    await hark.apply(flow("  - {id: c, if: 'true', then: [{id: s, stop: completed}]}\n"))
    done = await hark.run("GO")
    assert done["steps"]["c"]["input"] == {"branch": "then", "stopped_by": "s"}
    await hark.engine.claimer.stop()
    again = await hark.engine.replay(DEFAULT_TENANT, done["id"], from_step="s")
    assert (await hark.execution(again))["steps"]["c"]["input"] == {"branch": "then"}
