"""The same thing with many executions: retries spread over a time, repeats that repeat nothing, cancellations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.api import ApiUnderTest, running_api

from hark.client import ApiError
from hark.workflows.errors import ConflictError
from hark.workflows.ids import DEFAULT_TENANT

FAILS = (
    "id: {slug}\nname: F\ntriggers: [{{type: event, event: {event}}}]\n"
    "steps: [{{id: a, action: probe, with: {{fail: no}}}}]\n"
)
WAITS = "id: waits\nname: W\ntriggers: [{type: event, event: WAIT}]\nsteps: [{id: w, wait: 1h}]\n"


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    async with running_api(database_url, tmp_path) as running:
        yield running


async def failed(api: ApiUnderTest, event: str, count: int) -> list[Any]:
    made = []
    for _ in range(count):
        made.append((await api.client.emit(event, {})).executions[0])
        await api.hark.ended(made[-1])
    return made


@pytest.fixture
async def broken(api: ApiUnderTest) -> list[Any]:
    """Five failed executions of one workflow, beside two of another."""
    await api.hark.apply(FAILS.format(slug="broken", event="GO"))
    await api.hark.apply(FAILS.format(slug="other", event="OTHER"))
    await failed(api, "OTHER", 2)
    return await failed(api, "GO", 5)


async def test_many_are_retried_once_and_again_goes_on_with_the_rest(api: ApiUnderTest, broken: list[Any]) -> None:
    some = await api.client.retry_many(workflow="broken", limit=3)
    assert [one.execution_id for one in some.items] == broken[:3]
    assert (some.matched, some.done, some.refused, some.more) == (3, 3, 0, True)
    for one in some.items:
        assert (await api.hark.ended(one.new_id))["origin_id"] == one.execution_id
    # The retries have failed too, and are those that the filter fits from now on, together with the rest.
    rest = await api.client.retry_many(workflow="broken", until="1ms", limit=1000)
    fitting = {one.execution_id for one in rest.items}
    assert fitting == {*broken[3:], *(one.new_id for one in some.items)}
    assert not rest.more


async def test_two_at_the_same_time_repeat_nothing_twice(api: ApiUnderTest, broken: list[Any]) -> None:
    repeats = api.hark.engine.repeats
    await repeats.retry(DEFAULT_TENANT, broken[0], from_start=False, first=True)
    with pytest.raises(ConflictError, match="repeated already"):
        await repeats.retry(DEFAULT_TENANT, broken[0], from_start=False, first=True)


async def test_starts_are_spread_and_nobody_starts_before(api: ApiUnderTest, broken: list[Any]) -> None:
    begin = api.hark.engine.now()
    answer = await api.client.retry_many(workflow="broken", spread="2s")
    due = [one.due_at for one in answer.items]
    assert due[0] is None
    assert [round((moment - due[1]).total_seconds(), 3) for moment in due[1:] if moment and due[1]] == [
        0,
        0.4,
        0.8,
        1.2,
    ]
    for one in answer.items[:3]:
        done = await api.hark.ended(one.new_id)
        if one.due_at is not None:
            assert one.due_at <= done["started_at"] < one.due_at + timedelta(seconds=1)
    last = due[-1]
    assert last is not None
    assert last > begin + timedelta(seconds=1.5)


async def test_a_dry_run_does_nothing(api: ApiUnderTest, broken: list[Any]) -> None:
    answer = await api.client.retry_many(workflow="broken", dry_run=True, spread="1h")
    assert (answer.matched, answer.done, answer.dry_run) == (5, 0, True)
    assert await api.hark.database.pool.fetchval("SELECT count(*) FROM hark.workflow_executions") == 7


async def test_the_filter_chooses(api: ApiUnderTest, broken: list[Any]) -> None:
    async def fitting(**given: Any) -> int:
        return (await api.client.retry_many(dry_run=True, **given)).matched

    assert await fitting(since="1h") == 7
    assert await fitting(since="1h", until="1h") == 0
    assert await fitting(error_class="probed") == 7
    assert await fitting(error_class="timeout") == 0
    assert await fitting(workflow="broken", status=["cancelled", "timeout"]) == 0
    for given, said in (
        ({}, "at least one of"),
        ({"status": ["failed"]}, "at least one of"),
        ({"workflow": "broken", "status": ["completed"]}, "completed cannot be meant"),
        ({"workflow": "nowhere"}, "nowhere"),
        ({"workflow": "broken", "spread": "30d"}, "a day"),
    ):
        with pytest.raises(ApiError, match=said):
            await api.client.retry_many(**given)


async def test_many_are_replayed_with_another_version(api: ApiUnderTest, broken: list[Any]) -> None:
    await api.hark.apply(FAILS.format(slug="broken", event="GO").replace("fail: no", "say: ok"))
    answer = await api.client.replay_many(workflow="broken", version=2)
    assert answer.done == 5
    for one in answer.items:
        done = await api.hark.ended(one.new_id)
        assert (done["status"], done["version"]) == ("completed", 2)
    refused = await api.client.replay_many(workflow="other", version=7)
    assert (refused.done, refused.refused) == (0, 2)
    assert "no version 7" in (refused.items[0].refused or "")


async def test_what_is_open_is_cancelled(api: ApiUnderTest) -> None:
    await api.hark.apply(WAITS)
    made = [(await api.client.emit("WAIT", {})).executions[0] for _ in range(3)]

    async def waiting() -> bool:
        found = await api.client.executions(workflow="waits", status="waiting")
        return len(found.items) == 3

    await api.hark.until(waiting)
    answer = await api.client.cancel_many(workflow="waits", reason="enough")
    assert ({one.execution_id for one in answer.items}, answer.done) == (set(made), 3)
    assert {(await api.hark.ended(one))["status"] for one in made} == {"cancelled"}
    assert (await api.client.cancel_many(workflow="waits")).matched == 0
