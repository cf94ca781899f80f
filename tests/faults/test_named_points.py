"""SIGKILL at every moment that has a name: before and after each commit, and inside of everything that takes time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio
from support.database import fresh_database
from support.faults.length import sides, some
from support.faults.processes import Nursery
from support.faults.proxy import Point
from support.faults.site import Site, site
from support.faults.wire import Unit

PATIENCE_S = 30.0
SIDES = {False: "before", True: "after"}
pytestmark = pytest.mark.asyncio(loop_scope="module")


class Sites:
    """A site for all tests of this file, made anew after one that did not end well: to start one takes a second."""

    def __init__(self, nursery: Nursery, server_url: str, template: str) -> None:
        self._made_of = nursery, server_url, template
        self._present: tuple[asyncio.Event, asyncio.Task[None], Site] | None = None

    async def get(self) -> Site:
        """Return one on which all is well."""
        if self._present is not None and self._present[2].spoiled:
            await self.close()
        if self._present is None:
            ready: asyncio.Future[Site] = asyncio.get_running_loop().create_future()
            over = asyncio.Event()
            task = asyncio.create_task(self._keep(ready, over))
            await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            self._present = over, task, ready.result()
        return self._present[2]

    async def close(self) -> None:
        """Take it down; idempotent."""
        present, self._present = self._present, None
        if present is not None:
            present[0].set()
            await present[1]

    async def _keep(self, ready: asyncio.Future[Site], over: asyncio.Event) -> None:
        nursery, server_url, template = self._made_of
        async with fresh_database(server_url, template) as url, site(nursery, url) as place:
            ready.set_result(place)
            await over.wait()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites(nursery: Nursery, server_url: str, faults_template: str) -> AsyncIterator[Sites]:
    """Keep a site for this file."""
    one = Sites(nursery, server_url, faults_template)
    yield one
    await one.close()


@pytest_asyncio.fixture(loop_scope="module")
async def place(sites: Sites) -> AsyncIterator[Site]:
    """Give a site on which a daemon runs; the test has to leave it so that the oracle is content."""
    found = await sites.get()
    found.spoiled = True
    yield found
    found.one.proxy.clear()


@dataclass(frozen=True, slots=True)
class Moment:
    """A point, the kind of work that comes by there, and how this statement is told from others like it."""

    name: str
    kind: str
    query: str
    lane: str
    where: Callable[[Unit], bool] = lambda _: True
    held: str = ""
    """The step that has to take its time for this to happen."""


def gives_up(status: str) -> Callable[[Unit], bool]:
    """Tell a flush by which an execution leaves its instance as this."""
    return lambda unit: unit.has_rows(3) and unit.mentions(3, status)


def records(path: str) -> Callable[[Unit], bool]:
    """Tell a flush that has a step, and leaves its execution where it is."""
    return lambda unit: unit.has_rows(2) and unit.mentions(2, path) and not unit.has_rows(3)


MOMENTS = [
    Moment("ingest", "chain", "ingest_events", "ingest"),
    Moment("ingest of a call", "call", "ingest_events", "ingest", lambda unit: unit.mentions(7, "called")),
    Moment("ingest of an emitted event", "news", "ingest_events", "ingest", lambda unit: unit.mentions(4, "NEWS")),
    Moment("record with step", "chain", "record_progress", "record", records("b")),
    Moment("record with a step of a loop", "loop", "record_progress", "record", records("each[1].ask")),
    Moment("record with a step of a branch", "branches", "record_progress", "record", records("r")),
    Moment("record with join", "branches", "record_progress", "record", records("both")),
    Moment("record with memory", "memory", "record_progress", "record", lambda unit: unit.has_rows(6)),
    Moment("record with wait for an event", "news", "record_progress", "record", lambda unit: unit.has_rows(7)),
    Moment("record with wait", "pause", "record_progress", "record", gives_up("waiting")),
    Moment("record with wait for a call", "call", "record_progress", "record", gives_up("waiting"), "outside"),
    Moment("record with end", "chain", "record_progress", "record", gives_up("completed")),
    Moment("record with end of a call", "call", "record_progress", "record", gives_up("completed")),
    Moment("record with end in a lane", "limited", "record_progress", "record", gives_up("completed")),
    Moment("record of an SQL step", "chain", "record_step", "sql"),
    Moment("COMMIT of an SQL step", "chain", "COMMIT", "sql"),
    Moment("COMMIT of an SQL step in a loop", "loop", "COMMIT", "sql"),
    Moment("start of a part", "parts", "start_part", "hark"),
    Moment("question to people", "asks", "open_approval", "hark"),
    Moment("heartbeat", "chain", "beat_instance", "heartbeat", held="b"),
]


@pytest.mark.parametrize(
    "moment, after",
    [
        pytest.param(moment, after, id=f"{moment.name}-{SIDES[after]}".replace(" ", "_"))
        for moment in MOMENTS
        for after in sides(moment.name)
    ],
)
async def test_a_daemon_killed_at_a_commit_loses_nothing_and_repeats_nothing(
    place: Site, moment: Moment, after: bool
) -> None:
    """The server has not got the statement yet, or has done it and nobody has heard."""
    if moment.held:
        place.receivers.hold(moment.held)
    trap = place.one.trap(Point(moment.query, moment.lane, after=after, where=moment.where))
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


@pytest.mark.parametrize("kind, step", some("held", HELD, 4))
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
        for query in ("register_instance", "remove_instance", "reclaim_executions")
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
