"""Steps that ask people: waiting, answers, forms, time-outs, who may, and that exactly one answer counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from support.api import ApiUnderTest, running_api
from support.engine import EngineUnderTest, running_engine

from hark.client import ApiError
from hark.daemon.engine.approvals import Said
from hark.workflows.ids import DEFAULT_TENANT, time_of

FORM = "{reason: {type: string, required: true}, amount: {type: integer, minimum: 1, default: 5}}"


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    """Serve the API of an engine."""
    async with running_api(database_url, tmp_path) as served:
        yield served


def workflow(steps: str, more: str = "") -> str:
    """Write a workflow that the event GO starts."""
    return f"id: flow\nname: Refunds\ntriggers: [{{type: event, event: GO}}]\nsteps:\n{steps}\n{more}"


ASK = workflow(f"""
  - id: release
    approve: {{message: "Refund ${{{{ event.data.total }}}}?", form: {FORM}}}
  - {{id: after, set: {{by: "${{{{ steps.release.output.by }}}}"}}}}
""")


async def waiting(hark: EngineUnderTest, data: Any = None) -> UUID:
    """Start the workflow and wait until it waits."""
    execution_id = (await hark.emit("GO", data or {"total": 12})).executions[0]

    async def waits() -> bool:
        return (await hark.execution(execution_id))["status"] == "waiting"

    await hark.until(waits)
    return execution_id


async def test_an_approval_waits_and_its_answer_is_the_steps_output(api: ApiUnderTest) -> None:
    await api.hark.apply(ASK)
    execution_id = await waiting(api.hark)
    (row,) = (await api.client.approvals()).items
    assert (row.execution_id, row.workflow, row.step, row.message) == (execution_id, "flow", "release", "Refund 12?")
    assert (row.approvers, row.until, row.url) == ([], None, None)
    assert row.form["amount"] == {"type": "integer", "minimum": 1, "default": 5}
    assert (await api.client.approvals(workflow="other")).items == []
    done = await api.client.answer(execution_id, approved=True, form={"reason": "late"}, comment="fine", by="Ann")
    assert (done.step, done.answer, done.by) == ("release", "approved", "Ann")
    ended = await api.hark.ended(execution_id, 4)
    output = ended["steps"]["release"]["output"]
    assert {**output, "at": None} == {
        "approved": True, "by": "Ann", "at": None, "comment": "fine", "form": {"reason": "late", "amount": 5},
    }  # fmt: skip
    assert ended["steps"]["after"]["output"] == {"by": "Ann"}
    entry = next(one for one in ended["timeline"] if one["type"] == "step.approved")
    assert entry["path"] == "release"
    assert abs(time_of(entry["id"]) - datetime.fromisoformat(output["at"])) < timedelta(seconds=1)
    assert time_of(entry["id"]) > ended["steps"]["release"]["started_at"]
    assert entry["detail"] == {"approved": True, "by": "Ann", "via": "admin", "comment": "fine"}
    assert (await api.client.approvals()).items == []
    with pytest.raises(ApiError, match="Ann has approved it already") as caught:
        await api.client.answer(execution_id, approved=False)
    assert caught.value.status == 409


async def test_a_rejection_fails_the_step_and_can_be_caught(api: ApiUnderTest) -> None:
    await api.hark.apply(workflow("""
  - id: guarded
    try: [{id: release, approve: {message: Now?}}]
    catch: [{id: seen, set: {kind: "${{ error.class }}", why: "${{ error.details.comment }}"}}]
  - {id: again, approve: {message: Really?}}
