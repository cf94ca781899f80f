"""Slots that are made up for on request: each once, whoever asks how often, and whatever dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support.api import ApiUnderTest, running_api
from support.engine import running_engine
from support.program import Program

from hark.client import ApiError
from hark.daemon.engine import backfill
from hark.daemon.store.backfill import Wanted
from hark.workflows.errors import UnavailableError
from hark.workflows.ids import DEFAULT_TENANT

DAILY = """
id: report
name: Report
triggers:
  - {id: daily, type: cron, schedule: "0 9 * * *", missed: skip, inputs: {day: "${{ event.data.slot }}"}}
  - {id: monthly, type: cron, schedule: "0 9 1 * *", missed: skip, when: "event.data.slot != '2026-03-01T09:00:00Z'"}
LIMITS
steps:
  - {id: note, set: {slot: "${{ event.data.slot }}", before: "${{ event.data.previous_slot }}"}}
"""
PLAIN = """
id: report
name: Report
triggers: [{type: cron, schedule: "0 9 * * *", missed: skip}]
retention: 30d
steps: [{id: note, set: {slot: "${{ event.data.slot }}"}}]
"""


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    async with running_api(database_url, tmp_path) as running:
        yield running


async def apply(api: ApiUnderTest, limits: str = "") -> None:
    await api.hark.apply(DAILY.replace("LIMITS", limits))


async def fired(connection: asyncpg.Connection) -> list[tuple[str, str]]:
    rows = await connection.fetch("SELECT source, occurred_at FROM hark.events WHERE kind = 'cron' ORDER BY 2, 1")
    return [(row["source"].rpartition("/")[2], row["occurred_at"].strftime("%m-%d")) for row in rows]


async def test_slots_of_a_time_run_once_in_order_with_the_one_before(
    api: ApiUnderTest, connection: asyncpg.Connection
) -> None:
    await apply(api)
    span = {"since": "2026-03-01", "until": "2026-03-04T09:00:00Z", "trigger": "daily"}
    shown = await api.client.backfill("report", **span, dry_run=True)
    assert [one.slot.day for one in shown.items] == [1, 2, 3]
    assert await fired(connection) == []
    done = await api.client.backfill("report", **span)
    assert (done.done, done.refused, done.already, done.more) == (3, 0, 0, False)
    ended = await api.hark.ended(done.items[0].executions[0])
    assert (ended["status"], ended["inputs"]) == ("completed", {"day": "2026-03-01T09:00:00Z"})
    assert ended["steps"]["note"]["output"]["before"] == "2026-02-28T09:00:00Z"
    again = await api.client.backfill("report", **{**span, "until": "2026-03-05T12:00:00Z"})
    assert (again.done, again.already, [one.slot.day for one in again.items]) == (2, 3, [4, 5])


async def test_a_part_at_a_time_until_nothing_is_left(api: ApiUnderTest, connection: asyncpg.Connection) -> None:
    """All triggers of the workflow, and what its condition refuses has had its turn too."""
    await apply(api)
    span = {"since": "2026-02-27", "until": "2026-03-03", "limit": 3}
    parts = [await api.client.backfill("report", **span) for _ in range(3)]
    assert [(part.done, part.already, part.more) for part in parts] == [(3, 0, True), (2, 3, False), (0, 5, False)]
    assert await fired(connection) == [
        ("daily", "02-27"), ("daily", "02-28"), ("daily", "03-01"), ("monthly", "03-01"), ("daily", "03-02"),
    ]  # fmt: skip
    (refused,) = [one for part in parts for one in part.items if not one.executions]
    assert (refused.trigger_id, refused.event_id is not None) == ("monthly", True)


async def test_instances_and_attempts_that_die_share_the_slots(
    database_url: str, connection: asyncpg.Connection
) -> None:
    wanted = Wanted(at("2026-01-01"), at("2026-03-02"), trigger="daily")
    async with running_engine(database_url) as one, running_engine(database_url) as two:
        await one.apply(DAILY.replace("LIMITS", ""))
        dying = asyncio.create_task(one.engine.backfill.run(DEFAULT_TENANT, "report", wanted))
        await one.until(lambda: has_some(connection))
        dying.cancel()
        both = await asyncio.gather(
            *(tested.engine.backfill.run(DEFAULT_TENANT, "report", wanted) for tested in (one, two, one))
        )
    assert sum(len(filled.items) for filled in both) <= 60
    assert all(len(filled.items) + filled.already == 60 for filled in both)
    rows = await connection.fetch("SELECT event_id FROM hark.workflow_executions")
    assert len(rows) == len({row["event_id"] for row in rows}) == len(await fired(connection)) == 60


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def has_some(connection: asyncpg.Connection) -> bool:
    return bool(await fired(connection))


async def test_a_slot_that_the_schedule_has_fired_is_not_fired_again_even_when_its_key_is_gone(
    api: ApiUnderTest, connection: asyncpg.Connection
) -> None:
    await apply(api)
    span = {"since": "2026-03-01", "until": "2026-03-03", "trigger": "daily"}
    await api.client.backfill("report", **span)
    await connection.execute("DELETE FROM hark.event_keys")
    assert (await api.client.backfill("report", **span)).already == 2


async def test_a_key_is_found_whatever_the_offset_in_which_a_time_is_written(
    api: ApiUnderTest, connection: asyncpg.Connection
) -> None:
    """Keys alone tell it when the events are gone: at nine in UTC it is past midnight in Auckland."""
    await apply(api)
    await api.client.backfill("report", since="2026-03-01", until="2026-03-02", trigger="daily")
    await connection.execute("DELETE FROM hark.events")
    span = {"since": "2026-03-01T21:59:00+13:00", "until": "2026-03-01T22:01:00+13:00", "trigger": "daily"}
    told = await api.client.backfill("report", **span, dry_run=True)
    assert (told.matched, told.already) == (0, 1)


async def test_what_history_does_not_tell_is_left_out_unless_asked_for(
    api: ApiUnderTest, connection: asyncpg.Connection
) -> None:
    """The workflow is older than its history: its slots may have run, and been forgotten."""
    await api.hark.apply(PLAIN)
    await connection.execute("UPDATE hark.workflows SET created_at = now() - interval '1 year'")
    span = {"since": "40d"}
    cautious = await api.client.backfill("report", **span, dry_run=True)
    assert (cautious.matched, cautious.unrecorded) in {(30, 10), (30, 9), (29, 10), (30, 11), (31, 10)}
    assert cautious.unrecorded_before is not None
    everything = await api.client.backfill("report", **span, dry_run=True, unrecorded=True)
    assert (everything.matched, everything.unrecorded) == (cautious.matched + cautious.unrecorded, 0)


@pytest.mark.parametrize(
    "refuses",
    [
        "conditions: ['false']",
        "inputs: {day: {type: string}}",
        "idempotency: {key: string(1 / event.data.missed)}",
        "TRIGGER",
    ],
)
async def test_slots_that_may_have_started_nothing_are_forgotten_sooner(
    api: ApiUnderTest, connection: asyncpg.Connection, refuses: str
) -> None:
    """What some version refused went with the events that started nothing, and does not run by the next version."""
    picky = PLAIN.replace("missed: skip", "missed: skip, when: 'false'") if refuses == "TRIGGER" else PLAIN + refuses
    await api.hark.apply(picky)
    await connection.execute("UPDATE hark.workflows SET created_at = now() - interval '1 year'")
    span = {"since": "20d", "until": "10d"}
    filled = await api.client.backfill("report", **span, unrecorded=True)
    assert filled.done == 10
    await api.hark.apply(PLAIN)
    await connection.execute("DELETE FROM hark.events")
    await connection.execute("DELETE FROM hark.event_keys")
    later = await api.client.backfill("report", **span)
    assert (later.matched, later.unrecorded) == (0, 10)


async def test_starts_are_spread_and_queue_where_they_would_be_skipped(
    api: ApiUnderTest, connection: asyncpg.Connection
) -> None:
    await apply(api, "overlap: skip\ntimeout: 1h")
    begin = api.hark.engine.now()
    done = await api.client.backfill("report", since="2026-03-01", until="2026-03-05", trigger="daily", spread="1s")
    due = [one.due_at for one in done.items]
    assert due[0] is None
    assert [round((one - begin) / timedelta(seconds=0.25)) for one in due[1:] if one] == [1, 2, 3]
    waiting = await api.hark.execution(done.items[3].executions[0])
    assert waiting["pending_reason"] == "delayed"
    for one in done.items:
        ended = await api.hark.ended(one.executions[0])
        assert ended["status"] == "completed"
        assert ended["deadline_at"] > ended["started_at"]
        if one.due_at is not None:
            assert ended["started_at"] >= one.due_at
    assert await connection.fetchval("SELECT count(*) FROM hark.event_decisions") == 0


async def test_a_slot_that_cannot_be_stored_is_told_and_comes_with_the_next_request(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await apply(api)
    ingest = api.hark.engine.ingest
    take = ingest.take

    async def away(event: Any, **how: Any) -> Any:
        if event.dedupe_key == "2026-03-02T09:00:00Z":
            raise UnavailableError("the database is away")
        return await take(event, **how)

    span = {"since": "2026-03-01", "until": "2026-03-04", "trigger": "daily"}
    monkeypatch.setattr(ingest, "take", away)
    partly = await api.client.backfill("report", **span)
    assert (partly.done, partly.refused) == (2, 1)
    monkeypatch.undo()
    rest = await api.client.backfill("report", **span)
    assert [(one.slot.day, one.refused) for one in rest.items] == [(2, None)]


async def test_what_cannot_be_meant_is_refused(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "MOST_SLOTS", 1000)
    await apply(api)
    await api.hark.apply("id: other\nname: O\ntriggers: [{type: event, event: X}]\nsteps: [{id: a, set: {x: 1}}]")
    await api.hark.apply(DAILY.replace("LIMITS", "").replace("id: report", "id: busy").replace("0 9 * *", "* * * * *"))
    for name, body, status, says in (
        ("missing", {"since": "1d"}, 404, "no workflow"),
        ("other", {"since": "1d"}, 422, "no schedule"),
        ("report", {"since": "1d", "trigger": "weekly"}, 422, "one of: daily, monthly"),
        ("report", {"since": "2026-03-02", "until": "2026-03-01"}, 422, "no time between"),
        ("report", {"since": "2999-01-01", "until": "2999-02-01"}, 422, "slots to come"),
        ("report", {"since": "1d", "spread": "30d"}, 422, "seven days"),
        ("busy", {"since": "2020-01-01"}, 422, "more than 1000 slots"),
        ("report", {"since": "0001-01-01T00:00:00+01:00"}, 422, "since: write a time from 1970-01-02 on"),
        ("report", {"since": "1969-12-31"}, 422, "since: write a time from 1970-01-02 on"),
        ("report", {"since": "1d", "until": "9999-12-31"}, 422, "until: write a time .* before 9999"),
    ):
        with pytest.raises(ApiError, match=says) as refused:
            await api.client.backfill(name, **body)
        assert refused.value.status == status
    await api.client.pause("report")
    with pytest.raises(ApiError, match="resume it first"):
        await api.client.backfill("report", since="1d")
    paused = [one for one in (await api.client.schedules()).items if one.workflow == "report"]
    assert [one.paused for one in paused] == [True, True]


async def test_the_command_line_fills_up_and_shows_what_comes(api: ApiUnderTest, tmp_path: Path) -> None:
    await apply(api)
    hark = Program(api, tmp_path)
    args = ("backfill", "report", "--from", "2026-03-01", "--to", "2026-03-03", "--trigger", "daily")
    assert "2 would run, 0 had run already" in (await hark(*args, "--dry-run")).out
    told = await hark(*args)
    assert (told.status, "2 fired, 0 refused, 0 had run already" in told.out) == (0, True), told
    again = (await hark(*args, "--json")).json
    assert (again["matched"], again["already"], again["items"]) == (0, 2, [])
    shown = await hark("schedules", "--next", "2", "--after", "2026-03-27T12:00:00Z")
    first = next(line for line in shown.out.splitlines() if "daily" in line)
    assert first.count("2026-03-28 09:00:00") == 2, shown.out
    await hark("pause", "report")
    assert "--from 20" in await hark.on_terminal("resume", "report")
    refused = await hark("backfill", "report", "--from", "2999-01-01")
    assert (refused.status, "slots to come" in refused.err) == (1, True)
