"""SIGKILL at every moment that has a name: before and after each commit, and inside of everything that takes time."""

from __future__ import annotations

import asyncio
import signal

import pytest
from support.faults.length import sides, some
from support.faults.moments import SIDES, Moment, both_sides, gives_up
from support.faults.proxy import Point
from support.faults.site import Site

PATIENCE_S = 30.0
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("moment, after", both_sides("kill", 10))
async def test_a_daemon_killed_at_a_commit_loses_nothing_and_repeats_nothing(
    place: Site, moment: Moment, after: bool
) -> None:
    """The server has not got the statement yet, or has done it and nobody has heard."""
    if moment.held:
        place.receivers.hold(moment.held)
    trap = place.one.trap(moment.point(after=after))
    sending = asyncio.create_task(place.send(moment.kind))
    await asyncio.wait_for(trap.reached.wait(), PATIENCE_S)
    assert not place.one.runs
    place.receivers.release()
    await place.one.start()
    sent = await sending
    if moment.kind == "asks":
        await place.answer(sent)
    await place.judge()
    assert trap.hits == 1
    place.spoiled = False


@pytest.mark.parametrize("after", sides("claim"), ids=SIDES.get)
async def test_a_daemon_killed_at_the_commit_of_a_claim(place: Site, after: bool) -> None:
    """Claims come by all the time; this is one that takes something."""
    sent = await place.send("pause")
    await place.until("SELECT status = 'waiting' FROM hark.workflow_executions WHERE id = $1", sent.executions[0])
    left = await place.value("SELECT due_at - now() FROM hark.workflow_executions WHERE id = $1", sent.executions[0])
    due = asyncio.get_running_loop().time() + left.total_seconds()
    point = Point(
        "claim_executions",
        "claim",
        after=after,
        where=lambda _: asyncio.get_running_loop().time() >= due - 0.1,
        answer=lambda answer: b"UPDATE 1\0" in answer,
    )
    trap = place.one.trap(point)
    await asyncio.wait_for(trap.reached.wait(), PATIENCE_S)
    status = await place.value("SELECT status FROM hark.workflow_executions WHERE id = $1", sent.executions[0])
    assert status == ("running" if after else "waiting")
    await place.one.start()
    await place.judge()
    place.spoiled = False


HELD = [
    ("chain", "b"),
    ("loop", "ask-1"),
    ("branches", "r"),
    ("branches", "last"),
    ("mail", "letter"),
    ("once", "order"),
    ("call", "outside"),
    ("parts", "part-1"),
    ("limited", "work"),
    ("news", "first"),
]
"""Steps in which the daemon waits for the answer of a receiving end."""


@pytest.mark.parametrize("kind, step", some("held", HELD, 3))
async def test_a_daemon_killed_while_somebody_has_its_request_in_hand(place: Site, kind: str, step: str) -> None:
    held = place.receivers.hold(step, most=1)
    sending = asyncio.create_task(place.send(kind))
    await asyncio.wait_for(held.arrived.wait(), PATIENCE_S)
    assert await place.held_by(place.one) > 0
    await place.one.kill()
    place.receivers.release()
    await place.one.start()
    sent = await sending
    await place.judge()
    came = place.receivers.http[str(sent.number), step] + place.receivers.mail[str(sent.number), step]
    assert len(came) == (1 if kind == "once" else 2), "the kill came while it was held"
    place.spoiled = False


async def test_a_daemon_killed_inside_of_a_statement(place: Site) -> None:
    sent = await place.send("sleep")
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    await place.until(sleeping)
    await place.one.kill()
    assert await place.value(sleeping) == 1, "it was killed while the statement ran"
    await place.one.start()
    await place.judge()
    assert sent.executions
    place.spoiled = False


@pytest.mark.parametrize("kind", some("waiting", ["pause", "asks"], 1))
async def test_a_daemon_killed_while_executions_wait(place: Site, kind: str) -> None:
    sent = await place.send(kind)
    await place.until("SELECT status = 'waiting' FROM hark.workflow_executions WHERE id = $1", sent.executions[0])
    await place.one.kill()
    await place.one.start()
    if kind == "asks":
        await place.answer(sent)
    await place.judge()
    place.spoiled = False


@pytest.mark.parametrize(
    "query, after",
    [
        pytest.param(query, after, id=f"{query}-{SIDES[after]}")
        for query in some("take over", ["register_instance", "remove_instance", "reclaim_executions"], 2)
        for after in sides(query)
    ],
)
async def test_a_daemon_killed_while_it_takes_over(place: Site, query: str, after: bool) -> None:
    """The next one finds two dead, and the work of the first at whatever point the second had brought it to."""
    held = place.receivers.hold("b", most=1)
    await place.send("chain")
    await asyncio.wait_for(held.arrived.wait(), PATIENCE_S)
    await place.one.kill()
    trap = place.one.trap(Point(query, "heartbeat", after=after))
    await place.one.begin()
    await asyncio.wait_for(trap.reached.wait(), PATIENCE_S)
    place.receivers.release()
    await place.one.start()
    await place.judge()
    assert trap.hits == 1
    place.spoiled = False


@pytest.mark.parametrize(
    "query, after",
    [
        pytest.param(query, after, id=f"{query}-{SIDES[after]}")
        for query in some("hand over", ["record_progress", "leave_instance"], 1)
        for after in sides(f"hand over {query}")
    ],
)
async def test_a_daemon_killed_while_it_hands_over(place: Site, query: str, after: bool) -> None:
    """It has been asked to stop and gives back what still runs, then its licence."""
    held = place.receivers.hold("b", most=1)
    await place.send("chain")
    await asyncio.wait_for(held.arrived.wait(), PATIENCE_S)
    lane, where = ("record", gives_up("pending")) if query == "record_progress" else ("heartbeat", lambda _: True)
    trap = place.one.trap(Point(query, lane, after=after, where=where))
    assert await place.one.stop() == -signal.SIGKILL
    assert trap.hits == 1
    place.receivers.release()
    await place.one.start()
    await place.judge()
    place.spoiled = False