""", 'on_error: [{id: told, set: {said: "${{ error.message }}"}}]'))  # fmt: skip
    execution_id = await waiting(api.hark)
    await api.client.answer(execution_id, approved=False, comment="no money")

    async def asked_again() -> bool:
        return [one.step for one in (await api.client.approvals()).items] == ["again"]

    await api.hark.until(asked_again)
    await api.client.answer(execution_id, approved=False, by="Bo")
    ended = await api.hark.ended(execution_id, 4)
    assert ended["steps"]["seen"]["output"] == {"kind": "rejected", "why": "no money"}
    assert (ended["status"], ended["error"]["class"]) == ("failed", "rejected")
    assert ended["steps"]["told"]["output"] == {"said": "Bo rejected it"}
    assert [one["type"] for one in ended["timeline"]].count("step.rejected") == 2


@pytest.mark.parametrize("limit", ["approve: {message: Now?, timeout: 200ms}", "timeout: 200ms\n    approve: {}"])
async def test_without_an_answer_in_time_it_fails(api: ApiUnderTest, limit: str) -> None:
    await api.hark.apply(workflow(f"  - id: release\n    {limit}"))
    ended = await api.hark.run("GO")
    assert (ended["error"]["class"], ended["error"]["step"]) == ("timeout", "release")
    with pytest.raises(ApiError, match="its execution has ended: failed") as caught:
        await api.client.answer(ended["id"], approved=True)
    assert caught.value.status == 409


async def test_an_answer_after_the_time_ran_out_is_refused_even_before_anybody_noticed(api: ApiUnderTest) -> None:
    await api.hark.apply(workflow("  - {id: release, approve: {timeout: 1h}}"))
    execution_id = await waiting(api.hark)
    await api.hark.database.pool.execute("UPDATE hark.waits SET until = now() - interval '1 ms'")
    with pytest.raises(ApiError, match="its time has run out"):
        await api.client.answer(execution_id, approved=True)


async def test_only_those_who_may_are_heard(api: ApiUnderTest) -> None:
    await api.hark.apply(workflow('  - {id: release, approve: {approvers: ["ann", "${{ event.data.who }}"]}}'))
    execution_id = await waiting(api.hark, {"who": "admin"})
    path = f"/api/executions/{execution_id}/approve"
    status, problem = await api.send("POST", path, key=await api.add_key("run"), json={})
    assert status == 403
    assert "may not answer step 'release'; who may: ann, admin" in problem["detail"]
    assert (await api.send("POST", path, key=await api.add_key("read"), json={}))[0] == 403
    assert (await api.send("POST", path, json={}))[0] == 200
    assert (await api.hark.ended(execution_id, 4))["status"] == "completed"


async def test_a_form_is_checked_field_by_field(api: ApiUnderTest) -> None:
    await api.hark.apply(ASK)
    execution_id = await waiting(api.hark)
    path = f"/api/executions/{execution_id}/approve"
    status, problem = await api.send("POST", path, json={"form": {"amount": 0, "other": 1}})
    assert status == 422
    assert {(one["path"], one["message"]) for one in problem["problems"]} == {
        ("form.other", "the form has no such field"),
        ("form.reason", "it is required"),
        ("form.amount", "0 is less than the minimum of 1"),
    }
    assert (await api.send("POST", path.replace("approve", "reject"), json={"form": {"amount": 2}}))[0] == 200
    ended = await api.hark.ended(execution_id, 4)
    assert ended["error"]["details"]["form"] == {"amount": 2}


async def test_of_several_that_wait_one_has_to_be_named(api: ApiUnderTest) -> None:
    await api.hark.apply(workflow("""
  - id: each
    for_each: [1, 2]
    parallel: 2
    do: [{id: ok, approve: {message: "Item ${{ item }}?"}}]
"""))  # fmt: skip
    execution_id = await waiting(api.hark)
    with pytest.raises(ApiError, match=r"several steps .* wait; name one of: each\[0\]\.ok, each\[1\]\.ok"):
        await api.client.answer(execution_id, approved=True)
    with pytest.raises(ApiError, match="no step 'nothing'") as caught:
        await api.client.answer(execution_id, approved=True, step="nothing")
    assert caught.value.status == 404
    await api.client.answer(execution_id, approved=True, step="each[1].ok")

    async def one_left() -> bool:
        execution = await api.hark.execution(execution_id)
        return execution["status"] == "waiting" and execution["steps"]["each[1].ok"]["status"] == "completed"

    await api.hark.until(one_left)
    await api.client.answer(execution_id, approved=True)
    assert (await api.hark.ended(execution_id, 4))["status"] == "completed"


async def test_nothing_to_answer(api: ApiUnderTest) -> None:
    await api.hark.apply(workflow("  - {id: hold, action: probe, with: {hold: true}}"))
    execution_id = (await api.hark.emit("GO")).executions[0]
    await api.hark.probe.called.wait()
    with pytest.raises(ApiError, match="waits for an answer") as caught:
        await api.client.answer(execution_id, approved=True)
    assert caught.value.status == 409
    with pytest.raises(ApiError) as caught:
        await api.client.answer(UUID(int=7), approved=True)
    assert caught.value.status == 404


async def test_of_many_answers_on_two_instances_exactly_one_counts(database_url: str, tmp_path: Path) -> None:
    shared = {"data_dir": tmp_path}
    async with running_engine(database_url, **shared) as one, running_engine(database_url, **shared) as two:
        await one.apply(ASK.replace(FORM, "{}"))
        execution_id = await waiting(one)
        asked = await one.engine.approvals.choose(DEFAULT_TENANT, execution_id, None)
        answers = [Said(n % 2 == 0, by=f"p{n}", via="test") for n in range(10)]
        engines = (one.engine, two.engine)
        said = [engines[n % 2].approvals.answer(asked, answer) for n, answer in enumerate(answers)]
        outcomes = await asyncio.gather(*said, return_exceptions=True)
        winners = [answer for answer, outcome in zip(answers, outcomes, strict=True) if outcome is None]
        assert len(winners) == 1, outcomes
        ended = await one.ended(execution_id, 8)
        assert (ended["status"] == "completed") is winners[0].approved
        notes = [note for note in ended["timeline"] if note["type"] in {"step.approved", "step.rejected"}]
        assert [note["detail"]["by"] for note in notes] == [winners[0].by]


async def test_an_answer_that_comes_while_another_branch_works_is_not_lost(api: ApiUnderTest) -> None:
    await api.hark.apply(workflow("""
  - id: both
    parallel:
      people: [{id: release, approve: {message: Now?}}]
      work: [{id: busy, action: probe, with: {hold: true}}, {id: rest, wait: 1h}]
  - {id: after, set: {x: 1}}
