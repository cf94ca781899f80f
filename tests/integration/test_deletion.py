"""Deleting a workflow: refused while something is open, and with force nothing of it stays, wherever it ran."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from support.api import running_api
from support.engine import EngineUnderTest, running_engine

from hark.client import ApiError
from hark.workflows.errors import ConflictError, NotFoundError
from hark.workflows.ids import DEFAULT_TENANT, TenantId

TENANT = TenantId(DEFAULT_TENANT)
HELD = """
id: held
name: Held
triggers: [{type: event, event: GO}]
steps:
  - {id: first, action: log_event, with: {message: hello}}
  - {id: hold, action: probe, with: {hold: true}}
  - {id: after, action: probe}
"""
WAITS = """
id: waits
name: Waits
triggers: [{type: event, event: WAIT}]
steps:
  - {id: ask, approve: {message: May I?}}
"""
_ANOTHER = """
INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, trigger_type, status)
VALUES ($1, hark.new_id(), $2, 1, hark.new_id(), 'event', 'pending')
"""
_MANY = """
INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, trigger_type, status, due_at)
SELECT $1, hark.new_id(), $2, 1, hark.new_id(), 'event', 'waiting', now() + interval '1h' FROM generate_series(1, $3)
"""
CALLS = "id: calls\nname: Calls\ntriggers: [{type: event, event: CALL}]\nsteps: [{id: it, call: held}]\n"


async def rows_of(hark: EngineUnderTest, text: object) -> list[str]:
    """Return the tables that have anything with an id in it, but for the events, which are nobody's."""
    pool = hark.database.pool
    tables = await pool.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class AS c "
        "WHERE c.relnamespace = 'hark'::regnamespace AND c.relkind = 'r' AND c.relname !~ '^events_'"
    )
    query = "SELECT EXISTS (SELECT FROM {} AS t WHERE strpos(t::text, $1) > 0)"
    return [row["name"] for row in tables if await pool.fetchval(query.format(row["name"]), str(text))]


async def test_what_runs_on_another_instance_is_stopped_before_its_history_goes(database_url: str) -> None:
    async with running_engine(database_url) as runs, running_engine(database_url) as other:
        await runs.apply(HELD)
        execution = (await runs.emit("GO")).executions[0]
        await runs.until(lambda: len(runs.probe.calls) == 1)
        with pytest.raises(ConflictError, match=r"1 open execution \(1 running\).*`hark cancel.*--force"):
            await other.engine.publisher.delete(TENANT, "held")
        # Nothing has changed: it is still in service.
        assert (await runs.execution(execution))["status"] == "running"
        second = (await runs.emit("GO")).executions[0]
        await runs.until(lambda: len(runs.probe.calls) == 2)
        assert await rows_of(runs, execution)
        workflow_id = (await runs.execution(execution))["workflow_id"]
        await other.engine.publisher.delete(TENANT, "held", force=True)
        # By now its steps have been stopped, not only told to.
        assert runs.engine.executor.in_flight == 0
        runs.probe.release.set()
        for one in (execution, second, workflow_id):
            assert await rows_of(other, one) == []
        assert [call[0] for call in runs.probe.calls] == ["hold", "hold"]
        assert (await runs.emit("GO")).executions == ()
        with pytest.raises(NotFoundError):
            await other.engine.publisher.delete(TENANT, "held", force=True)


async def test_what_waits_or_is_queued_goes_with_it_and_a_caller_is_told(database_url: str) -> None:
    async with running_engine(database_url, link_key="k" * 40) as one:
        await one.apply(WAITS + "---\n" + HELD + "max_running: 1\noverlap: queue\n---\n" + CALLS)
        waiting = (await one.emit("WAIT")).executions[0]
        caller = (await one.emit("CALL")).executions[0]
        await one.until(lambda: len(one.probe.calls) == 1)
        queued = (await one.emit("GO")).executions[0]

        async def asked() -> Any:
            return await one.database.pool.fetchval("SELECT count(*) FROM hark.waits")

        await one.until(asked)
        with pytest.raises(ConflictError, match=r"1 pending, 1 running"):
            await one.engine.publisher.delete(TENANT, "held")
        await one.engine.publisher.delete(TENANT, "held", force=True)
        await one.engine.publisher.delete(TENANT, "waits", force=True)
        assert await rows_of(one, queued) == await rows_of(one, waiting) == []
        failed = await one.ended(caller)
        assert failed["error"]["class"] in {"cancelled", "erased"}
        assert await one.database.pool.fetchval("SELECT count(*) FROM hark.slots") == 0


