"""Why and why not: computed from stored events and the versions that were active, beside what is on record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.api import ApiUnderTest, running_api
from support.program import Program

from hark.client import ApiError
from hark.daemon.engine import matcher, why
from hark.workflows.ids import DEFAULT_TENANT

LISTENER = """
id: {slug}
name: Listener
triggers: [{{id: t, type: event, event: PAID, when: {when}}}]
{more}
steps: [{{id: a, set: {{x: 1}}}}]
"""


def listener(slug: str, when: str = "'true'", more: str = "") -> str:
    return LISTENER.format(slug=slug, when=when, more=more)


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    async with running_api(database_url, tmp_path) as served:
        yield served


async def told(api: ApiUnderTest, event_id: Any, **options: Any) -> dict[str, tuple[str | None, Any, dict[str, Any]]]:
    """Ask why; return reason (None: started), detail and values by workflow."""
    answer = await api.client.decisions(event_id, **options)
    return {one.workflow: (one.reason, one.detail, one.values) for one in answer.items}


async def test_each_workflow_says_what_failed_first_and_what_it_saw(api: ApiUnderTest) -> None:
    many = [
        listener("starts", "event.data.amount > 5"),
        listener("poor", "'event.data.amount > 100 && event.data.vip'"),
        listener("absent", "event.data.who.name == 'Ada'"),
        listener("inputs", more="inputs: {n: {type: integer, required: true}}"),
        listener("condition", more="conditions: [inputs.amount < 0]"),
    ]
    await api.client.apply({"all.yaml": "---\n".join(many)})
    receipt = await api.hark.emit("PAID", {"amount": 7, "vip": True})
    answer = await api.client.decisions(receipt.event_id)
    assert answer.items[0].workflow == "starts"
    assert answer.items[0].execution_id == receipt.executions[0]
    assert answer.items[0].version == 1
    found = await told(api, receipt.event_id)
    assert found["poor"] == (
        "when_false", "event.data.amount > 100 && event.data.vip", {"event.data.amount": 7, "event.data.vip": True},
    )  # fmt: skip
    assert found["absent"][:2] == ("when_false", "event.data.who.name == 'Ada': event.data.who is missing")
    assert found["inputs"][0] == "inputs_invalid"
    assert found["condition"] == ("condition_false", "inputs.amount < 0", {"inputs.amount": 7})
    assert answer.reasons == {"started": 1, "when_false": 2, "inputs_invalid": 1, "condition_false": 1}


async def test_it_is_what_was_active_then_that_counts(api: ApiUnderTest) -> None:
    await api.client.apply({"a.yaml": "---\n".join([listener("changes", "event.data.n > 5"), listener("rests")])})
    await api.client.pause("rests")
    before = (await api.hark.emit("PAID", {"n": 3})).event_id
    await api.client.apply({"a.yaml": "---\n".join([listener("changes", "event.data.n > 1"), listener("later")])})
    await api.client.resume("rests")
    after = (await api.hark.emit("PAID", {"n": 3})).event_id
    found = await told(api, before)
    assert found["changes"] == ("when_false", "event.data.n > 5", {"event.data.n": 3})
    assert (found["rests"][0], found["later"][0]) == ("paused", "not_published")
    assert {reason for reason, *_ in (await told(api, after)).values()} == {None}
    await api.client.pause("rests")
    await api.client.delete("later", archive=True)
    assert {reason for reason, *_ in (await told(api, after)).values()} == {None}
    last = (await api.hark.emit("PAID", {"n": 3})).event_id
    found = await told(api, last)
    assert (found["rests"][0], found["later"][0], found["changes"][0]) == ("paused", "archived", None)


async def test_any_number_may_have_changed_since(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing false is said of those that there is no time to look at: they did not listen when the event came."""
    await api.client.apply({"a.yaml": listener("old")})
    event = (await api.hark.emit("PAID", {"n": 1})).event_id
    await api.client.apply({"b.yaml": "---\n".join(listener(f"w{n}") for n in range(5))})
    monkeypatch.setattr(why, "PAGE", 2)
    answer = await api.client.decisions(event)
    assert (answer.reasons, answer.complete) == ({"started": 1, "not_published": 5}, True)
    monkeypatch.setattr(why, "PATIENCE_S", 0.0)
    answer = await api.client.decisions(event)
    assert (answer.reasons, answer.complete) == ({"started": 1, "not_published": 2}, False)
    assert (await told(api, event, workflow="w4"))["w4"][0] == "not_published"


