"""Triggers of type `workflow`: after executions of others, each end once, across instances and restarts."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import pytest
from support.database import connected
from support.engine import EngineUnderTest, running_engine

from hark.daemon.engine import ends
from hark.triggers.builtin import builtin_triggers
from hark.workflows.catalogue import Catalogue
from hark.workflows.errors import DefinitionError, UnavailableError
from hark.workflows.ids import DEFAULT_TENANT
from hark.workflows.loading import load_all

FIRST = """
id: {slug}
name: First
triggers: [{{type: event, event: {event}}}]
steps:
  - {{id: a, action: probe, with: {{fail: "${{{{ event.data.?fail.orValue(null) }}}}"}}}}
output: {{n: "${{{{ event.data.n }}}}", order: "${{{{ event.data.?order.orValue(0) }}}}"}}
"""
AFTER = """
id: {slug}
name: After
triggers:
  - {trigger}
steps: [{{id: seen, set: {{data: "${{{{ event.data }}}}"}}}}]
"""

ONE = "{type: workflow, workflow: one}"


def first(slug: str, event: str) -> str:
    return FIRST.format(slug=slug, event=event)


def after(trigger: str, slug: str = "after") -> str:
    return AFTER.format(slug=slug, trigger=trigger)


async def seen(engine: EngineUnderTest, count: int, slug: str = "after") -> list[dict[str, Any]]:
    """Wait for so many executions of the follower to complete; return what their events said."""
    query = """
        SELECT v.data FROM hark.workflow_executions AS e JOIN hark.workflows AS w ON w.id = e.workflow_id
        JOIN hark.events AS v ON v.id = e.event_id
        WHERE w.slug = $1 AND e.status = 'completed' ORDER BY e.id"""

    async def found() -> Any:
        rows = await engine.database.pool.fetch(query, slug)
        return rows if len(rows) >= count else None

    rows = await engine.until(found)
    return [orjson.loads(row["data"]) for row in rows]


async def nothing_noted(engine: EngineUnderTest) -> None:
    """Wait until all ends that were noted are events."""

    async def gone() -> bool:
        return await engine.database.pool.fetchval("SELECT NOT EXISTS (SELECT FROM hark.execution_ends)")

    await engine.until(gone)


async def test_the_end_of_an_execution_starts_what_follows_it(database_url: str) -> None:
    async with running_engine(database_url) as engine:
        await engine.apply(first("one", "ONE"))
        await engine.run("ONE", {"n": 0})  # nobody follows: nothing is noted
        assert await engine.database.pool.fetchval("SELECT count(*) FROM hark.execution_ends") == 0
        await engine.apply(after("{type: workflow, workflow: one, when: event.data.output.n > 1}"))
        await engine.run("ONE", {"n": 1})
        before = await engine.run("ONE", {"n": 2})
        await engine.run("ONE", {"n": 3, "fail": "no"})
        (data,) = await seen(engine, 1)
        await nothing_noted(engine)
        assert await seen(engine, 1) == [data]
        row = await engine.database.pool.fetchrow("SELECT * FROM hark.events WHERE kind = 'workflow' AND matched")
    assert data == {
        "workflow": "one", "execution_id": str(before["id"]), "status": "completed",
        "output": {"n": 2, "order": 0}, "inputs": {"n": 2}, "error": None,
    }  # fmt: skip
    assert (row["type"], row["route"], row["depth"], row["caused_by"]) == (
        "workflow.completed", "workflow:one", 1, before["id"],
    )  # fmt: skip


async def test_each_state_is_heard_however_it_came_about(database_url: str) -> None:
    async with running_engine(database_url) as engine:
        states = "[failed, cancelled, skipped]"
        await engine.apply(after(f"{{type: workflow, any: [one, two], states: {states}}}"))
        held = "id: two\nname: Two\ntriggers: [{type: event, event: TWO}]\nmax_running: 1\noverlap: queue\nsteps: "
        await engine.apply(first("one", "ONE") + "---\n" + held + "[{id: a, action: probe, with: {hold: true}}]")
        failed = await engine.run("ONE", {"n": 1, "fail": "no"})
        runs, queued = [(await engine.emit("TWO")).executions[0] for _ in range(2)]
        await engine.probe.called.wait()
        await engine.engine.cancel(DEFAULT_TENANT, queued)  # ended by a statement of its own
        await engine.engine.cancel(DEFAULT_TENANT, runs)  # by the flush of its instance
        found = await seen(engine, 3)
    assert {(data["execution_id"], data["status"]) for data in found} == {
        (str(failed["id"]), "failed"), (str(queued), "cancelled"), (str(runs), "cancelled"),
    }  # fmt: skip
    assert [data["error"]["message"] for data in found if data["status"] == "failed"] == ["no"]


async def test_tests_parts_and_what_is_restored_start_nothing(database_url: str) -> None:
    parts = (
        "id: one\nname: One\nsteps:\n  - {id: each, for_each: '[1, 2, 3]', distribute: true, "
        "do: [{id: a, set: {x: '${{ item }}'}}]}"
    )
    async with running_engine(database_url) as engine:
        await engine.apply(parts + "\n---\n" + after("{type: workflow, workflow: one}"))
        receipt = await engine.engine.start_workflow(DEFAULT_TENANT, "one", mode="test")
        await engine.ended(receipt.executions[0])
        receipt = await engine.engine.start_workflow(DEFAULT_TENANT, "one")
        await engine.ended(receipt.executions[0])
        (data,) = await seen(engine, 1)
        await nothing_noted(engine)
        assert await engine.database.pool.fetchval("SELECT count(*) FROM hark.events WHERE kind = 'workflow'") == 1
    assert data["execution_id"] == str(receipt.executions[0])


async def test_all_of_several_by_key_across_instances_and_restarts(database_url: str) -> None:
    trigger = "{type: workflow, all: [one, two], within: 1h, key: event.data.output.order}"
    async with running_engine(database_url) as here, running_engine(database_url) as there:
        await here.apply(first("one", "ONE") + "---\n" + first("two", "TWO") + "---\n" + after(trigger))
        await asyncio.gather(*(here.run("ONE", {"n": n, "order": n}) for n in range(20)))
        await nothing_noted(here)
        await asyncio.gather(*(there.run("TWO", {"n": -n, "order": n}) for n in range(19)))
        found = await seen(here, 19)
    assert sorted(data["ends"]["one"]["output"]["n"] for data in found) == list(range(19))
    assert all(data["ends"]["two"]["output"]["order"] == data["ends"]["one"]["output"]["order"] for data in found)
    async with running_engine(database_url) as engine:  # the twentieth has waited over the restart
        await engine.run("TWO", {"n": 0, "order": 19})
        assert len(await seen(engine, 20)) == 20
        assert await engine.database.pool.fetchval("SELECT count(*) FROM hark.workflow_joins") == 0


async def test_all_at_once_are_one_start_for_each_pair(database_url: str) -> None:
    """Both ends of a key at one moment, on two instances: neither may see only itself."""
    trigger = "{type: workflow, all: [one, two], within: 1h, key: event.data.output.order}"
    async with running_engine(database_url) as here, running_engine(database_url) as there:
        await here.apply(first("one", "ONE") + "---\n" + first("two", "TWO") + "---\n" + after(trigger))
        data = [{"n": n, "order": n} for n in range(30)]
        await asyncio.gather(*(here.run("ONE", each) for each in data), *(there.run("TWO", each) for each in data))
        assert len(await seen(here, 30)) == 30
        await nothing_noted(here)
        assert len(await seen(here, 30)) == 30


async def test_of_two_ends_at_one_moment_the_second_sees_the_first(
    connection: asyncpg.Connection, database_url: str
) -> None:
    workflow, tenant = uuid4(), DEFAULT_TENANT
    await connection.execute(
        "INSERT INTO hark.workflows (tenant_id, id, slug, name) VALUES ($1, $2, 'w', 'W')", tenant, workflow
    )

    async def join(on: asyncpg.Connection, slug: str) -> Any:
        call = "SELECT followed FROM hark.join_end($1, $2, 't', sha256(''), '{a,b,c}', $3, $4, now(), '1 hour')"
        return sorted(row["followed"] for row in await on.fetch(call, tenant, workflow, slug, uuid4()))

    assert await join(connection, "a") == []
    async with connected(database_url) as other, connection.transaction():
        assert await join(connection, "b") == []
        last = asyncio.create_task(join(other, "c"))
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        async with asyncio.timeout(10):
            while not last.done() and not await connection.fetchval(waits):
                await asyncio.sleep(0.01)
        assert not last.done(), "it has not waited for the other end"
        await connection.execute("COMMIT; BEGIN")
        assert await last == ["a", "b", "c"]


async def test_ends_too_far_apart_do_not_belong_together(database_url: str) -> None:
    async with running_engine(database_url) as engine:
        trigger = "{type: workflow, all: [one, two], within: 10m}"
        await engine.apply(first("one", "ONE") + "---\n" + first("two", "TWO") + "---\n" + after(trigger))
        pool = engine.database.pool
        await engine.run("ONE", {"n": 1})
        await nothing_noted(engine)
        await pool.execute("UPDATE hark.workflow_join_ends SET ended_at = now() - interval '11 minutes'")
        await engine.run("TWO", {"n": 2})
        await nothing_noted(engine)
        await engine.run("ONE", {"n": 3})
        (data,) = await seen(engine, 1)
        # A day later nobody waits any more.
        await engine.run("ONE", {"n": 4})
        await nothing_noted(engine)
        await pool.execute("UPDATE hark.workflow_joins SET expires_at = now() - interval '1 second'")
        await engine.engine.maintenance.once()
        assert await pool.fetchval("SELECT count(*) FROM hark.workflow_joins") == 0
    assert [data["ends"][slug]["output"]["n"] for slug in ("one", "two")] == [3, 2]


async def test_a_loop_of_workflows_ends_at_the_depth_limit(database_url: str) -> None:
    async with running_engine(database_url) as engine:
        loop = "{type: workflow, workflow: after}"
        await engine.apply(after(loop))
        receipt = await engine.engine.start_workflow(DEFAULT_TENANT, "after")
        await engine.ended(receipt.executions[0])
        reason = "SELECT reason FROM hark.event_decisions"
        assert await engine.until(lambda: engine.database.pool.fetchval(reason)) == "depth_limit"
        await nothing_noted(engine)
        assert await engine.database.pool.fetchval("SELECT max(depth) FROM hark.workflow_executions") == 20


async def test_who_dies_while_an_end_is_stored_has_done_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = "{type: workflow, all: [one, two], within: 1h}"
    single = after("{type: workflow, workflow: one}", "single")
    async with running_engine(database_url) as engine:
        await engine.apply("---\n".join([first("one", "ONE"), first("two", "TWO"), after(trigger), single]))
        take_within, failures = engine.engine.ingest.take_within, iter([1, 2, 3])

        async def dying(connection: Any, events: Any) -> Any:
            taken = await take_within(connection, events)
            if next(failures, None):
                taken.abandoned()
                raise UnavailableError("cut")
            return taken

        monkeypatch.setattr(engine.engine.ingest, "take_within", dying)
        for slug in ("ONE", "TWO"):
            await engine.run(slug, {"n": 1})
        for _ in range(3):
            engine.engine.ends.wake()
            await asyncio.sleep(0.05)
        assert len(await seen(engine, 1)) == len(await seen(engine, 1, "single")) == 1
        await nothing_noted(engine)
        assert await engine.database.pool.fetchval("SELECT count(*) FROM hark.workflow_executions") == 4


async def test_an_end_that_makes_no_event_is_put_aside_and_keeps_no_other(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = ends._event

    def broken(end: Any) -> Any:
        if end["status"] == "failed":
            raise ValueError("it is broken")
        return make(end)

    monkeypatch.setattr(ends, "_event", broken)
    async with running_engine(database_url) as engine:
        await engine.apply(
            first("one", "ONE") + "---\n" + after("{type: workflow, workflow: one, states: [failed, completed]}")
        )
        await asyncio.gather(engine.run("ONE", {"n": 1, "fail": "no"}), engine.run("ONE", {"n": 2}))
        assert [data["output"]["n"] for data in await seen(engine, 1)] == [2]
        problem = "SELECT problem FROM hark.execution_ends WHERE parked_at IS NOT NULL"
        assert await engine.until(lambda: engine.database.pool.fetchval(problem)) == "it is broken"


async def test_the_end_that_is_put_aside_is_the_one_that_failed(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest end was put aside: when another instance had just taken the broken one, that was a healthy one."""
    make = ends._event

    def broken(end: Any) -> Any:
        if end["status"] == "failed":
            raise ValueError("it is broken")
        return make(end)

    monkeypatch.setattr(ends, "_event", broken)
    async with running_engine(database_url) as engine, connected(database_url) as other:
        await engine.apply(
            first("one", "ONE") + "---\n" + after("{type: workflow, workflow: one, states: [failed, completed]}")
        )
        it = engine.engine.ends
        await it.stop()
        bad, _ = [await engine.run("ONE", {"n": n, **more}) for n, more in ((1, {"fail": "no"}), (2, {}))]
        drain, taken = it._drain, other.transaction()

        async def drain_beside_another(*about: Any) -> int:
            try:
                return await drain(*about)
            except ValueError:
                if about[0] == 1 and not other.is_in_transaction():
                    await taken.start()
                    await other.execute("SELECT FROM hark.execution_ends WHERE execution_id = $1 FOR UPDATE", bad["id"])
                raise

        monkeypatch.setattr(it, "_drain", drain_beside_another)
        await it.drain()
        await taken.rollback()
        monkeypatch.setattr(it, "_drain", drain)
        while await it.drain():
            pass
        rows = await other.fetch("SELECT execution_id FROM hark.execution_ends")
        assert [row["execution_id"] for row in rows] == [bad["id"]]
        assert [data["output"]["n"] for data in await seen(engine, 1)] == [2]