""".replace(", {id: rest, wait: 1h}", "")))  # fmt: skip
    execution_id = (await api.hark.emit("GO")).executions[0]

    async def asks() -> bool:
        return len((await api.client.approvals()).items) == 1

    await api.hark.until(asks)
    await api.hark.probe.called.wait()
    assert (await api.hark.execution(execution_id))["status"] == "running"
    await api.client.answer(execution_id, approved=True)
    api.hark.probe.release.set()
    # Well below the five seconds of the next look: the wake-up was not lost.
    assert (await api.hark.ended(execution_id, 3))["status"] == "completed"


async def test_an_answer_on_another_instance_is_heard_at_once_by_a_branch_that_waits_beside_one_that_works(
    database_url: str, tmp_path: Path
) -> None:
    shared = {"data_dir": tmp_path}
    async with running_engine(database_url, **shared) as one, running_engine(database_url, **shared) as two:
        await one.apply(workflow("""
  - id: both
    parallel:
      people: [{id: release, approve: {message: Now?}}, {id: told, action: probe}]
      work: [{id: busy, action: probe, with: {hold: true}}]
"""))  # fmt: skip
        execution_id = (await one.emit("GO")).executions[0]

        async def asked() -> Any:
            found = await two.engine.approvals.store.of_execution(DEFAULT_TENANT, execution_id)
            return found and found[0].is_open

        await one.until(asked)
        await one.probe.called.wait()
        question = await two.engine.approvals.choose(DEFAULT_TENANT, execution_id, None)
        await two.engine.approvals.answer(question, Said(True, by="x", via="y"))
        async with asyncio.timeout(3):
            await one.until(lambda: [step for step, _, _ in one.probe.calls] == ["busy", "told"])
        one.probe.release.set()
        assert (await one.ended(execution_id, 3))["status"] == "completed"


async def test_it_goes_on_waiting_after_a_restart(database_url: str, tmp_path: Path) -> None:
    async with running_engine(database_url, data_dir=tmp_path) as first:
        await first.apply(ASK)
        execution_id = await waiting(first)
    async with running_engine(database_url, data_dir=tmp_path) as second:
        asked = await second.engine.approvals.choose(DEFAULT_TENANT, execution_id, "release")
        await second.engine.approvals.answer(asked, Said(True, by="x", via="y", form={"reason": "r"}))
        assert (await second.ended(execution_id, 4))["status"] == "completed"


async def test_a_question_without_bounds_is_not_asked(api: ApiUnderTest) -> None:
    await api.hark.apply(workflow('  - {id: release, approve: {message: "${{ event.data }}"}}'))
    ended = await api.hark.run("GO", "x" * 20_001)
    assert ended["error"]["class"] == "question_too_long"
    await api.hark.apply(workflow('  - {id: release, approve: {approvers: ["${{ event.data.n }}"]}}'))
    ended = await api.hark.run("GO", {"n": 7})
    assert ended["error"]["class"] == "approvers_invalid"
    assert await api.hark.database.pool.fetchval("SELECT count(*) FROM hark.waits") == 0


async def test_a_branch_that_lost_a_race_asks_no_more(api: ApiUnderTest) -> None:
    await api.hark.apply(workflow("""
  - id: first
    race: true
    parallel:
      people: [{id: release, approve: {message: Now?, timeout: 900ms}}]
      work: [{id: busy, action: probe, with: {hold: true}}]
  - {id: more, wait: 1h}