async def test_limits_triggers_of_another_kind_and_what_is_gone(api: ApiUnderTest) -> None:
    limited = "rate_limit: {limit: 1, per: 1h}\nidempotency: {key: inputs.n}"
    other = "id: other\nname: Other\ntriggers: [{id: t, type: webhook, path: other}]\nsteps: [{id: a, set: {x: 1}}]"
    await api.client.apply({"all.yaml": f"{listener('limited', more=limited)}---\n{listener('free')}---\n{other}"})
    first = await api.hark.emit("PAID", {"n": 1})
    again = await api.hark.emit("PAID", {"n": 1})
    second = await api.hark.emit("PAID", {"n": 2})
    assert (await told(api, again.event_id))["limited"][0] == "idempotent"
    reason, detail, _ = (await told(api, second.event_id))["limited"]
    assert (reason, "the next may be at" in detail) == ("rate_limited", True)
    found = await told(api, second.event_id, workflow="other")
    assert found == {"other": ("other_route", found["other"][1], {})}
    assert "t: webhook:" in found["other"][1]
    await api.hark.ended(first.executions[0])
    pool = api.hark.database.pool
    await pool.execute("DELETE FROM hark.workflow_executions WHERE event_id = $1", first.event_id)
    assert {reason for reason, *_ in (await told(api, first.event_id)).values()} == {"not_on_record"}
    with pytest.raises(ApiError, match="those that started nothing"):
        await api.client.decisions(DEFAULT_TENANT)


async def test_what_an_end_is_to_who_waits_for_several(api: ApiUnderTest) -> None:
    waits = (
        "id: both\nname: Both\ntriggers: [{id: t, type: workflow, all: [one, two], within: 1h}]\n"
        "steps: [{id: a, set: {x: 1}}]"
    )
    alone = waits.replace("both", "alone").replace("all: [one, two], within: 1h", "workflow: one, states: [failed]")
    one = "id: one\nname: One\nsteps: [{id: a, set: {x: 1}}]\noutput: {n: 1}"
    keyed = waits.replace("both", "keyed").replace("within: 1h", "within: 1h, key: event.data.output.n")
    lost = keyed.replace("keyed", "lost").replace("output.n", "output.m")
    await api.client.apply({"all.yaml": f"{waits}\n---\n{alone}\n---\n{one}\n---\n{keyed}\n---\n{lost}"})
    await api.client.start("one", wait_s=10)
    events = await api.hark.until(
        lambda: api.hark.database.pool.fetch("SELECT id FROM hark.events WHERE kind = 'workflow'")
    )
    found = await told(api, events[0]["id"])
    assert found["both"][:2] == (
        "awaits_others",
        "it counts this end, and starts once all of one, two have ended within 1h",
    )
    assert "with the key 1 within" in found["keyed"][1]
    assert found["lost"][:2] == (
        "expression_error", "the key of this end, event.data.output.m: event.data.output.m is missing",
    )  # fmt: skip
    assert found["alone"][:2] == ("not_concerned", "it ended as completed; the trigger is for failed")


async def test_few_refusals_are_on_record_when_there_are_many(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written is bounded, whatever comes; what is told is not."""
    monkeypatch.setattr(matcher.Sample, "BURST", 30.0)
    monkeypatch.setattr(matcher.Sample, "PER_S", 0.0)
    api.hark.engine.ingest._matcher._sample._left = 30.0
    await api.client.apply({"a.yaml": "---\n".join(listener(f"w{n}", f"event.data.n == {n}") for n in range(40))})
    events = [(await api.hark.emit("PAID", {"n": 99})).event_id for _ in range(3)]
    kept = "SELECT event_id, count(*) FROM hark.event_decisions GROUP BY event_id ORDER BY event_id"
    assert [row["count"] for row in await api.hark.database.pool.fetch(kept)] == [20, 10]
    answer = await api.client.decisions(events[2])
    assert (answer.considered, answer.reasons) == (40, {"when_false": 40})
    (one,) = [item.workflow_id for item in answer.items if item.workflow == "w3"]
    joined = "UPDATE hark.event_decisions SET reason = 'batched' WHERE workflow_id = $1"
    await api.hark.database.pool.execute(joined, one)
    prune = "prune_decisions"

    assert await api.hark.database.fetchval(prune, timedelta(hours=1), 1000) == 0
    assert await api.hark.database.fetchval(prune, timedelta(seconds=-60), 1000) == 28
    assert await api.hark.database.fetchval(prune, timedelta(seconds=-60), 1000) == 0


async def test_a_workflow_tells_of_its_last_events(api: ApiUnderTest, tmp_path: Path) -> None:
    await api.client.apply({"a.yaml": listener("picky", "event.data.n == 2")})
    events = [(await api.hark.emit("PAID", {"n": n})).event_id for n in range(4)]
    answer = await api.client.decisions_of("picky", limit=3)
    assert [one.event_id for one in answer.items] == events[:0:-1]
    assert [one.outcome for one in answer.items] == ["refused", "started", "refused"]
    assert answer.items[0].values == {"event.data.n": 3}
    (older,) = (await api.client.decisions_of("picky", cursor=answer.next_cursor)).items
    assert older.event_id == events[0]
    assert [(trigger.id, trigger.routes) for trigger in answer.triggers] == [("t", ["event:PAID"])]
    hark = Program(api, tmp_path)
    said = await hark("why", str(events[1]))
    assert (said.status, "when_false" in said.out, "event.data.n is 1" in said.out) == (0, True, True)
    said = await hark("why", "--workflow", "picky")
    assert (said.status, said.out.count("when_false"), said.out.count("started")) == (0, 3, 1)
    assert (await hark("why", "last", "--json")).json["event_id"] == str(events[3])
    assert (await hark("why", "--workflow", "nobody")).status == 1