async def test_a_key_may_be_of_any_length_and_kind(database_url: str) -> None:
    """One that did not fit into an index took the start from all that followed."""
    keys = [secrets.token_urlsafe(12_000), {"a": [1, "ä"]}, ""]
    async with running_engine(database_url) as engine:
        await engine.apply(first("one", "ONE") + "---\n" + first("two", "TWO") + "---\n" + after(ONE, "plain"))
        await engine.apply(after("{type: workflow, all: [one, two], within: 1h, key: event.data.output.order}"))
        for event in ("ONE", "TWO"):
            await asyncio.gather(*(engine.run(event, {"n": n, "order": key}) for n, key in enumerate(keys)))
        found = await seen(engine, 3)
        assert len(await seen(engine, 3, "plain")) == 3
        assert await engine.database.pool.fetchval("SELECT count(*) FROM hark.workflow_join_ends") == 0
    assert all(data["ends"]["one"]["output"] == data["ends"]["two"]["output"] for data in found)


async def test_what_cannot_be_counted_concerns_one_trigger_and_can_be_made_up_for(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = ends.sql

    def broken(name: str) -> str:
        return "SELECT 1 / 0" if name == "load_ends" else load(name)

    async with running_engine(database_url) as engine:
        await engine.apply(first("one", "ONE") + "---\n" + first("two", "TWO") + "---\n" + after(ONE, "plain"))
        await engine.apply(after("{type: workflow, all: [one, two], within: 1h}"))
        await engine.run("TWO", {"n": 1})
        await nothing_noted(engine)
        monkeypatch.setattr(ends, "sql", broken)
        await engine.run("ONE", {"n": 2})
        assert len(await seen(engine, 1, "plain")) == 1
        pool = engine.database.pool
        (row,) = await pool.fetch("SELECT * FROM hark.execution_ends")
        assert (row["parked_at"] is not None, row["trigger_id"] is not None) == (True, True), row
        assert "argument" in row["problem"]
        assert (await engine.database.fetch("count_held_back"))[0]["ends_parked"] == 1
        monkeypatch.undo()
        await pool.execute("UPDATE hark.execution_ends SET parked_at = NULL")
        engine.engine.ends.wake()
        (data,) = await seen(engine, 1)
        assert [data["ends"][slug]["output"]["n"] for slug in ("one", "two")] == [2, 1]
        assert len(await seen(engine, 1, "plain")) == 1, "that had been told before"


@pytest.mark.parametrize(
    "trigger, said",
    [
        ("{type: workflow}", "write one of"),
        ("{type: workflow, workflow: a, any: [b]}", "write one of"),
        ("{type: workflow, all: [a, b]}", "`all` needs `within`"),
        ("{type: workflow, workflow: a, within: 1h}", "belong to `all`"),
        ("{type: workflow, all: [a, a], within: 1h}", "named twice"),
        ("{type: workflow, all: [a, b], within: 1h, key: inputs.x}", "key: "),
        ("{type: workflow, workflow: a, states: [done]}", "completed"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_remedy(trigger: str, said: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        load_all(after(trigger), Catalogue([], builtin_triggers()))
    problems = [f"{problem.message} {problem.hint}" for problem in refused.value.problems]
    assert any(said in problem for problem in problems), problems