"""))  # fmt: skip
    execution_id = (await api.hark.emit("GO")).executions[0]

    async def asks() -> bool:
        return len((await api.client.approvals()).items) == 1

    await api.hark.until(asks)
    api.hark.probe.release.set()

    async def waits() -> bool:
        return (await api.hark.execution(execution_id))["status"] == "waiting"

    await api.hark.until(waits)
    assert (await api.hark.execution(execution_id))["steps"]["release"]["status"] == "cancelled"
    assert (await api.client.approvals()).items == []
    with pytest.raises(ApiError, match="another branch was quicker") as caught:
        await api.client.answer(execution_id, approved=True, step="release")
    assert caught.value.status == 409


@pytest.mark.parametrize("first", ["people", "clock"])
async def test_a_question_that_lost_a_race_while_nothing_ran_is_closed_too(api: ApiUnderTest, first: str) -> None:
    branches = {"people": "[{id: release, approve: {message: Now?}}]", "clock": "[{id: pause, wait: 1200ms}]"}
    second = next(name for name in branches if name != first)
    written = ", ".join(f"{name}: {branches[name]}" for name in (first, second))
    await api.hark.apply(
        workflow(f"  - {{id: raced, race: true, parallel: {{{written}}}}}\n  - {{id: more, wait: 1h}}")
    )
    execution_id = await waiting(api.hark)

    async def over() -> bool:
        steps = (await api.hark.execution(execution_id))["steps"]
        return "more" in steps and steps["release"]["status"] == "cancelled"

    await api.hark.until(over)
    assert (await api.client.approvals()).items == []


async def test_a_cancelled_execution_takes_no_answer(api: ApiUnderTest) -> None:
    await api.hark.apply(ASK)
    execution_id = await waiting(api.hark)
    await api.client.cancel(execution_id)
    assert (await api.client.approvals()).items == []
    with pytest.raises(ApiError, match="its execution has ended: cancelled") as caught:
        await api.client.answer(execution_id, approved=True, form={"reason": "x"})
    assert caught.value.status == 409


@pytest.mark.parametrize(
    "mock, status, output",
    [
        ({}, "completed", {"by": "mock", "comment": "", "form": {"amount": 5, "reason": "r"}}),
        ({"by": "Ann", "comment": "ok"}, "completed", {"by": "Ann", "comment": "ok"}),
        ({"approved": False}, "failed", {}),
    ],
)
async def test_tests_and_dry_runs_answer_from_mocks(
    api: ApiUnderTest, mock: dict[str, Any], status: str, output: dict[str, Any]
) -> None:
    await api.hark.apply(ASK.replace("required: true", "default: r"))
    started = await api.client.start(
        "flow", {"total": 1}, mode="test", wait_s=5, metadata={"mocks": {"release": mock} if mock else {}}
    )
    assert started.status == status
    ended = await api.hark.execution(started.execution_id or UUID(int=0))
    given = ended["steps"]["release"]["output"] or {}
    assert {name: given[name] for name in output} == output
    assert await api.hark.database.pool.fetchval("SELECT count(*) FROM hark.waits") == 0


async def test_the_link_can_be_mailed_before_the_step_asks_and_is_nowhere_on_record(api: ApiUnderTest) -> None:
    await api.hark.apply(workflow("""
  - {id: mail, action: probe, with: {say: "${{ execution.approval_url.release }}"}}
  - {id: release, approve: {message: Now?}}
  - id: each
    for_each: [1]
    do:
      - {id: tell, action: probe, with: {say: "${{ execution.approval_url }}"}}
      - {id: ok, approve: {message: Item?}}
"""))  # fmt: skip
    execution_id = await waiting(api.hark)
    (row,) = (await api.client.approvals(links=True)).items
    assert row.url is not None
    sent = api.hark.probe.configs[0].say
    assert sent.rpartition("/")[2] == row.url.rpartition("/")[2]
    await api.client.answer(execution_id, approved=True)

    async def next_one() -> Any:
        return [one for one in (await api.client.approvals(links=True)).items if one.step == "each[0].ok"]

    (inner,) = await api.hark.until(next_one)
    links = api.hark.probe.configs[1].say
    assert links["ok"].rpartition("/")[2] == inner.url.rpartition("/")[2]
    tokens = [row.url.rpartition("/")[2], inner.url.rpartition("/")[2]]
    dumped = orjson.dumps(await api.hark.execution(execution_id), default=str).decode()
    assert "***" in dumped
    assert not any(token in dumped for token in tokens)
    status, problem = await api.get(
        "/api/approvals?links=true",
    )
    assert status == 200, problem
    key = await api.add_key("read")
    assert (await api.send("GET", "/api/approvals?links=true", key=key))[0] == 403
    assert (await api.send("GET", "/api/approvals", key=key))[0] == 200
