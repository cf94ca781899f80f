"""Instances that are lost to others on other hosts: killed, frozen, cut off. Another one has their work soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID

import pytest
from support.faults.length import LONG
from support.faults.processes import Form, Instance, Nursery
from support.faults.proxy import Point, Verdict
from support.faults.receivers import Hold
from support.faults.site import Site, site

PATIENCE_S = 30.0
AT_MOST_S = 30.0
"""What docs/architecture.md promises."""
HELD_BY = (
    "SELECT count(*) FROM hark.workflow_executions AS e JOIN hark.instances AS i ON i.id = e.instance_id"
    " WHERE e.id = $1 AND i.pid = $2"
)


async def loaded(place: Site, victims: Sequence[Instance], held: Hold) -> dict[Instance, list[UUID]]:
    """Give each an execution that waits for an answer, and one in the middle of a statement."""
    of: dict[Instance, list[UUID]] = {}
    for victim in victims:
        sent = [await place.send(kind, to=victim) for kind in ("chain", "sleep")]
        of[victim] = [execution for one in sent for execution in one.executions]
        assert all([await place.value(HELD_BY, one, victim.pid) for one in of[victim]])
    await came(held, len(victims))
    sleeping = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    await place.until(sleeping, what=lambda count: count > 0)
    return of


async def slowed(place: Site, victim: Instance) -> tuple[list[UUID], asyncio.Event]:
    """Give it an execution whose SQL takes its time on the way to the server, until the event is set."""
    go = asyncio.Event()

    async def wait() -> Verdict:
        await go.wait()
        return Verdict.GO

    victim.proxy.lay(Point("BEGIN", "sql"), wait)
    sent = await place.send("pause", to=victim)
    return list(sent.executions), go


async def came(held: Hold, count: int) -> None:
    """Wait until so many requests are held."""
    async with asyncio.timeout(PATIENCE_S):
        while held.count < count:
            await asyncio.sleep(0.02)


async def taken_by(place: Site, heir: Instance, executions: Sequence[UUID], lost_at: object) -> float:
    """Wait until another instance has all of it; returns after how many seconds."""
    question = (
        "SELECT CASE WHEN count(DISTINCT execution_id) = cardinality($1::uuid[]) THEN extract(epoch FROM max(at) - $3)"
        " END FROM witness.log WHERE execution_id = ANY ($1) AND became = 'running' AND writer = $2"
    )
    return float(
        await place.until(question, list(executions), heir.writer, lost_at, what=lambda found: found is not None)
    )


@pytest.mark.timeout(180)
async def test_work_of_lost_instances_is_taken_over_and_they_write_nothing_any_more(
    nursery: Nursery, empty_database: str, tell: Callable[[str], None]
) -> None:
    """Nobody sees a process on another host end: only that its heartbeat stands still.

    One is killed. One is stopped (SIGSTOP), also within a transaction, and goes on when another has its work. For
    one the network swallows everything, and then is back. Of the fourth only the heartbeat does not get through.
    """
    names = ("heir", "killed", "frozen", "dark", "deaf")
    async with site(nursery, empty_database, names, Form(hosts_apart=True)) as place:
        heir, killed, frozen, dark, deaf = place.instances
        first = place.receivers.hold("b", most=3)
        work = await loaded(place, (killed, frozen, dark), first)
        second = place.receivers.hold("b")
        work[deaf], go = await slowed(place, deaf)
        lost_at = await place.value("SELECT clock_timestamp()")
        await killed.kill()
        frozen.freeze()
        dark.proxy.dark.set()
        silent = deaf.lay(Point("beat_instance", "heartbeat"), Verdict.HOLE)
        for victim in work:
            took = await taken_by(place, heir, work[victim], lost_at)
            assert took < AT_MOST_S
            tell(f"what was {victim.name} is taken over {took:.1f} s after its loss")
        # While the heir waits for the same answers, the frozen one gets its own, and goes on to record it.
        await came(second, 3)
        await place.until("SELECT count(*) FROM public.effects WHERE execution_id = $1", str(work[deaf][0]))
        first.released.set()
        await asyncio.sleep(0.2)
        frozen.thaw()
        dark.proxy.dark.clear()
        assert await dark.proxy.cut_all()
        go.set()
        # Longer than its transaction takes, if it were not refused.
        await asyncio.sleep(0.5)
        assert await deaf.proxy.cut_all()
        assert silent.hits == 1
        back = "SELECT count(*) FROM witness.log WHERE what = 'licence' AND became = 'insert' AND writer = ANY ($1)"
        await place.until(back, [frozen.writer, dark.writer, deaf.writer], what=lambda count: count == 6)
        for one in (frozen, dark, deaf):
            assert "instance.fenced" in one.log
            assert one.lives == 1
        place.receivers.release()
        await place.judge()


@pytest.mark.skipif(not LONG, reason="takes its time: HARK_FAULTS=long")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("query, lane", [("record_progress", "record"), ("ingest_events", "ingest")])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_connection_that_goes_silent_is_given_up(
    nursery: Nursery, empty_database: str, query: str, lane: str, after: bool
) -> None:
    """The packets of one connection are swallowed; nothing says so. The daemon gives it up after its time-out."""
    async with site(nursery, empty_database) as place:
        trap = place.one.lay(Point(query, lane, after=after), Verdict.HOLE)
        await place.send("chain")
        await place.judge()
        assert trap.hits == 1
        assert place.one.lives == 1