async def test_a_start_that_is_stored_during_the_deletion_is_ended_too_or_refuses_it(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_engine(database_url) as one:
        await one.apply(HELD)
        done = (await one.emit("GO")).executions[0]
        await one.until(lambda: len(one.probe.calls) == 1)
        await one.engine.cancel(TENANT, done)
        await one.ended(done)
        publisher = one.engine.publisher
        erase, late = publisher._erase, []

        async def erase_after_a_retry(*about: Any) -> bool:
            if not late:
                # Its origin is gone by now: a retry would find nothing. What is stored is one like it.
                await one.database.pool.execute(_ANOTHER, TENANT, about[2])
                late.append(await erase(*about))
            return await erase(*about)

        monkeypatch.setattr(publisher, "_erase", erase_after_a_retry)
        with pytest.raises(ConflictError, match=r"1 open execution \(1 pending\), which began while .* archived now"):
            await publisher.delete(TENANT, "held")
        late.clear()
        async with asyncio.timeout(20):
            await publisher.delete(TENANT, "held", force=True)
        assert late == [False]
        assert await one.database.pool.fetchval("SELECT count(*) FROM hark.workflow_executions") == 0


@asynccontextmanager
async def under_way(one: EngineUnderTest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Task[None]]:
    """Begin a deletion, and hold it while the block lasts: its history is gone, the workflow itself is not."""
    publisher, there, go_on = one.engine.publisher, asyncio.Event(), asyncio.Event()
    erase = publisher._erase

    async def held(*about: Any) -> bool:
        there.set()
        await go_on.wait()
        return await erase(*about)

    with monkeypatch.context() as patch:
        patch.setattr(publisher, "_erase", held)
        deletion = asyncio.create_task(publisher.delete(TENANT, "held"))
        await there.wait()
    yield deletion
    go_on.set()


async def test_a_deletion_leaves_alone_what_was_made_anew_under_the_same_name(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It went by the name: a workflow that was made after another deletion went with all that it had done."""
    async with running_engine(database_url) as one:
        await one.apply(HELD)
        async with under_way(one, monkeypatch) as deletion:
            await one.engine.publisher.delete(TENANT, "held")
            await one.apply(HELD)
            execution = (await one.emit("GO")).executions[0]
        await deletion
        one.probe.release.set()
        assert (await one.ended(execution))["status"] == "completed"


async def test_a_deletion_leaves_alone_what_was_published_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_engine(database_url) as one:
        await one.apply(HELD)
        async with under_way(one, monkeypatch) as deletion:
            await one.apply(HELD.replace("name: Held", "name: Again"))
            execution = (await one.emit("GO")).executions[0]
        with pytest.raises(ConflictError, match="published again while it was being deleted: it stays"):
            await deletion
        one.probe.release.set()
        assert (await one.ended(execution))["status"] == "completed"


async def test_many_that_are_open_are_cancelled_in_sets_however_long_that_takes(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One deadline stood over all, and each was cancelled alone: with twenty thousand it came to no end."""
    monkeypatch.setattr("hark.daemon.engine.cancelling.STOPPED_WITHIN_S", 0.0)
    monkeypatch.setattr("hark.daemon.engine.publisher._SET", 200)
    async with running_engine(database_url) as one:
        await one.apply(HELD)
        workflow_id = await one.database.pool.fetchval("SELECT id FROM hark.workflows")
        await one.engine.claimer.stop()
        await one.database.pool.execute(_MANY, TENANT, workflow_id, 1100)
        with pytest.raises(ConflictError, match=r"at least 1,000 open executions"):
            await one.engine.publisher.delete(TENANT, "held")
        await one.engine.publisher.delete(TENANT, "held", force=True)
        assert await one.database.pool.fetchval("SELECT count(*) FROM hark.workflow_executions") == 0


async def test_what_does_not_end_is_told_and_the_workflow_stays_out_of_service(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hark.daemon.engine.cancelling.STOPPED_WITHIN_S", 0.3)
    async with running_engine(database_url) as one:
        await one.apply(HELD)
        execution = (await one.emit("GO")).executions[0]
        await one.until(lambda: len(one.probe.calls) == 1)
        monkeypatch.setattr(one.engine.executor, "interrupt", lambda *_: True)  # as if its instance were gone
        with pytest.raises(ConflictError, match=r"1 execution is .* yet; workflow 'held' is archived"):
            await one.engine.publisher.delete(TENANT, "held", force=True)
        asked = [note["detail"] for note in (await one.execution(execution))["timeline"]]
        assert asked == [{"reason": "its workflow is being deleted"}]  # once, however often it was looked for
        assert (await one.emit("GO")).executions == ()
        monkeypatch.undo()
        one.probe.release.set()
        await one.ended(execution)
        await one.engine.publisher.delete(TENANT, "held")
        assert await rows_of(one, execution) == []


async def test_over_http(database_url: str, tmp_path: Path) -> None:
    async with running_api(database_url, tmp_path) as api:
        await api.hark.apply(HELD)
        await api.hark.emit("GO")
        with pytest.raises(ApiError, match="1 open execution") as refused:
            await api.client.delete("held")
        assert refused.value.status == 409
        assert (await api.client.delete("held", force=True)).success
