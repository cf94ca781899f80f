"""Limits: how many executions run at once, how often they start, and what becomes of the others."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest
from support.database import connected
from support.engine import EngineUnderTest, Probe, running_engine

from hark.daemon.engine import tending
from hark.daemon.engine.maintenance import Maintenance
from hark.daemon.store.database import sql
from hark.daemon.store.listing import Listing
from hark.workflows.errors import UnprocessableError
from hark.workflows.ids import DEFAULT_TENANT, ExecutionId

HOLD = "steps: [{id: work, action: probe, config: {hold: true}}]"
COUNTED = "steps: [{id: work, action: probe, config: {say: '${{ event.data.who }}'}}]"
QUICK = "steps: [{id: work, action: probe, config: {say: done}}]"


def workflow(limits: str, steps: str = HOLD) -> str:
    """Return a workflow `limited` that `go` starts."""
    return f"id: limited\nname: Limited\ntriggers: [{{type: event, event: go}}]\n{limits}\n{steps}\n"


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[EngineUnderTest]:
    async with running_engine(database_url) as running:
        yield running


async def statuses(engine: EngineUnderTest) -> list[str]:
    """Return the status of all executions, oldest first."""
    rows = await engine.database.pool.fetch("SELECT status FROM hark.workflow_executions ORDER BY id")
    return [row["status"] for row in rows]


async def decisions(engine: EngineUnderTest) -> list[tuple[str, str]]:
    """Return all refusals with their details."""
    rows = await engine.database.pool.fetch("SELECT reason, detail FROM hark.event_decisions ORDER BY event_id")
    return [(row["reason"], row["detail"]) for row in rows]


async def remains(engine: EngineUnderTest) -> tuple[int, int]:
    """Return how many lanes and slots there are."""
    pool = engine.database.pool
    return (
        await pool.fetchval("SELECT count(*) FROM hark.lanes"),
        await pool.fetchval("SELECT count(*) FROM hark.slots"),
    )


async def start(engine: EngineUnderTest, data: Any = None) -> UUID:
    """Publish `go` and return the one execution that it started or joined."""
    receipt = await engine.emit("go", data)
    assert len(receipt.executions) == 1, receipt
    return UUID(str(receipt.executions[0]))


async def let_go(engine: EngineUnderTest) -> None:
    """End what runs, and hold what comes."""
    engine.probe.release.set()
    await asyncio.sleep(0)
    engine.probe.release.clear()


# ---- overlap and concurrency


async def test_what_queues_starts_in_order_as_soon_as_a_slot_is_free(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("overlap: queue"))
    ids = [await start(engine) for _ in range(3)]
    await engine.until(lambda: len(engine.probe.calls) == 1)
    assert await statuses(engine) == ["running", "pending", "pending"]
    for number, identifier in enumerate(ids):
        await engine.until(lambda number=number: len(engine.probe.calls) == number + 1)
        await let_go(engine)
        assert (await engine.ended(identifier, 2))["status"] == "completed"
    assert await remains(engine) == (0, 0)


async def test_a_start_that_overlaps_is_skipped_on_record(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("overlap: skip\nmax_running: 2"))
    await start(engine)
    await start(engine)
    receipt = await engine.emit("go")
    assert receipt.executions == ()
    assert await statuses(engine) == ["running", "running"]
    assert [reason for reason, _ in await decisions(engine)] == ["overlap"]


async def test_restart_cancels_what_runs_and_supersedes_what_queues(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("overlap: restart"))
    first = await start(engine)
    await engine.until(lambda: len(engine.probe.calls) == 1)
    last = [await start(engine) for _ in range(3)][-1]
    assert (await engine.ended(first))["status"] == "cancelled"
    await engine.until(lambda: len(engine.probe.calls) >= 2)
    engine.probe.release.set()
    assert (await engine.ended(last))["status"] == "completed"
    assert (await statuses(engine))[-1] == "completed"
    assert set((await statuses(engine))[:-1]) <= {"cancelled", "skipped"}
    assert await remains(engine) == (0, 0)


async def test_a_cron_triggers_own_overlap_sees_what_other_triggers_started(engine: EngineUnderTest) -> None:
    await engine.apply(
        "id: limited\nname: Limited\ntriggers: [{type: event, event: go},"
        " {type: cron, cron: '* * * * * *', overlap: skip}]\n" + HOLD
    )
    await start(engine)
    await engine.until(lambda: _reasons(engine, "overlap"))
    assert set(await statuses(engine)) == {"running"}


async def _reasons(engine: EngineUnderTest, reason: str) -> bool:
    return reason in {found for found, _ in await decisions(engine)}


async def test_keys_have_lanes_of_their_own_and_priority_goes_first(engine: EngineUnderTest) -> None:
    await engine.apply(
        workflow("concurrency: {key: event.data.who, limit: 1, scope: tenant}")
        + "---\nid: urgent\nname: Urgent\npriority: 5\ntriggers: [{type: event, event: urgent}]\n"
        + "concurrency: {key: event.data.who, limit: 1, scope: tenant}\n"
        + QUICK
    )
    await start(engine, {"who": "a"})
    await start(engine, {"who": "b"})
    await engine.until(lambda: len(engine.probe.calls) == 2)
    waiting = await start(engine, {"who": "a"})
    receipt = await engine.emit("urgent", {"who": "a"})
    assert (await engine.execution(receipt.executions[0]))["pending_reason"] == "queued"
    await let_go(engine)
    urgent = await engine.ended(receipt.executions[0])
    engine.probe.release.set()
    assert urgent["completed_at"] < (await engine.ended(waiting))["completed_at"]


async def test_a_key_that_cannot_be_evaluated_refuses_the_start_on_record(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("concurrency: {key: event.data.who}"))
    assert (await engine.emit("go", {})).executions == ()
    [(reason, detail)] = await decisions(engine)
    assert reason == "expression_error"
    assert "concurrency" in detail
    with pytest.raises(UnprocessableError, match="concurrency"):
        await engine.engine.start_workflow(DEFAULT_TENANT, "limited", inputs={})
    assert await statuses(engine) == []


async def test_queued_executions_can_be_cancelled_and_deleted(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("overlap: queue"))
    first, second, third = [await start(engine) for _ in range(3)]
    assert await engine.engine.cancel(DEFAULT_TENANT, second) == "cancelled"
    await engine.until(lambda: engine.probe.calls)
    engine.probe.release.set()
    assert (await engine.ended(third))["status"] == "completed"
    assert (await engine.ended(first))["status"] == "completed"
    engine.probe.release.clear()
    await start(engine)
    await start(engine)
    await engine.database.pool.execute("DELETE FROM hark.workflows WHERE slug = 'limited'")
    assert await remains(engine) == (0, 0)


async def test_a_new_version_changes_the_limit_of_those_that_queue(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("overlap: queue"))
    for _ in range(3):
        await start(engine)
    await engine.apply(workflow("overlap: queue\nmax_running: 3"))
    await start(engine)
    await engine.until(lambda: len(engine.probe.calls) == 3)
    assert await statuses(engine) == ["running", "running", "running", "pending"]


async def test_a_timeout_counts_from_the_admission(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("overlap: queue\ntimeout: 700ms"))
    first, second = await start(engine), await start(engine)
    assert (await engine.ended(first))["status"] == "timeout"
    await engine.until(lambda: len(engine.probe.calls) == 2)
    engine.probe.release.set()
    assert (await engine.ended(second))["status"] == "completed"


async def test_a_retry_queues_like_a_start(engine: EngineUnderTest) -> None:
    steps = "steps: [{id: work, action: probe, config: {fail: broken}}]"
    await engine.apply(workflow("concurrency: {key: event.data.who}\nidempotency: {key: event.data.who}", steps))
    failed = await engine.ended(await start(engine, {"who": "a"}))
    assert failed["status"] == "failed"
    again = await engine.ended(await engine.engine.retry(DEFAULT_TENANT, failed["id"]))
    assert again["status"] == "failed"
    assert again["held"] == 1
    assert await remains(engine) == (0, 0)


async def test_two_instances_never_run_more_than_the_limit(database_url: str) -> None:
    probe = _Counting()
    async with running_engine(database_url, probe=probe) as one, running_engine(database_url, probe=probe) as two:
        await one.apply(workflow("concurrency: {key: event.data.who, limit: 2}", COUNTED))
        await two.until(lambda: len(two.engine.registry) == 1)
        receipts = await asyncio.gather(
            *((one, two)[n % 2].emit("go", {"who": n % 3}) for n in range(120)),
        )
        for receipt in receipts:
            await one.ended(receipt.executions[0])
        assert len(probe.calls) == 120
        assert probe.most == {0: 2, 1: 2, 2: 2}
        assert await remains(one) == (0, 0)


class _Counting(Probe):
    """A probe that counts, by key, how many executions are in it."""

    def __init__(self) -> None:
        super().__init__()
        self.inside: dict[int, int] = {}
        self.most: dict[int, int] = {}

    async def run(self, config: Any, context: Any) -> Any:
        key = int(config.say)
        self.inside[key] = self.inside.get(key, 0) + 1
        self.most[key] = max(self.most.get(key, 0), self.inside[key])
        await asyncio.sleep(0.005)
        self.inside[key] -= 1
        return await super().run(config, context)


async def test_what_queued_is_admitted_after_a_restart(database_url: str) -> None:
    async with running_engine(database_url) as engine:
        await engine.apply(workflow("overlap: queue"))
        first, second = await start(engine), await start(engine)
        await engine.until(lambda: engine.probe.calls)
    async with running_engine(database_url) as engine:
        engine.probe.release.set()
        assert (await engine.ended(first))["status"] == "completed"
        assert (await engine.ended(second))["status"] == "completed"


# ---- throttle, rate_limit, idempotency, debounce, batch


async def test_throttle_puts_off_and_rate_limit_refuses(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("throttle: {limit: 2, per: 600ms}", QUICK))
    ended = [await engine.ended(await start(engine)) for _ in range(5)]
    begun = [one["started_at"].timestamp() for one in ended]
    assert begun[2] - begun[0] >= 0.59
    assert begun[4] - begun[2] >= 0.55
    assert begun[4] - begun[0] < 4
    await engine.apply(workflow("rate_limit: {limit: 2, per: 1h, key: event.data.who}", QUICK))
    counts = [len((await engine.emit("go", {"who": who})).executions) for who in "aaabb"]
    assert counts == [1, 1, 0, 1, 1]
    [(reason, detail)] = await decisions(engine)
    assert reason == "rate_limited"
    assert "the next may be at" in detail


async def test_a_key_starts_once_within_its_time(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("idempotency: {key: event.data.order, ttl: 1h}", QUICK))
    first = await start(engine, {"order": 7})
    assert (await engine.emit("go", {"order": 7})).executions == ()
    await start(engine, {"order": "7"})
    assert await decisions(engine) == [("idempotent", f"the key 7 has started execution {first}")]
    await engine.database.pool.execute("UPDATE hark.start_keys SET expires_at = now() - interval '1 s'")
    await start(engine, {"order": 7})


async def test_what_overlap_refuses_has_not_used_its_key(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("overlap: skip\nidempotency: {key: event.data.order}"))
    await start(engine, {"order": 1})
    assert (await engine.emit("go", {"order": 2})).executions == ()
    await engine.until(lambda: engine.probe.calls)
    engine.probe.release.set()
    await engine.until(lambda: _all_ended(engine))
    await start(engine, {"order": 2})


async def _all_ended(engine: EngineUnderTest) -> bool:
    return set(await statuses(engine)) == {"completed"}


async def test_debounce_runs_the_newest_event_once_it_is_quiet(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("debounce: {period: 300ms, key: event.data.who}", QUICK))
    ids = [await start(engine, {"who": "a", "n": n}) for n in range(3)]
    other = await start(engine, {"who": "b"})
    last = await engine.ended(ids[-1])
    assert last["status"] == "completed"
    assert (await engine.ended(other))["status"] == "completed"
    for identifier in ids[:-1]:
        earlier = await engine.execution(identifier)
        assert (earlier["status"], earlier["error"]["class"]) == ("skipped", "superseded")
    assert len(engine.probe.calls) == 2


async def test_debounce_waits_no_longer_than_its_timeout(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("debounce: {period: 30s, timeout: 400ms}", QUICK))
    await start(engine)
    last = await start(engine)
    assert (await engine.ended(last, 10))["status"] == "completed"


async def test_a_batch_collects_until_it_is_full_or_its_time_is_over(engine: EngineUnderTest) -> None:
    await engine.apply(
        workflow(
            "batch: {max_size: 3, timeout: 700ms}",
            "steps: [{id: work, action: probe, config: {say: '${{ events.map(e, e.data.n) }}'}}]",
        )
    )
    receipts = [await engine.emit("go", {"n": n}) for n in range(4)]
    full, rest = receipts[0].executions[0], receipts[3].executions[0]
    assert [receipt.executions for receipt in receipts[:3]] == [(full,)] * 3
    assert rest != full
    assert (await engine.ended(full))["steps"]["work"]["output"] == [0, 1, 2]
    assert (await engine.ended(rest))["steps"]["work"]["output"] == [3]
    assert [reason for reason, _ in await decisions(engine)] == ["batched", "batched"]


# ---- what people see


async def test_what_holds_an_execution_back_is_told(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("concurrency: {key: event.data.who}"))
    first, *waiting = [await start(engine, {"who": "a"}) for _ in range(3)]
    listing = Listing(engine.database)
    assert await listing.get_hold(DEFAULT_TENANT, ExecutionId(first)) is None
    hold = await listing.get_hold(DEFAULT_TENANT, ExecutionId(waiting[1]))
    assert hold is not None
    assert (hold["reason"], hold["key"], hold["limit"], hold["behind"], hold["place"]) == ("queued", "a", 1, [first], 2)
    await engine.apply(workflow("batch: {max_size: 3, timeout: 1h}"))
    batch = await start(engine)
    assert await start(engine) == batch
    hold = await listing.get_hold(DEFAULT_TENANT, ExecutionId(batch))
    assert hold is not None
    assert (hold["reason"], hold["collected"], hold["size"]) == ("batched", 2, 3)
    assert hold["until"] is not None
    row = await engine.database.fetchrow("count_held_back")
    assert dict(row or {}) == {"executions_queued": 2, "executions_delayed": 1, "ends_parked": 0}


# ---- what is skipped costs nothing


async def test_what_overlap_skips_has_used_no_place_in_a_window(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("overlap: skip\nrate_limit: {limit: 3, per: 1h}\nthrottle: {limit: 3, per: 1h}"))
    for number in range(2):
        identifier = await start(engine)
        for _ in range(4):
            assert (await engine.emit("go")).executions == ()
        await engine.until(lambda number=number: len(engine.probe.calls) == number + 1)
        await let_go(engine)
        await engine.ended(identifier)
    assert {reason for reason, _ in await decisions(engine)} == {"overlap"}
    pool = engine.database.pool
    assert await pool.fetchval("SELECT count(*) FROM hark.window_starts") == 4  # two starts in two windows
    assert [row["seq"] for row in await pool.fetch("SELECT seq FROM hark.windows")] == [2, 2]
    await start(engine)
    assert (await engine.emit("go")).executions == ()
    assert [reason for reason, _ in await decisions(engine)][-1] == "rate_limited"


# ---- overlap at the same moment, and on two instances


async def test_a_restart_within_one_flush_is_heard_at_once(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cancellation of the first is told before it has begun: it is remembered, no tending has to find it."""
    monkeypatch.setattr(tending, "TEND_S", 60)
    async with running_engine(database_url) as engine:
        await engine.apply(workflow("overlap: restart"))
        flushes = engine.engine.ingest._group.flushes
        receipts = await asyncio.gather(*(engine.emit("go") for _ in range(3)))
        assert engine.engine.ingest._group.flushes == flushes + 1
        ids = [receipt.executions[0] for receipt in receipts]
        for identifier in ids[:-1]:
            assert (await engine.ended(identifier, 8))["status"] in {"cancelled", "skipped"}
        engine.probe.release.set()
        assert (await engine.ended(ids[-1], 8))["status"] == "completed"
        assert await remains(engine) == (0, 0)


