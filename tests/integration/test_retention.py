"""Retention: past weeks go whole, and what is open or kept longer stays with everything of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from support.aged_history import ADD, History, aged_history, days
from support.api import running_api
from support.database import connected
from support.engine import running_engine
from support.history_tables import HISTORY

from hark.client import ApiError
from hark.daemon.engine import retention
from hark.daemon.engine.foresight import foresee, summary
from hark.daemon.engine.retention import Policy, Retention
from hark.daemon.store.database import Database, sql
from hark.workflows.errors import UnavailableError
from hark.workflows.ids import DEFAULT_TENANT


@pytest.fixture
async def history(database_url: str) -> AsyncIterator[History]:
    async with aged_history(database_url) as aged:
        yield aged


async def test_past_weeks_go_and_what_has_to_stay_stays_whole(history: History) -> None:
    await history.add("completed", days(30))
    await history.add("cancelled", days(30))
    waiting = await history.add("waiting", days(35))
    stays = {
        waiting,
        await history.add("failed", days(30)),
        await history.add("completed", days(35), ended=days(3)),
        await history.add("completed", days(35), parent=waiting),
        await history.add("completed", days(5)),
    }
    before = await history.weeks("events")

    await history.retention.run()

    assert await history.left() == stays
    left = {await history.weeks(table) for table in HISTORY}
    assert left == {before - 4}
    assert not await history.connection.fetchval("SELECT hark.past_week('14 days')")


async def test_what_stayed_goes_when_its_own_time_has_come(history: History) -> None:
    failed = await history.add("failed", days(40))
    waiting = await history.add("waiting", days(40))
    await history.retention.run()
    assert await history.left() == {failed, waiting}
    await history.connection.execute(
        "UPDATE hark.workflow_executions SET completed_at = now() - interval '61 days' WHERE id = $1", failed
    )

    await history.retention.run()

    assert await history.left() == {waiting}


async def test_what_has_not_ended_lets_go_of_what_it_wrote_long_ago(history: History) -> None:
    waiting = await history.add("waiting", days(40))
    ended = await history.add("failed", days(30))
    for age in (39, 20, 3):
        for one in (waiting, ended):
            await history.connection.execute(
                "WITH one AS (SELECT hark.new_id(now() - $3::interval) AS id), line AS ("
                "  INSERT INTO hark.workflow_logs (tenant_id, execution_id, id, level, message)"
                "  SELECT $1, $2, id, 'info', $4 FROM one) "
                "INSERT INTO hark.workflow_timeline (tenant_id, execution_id, id, type, path)"
                "SELECT $1, $2, id, $4, CASE WHEN $4 <> 'kept' THEN 'step' END FROM one",
                DEFAULT_TENANT, one, days(age), "kept" if age == 39 else str(age),
            )  # fmt: skip

    await history.retention.run()

    left = "SELECT message FROM hark.workflow_logs WHERE execution_id = $1 AND message <> 'done' ORDER BY id"
    assert [row[0] for row in await history.connection.fetch(left, waiting)] == ["3"]
    assert len(await history.connection.fetch(left, ended)) == 3
    told = "SELECT type FROM hark.workflow_timeline WHERE execution_id = $1 AND type IN ('kept', '20', '3') ORDER BY id"
    assert [row[0] for row in await history.connection.fetch(told, waiting)] == ["kept", "3"]


async def test_what_is_open_is_gone_through_in_slices_and_its_failure_stops_nothing_else(
    history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    own = await history.workflow('{"for": "2d"}')
    waiting = [await history.add("waiting", days(30 - n)) for n in range(7)]
    waiting.append(await history.add("waiting", days(4), workflow=own))
    await history.connection.executemany(
        "INSERT INTO hark.workflow_logs (tenant_id, execution_id, id, level, message) "
        "VALUES ($1, $2, hark.new_id(now() - $3::interval), 'info', $4)",
        # More than a slice of one of them, something at the end, and what is past by a workflow's own policy alone.
        [(DEFAULT_TENANT, waiting[1], days(20), "old")] * 8
        + [(DEFAULT_TENANT, one, days(16 if one != waiting[7] else 3), "old") for one in waiting]
        + [(DEFAULT_TENANT, one, days(3 if one != waiting[7] else 1), "new") for one in waiting],
    )
    taken: list[int] = []
    fetchrow = history.database.fetchrow

    async def row(query: str, *args: Any) -> Any:
        found = await fetchrow(query, *args)
        taken.extend([found["lines"]] if query == "prune_open" else [])
        return found

    monkeypatch.setattr(history.database, "fetchrow", row)
    await history.retention.run()
    query = "SELECT message, count(*) FROM hark.workflow_logs WHERE message <> 'done' GROUP BY message"
    assert {tuple(one) for one in await history.connection.fetch(query)} == {("new", 8)}
    assert (sum(taken), max(taken)) == (16, 3)

    async def too_slow(query: str, *args: Any) -> Any:
        if query == "prune_open":
            raise UnavailableError("too slow")
        return await fetchrow(query, *args)

    monkeypatch.setattr(history.database, "fetchrow", too_slow)
    assert await history.retention.run() is not None
    assert history.retention.figures.passes == 2


async def test_what_an_open_execution_has_called_goes_once_its_end_is_on_record_there(history: History) -> None:
    waiting = await history.add("waiting", days(40))
    steps = [
        ("told", "call", "completed", None), ("asked", "call", "waiting", None), ("each[4]", "part", "waiting", None),
        ("each[0-9]", "fold", "completed", '{"turns": [[0, 3], [5, 9]]}'),
    ]  # fmt: skip
    await history.connection.executemany(
        "INSERT INTO hark.workflow_steps (tenant_id, execution_id, path, seq, verb, status, output, completed_at) "
        "VALUES ($1, $2, $3, 9, $4, $5::text, $6, CASE WHEN $5 = 'completed' THEN now() END)",
        [(DEFAULT_TENANT, waiting, *step) for step in steps],
    )
    children = {}
    for path in ("told", "asked", "each[4]", "each[7]", "each[9].in[2].x", "each[10]", "other[7]", "nowhere"):
        # One week after the other, and of one week more than one; row by row too.
        child = await history.add("completed", days(39 - len(children)), parent=waiting)
        children[path] = child
        await history.connection.execute(
            "UPDATE hark.workflow_executions SET parent_path = $2 WHERE id = $1", child, path
        )
    foreseen = summary(await foresee(history.database, history.retention.policy, DEFAULT_TENANT, None))

    await history.retention.run()

    left = {row[0] for row in await history.connection.fetch("SELECT id FROM hark.workflow_executions")}
    gone = {path for path, child in children.items() if child not in left}
    assert gone == {"told", "each[7]", "each[9].in[2].x"}
    assert foreseen["executions"] == 3


async def test_turns_are_folded_away_wherever_their_execution_has_been_moved(history: History) -> None:
    waiting = await history.add("waiting", days(40))
    gone = ["each[3]", "each[3].a", "each[3].in[0].b", "each[3].in[0-9]"]
    stays = ["each[3-9]", "each[30].a", "each[4]", "each", "a"]
    await history.connection.executemany(
        "INSERT INTO hark.workflow_steps (tenant_id, execution_id, path, seq, verb, status) "
        "VALUES ($1, $2, $3, 9, 'x', 'running')",
        [(DEFAULT_TENANT, waiting, path) for path in gone + stays],
    )
    await history.retention.run()
    moved = "SELECT path FROM hark.workflow_steps_oldest WHERE execution_id = $1 AND verb = 'x' ORDER BY path"
    assert len(await history.connection.fetch(moved, waiting)) == len(gone + stays)

    await history.connection.execute(
        "SELECT hark.remove_folded(ARRAY[ROW($1::uuid, $2::uuid, 'each[3]')::hark.progress_folded])",
        DEFAULT_TENANT,
        waiting,
    )

    left = {row[0] for row in await history.connection.fetch(moved, waiting)}
    assert left == set(stays)


async def test_a_tenant_that_keeps_longer_holds_the_weeks_and_others_go_row_by_row(history: History) -> None:
    other = uuid4()
    await history.connection.execute(
        "INSERT INTO hark.tenants (id, slug, name, retention) VALUES ($1, 'other', 'Other', '35 days')", other
    )
    await history.add("completed", days(30))
    await history.add("completed", days(40), tenant=other)
    stays = {await history.add("completed", days(30), tenant=other), await history.add("completed", days(12))}

    await history.retention.run()

    # What is past for the other one goes with its week, which may not be over yet.
    assert stays <= await history.left()
    assert not await history.connection.fetchval(
        "SELECT count(*) FROM hark.workflow_executions "
        "WHERE tenant_id = $1 AND hark.id_time(id) < now() - interval '14 days'",
        DEFAULT_TENANT,
    )


async def test_an_event_that_a_batch_still_names_stays(history: History) -> None:
    batch = await history.add("waiting", days(40))
    joined = await history.add("completed", days(30))
    await history.connection.execute(
        "INSERT INTO hark.execution_events (tenant_id, execution_id, event_id, position) "
        "SELECT tenant_id, $1, event_id, 0 FROM hark.workflow_executions WHERE id = $2",
        batch,
        joined,
    )

    await history.retention.run()

    assert await history.connection.fetchval("SELECT count(*) FROM hark.events") == 2
    assert await history.connection.fetchval("SELECT count(*) FROM hark.execution_events") == 1
    assert await history.connection.fetchval("SELECT count(*) FROM hark.workflow_executions") == 1


async def test_events_that_started_nothing_have_a_policy_of_their_own(history: History) -> None:
    for age in (6, 8, 30):
        await history.connection.execute(
            "INSERT INTO hark.events (tenant_id, id, kind, type, source, route, data, occurred_at, matched) "
            "SELECT $1, hark.new_id(now() - $2::interval), 'event', 'go', 'test', 'event:go', '{}', now(), false",
            DEFAULT_TENANT,
            days(age),
        )
    done = await history.retention.run()
    assert done is not None
    # The third went with its week.
    assert done.unmatched_events == 1
    assert await history.connection.fetchval("SELECT count(*) FROM hark.events") == 1


async def test_a_late_retry_of_an_old_event_has_a_place(history: History) -> None:
    await history.retention.run()

    late = await history.add("waiting", days(30))

    await history.retention.run()
    assert await history.left() == {late}


async def test_several_instances_at_once_drop_each_week_once(history: History) -> None:
    stays = {await history.add("waiting", days(age)) for age in (20, 27, 34, 41)}

    await asyncio.gather(*[history.retention.run() for _ in range(4)])

    assert await history.left() == stays


async def test_who_is_in_the_way_is_not_waited_for(
    history: History, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "LOCK_TRIES", 2)
    monkeypatch.setattr(retention, "LOCK_PAUSE_S", 0.01)
    await history.add("completed", days(30))
    before = await history.weeks("events")
    async with connected(database_url) as reader, reader.transaction():
        await reader.fetch("SELECT id FROM hark.workflow_executions")
        async with asyncio.timeout(5):
            await history.retention.run()
        assert await history.weeks("events") == before

    await history.retention.run()

    assert await history.left() == set()


async def test_a_workflow_that_keeps_longer_moves_and_one_that_keeps_less_goes_row_by_row(history: History) -> None:
    long, short = await history.workflow('{"for": "40d"}'), await history.workflow('{"for": "2d12h", "failed": "4d"}')
    await history.add("completed", days(41), workflow=long)
    await history.add("completed", days(3), workflow=short)
    await history.add("failed", days(5), workflow=short)
    stays = {
        await history.add("completed", days(30), workflow=long),
        # A workflow that keeps others for 40 days keeps failures for 60, as the settings say.
        await history.add("failed", days(42), workflow=long),
        await history.add("completed", days(2), workflow=short),
        await history.add("failed", days(3), workflow=short),
        await history.add("waiting", days(9), workflow=short),
        await history.add("completed", days(3)),
    }
    before = await history.weeks("events")

    await history.retention.run()

    executions = await history.connection.fetch("SELECT id FROM hark.workflow_executions")
    assert {UUID(str(row["id"])) for row in executions} == stays
    assert await history.weeks("events") < before


async def test_what_a_definition_says_is_its_policy(database_url: str) -> None:
    async with running_engine(database_url) as engine:
        await engine.apply(
            "id: a\nname: A\nretention: {for: 1d12h, count: 7, failed: 30d}\nsteps: [{id: s, set: {x: 1}}]"
        )
        await engine.apply("id: b\nname: B\nretention: 90m\nsteps: [{id: s, set: {x: 1}}]")
        await engine.apply("id: c\nname: C\nsteps: [{id: s, set: {x: 1}}]")
        rows = await engine.database.pool.fetch(
            "SELECT now() - o.kept_since, now() - o.failed_since, o.most FROM hark.own_retention('14 d', '60 d') AS o "
            "JOIN hark.workflows AS w ON w.id = o.workflow_id ORDER BY w.slug"
        )
    assert [tuple(row) for row in rows] == [(days(1.5), days(30), 7), (days(90 / 1440), days(60), None)]


async def test_an_older_version_says_nothing_any_more(history: History) -> None:
    workflow = await history.workflow('{"for": "1h"}')
    await history.connection.execute(
        "WITH version AS ("
        "INSERT INTO hark.workflow_versions (tenant_id, workflow_id, version, content_hash, definition) "
        "SELECT tenant_id, id, 2, repeat('1', 64), '{}' FROM hark.workflows WHERE id = $1) "
        "UPDATE hark.workflows SET published_version = 2, latest_version = 2 WHERE id = $1",
        workflow,
    )
    stays = await history.add("completed", days(3), workflow=workflow)

    await history.retention.run()

    assert await history.left() == {stays}


async def test_only_the_newest_stay_of_a_workflow_that_counts(history: History) -> None:
    workflow, other = await history.workflow('{"count": 2}'), await history.workflow('{"count": 2}')
    for age in (11, 12, 13):
        await history.add("failed" if age == 11 else "completed", days(age), workflow=workflow)
    stays = {
        await history.add("completed", days(9), workflow=workflow),
        await history.add("cancelled", days(10), workflow=workflow),
        await history.add("waiting", days(12), workflow=workflow),
        await history.add("completed", days(12), workflow=other),
        await history.add("completed", days(12)),
    }

    await history.retention.run()

    assert await history.left() == stays


async def test_an_event_that_is_not_named_any_more_stays_as_long_as_one_that_started_nothing(history: History) -> None:
    """A step that waits may look back for it."""
    workflow = await history.workflow('{"count": 1}')
    for age in (1, 2, 8):
        await history.add("completed", days(age), workflow=workflow)

    await history.retention.run()

    assert await history.connection.fetch("SELECT matched FROM hark.events ORDER BY id") == [(False,), (True,)]


async def test_what_something_open_needs_stays(history: History) -> None:
    workflow = await history.workflow('{"for": "1h"}')
    open_one = await history.add("waiting", days(3))
    cancelled = await history.add("cancelled", days(4), workflow=workflow)
    long_ago = await history.add("cancelled", days(30))
    stays = {
        open_one,
        cancelled,
        long_ago,
        await history.add("completed", days(2), workflow=workflow, parent=open_one),
        await history.add("waiting", days(3), workflow=workflow, parent=cancelled),
        await history.add("waiting", days(3), parent=long_ago),
    }

    await history.retention.run()

    assert await history.left() == stays


async def test_what_is_stored_in_a_week_while_it_is_about_to_go_moves(history: History) -> None:
    """A retry lies in the week of its event: one that ended a moment ago is noted, though its slice was looked at."""
    await history.add("completed", days(30))
    late = []

    class Slow(Database):
        async def fetchval(self, query: str, *args: object) -> object:
            if query == "count_staying" and not late:
                late.append(await history.add("waiting", days(30)))
            return await super().fetchval(query, *args)

    database = Slow(history.database.url)
    await database.start()
    await Retention(database, Policy(days(14), days(60), days(7), days(90))).run()
    await database.stop()

    assert await history.left() == set(late) != set()


async def test_a_week_that_was_prepared_and_not_dropped_is_dropped_by_the_next(history: History) -> None:
    await history.add("completed", days(30))
    stays = {await history.add("waiting", days(30))}
    while await history.connection.fetchval("SELECT hark.past_week('35 days')"):
        await history.connection.fetchval("SELECT hark.retire_week(hark.prepare_week('35 days'), '35 days')")
    week = await history.connection.fetchval("SELECT hark.prepare_week('14 days')")
    stays.add(await history.add("completed", days(0), ended=days(0)))
    await history.connection.execute("SELECT hark.note_staying($1, '14 days', '60 days', $2, $2, 1)", week, UUID(int=0))

    await history.retention.run()

    assert await history.left() == stays
    assert await history.connection.fetchval("SELECT count(*) FROM hark.staying") == 0


async def test_a_crowded_week_goes_row_by_row(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_MOVED", 1)
    await history.add("completed", days(30))
    stays = {await history.add("waiting", days(30)), await history.add("waiting", days(30))}
    before = await history.weeks("events")

    await history.retention.run()

    assert await history.left() == stays
    assert before - 3 < await history.weeks("events") < before


async def foreseen(history: History, workflow: UUID | None = None) -> dict[str | None, int]:
    """Return how many executions there are of each prospect: the policy that lets go, or why they stay."""
    found = await foresee(history.database, history.retention.policy, DEFAULT_TENANT, workflow)
    prospects: dict[str | None, int] = {}
    for share in found.shares:
        name = f"stays: {share.stays_as}" if share.stays_as else share.policy
        prospects[name] = prospects.get(name, 0) + share.executions
    assert summary(found)["executions"] == sum(prospects.get(policy, 0) for policy in ("for", "failed", "count"))
    return prospects


async def test_what_is_foreseen_is_what_comes(history: History) -> None:
    short, counted = await history.workflow('{"for": "2d", "failed": "3d"}'), await history.workflow('{"count": 1}')
    waiting = await history.add("waiting", days(30))
    for status, age, more in (
        ("completed", 30, {}),
        ("completed", 40, {}),
        ("completed", 30, {"parent": waiting}),
        ("failed", 30, {}),
        ("completed", 1, {}),
        ("completed", 3, {"workflow": short}),
        ("failed", 4, {"workflow": short}),
        ("completed", 1, {"workflow": counted}),
        ("completed", 2, {"workflow": counted}),
        ("completed", 30, {"ended": days(15)}),
    ):
        await history.add(status, days(age), **more)
    await history.connection.execute(
        "UPDATE hark.workflow_executions SET kept_until = now() + interval '1 day' "
        "WHERE completed_at < now() - interval '39 days'"
    )
    before = await foreseen(history)
    assert before == {
        "for": 3, "failed": 1, "count": 1,
        "stays: open": 1, "stays: needed": 1, "stays: failed": 1, "stays: recent": 2, "stays: restored": 1,
    }  # fmt: skip
    assert await foreseen(history, short) == {"for": 1, "failed": 1}

    done = await history.retention.run()

    assert done is not None
    assert done.executions == 5
    after = await foreseen(history)
    assert after == {name: count for name, count in before.items() if name and name.startswith("stays")}


async def test_what_is_past_in_a_week_that_is_not_over_stays_with_it(history: History) -> None:
    monday = await history.connection.fetchval("SELECT now() - hark.week_start(hark.oldest_week())")
    policy = Policy(monday - days(1), days(90), days(7), days(90))
    await history.add("completed", monday - timedelta(minutes=1))
    found = await foresee(history.database, policy, DEFAULT_TENANT, None)
    assert [(share.stays_as, share.executions) for share in found.shares] == [("week", 1)]

    await Retention(history.database, policy).run()

    assert len(await history.left()) == 1


async def test_a_prune_by_workflow_leaves_the_others(history: History) -> None:
    short, other = await history.workflow('{"for": "2d"}'), await history.workflow('{"for": "2d"}')
    await history.add("completed", days(8), workflow=short)
    stays = {await history.add("completed", days(8), workflow=other), await history.add("completed", days(40))}

    done = await history.retention.run(short)

    assert done is not None
    assert (done.executions, done.weeks) == (1, 0)
    assert await history.left() == stays


async def test_hark_prune(database_url: str, tmp_path: Path) -> None:
    async with running_api(database_url, tmp_path) as api, connected(database_url) as connection:
        await api.hark.apply("id: short\nname: S\nretention: 2h\nsteps: [{id: a, set: {x: 1}}]")
        workflow = await connection.fetchval("SELECT id FROM hark.workflows")
        await api.hark.until(lambda: api.hark.engine.retention.figures.passes)  # the one at start is over
        await connection.fetchval(ADD, DEFAULT_TENANT, workflow, days(0.5), "completed", days(0.5), None)
        dry = await api.client.prune(dry_run=True)
        assert [(one.workflow, one.policy, one.executions, one.events) for one in dry.shares] == [
            ("short", "for", 1, 1)
        ]
        assert dry.shares[0].bytes > 0
        assert (dry.executions, dry.dry_run) == (1, True)
        with pytest.raises(ApiError, match="no workflow 'nowhere'"):
            await api.client.prune(workflow="nowhere")
        async with api.hark.database.only_one(retention.LOCK) as alone:
            assert alone
            with pytest.raises(ApiError, match="pruning already"):
                await api.client.prune(workflow="short")
        assert (await api.client.prune(workflow="short")).executions == 1
        assert (await api.client.prune(dry_run=True)).shares == []
        status, _ = await api.send("POST", "/api/prune", key=await api.add_key("write"), json={})
        assert status == 403


async def test_who_prunes_holds_up_nobody_else(history: History) -> None:
    """It once had the lock of those who change row triggers or see to keys: publishing waited for the whole pass."""
    async with history.database.only_one(retention.LOCK) as alone:
        assert alone
        await history.connection.execute("SET lock_timeout = '300ms'")
        for taken in (sql("begin_capture_change").replace("$1", "'300ms'"), sql("lock_api_keys")):
            await history.connection.execute(taken)


async def test_what_workflows_were_before_the_oldest_event_goes(history: History) -> None:
    """What one was when the oldest event came is older than that event, and stays."""
    connection = history.connection
    await history.add("completed", days(3))
    workflow = uuid4()
    await connection.execute(
        "INSERT INTO hark.workflows (tenant_id, id, slug, name) VALUES ($1, $2, 'w', 'W')", DEFAULT_TENANT, workflow
    )
    await connection.execute("DELETE FROM hark.workflow_activations")
    note = (
        "INSERT INTO hark.workflow_activations (tenant_id, workflow_id, since, state)"
        " SELECT $1, $2, now() - make_interval(days => d), 'active' FROM unnest($3::int[]) AS d"
    )
    await connection.execute(note, DEFAULT_TENANT, workflow, [900, 400, 300, 80, 40, 5])
    left = (
        "SELECT array_agg((extract(epoch FROM now() - since) / 86400)::int ORDER BY since)"
        " FROM hark.workflow_activations"
    )
    oldest = await history.add("waiting", days(350))
    await history.retention.run()
    assert await connection.fetchval(left) == [400, 300, 80, 40, 5]

    await connection.execute("DELETE FROM hark.workflow_executions WHERE id = $1", oldest)
    await connection.execute("DELETE FROM hark.events WHERE id < hark.id_floor(now() - interval '300 days')")
    await history.retention.run()
    assert await connection.fetchval(left) == [80, 40, 5]  # the failed are kept for 60 days here

    await connection.execute("DELETE FROM hark.workflow_activations WHERE since > now() - interval '50 days'")
    await history.retention.run()
    assert await connection.fetchval(left) == [80]
