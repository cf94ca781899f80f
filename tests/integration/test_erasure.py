"""Erasing a subject: nothing of it is left in the history, and nothing of anybody else is touched."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.api import running_api
from support.engine import EngineUnderTest, running_engine

from hark.client import ApiError
from hark.daemon.cli.erasing import _tell
from hark.daemon.engine import cancelling, erasure, ingest
from hark.daemon.engine.erasure import Eraser, digest_of
from hark.workflows.catalogue import NewEvent
from hark.workflows.errors import ConflictError, NotFoundError, UnavailableError
from hark.workflows.ids import DEFAULT_TENANT, TenantId

TENANT = TenantId(DEFAULT_TENANT)
WORKFLOWS = """
id: welcome
name: Welcome
triggers:
  - {type: event, event: GO, as: ARRIVED, subject: {kind: client, id: "${{ event.data.client }}"}}
idempotency: {key: inputs.client, ttl: 24h}
steps:
  - {id: say, action: log_event, with: {message: "Hello ${{ inputs.mark }}"}}
  - {id: keep, remember: {mark: "${{ inputs.mark }}"}}
  - {id: each, for_each: [1, 2], distribute: true, do: [{id: it, set: {x: "${{ inputs.mark }}"}}]}
  - {id: sub, call: sub, with: {mark: "${{ inputs.mark }}"}}
  - {id: tell, emit: {type: NOTED, data: {mark: "${{ inputs.mark }}"}}}
  - {id: order, emit: {type: ORDERED, data: {}, subject: {kind: order, id: o1}}}
---
id: sub
name: Called
steps: [{id: work, set: {got: "${{ inputs.mark }}"}}]
---
id: arrived
name: On the same event, under its other name
triggers: [{type: event, event: ARRIVED}]
steps: [{id: work, set: {got: "${{ inputs.mark }}"}}]
---
id: beside
name: On the same event, without a word about whom
triggers: [{type: event, event: GO}]
steps: [{id: work, set: {got: "${{ inputs.mark }}", who: "${{ event.subject.id }}"}}]
---
id: noted
name: On what it published
triggers: [{type: event, event: NOTED}]
steps: [{id: work, set: {got: "${{ inputs.mark }}"}}]
---
id: after
name: After it
triggers:
  - {type: workflow, workflow: welcome, inputs: {mark: "${{ event.data.inputs.mark }}"}}
  - {type: workflow, all: [welcome, idle], within: 1h, key: event.data.inputs.client}
steps: [{id: work, set: {got: "${{ inputs.?mark.orValue('') }}"}}]
---
id: idle
name: Never starts
steps: [{id: work, set: {}}]
---
id: never
name: Refused
triggers: [{type: event, event: GO, subject: {kind: client, id: "${{ event.data.client }}"}, inputs: {}}]
conditions: ["false"]
steps: [{id: work, set: {}}]
---
id: ships
name: About something else
triggers:
  - {type: event, event: GO, inputs: {n: "${{ event.data.n }}"}, subject: {kind: order, id: "${{ event.data.order }}"}}
  - {type: event, event: ORDERED, inputs: {n: 1}}
steps: [{id: work, set: {n: "${{ inputs.n }}"}}]
"""
HELD = """
id: held
name: Held
triggers: [{type: event, event: GO, subject: {kind: client, id: "${{ event.data.client }}"}}]
steps: [{id: hold, action: probe, with: {hold: true}}]
---
id: ships
name: About something else
triggers: [{type: event, event: GO, inputs: {}, subject: {kind: order, id: o1}}]
steps: [{id: hold, wait: 1h}]
"""
BATCH = """
id: many
name: Many
triggers: [{type: event, event: GO, subject: {kind: client, id: "${{ event.data.client }}"}}]
batch: {max_size: 2, timeout: 1h}
steps: [{id: sub, call: sub, with: {marks: "${{ event.data }}"}}]
---
id: sub
name: Called
steps: [{id: work, set: {got: "${{ inputs.marks }}"}}]
"""

JOINED = (
    "---".join(
        f"""
id: {event.lower()}
name: One of several
triggers: [{{type: event, event: {event}, subject: {{kind: client, id: "${{{{ event.data.client }}}}"}}}}]
steps: [{{id: sub, call: quiet, with: {{mark: "${{{{ event.data.mark }}}}"}}}}]
output: {{mark: "${{{{ event.data.mark }}}}"}}
"""
        for event in ("ONE", "TWO", "THREE")
    )
    + """
