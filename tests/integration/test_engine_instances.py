"""Several instances, dead and frozen ones: work is resumed, nothing is done twice, nobody writes without licence."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from support.engine import EngineUnderTest, Probe, event, running_engine

from hark.daemon.engine import instance as instance_module
from hark.workflows.errors import UnavailableError

HOLDING = """
id: w
name: W
triggers: [{type: event, event: GO}]
steps: [{id: a, action: probe, with: {hold: true}}]
"""

HELD = """
id: held
name: Held
triggers: [{type: event, event: GO}]
steps:
  - {id: before, action: probe}
  - {id: mark, action: update_database, with: {sql: "INSERT INTO public.marks (n) VALUES (1)"}}
  - {id: hold, action: probe, with: {hold: true}}
  - {id: after, action: probe}
"""


async def died(one: EngineUnderTest) -> None:
    """Let an instance vanish as a killed process does: no goodbye, no record, its licence still there."""
    engine = one.engine
    await engine.instance._task.stop()
    await engine.claimer.stop()
    for execution in engine.executor._runs.values():
        execution.ending = "fenced"
    for task in list(engine.executor._tasks.values()):
        task.cancel()
    await asyncio.sleep(0)


async def held_at(one: EngineUnderTest, step: str) -> None:
    """Wait until a step has been called."""
    await one.until(lambda: any(call[0] == step for call in one.probe.calls))


async def marks(one: EngineUnderTest) -> int:
    """Count the SQL effects."""
    count: int = await one.database.pool.fetchval("SELECT count(*) FROM public.marks")
    return count


async def test_a_dead_instances_work_is_resumed_at_the_step_that_was_not_recorded(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_module, "DEAD_AFTER_S", 0.5)
    monkeypatch.setattr(instance_module, "HEARTBEAT_S", 0.1)
    async with running_engine(database_url) as first:
        await first.database.pool.execute("CREATE TABLE public.marks (n integer)")
        await first.apply(HELD)
        receipt = await first.emit("GO")
        await held_at(first, "hold")
        await died(first)
        # Both are in this process, so only the heartbeat can tell: that is how it is judged across machines.
        async with running_engine(database_url) as second:
            await held_at(second, "hold")
            second.probe.release.set()
            done = await second.ended(receipt.executions[0])
            assert [call[0] for call in second.probe.calls] == ["hold", "after"]
            assert await marks(second) == 1
            assert done["status"] == "completed"
            assert [entry["type"] for entry in done["timeline"]] == ["execution.reclaimed"]


async def test_an_instance_without_licence_writes_nothing_and_takes_a_new_one(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance_module, "HEARTBEAT_S", 0.2)
    async with running_engine(database_url) as one:
        await one.database.pool.execute("CREATE TABLE public.marks (n integer)")
        await one.apply(HELD)
        receipt = await one.emit("GO")
        await held_at(one, "hold")
        before = one.engine.instance.id
        # Another instance has judged it dead and given its work away.
        await one.database.pool.execute("DELETE FROM hark.instances WHERE id = $1", before)
        one.probe.release.set()
        done = await one.ended(receipt.executions[0])
        assert one.engine.instance.id != before
        assert done["status"] == "completed"
        # `hold` was not on record when the licence went, so it ran again; what was on record did not.
        assert [call[0] for call in one.probe.calls] == ["before", "hold", "hold", "after"]
        assert await marks(one) == 1


async def test_a_slow_flush_of_the_old_instance_and_the_reclaim_exclude_each_other(database_url: str) -> None:
    """The flush locks its instance's row, so the reclaimer waits for it and the new owner sees what it wrote."""
    async with running_engine(database_url) as one:
        licence = one.engine.instance.id
        pool = one.database.pool
        async with pool.acquire() as flush, pool.acquire() as reclaim:
            transaction = flush.transaction()
            await transaction.start()
            await flush.fetch("SELECT id FROM hark.instances WHERE id = $1 FOR KEY SHARE", licence)
            removal = asyncio.create_task(reclaim.execute("DELETE FROM hark.instances WHERE id = $1", licence))

            async def blocked() -> Any:
                return await pool.fetchval(
                    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE%'"
                )

            await one.until(blocked)
            # A heartbeat passes the lock of the flush, but now waits behind the removal or finds its row gone.
            await transaction.commit()
            await removal


