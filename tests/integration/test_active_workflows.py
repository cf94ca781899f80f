"""Many active workflows: what an event costs, and what a change costs, is what it concerns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from support.engine import EngineUnderTest, running_engine

from hark.daemon.engine import matcher as matching
from hark.daemon.store.database import Database
from hark.daemon.store.listing import Listing
from hark.workflows.ids import DEFAULT_TENANT, EventId

MANY = 110


@pytest.fixture
async def hark(database_url: str) -> AsyncIterator[EngineUnderTest]:
    async with running_engine(database_url) as running:
        yield running


def workflow(number: int, condition: str = "") -> str:
    when = condition or f'event.data.customer == "c{number}"'
    return (
        f"id: w{number}\nname: W\ntriggers: [{{id: t, type: event, event: PAID, when: '{when}'}}]\n"
        "steps: [{id: s, action: probe}]\n"
    )


async def apply_many(hark: EngineUnderTest, *numbers: int) -> None:
    await hark.apply("---\n".join(workflow(number) for number in numbers))


class Asked:
    """What the registry asked the database for, besides the generation: how many rows of what."""

    def __init__(self, hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[tuple[str, int]] = []
        fetch: Callable[..., Any] = Database.fetch

        async def watched(database: Database, query: str, *args: Any) -> Any:
            rows = await fetch(database, query, *args)
            if query in {"list_changed_workflows", "load_workflow_heads"}:
                self.rows.append((query, len(rows)))
            return rows

        monkeypatch.setattr(Database, "fetch", watched)


async def test_of_many_workflows_those_that_an_event_concerns_are_asked(
    hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await apply_many(hark, *range(MANY))
    await hark.apply(workflow(MANY, 'event.data.customer == "c7" && event.data.amount > 100'))
    offered: list[str] = []
    offer = matching.offer

    def watched(match: Any, subscription: Any, scope: Any) -> Any:
        offered.append(subscription.workflow.slug)
        return offer(match, subscription, scope)

    monkeypatch.setattr(matching, "offer", watched)
    receipt = await hark.emit("PAID", {"customer": "c7", "amount": 5})
    assert offered == ["w7", f"w{MANY}"]
    assert len(receipt.executions) == 1
    listing = Listing(hark.database)
    event = await listing.get_event(DEFAULT_TENANT, EventId(receipt.event_id))
    decisions = await listing.list_decisions(DEFAULT_TENANT, EventId(receipt.event_id))
    assert event is not None
    assert event["passed_over"] == MANY - 1
    assert [(one["workflow"], one["reason"]) for one in decisions] == [(f"w{MANY}", "when_false")]


async def test_on_a_small_route_each_trigger_says_why_not(hark: EngineUnderTest) -> None:
    await apply_many(hark, 1, 2, 3)
    receipt = await hark.emit("PAID", {"customer": "c2"})
    listing = Listing(hark.database)
    event = await listing.get_event(DEFAULT_TENANT, EventId(receipt.event_id))
    decisions = await listing.list_decisions(DEFAULT_TENANT, EventId(receipt.event_id))
    assert event is not None
    assert event["passed_over"] is None
    assert [one["workflow"] for one in decisions] == ["w1", "w3"]


async def test_publishing_one_of_many_looks_at_one(hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    await apply_many(hark, *range(MANY))
    asked = Asked(hark, monkeypatch)
    await hark.apply(workflow(5, 'event.data.customer == "new"'))
    assert asked.rows == [("list_changed_workflows", 1), ("load_workflow_heads", 1)]
    assert len((await hark.emit("PAID", {"customer": "new"})).executions) == 1
    assert not (await hark.emit("PAID", {"customer": "c5"})).executions


async def test_what_is_paused_resumed_archived_or_deleted_is_followed(hark: EngineUnderTest) -> None:
    await apply_many(hark, *range(4))
    pool = hark.database.pool

    async def started() -> list[bool]:
        return [bool((await hark.emit("PAID", {"customer": f"c{number}"})).executions) for number in range(4)]

    await pool.execute("UPDATE hark.workflows SET paused_at = now() WHERE slug = 'w0'")
    await pool.execute("UPDATE hark.workflows SET status = 'archived' WHERE slug = 'w1'")
    await pool.execute("DELETE FROM hark.workflows WHERE slug = 'w2'")
    assert await started() == [False, False, False, True]
    await pool.execute("UPDATE hark.workflows SET paused_at = NULL WHERE slug = 'w0'")
    assert await started() == [True, False, False, True]
    assert len(hark.engine.registry) == 2


async def test_changes_come_into_sight_in_the_order_of_their_stamps(hark: EngineUnderTest) -> None:
    """Else one that was stamped first and committed last would never be looked at."""
    await apply_many(hark, 1, 2)
    pool = hark.database.pool
    change = "UPDATE hark.workflows SET paused_at = now() WHERE slug = $1 RETURNING changed_in"
    async with pool.acquire() as first:
        transaction = first.transaction()
        await transaction.start()
        stamp = await first.fetchval(change, "w1")
        second = asyncio.create_task(pool.fetchval(change, "w2"))
        blocked = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        await hark.until(lambda: pool.fetchval(blocked), "the second waits for the first")
        await transaction.commit()
    assert await second > stamp
    assert not (await hark.emit("PAID", {"customer": "c1"})).executions
    assert not (await hark.emit("PAID", {"customer": "c2"})).executions