---
id: quiet
name: Says nothing about whom
steps: [{id: work, set: {}}]
output: {mark: "${{ inputs.mark }}"}
---
id: joined
name: After all
triggers: [{type: workflow, all: [one, two, three], within: 1h}]
steps: [{id: work, set: {got: "${{ event.data.ends }}"}}]
---
id: ships
name: About something else
triggers:
  - {type: workflow, all: [one, two, three], within: 1h, subject: {kind: order, id: o1}, inputs: {n: 1}}
  - {type: workflow, workflow: quiet, subject: {kind: order, id: o2}, inputs: {n: 1}}
steps: [{id: work, set: {n: "${{ inputs.n }}"}}]
"""
)
SAYS = """
id: says
name: Says it everywhere
triggers: [{type: event, event: GO}]
steps:
  - {id: say, action: log_event, with: {message: "Hello ${{ event.data.mark }}"}}
  - {id: keep, remember: {mark: "${{ event.data.mark }}"}}
"""
WAITING = """
WITH keys AS MATERIALIZED (SELECT n, sha256(n::text::bytea) AS key FROM generate_series(1, 5000) AS n), joins AS (
    INSERT INTO hark.workflow_joins (tenant_id, workflow_id, trigger_id, key, expires_at)
    SELECT $1, $2, 't', key, now() + interval '1 hour' FROM keys
)
INSERT INTO hark.workflow_join_ends (tenant_id, workflow_id, trigger_id, key, followed, execution_id, ended_at)
SELECT $1, $2, 't', key, f.slug, lpad(to_hex(n + f.more), 32, '0')::uuid, now()
FROM keys CROSS JOIN (VALUES ('one', 0), ('two', 50)) AS f (slug, more)
"""
"""Let a trigger wait for more of 5,000 keys; the ends of executions 1 to 100 are all that there is of the first 50."""
READ = """
SELECT sum(seq_tup_read + idx_tup_fetch)::int FROM pg_stat_xact_user_tables
WHERE relname IN ('workflow_joins', 'workflow_join_ends')
"""


async def rows_with(hark: EngineUnderTest, text: object) -> dict[str, list[str]]:
    """Return all rows of all tables that have a text in them."""
    pool = hark.database.pool
    tables = await pool.fetch(
        "SELECT c.oid::regclass::text AS name FROM pg_class AS c "
        "WHERE c.relnamespace = 'hark'::regnamespace AND c.relkind = 'r'"
    )
    found = {}
    for name in sorted(row["name"] for row in tables):
        query = f"SELECT t::text FROM {name} AS t WHERE strpos(t::text, $1) > 0"
        if rows := [row[0] for row in await pool.fetch(query, str(text))]:
            found[name] = sorted(rows)
    return found


async def all_ended(hark: EngineUnderTest, number: int) -> None:
    """Wait until so many executions have ended, and none is open."""
    query = "SELECT count(completed_at), count(*) FROM hark.workflow_executions"
    async with asyncio.timeout(20):
        while tuple(await hark.database.pool.fetchrow(query)) != (number, number):
            await asyncio.sleep(0.02)


async def erase(hark: EngineUnderTest, who: str = "carl", *, force: bool = False) -> erasure.Erased:
    return await hark.engine.eraser.erase(TENANT, ("client", who), force=force, by="test")


async def test_nothing_of_a_subject_is_left_and_nothing_of_others_is_touched(database_url: str) -> None:
    async with running_engine(database_url) as one:
        await one.apply(WORKFLOWS)
        for n, who in enumerate(("carl", "cleo"), 1):
            data = {"client": who, "mark": f"mark-{who}", "order": f"order-{n}", "n": n}
            await one.emit("GO", data, dedupe_key=f"delivery to {who}")
        await all_ended(one, 20)
        # What a trigger names holds for its event, and for what says nothing itself: beside, arrived, after.
        query = "SELECT count(*) FROM hark.workflow_executions WHERE subject_id = 'carl' AND status = 'completed'"
        assert await one.database.pool.fetchval(query) == 6
        query = "SELECT id FROM hark.workflow_executions WHERE subject_id = $1"
        mine = await one.database.pool.fetchval(query, "order-1")
        event = await one.database.pool.fetchrow("SELECT * FROM hark.events WHERE type = 'GO' AND subject_id = 'carl'")
        others, shipped = await rows_with(one, "cleo"), await one.execution(mine)
        assert "event_keys" in others
        joins = (
            "SELECT count(*) FROM hark.workflow_joins JOIN hark.workflow_join_ends USING (tenant_id, workflow_id, key)"
        )
        assert await one.database.pool.fetchval(joins) == 2
        keys = await one.database.pool.fetchval("SELECT count(*) FROM hark.start_keys")
        foreseen = await one.engine.eraser.foresee(TENANT, ("client", "carl"))
        assert len(await rows_with(one, "carl")) > 5

        done = await erase(one)

        assert await rows_with(one, "carl") == {}
        assert await rows_with(one, "cleo") == others
        assert await one.database.pool.fetchval(joins) == 1
        # Two parts, what was called, published and heard, what came after it, and what the same event has started.
        assert (done.executions, done.emptied) == (8, 1)
        assert (foreseen.executions, foreseen.steps, foreseen.logs, foreseen.events, foreseen.emptied) == (
            done.executions, done.steps, done.logs, done.events, done.emptied
        )  # fmt: skip
        assert await one.database.pool.fetchval("SELECT count(*) FROM hark.start_keys") == keys - 1
        # What is about something else has kept all of its own, and its event without what that said.
        assert await one.execution(mine) == shipped
        left = await one.database.pool.fetchrow("SELECT * FROM hark.events WHERE id = $1", event["id"])
        assert (left["type"], left["data"], left["source"]) == ("GO", "{}", "")
        assert (left["subject_id"], left["dedupe_key"]) == (None, None)
        assert await one.database.pool.fetchval("SELECT count(*) FROM hark.events WHERE type = 'ORDERED'") == 2
        assert await one.database.pool.fetchval("SELECT count(*) FROM hark.erasing") == 0
        # Again there is nothing to do; both are on record, without saying of whom.
        assert (await erase(one)).executions == 0
        records = await one.database.pool.fetch("SELECT * FROM hark.erasures")
        assert [digest_of(row["salt"], ("client", "carl")) for row in records] == [row["digest"] for row in records]
        assert len({row["digest"] for row in records}) == 2
        assert await rows_with(one, "carl") == {}


async def test_what_is_open_forbids_it_or_is_ended_wherever_it_runs(database_url: str) -> None:
    async with running_engine(database_url) as runs, running_engine(database_url) as other:
        await runs.apply(HELD)
        held, ships = sorted((await runs.emit("GO", {"client": "carl"})).executions)
        await runs.until(lambda: len(runs.probe.calls) == 1)
        with pytest.raises(ConflictError, match="2 executions that have something of it are open") as refused:
            await erase(other)
        # Also what is about something else: it would go on without its event.
        assert all(f"{one} of " in str(refused.value) for one in (held, ships))
        assert await runs.database.pool.fetchval("SELECT count(*) FROM hark.erasures") == 0
        assert await runs.database.pool.fetchval("SELECT count(*) FROM hark.erasing") == 0
        done = await erase(other, force=True)
        assert (done.executions, done.emptied) == (1, 1)
        assert runs.engine.executor.in_flight == 0
        left = await runs.database.pool.fetch("SELECT subject_id, status FROM hark.workflow_executions")
        assert [tuple(row) for row in left] == [("o1", "cancelled")]
        assert await rows_with(runs, "carl") == {}


async def test_what_does_not_end_is_told(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "STOPPED_WITHIN_S", 0.2)
    async with running_engine(database_url) as one:
        await one.apply(HELD)
        await one.emit("GO", {"client": "carl"})
        await one.until(lambda: len(one.probe.calls) == 1)
        monkeypatch.setattr(one.engine.executor, "interrupt", lambda *_: True)  # as if its instance were gone
        with pytest.raises(ConflictError, match="1 execution is being cancelled and not at an end yet; ask again"):
            await erase(one, force=True)
        monkeypatch.undo()
        one.probe.release.set()
        await all_ended(one, 2)
        assert (await erase(one)).executions == 1


async def test_a_batch_goes_with_any_of_its_events_and_leaves_the_others(database_url: str) -> None:
    async with running_engine(database_url) as one:
        await one.apply(BATCH)
        for who in ("cleo", "carl"):
            await one.emit("GO", {"client": who, "mark": f"mark-{who}"})
        await all_ended(one, 2)
        assert (await erase(one)).executions == 2
        assert await rows_with(one, "mark-carl") == {}
        (left,) = await one.database.pool.fetch("SELECT subject_id, matched FROM hark.events")
        assert tuple(left) == ("cleo", False)


async def test_what_several_ends_have_made_goes_with_each_of_them(database_url: str) -> None:
    """It holds the output of all, so it is emptied also where it is said to be about something else."""
    async with running_engine(database_url) as one:
        await one.apply(JOINED)
        for event, who in (("ONE", "carl"), ("TWO", "cleo"), ("THREE", "cora")):
            await one.emit(event, {"client": who, "mark": f"mark-{who}"})
        await all_ended(one, 11)
        for who, gone, emptied in (("carl", 3, 2), ("cleo", 2, 1), ("cora", 2, 1)):
            done = await erase(one, who)
            assert (done.executions, done.emptied) == (gone, emptied)
            assert await rows_with(one, f"mark-{who}") == {}
        left = await one.database.pool.fetch("SELECT subject_id FROM hark.workflow_executions ORDER BY subject_id")
        assert [row["subject_id"] for row in left] == ["o1", "o2", "o2", "o2"]


async def test_the_ends_that_others_wait_for_are_found_by_their_executions(database_url: str) -> None:
    """All that a tenant waits for was read twice for each 200 executions."""
    async with running_engine(database_url) as one:
        await one.apply(JOINED)
        workflow = await one.database.pool.fetchval("SELECT id FROM hark.workflows WHERE slug = 'joined'")
        async with one.database.transaction() as connection:
            await connection.execute(WAITING, TENANT, workflow)
            before = await connection.fetchval(READ)  # by the foreign key
            runs = [UUID(int=n) for n in range(1, 101)]
            await connection.execute("SELECT hark.forget_joined($1, $2)", TENANT, runs)
            read = await connection.fetchval(READ) - before
            rows = await connection.fetchrow(
                "SELECT (SELECT count(*) FROM hark.workflow_joins), (SELECT count(*) FROM hark.workflow_join_ends)"
            )
    assert tuple(rows) == (5000 - 50, 10_000 - 150), "those stay of which another end is there"
    assert read < 2000


@pytest.mark.parametrize("what", ["record", "ingest"])
async def test_what_is_written_again_brings_nothing_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """The answer to a COMMIT was lost. Before it is sent again, what was committed has been erased."""
    async with running_engine(database_url) as one:
        if what == "record":
            await one.apply(SAYS)
        part: Any = one.engine.recorder._lane if what == "record" else one.engine.ingest
        name = "fetch" if what == "record" else "_store"
        write, erased, broken = getattr(part, name), [], []

        async def write_and_lose_the_answer(*about: Any, **how: bool) -> Any:
            if erased and not broken:
                broken.append(about)
                raise UnavailableError("the connection broke")
            done = await write(*about, **how)
            if not erased and (what == "ingest" or about[3]):
                erased.append(await erase(one))
                broken[:] = [about]
                raise UnavailableError("the connection broke")
            return done

        monkeypatch.setattr(part, name, write_and_lose_the_answer)
        monkeypatch.setattr(one.engine.recorder, "_patience", lambda: asyncio.sleep(0))
        event = NewEvent(TENANT, "event", "GO", "test", "event:GO", {"mark": "mark-carl"}, ("client", "carl"))
        taking = one.engine.ingest.take(event)
        if what == "ingest":
            with pytest.raises(UnavailableError, match="whether the event was stored cannot be told"):
                await taking
        else:
            await taking
            await one.until(lambda: erased and not one.engine.executor.in_flight)
        assert (erased[0].executions, erased[0].events) == (int(what == "record"), 1)
        assert await rows_with(one, "mark-carl") == {}
        assert len(await one.database.pool.fetch("SELECT FROM hark.workflow_steps")) == 0
        # What comes later is new, and what was not committed is written when it comes again.
        monkeypatch.setattr(ingest, "_BEFORE", timedelta(0))
        broken.clear()
        receipt = await one.engine.ingest.take(event)
        for execution in receipt.executions:
            assert (await one.ended(execution))["status"] == "completed"
        assert (len(broken), len(receipt.executions)) == (1, int(what == "record"))
        assert {"events"} <= {
            name.removeprefix("hark.").partition("_2")[0] for name in await rows_with(one, "mark-carl")
        }


async def test_what_is_repeated_meanwhile_goes_too(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A retry whose origin is being erased is either refused, or found and ended."""
    async with running_engine(database_url) as one:
        await one.apply(HELD.partition("---")[0])
        (held,) = (await one.emit("GO", {"client": "carl"})).executions
        one.probe.release.set()
        await one.ended(held)
        one.probe.release.clear()
        delete, retried = Eraser._delete, []

        async def delete_after_a_retry(self: Eraser, *about: Any) -> None:
            if not retried:
                retried.append(await one.engine.retry(TENANT, held, from_start=True))
            await delete(self, *about)

        monkeypatch.setattr(Eraser, "_delete", delete_after_a_retry)
        with pytest.raises(ConflictError, match=r"1 execution that has something of it is open"):
            await erase(one)
        with pytest.raises(NotFoundError):
            await one.engine.retry(TENANT, held)
        assert (await erase(one, force=True)).executions == 1
        assert await rows_with(one, retried[0]) == {}