async def test_two_instances_share_the_work_and_every_event_is_executed_once(database_url: str) -> None:
    probes = Probe(), Probe()
    async with (
        running_engine(database_url, probe=probes[0], max_running=3) as one,
        running_engine(database_url, probe=probes[1], max_running=3) as two,
    ):
        await one.apply(
            "id: w\nname: W\ntriggers: [{type: event, event: GO}]\n"
            "steps: [{id: a, action: probe}, {id: b, wait: 20ms}, {id: c, action: probe}]\n"
        )
        receipts = await asyncio.gather(*(one.emit("GO", {"n": n}) for n in range(60)))
        for receipt in receipts:
            assert (await one.ended(receipt.executions[0]))["status"] == "completed"
        keys = [(call[0], call[2]) for probe in probes for call in probe.calls]
        assert len(keys) == len(set(keys)) == 120
        assert two.engine.executor.ended.get("completed", 0) + one.engine.executor.ended.get("completed", 0) == 60


async def test_a_publication_on_one_instance_is_met_by_the_next_event_on_another(database_url: str) -> None:
    async with running_engine(database_url) as one, running_engine(database_url) as two:
        for version in range(1, 6):
            await one.apply(
                f"id: w\nname: W{version}\ntriggers: [{{type: event, event: GO}}]\n"
                f"steps: [{{id: a, set: {{v: {version}}}}}]\n"
            )
            # No pause: the other instance may not have heard yet, and its write finds that out.
            receipt = await two.emit("GO")
            assert (await two.ended(receipt.executions[0]))["version"] == version


async def test_a_full_instance_keeps_the_rest_pending_and_loses_nothing(database_url: str) -> None:
    async with running_engine(database_url, max_running=2) as one:
        await one.apply(HOLDING)
        receipts = [await one.emit("GO", {"n": n}) for n in range(5)]
        await one.until(lambda: len(one.probe.calls) == 2)
        rows = await one.database.pool.fetch("SELECT status FROM hark.workflow_executions")
        assert sorted(row["status"] for row in rows) == ["pending", "pending", "pending", "running", "running"]
        one.probe.release.set()
        for receipt in receipts:
            assert (await one.ended(receipt.executions[0]))["status"] == "completed"


async def test_stopping_gives_back_what_does_not_end_in_time(database_url: str) -> None:
    async with running_engine(database_url, drain_timeout="100ms") as one:
        await one.apply(HOLDING)
        receipt = await one.emit("GO")
        await held_at(one, "a")
        await one.engine.stop()
        row = await one.execution(receipt.executions[0])
        assert (row["status"], row["pending_reason"], row["instance_id"]) == ("pending", "released", None)
        assert await one.database.pool.fetchval("SELECT count(*) FROM hark.instances") == 0
        with pytest.raises(UnavailableError):
            await one.engine.emit(event("GO"))


async def test_an_execution_that_keeps_killing_its_instances_is_parked(database_url: str) -> None:
    async with running_engine(database_url) as one:
        await one.apply(HOLDING)
        receipt = await one.emit("GO")
        await held_at(one, "a")
        # As the reclaimer leaves it after the fifth death.
        await one.engine.executor.abort()
        await one.database.pool.execute(
            "UPDATE hark.workflow_executions SET status = 'pending', instance_id = NULL, claims = 5"
        )
        one.engine.claimer.work_arrived()
        done = await one.ended(receipt.executions[0])
        assert (done["status"], done["error"]["class"]) == ("failed", "poisoned")


