"""Dry runs: what a workflow would have started on stored events and rows that are there, without running anything."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from support.api import ApiUnderTest, running_api
from support.program import Program

from hark.client import ApiError
from hark.daemon.engine import rehearsal

PAID = """
id: paid
name: Paid
inputs: {who: {type: string, required: true}}
triggers:
  - {id: large, type: event, event: PAID, when: "event.data.amount > 6", inputs: {who: "${{ event.data.who }}"}}
  - {id: vip, type: event, event: PAID, when: event.data.vip, inputs: {who: "VIP ${{ event.data.who }}"}}
steps: [{id: a, action: probe}]
"""
CLIENTS = """
id: clients
name: Clients
triggers:
  - {id: new, type: row, table: clients, when: new.country == "DE", inputs: {id: "${{ new.id }}"}}
  - {id: gone, type: row, table: nowhere}
steps: [{id: a, action: probe}]
"""


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    async with running_api(database_url, tmp_path) as served:
        yield served


async def written(api: ApiUnderTest) -> list[int]:
    """Count what a dry run must not write."""
    tables = ("events", "workflow_executions", "event_decisions", "workflows", "workflow_versions")
    return [await api.hark.database.pool.fetchval(f"SELECT count(*) FROM hark.{table}") for table in tables]


async def test_a_new_workflow_is_tried_on_stored_events(
    api: ApiUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "PAGE", 4)
    for amount in range(10):
        await api.hark.emit("PAID", {"amount": amount, "who": f"w{amount}", "vip": amount == 2})
    await api.hark.emit("PAID", {"amount": 9, "vip": True})  # nobody: its inputs do not fit
    await api.hark.emit("OTHER", {"amount": 9})
    before = await written(api)
    (found,) = (await api.client.dry_run(files={"paid.yaml": PAID}, limit=3)).items
    assert await written(api) == before
    assert (found.version, found.events.scanned, found.events.would_start) == (None, 11, 4)
    assert (found.events.newly, found.events.no_longer, found.events.complete) == (4, 0, True)
    assert [start.inputs["who"] for start in found.samples] == ["w9", "w8", "w7"]
    reasons = {(why.trigger_id, why.reason): why for why in found.refusals}
    assert reasons["large", "when_false"].count == 6
    assert reasons["large", "when_false"].values == {"event.data.amount": 6}
    assert reasons["large", "inputs_invalid"].count == 1
    path = tmp_path / "paid.yaml"
    path.write_text(PAID)
    said = await Program(api, tmp_path)("dry-run", str(path))
    assert (said.status, "4 of 11 would start it" in said.out) == (0, True), said
    assert not api.hark.probe.calls


async def test_a_changed_workflow_says_what_would_be_different(api: ApiUnderTest, tmp_path: Path) -> None:
    await api.client.apply({"paid.yaml": PAID})
    for amount in (5, 7, 9):
        await api.hark.emit("PAID", {"amount": amount, "who": "w", "vip": False})
    changed = PAID.replace("amount > 6", "amount < 8")
    (found,) = (await api.client.dry_run(files={"paid.yaml": changed}, since="1h")).items
    events = found.events
    assert (events.would_start, events.started_then, events.newly, events.no_longer) == (2, 2, 1, 1)
    (same,) = (await api.client.dry_run("paid", version=1)).items
    assert (same.version, same.events.would_start, same.events.newly, same.events.no_longer) == (1, 2, 0, 0)
    (few,) = (await api.client.dry_run("paid", most_events=0)).items
    assert (few.events.scanned, few.events.complete) == (0, False)
    hark = Program(api, tmp_path)
    assert (await hark("dry-run", "paid", "--json")).json["items"][0]["events"]["started_then"] == 2
    assert (await hark("dry-run", "nobody")).status == 1
    with pytest.raises(ApiError, match="before `until`"):
        await api.client.dry_run("paid", since="1h", until="2h")
    for far in ("0001-01-01T00:00:00Z", "1960-01-01T00:00:00Z", "0001-06-01T00:00:00+14:00"):
        with pytest.raises(ApiError, match="since: write a time from 1970-01-02 on"):
            await api.client.dry_run("paid", since=far)
    with pytest.raises(ApiError, match="until: write a time"):
        await api.client.dry_run("paid", until="9999-12-31T00:00:00Z")
    with pytest.raises(ApiError):
        await api.client.dry_run(files={"paid.yaml": PAID.replace("amount > 6", "amount >")})


async def test_a_row_trigger_is_tried_on_the_rows_that_are_there(api: ApiUnderTest) -> None:
    pool = api.hark.database.pool
    # t: what a statement might call the table.
    await pool.execute("CREATE TABLE public.clients (id integer, country text, note text, t text)")
    country = "CASE n % 4 WHEN 0 THEN 'DE' ELSE 'FR' END"
    await pool.execute(f"INSERT INTO public.clients SELECT n, {country} FROM generate_series(1, 250) AS n")
    await pool.execute("INSERT INTO public.clients VALUES (0, 'DE', repeat('x', 2000000))")  # too large to be looked at
    (found,) = (await api.client.dry_run(files={"c.yaml": CLIENTS}, limit=1)).items
    clients, nowhere = found.rows
    assert clients.problem is None
    assert (clients.table, clients.scanned, clients.would_start, clients.complete) == ("public.clients", 250, 62, True)
    assert (nowhere.complete, "nowhere" in (nowhere.problem or "")) == (False, True)
    assert (found.samples[0].event_id, found.samples[0].inputs) == (None, {"id": 4})
    assert found.refusals[0].values == {"new.country": "FR"}
    (few,) = (await api.client.dry_run(files={"c.yaml": CLIENTS}, most_rows=50)).items
    assert (few.rows[0].scanned, few.rows[0].complete) == (50, False)
    (none,) = (await api.client.dry_run(files={"c.yaml": CLIENTS}, most_rows=0)).items
    assert none.rows == []


ODD = """
id: odd
name: Odd
inputs: {row: {}}
triggers:
  - {id: new, type: row, table: order.user, inputs: {row: "${{ new }}"},
     when: 'new.span == "P1M2DT3H" && new.day == "2026-01-02" && new.raw == "\\\\x00ff"'}
