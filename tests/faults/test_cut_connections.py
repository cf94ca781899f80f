"""Connections that end exactly at a commit: the daemon lives on and has to find out what became of it."""

from __future__ import annotations

import asyncio

import pytest
from support.faults.length import sides
from support.faults.moments import SIDES, Moment, both_sides
from support.faults.proxy import Point, Verdict
from support.faults.site import Site

PATIENCE_S = 30.0
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("moment, after", both_sides("cut", 8))
async def test_a_commit_whose_request_or_answer_is_lost_counts_once(place: Site, moment: Moment, after: bool) -> None:
    """Before: the server never got it. After: it has committed, and the daemon does not know."""
    if moment.held:
        place.receivers.hold(moment.held)
    lives = place.one.lives
    trap = place.one.lay(moment.point(after=after), Verdict.CUT)
    sent = await place.send(moment.kind)
    await asyncio.wait_for(trap.reached.wait(), PATIENCE_S)
    place.receivers.release()
    if moment.kind == "asks":
        await place.answer(sent)
    await place.judge()
    assert trap.hits == 1
    assert place.one.lives == lives
    assert place.one.runs
    place.spoiled = False


@pytest.mark.parametrize("kind, query", [("chain", "ingest_events"), ("nobody", "ingest_events_alone")])
@pytest.mark.parametrize("after", [False, True], ids=SIDES.get)
async def test_a_sender_without_a_key_is_not_told_more_than_is_true(
    place: Site, kind: str, query: str, after: bool
) -> None:
    """Nobody could tell a repetition, so it is not repeated: what was acknowledged is there."""
    trap = place.one.lay(Point(query, "ingest", after=after), Verdict.CUT)
    sent = await place.send(kind, keyed=False)
    if kind == "chain":
        await place.judge()
    stored = await place.value("SELECT count(*) FROM hark.events WHERE data ->> 'n' = $1", str(sent.number))
    assert trap.hits == 1
    assert stored == 1 if sent.event_id else stored <= 1
    place.spoiled = kind == "nobody"  # for the oracle every event starts something


@pytest.mark.parametrize("after", sides("cut claim"), ids=SIDES.get)
async def test_a_claim_whose_request_or_answer_is_lost(place: Site, after: bool) -> None:
    """After: an execution is this instance's, which does not know it, and has to find out."""
    sent = await place.send("pause")
    await place.until("SELECT status = 'waiting' FROM hark.workflow_executions WHERE id = $1", sent.executions[0])
    took = (lambda answer: b"UPDATE 1\0" in answer) if after else (lambda _: True)
    trap = place.one.lay(Point("claim_executions", "claim", after=after, answer=took), Verdict.CUT)
    await asyncio.wait_for(trap.reached.wait(), PATIENCE_S)
    await place.judge()
    assert trap.hits == 1
    place.spoiled = False