class Counting(Probe):
    """A probe that several engines share: how many run at once on all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0

    async def run(self, config: Any, context: Any) -> Any:
        self.now += 1
        self.peak = max(self.peak, self.now)
        try:
            await asyncio.sleep(0.01)
            return await super().run(config, context)
        finally:
            self.now -= 1


async def test_overlap_holds_over_two_instances(database_url: str) -> None:
    probe = Counting()
    async with running_engine(database_url, probe=probe) as one, running_engine(database_url, probe=probe) as two:
        await one.apply(workflow("overlap: queue\nmax_running: 2", QUICK))
        await two.engine.registry.refresh()
        receipts = await asyncio.gather(*(which.emit("go") for _ in range(15) for which in (one, two)))
        for receipt in receipts:
            assert (await one.ended(receipt.executions[0]))["status"] == "completed"
        assert probe.peak == 2
        assert len(probe.calls) == 30
        assert await remains(one) == (0, 0)


async def test_skip_and_restart_see_what_another_instance_runs(database_url: str) -> None:
    async with running_engine(database_url) as one, running_engine(database_url) as two:
        await one.apply(workflow("overlap: skip"))
        first = await start(one)
        await one.until(lambda: len(one.probe.calls) == 1)
        await two.engine.registry.refresh()
        assert (await two.emit("go")).executions == ()
        await one.apply(workflow("overlap: restart"))
        await two.engine.registry.refresh()
        second = await start(two)
        assert (await one.ended(first))["status"] == "cancelled"
        await two.until(lambda: one.probe.calls[1:] or two.probe.calls)
        for each in (one, two):
            each.probe.release.set()
        assert (await two.ended(second))["status"] == "completed"
        assert await remains(one) == (0, 0)


# ---- properties


async def test_a_sliding_window_is_that_of_a_plain_list(database_url: str) -> None:
    """Moments booked in SQL, against a list of all starts: at most `limit` in any `per`, and none too late."""
    chance = random.Random(20)
    async with connected(database_url) as connection:
        for case in range(12):
            limit, per = chance.randint(1, 4), chance.choice([0.05, 0.2, 1.0])
            rule = f'{{"id": "{UUID(int=case + 1)}", "limit": {limit}, "per_s": {per}}}'
            booked: list[float] = []
            for _ in range(12):
                before = await connection.fetchval("SELECT clock_timestamp()")
                moment = await connection.fetchval("SELECT hark.next_start($1, $2::jsonb, true)", DEFAULT_TENANT, rule)
                after = await connection.fetchval("SELECT clock_timestamp()")
                earliest = max(booked[-1], booked[-limit] + per if len(booked) >= limit else 0) if booked else 0
                at = moment.timestamp()
                assert max(earliest, before.timestamp()) - 1e-4 <= at <= max(earliest, after.timestamp()) + 1e-4
                booked.append(at)
                await asyncio.sleep(chance.choice([0, 0, 0.02]))
            spans = [later - earlier for earlier, later in itertools.pairwise(booked[::limit])]
            assert all(span >= per - 1e-4 for span in spans)
            kept = await connection.fetchval(
                "SELECT count(*) FROM hark.window_starts WHERE window_id = $1", UUID(int=case + 1)
            )
            assert kept == min(limit, 12)


async def test_lanes_hold_what_a_model_says_after_any_history(database_url: str) -> None:
    """Starts, ends, cancels, deletions and changed limits in random order, up to two lanes each, with priorities.

    As in a workflow, the lane of `overlap` comes before that of `concurrency`, which others share.
    """
    chance = random.Random(7)
    async with connected(database_url) as connection:
        for _ in range(6):
            await connection.execute("DELETE FROM hark.workflow_executions")
            assert await connection.fetchval("SELECT count(*) FROM hark.lanes") == 0
            model = _Lanes()
            done = dict.fromkeys((_END, _CANCEL, _DELETE), 0)
            for number in range(80):
                if chance.random() < 0.55 or not model.open:
                    lanes = [chance.choice(pair) for pair in chance.choice(_PAIRS)]
                    # Mostly what it was: then and now somebody publishes another limit.
                    limits = {lane: model.most.get(lane, 1) if chance.random() < 0.8 else chance.randint(1, 4)
                              for lane in lanes}  # fmt: skip
                    one = (-chance.randint(0, 2), number)
                    await connection.execute(_START, _id(number), -one[0], _rules(lanes, limits))
                    model.start(one, limits)
                else:
                    one, how = chance.choice(sorted(model.open)), chance.choice([_END, _CANCEL, _DELETE])
                    if how == _CANCEL:
                        error = '{"class": "cancelled", "message": "enough"}'
                        await connection.execute(sql("cancel_execution"), DEFAULT_TENANT, _id(one[1]), error)
                    else:
                        await connection.execute(how, _id(one[1]))
                    done[how] += 1
                    model.end(one)
                rows = await connection.fetch(_STATE)
                assert {row["id"]: row["held"] for row in rows} == {
                    _id(number): len(held) for (_, number), (_, held) in model.open.items()
                }
                rows = await connection.fetch("SELECT id, most FROM hark.lanes")
                assert {chr(row["id"].int): row["most"] for row in rows} == model.most
                assert await connection.fetchval("SELECT count(*) FROM hark.find_bad_lanes()") == 0
            assert all(done.values()), done
        assert model.changed > 0


def _id(number: int) -> UUID:
    return UUID(int=(1 << 90) + number)


def _rules(lanes: list[str], limits: dict[str, int]) -> str:
    rules = [{"id": str(UUID(int=ord(lane))), "key": lane, "limit": limits[lane], "scope": "tenant"} for lane in lanes]
    return json.dumps({"lanes": rules})


_START = """
    INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, trigger_type, status, priority,
                                          limits)
    VALUES ('00000000-0000-7000-8000-000000000001', $1, $1, 1, $1, 'manual', 'pending', $2, $3::jsonb)