steps: [{id: a, action: probe}]
"""


async def test_names_that_are_reserved_and_values_that_depend_on_the_session(api: ApiUnderTest) -> None:
    """The rows of a dry run, of a backfill and of capture are the same, however the database writes its values."""
    pool = api.hark.database.pool
    await pool.execute('CREATE SCHEMA "order"')
    await pool.execute(
        'CREATE TABLE "order"."user" (id int PRIMARY KEY, span interval, day date, raw bytea, "Select" real)'
    )
    if await pool.fetchval("SELECT current_setting('server_version_num')::int") >= 180_000:
        # What no trigger sees.
        await pool.execute('ALTER TABLE "order"."user" ADD COLUMN twice int GENERATED ALWAYS AS (id * 2) VIRTUAL')
    row = "'1 month 2 days 3 hours', '2026-01-02', '\\x00ff', 0.1)"
    await pool.execute(f'INSERT INTO "order"."user" VALUES (1, {row}')
    name = await pool.fetchval("SELECT current_database()")
    for setting in ("intervalstyle = 'postgres_verbose'", "datestyle = 'German'", "bytea_output = 'escape'"):
        await pool.execute(f'ALTER DATABASE "{name}" SET {setting}')
    await api.hark.database.renew()
    (found,) = (await api.client.dry_run(files={"odd.yaml": ODD})).items
    (rows,) = found.rows
    assert (rows.table, rows.problem, rows.scanned, rows.would_start) == ('"order"."user"', None, 1, 1)
    await api.client.apply({"odd.yaml": ODD})
    assert (await api.client.backfill_rows("odd", limit=10)).done == 1
    await pool.execute(f'INSERT INTO "order"."user" VALUES (2, {row}')

    async def captured() -> bool:
        return await pool.fetchval("SELECT count(*) FROM hark.workflow_executions WHERE inputs::jsonb ? 'row'") == 2

    await api.hark.until(captured, "both have started it")
    inputs = [
        orjson.loads(one["inputs"])["row"]
        for one in await pool.fetch("SELECT inputs FROM hark.workflow_executions ORDER BY id")
    ]
    assert [found.samples[0].inputs["row"], {**inputs[1], "id": 1}] == [inputs[0]] * 2
    (watched,) = (await api.client.watches()).items
    assert watched.table == '"order"."user"'


async def test_what_no_trigger_may_watch_no_dry_run_shows(api: ApiUnderTest) -> None:
    await api.hark.database.pool.execute("CREATE VIEW public.seen AS SELECT rolname AS id FROM pg_roles")
    own, postgres, view = "hark.api_keys", "pg_catalog.pg_authid", "public.seen"
    files = {
        f"{n}.yaml": f"id: spy{n}\nname: Spy\ntriggers: [{{id: t, type: row, table: {table}, inputs: {{id: "
        '"${{ string(new) }}"}}]\ninputs: {id: {}}\nsteps: [{id: a, action: probe}]'
        for n, table in enumerate((own, postgres, view))
    }
    found = (await api.client.dry_run(files=files)).items
    told = {one.rows[0].table: one.rows[0] for one in found}
    assert [(one.scanned, one.complete) for one in told.values()] == [(0, False)] * 3
    assert f"{own} belongs to Hark itself" in (told[own].problem or "")
    assert f"{postgres} belongs to PostgreSQL" in (told[postgres].problem or "")
    assert f"{view} is a view" in (told[view].problem or "")
    assert all(one.samples == one.refusals == [] for one in found)


async def test_a_schedule_is_tried_at_its_due_times(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    daily = """
id: daily
name: Daily
triggers: [{id: t, type: cron, schedule: "0 9 * * *", when: event.data.slot.getDayOfWeek() != 0}]
steps: [{id: a, action: probe}]
""".replace("event.data.slot.getDayOfWeek()", "timestamp(event.data.slot).getDayOfWeek()")
    span = {"since": "2026-01-01T00:00:00Z", "until": "2026-01-15T00:00:00Z"}
    (found,) = (await api.client.dry_run(files={"d.yaml": daily}, **span)).items
    (due,) = found.schedules
    assert (due.due, due.would_start, due.complete) == (14, 12, True)
    assert (due.first, due.last) == (datetime(2026, 1, 1, 9, tzinfo=UTC), datetime(2026, 1, 14, 9, tzinfo=UTC))
    monkeypatch.setattr(rehearsal.Bounds, "is_over", property(lambda _: True))
    (found,) = (await api.client.dry_run(files={"d.yaml": daily}, **span)).items
    assert (found.schedules[0].due, found.schedules[0].complete) == (0, False)


async def test_a_hostile_condition_costs_no_more_than_the_time_that_it_has(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = "event.data.l.exists(a, event.data.l.exists(b, event.data.l.exists(c, a * b * c == 7)))"
    hostile = PAID.replace("event.data.amount > 6", numbers)
    for _ in range(30):
        await api.hark.emit("PAID", {"l": [2] * 300, "who": "w", "vip": False})
    monkeypatch.setattr(rehearsal, "PAGE", 1)
    monkeypatch.setattr(rehearsal.Bounds, "is_over", property(lambda bounds: time.monotonic() > bounds.deadline - 19.5))
    since = time.monotonic()
    (found,) = (await api.client.dry_run(files={"paid.yaml": hostile})).items
    assert (found.events.complete, found.events.scanned < 30, time.monotonic() - since < 5) == (False, True, True)
    assert found.events.reached is not None