async def test_an_effect_that_must_not_be_repeated_is_not(database_url: str) -> None:
    async with running_engine(database_url) as one:
        await one.apply(
            "id: w\nname: W\ntriggers: [{type: event, event: GO}]\n"
            "steps: [{id: a, action: probe, effect: at_most_once, with: {hold: true}}]\n"
        )
        receipt = await one.emit("GO")
        await held_at(one, "a")
        await one.engine.executor.abort()
        await one.database.pool.execute("UPDATE hark.workflow_executions SET status = 'pending', instance_id = NULL")
        one.engine.claimer.work_arrived()
        done = await one.ended(receipt.executions[0])
        assert (done["status"], done["error"]["class"]) == ("failed", "outcome_unknown")
        assert len(one.probe.calls) == 1


async def test_a_lost_connection_delays_the_record_and_nothing_else(database_url: str) -> None:
    async with running_engine(database_url) as one:
        await one.apply(
            "id: w\nname: W\ntriggers: [{type: event, event: GO}]\n"
            "steps: [{id: a, action: probe, with: {hold: true}}, {id: b, action: probe}]\n"
        )
        receipt = await one.emit("GO")
        await held_at(one, "a")
        await one.database.pool.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        one.probe.release.set()
        done = await one.ended(receipt.executions[0])
        assert done["status"] == "completed"
        assert [call[0] for call in one.probe.calls] == ["a", "b"]
        again = await one.emit("GO", {"n": 2})
        assert (await one.ended(again.executions[0]))["status"] == "completed"
        await one.until(lambda: one.engine.listening.hears)


async def test_deleting_a_workflow_leaves_nothing_behind(database_url: str) -> None:
    async with running_engine(database_url) as one:
        await one.apply(HELD)
        await one.emit("GO")
        await held_at(one, "before")
        tenant = await one.database.pool.fetchval("SELECT id FROM hark.tenants")
        await one.engine.publisher.delete(tenant, "held", force=True)
        for table in ("workflows", "workflow_versions", "workflow_executions", "workflow_steps", "workflow_timeline"):
            assert await one.database.pool.fetchval(f"SELECT count(*) FROM hark.{table}") == 0, table


async def test_an_event_that_comes_while_the_licence_is_gone_is_taken_under_the_next(database_url: str) -> None:
    """Whoever published it was told that the instance is fenced, which is none of their business."""
    async with running_engine(database_url) as one:
        await one.apply("id: w\nname: W\ntriggers: [{type: event, event: GO}]\nsteps: [{id: a, action: probe}]\n")
        before = one.engine.instance.id
        await one.database.pool.execute("DELETE FROM hark.instances")
        receipt = await one.emit("GO")
        assert (await one.ended(receipt.executions[0]))["status"] == "completed"
        assert one.engine.instance.id != before
        assert [call[0] for call in one.probe.calls] == ["a"]


async def test_a_call_of_a_lost_instance_starts_nothing_under_its_next_licence(database_url: str) -> None:
    """It was stored after its caller had ended elsewhere, and ran with nobody left to end it."""
    async with running_engine(database_url) as one:
        await one.apply("id: w\nname: W\ntriggers: [{type: event, event: GO}]\nsteps: [{id: a, action: probe}]\n")
        asked = event("GO", caused_by=UUID(int=7), dedupe_key="call/1", fingerprint=b"call/1")
        licence = one.engine.instance.id
        await one.database.pool.execute("DELETE FROM hark.instances")
        with pytest.raises(UnavailableError):
            await one.engine.ingest.take(asked, licence=licence)
        assert (await one.emit("GO")).executions
        # What counts is the licence of the execution, not that which the instance has when it is asked.
        assert one.engine.instance.id != licence
        with pytest.raises(UnavailableError):
            await one.engine.ingest.take(asked, licence=licence)
        assert await one.database.pool.fetchval("SELECT count(*) FROM hark.events WHERE dedupe_key = 'call/1'") == 0