"""
_END = "UPDATE hark.workflow_executions SET status = 'cancelled', completed_at = now() WHERE id = $1"
_DELETE = "DELETE FROM hark.workflow_executions WHERE id = $1"
_CANCEL = "cancel"
_PAIRS = (("ab",), ("cd",), ("ab", "cd"), ("ab", "cd"))
_STATE = "SELECT id, held FROM hark.workflow_executions WHERE completed_at IS NULL"

_One = tuple[int, int]


class _Lanes:
    """The model: who holds which lanes; the next in a lane is the most urgent, then the oldest.

    The newest start that comes to a lane sets its limit; a lane is there while somebody holds it or queues for it.
    """

    def __init__(self) -> None:
        self.open: dict[_One, tuple[dict[str, int], list[str]]] = {}
        """Who is under way: its lanes in order with the limits that it brings, and those it holds."""
        self.most: dict[str, int] = {}
        self.changed = 0
        """How often a limit was."""
        self._set_by: dict[str, int] = {}
        self._leaving: list[str] = []
        self._moving: set[_One] = set()
        """Who is taking lanes just now, and so queues nowhere."""

    def start(self, one: _One, limits: dict[str, int]) -> None:
        self.open[one] = (limits, [])
        self._take(one)

    def end(self, one: _One) -> None:
        _, held = self.open.pop(one)
        self._leaving = sorted(held)
        for lane in sorted(held):
            self._leaving.remove(lane)
            self._admit(lane)
            if not self._taken(lane) and not self._queued(lane):
                del self.most[lane], self._set_by[lane]

    def _take(self, one: _One) -> None:
        self._moving.add(one)
        limits, held = self.open[one]
        for lane in [*limits][len(held) :]:
            self._hold(one, lane, limits[lane])
            if self._taken(lane) >= self.most[lane]:
                break
            held.append(lane)
        self._moving.discard(one)

    def _hold(self, one: _One, lane: str, wanted: int) -> None:
        if lane not in self.most:
            self.most[lane], self._set_by[lane] = wanted, one[1]
        elif self.most[lane] != wanted and one[1] > self._set_by[lane]:
            self.most[lane], self._set_by[lane] = wanted, one[1]
            self.changed += 1
            self._admit(lane)

    def _admit(self, lane: str) -> None:
        while self._taken(lane) < self.most[lane] and (queued := self._queued(lane)):
            self.open[queued[0]][1].append(lane)
            self._take(queued[0])

    def _taken(self, lane: str) -> int:
        return sum(lane in held for _, held in self.open.values()) + self._leaving.count(lane)

    def _queued(self, lane: str) -> list[_One]:
        return sorted(
            one for one, (limits, held) in self.open.items()
            if one not in self._moving and [*limits][len(held) :][:1] == [lane]
        )  # fmt: skip


# ---- order among tenants, and care


async def test_a_tenant_with_many_executions_does_not_keep_back_another_ones_first(database_url: str) -> None:
    async with running_engine(database_url, max_running=2) as engine:
        await engine.apply(workflow("", HOLD))
        for _ in range(2):
            await start(engine)
        await engine.until(lambda: len(engine.probe.calls) == 2)
        pool = engine.database.pool
        many, few = UUID(int=1 << 64), UUID(int=2 << 64)
        for tenant, number in ((many, 500), (few, 1)):
            await pool.execute(_PLANT, tenant, number)
        row = await pool.fetch(
            sql("claim_executions"),
            engine.engine.instance.id,
            4,
            UUID(int=0),
        )
        assert [found["tenant_id"] for found in row].count(few) == 1
        assert len(row) == 3


_PLANT = """
    INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, trigger_type, status)
    SELECT $1, hark.new_id(), hark.new_id(), 1, hark.new_id(), 'manual', 'pending' FROM generate_series(1, $2)
"""


async def test_what_is_wrong_with_lanes_is_swept(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("overlap: queue"))
    await start(engine)
    waiting = await start(engine)
    pool = engine.database.pool
    await pool.execute("UPDATE hark.lanes SET taken = 5")
    await engine.until(lambda: engine.probe.calls)
    engine.probe.release.set()
    await engine.until(lambda: _is(engine, ["completed", "pending"]))
    await pool.execute(
        "INSERT INTO hark.slots (tenant_id, execution_id, lane_id) SELECT tenant_id, hark.new_id(), id FROM hark.lanes"
    )
    assert await pool.fetchval("SELECT count(*) FROM hark.find_bad_lanes()") == 1
    maintenance: Maintenance = engine.engine.maintenance
    await maintenance.once()
    assert (await engine.ended(waiting))["status"] == "completed"
    assert await remains(engine) == (0, 0)


async def _is(engine: EngineUnderTest, wanted: list[str]) -> bool:
    return await statuses(engine) == wanted


async def test_executions_without_limits_have_none_on_record(engine: EngineUnderTest) -> None:
    await engine.apply(workflow("", QUICK))
    found = await engine.ended(await start(engine))
    assert (found["limits"], found["lanes"], found["gate"]) == (None, None, 0)