async def test_two_instances_that_erase_take_turns(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_engine(database_url) as one, running_engine(database_url) as two:
        await one.apply(WORKFLOWS)
        for who in ("carl", "cleo"):
            await one.emit("GO", {"client": who, "mark": who, "order": who, "n": 1})
        await all_ended(one, 20)
        done = await asyncio.gather(erase(one), erase(two), erase(two, "cleo"))
        assert sorted(found.executions for found in done) == [0, 8, 8]
        monkeypatch.setattr(erasure, "PATIENCE_S", 0.1)
        async with one.database.only_one(erasure.LOCK):
            with pytest.raises(UnavailableError, match="retention, a restoration or another erasure is under way"):
                await erase(two)


async def test_row_changes_from_before_are_waited_for(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The row that an application deletes just before it erases is on its way to become an event."""
    monkeypatch.setattr(erasure, "PATIENCE_S", 0.1)
    async with running_engine(database_url) as one:
        await one.engine.listeners.stop()
        await one.database.pool.execute(
            "INSERT INTO hark.row_changes (watch_id, operation, row_count, transaction_id, occurred_at) "
            "VALUES (0, 'delete', 1, pg_current_xact_id(), now())"
        )
        with pytest.raises(UnavailableError, match="have not become events yet"):
            await erase(one)
        monkeypatch.undo()  # what the engine looks after at its start may hold the lock for longer
        await one.database.pool.execute("UPDATE hark.row_changes SET parked_at = now()")
        assert (await erase(one)).executions == 0


async def test_over_http_and_on_record(database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running_api(database_url, tmp_path) as api:
        await api.hark.apply(HELD)
        await api.hark.emit("GO", {"client": "7/ä"})
        await api.hark.until(lambda: len(api.hark.probe.calls) == 1)
        foreseen = await api.client.erase("client", "7/ä", dry_run=True)
        assert (foreseen.dry_run, foreseen.executions, foreseen.emptied, len(foreseen.open)) == (True, 1, 1, 2)
        _tell(foreseen)
        assert "1 execution (" in (told := capsys.readouterr().out)
        assert "archive" not in told
        assert "would go" in told
        assert "of held (running)" in told
        with pytest.raises(ApiError, match="are open") as refused:
            await api.client.erase("client", "7/ä")
        assert refused.value.status == 409
        done = await api.client.erase("client", "7/ä", force=True)
        assert (done.executions, (await api.client.erase("client", "7/ä")).executions) == (1, 0)
        of = (await api.client.erasures(of="client/7/ä")).items
        assert [one.executions for one in of] == [0, 1]
        assert of[1].id == done.id
        assert of[1].requested_by.startswith("key:")
        assert (await api.client.erasures(of="client/8")).items == []
        assert (await api.get("/api/erasures?of=carl"))[0] == 422
        for method, path in (("DELETE", "/api/subjects/client/carl"), ("GET", "/api/erasures")):
            assert (await api.send(method, path, key=await api.add_key("write")))[0] == 403
        assert UUID(str(done.id))
