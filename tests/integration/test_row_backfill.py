"""Rows that were there before the workflow are run through its trigger: each once, whatever dies in between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from support.api import ApiUnderTest, running_api
from support.engine import running_engine
from support.program import Program

from hark.client import ApiError
from hark.daemon.engine import row_backfill
from hark.daemon.engine.row_backfill import WantedRows
from hark.workflows.errors import UnavailableError
from hark.workflows.ids import DEFAULT_TENANT

GREET = """
id: greet
name: Greet
inputs: {name: {type: string}}
triggers:
  - id: new
    type: row
    table: public.people
    operations: [insert, update]
    when: new.country == "DE"
    inputs: {name: "${{ new.name }}"}
steps:
  - {id: note, set: {row: "${{ event.data }}"}}
"""
OTHER = GREET.replace("id: greet", "id: other").replace('    when: new.country == "DE"\n', "")
PEOPLE = """
CREATE TABLE public.people (country text, number integer, name text, at timestamptz, span interval,
                            PRIMARY KEY (country, number));
"""
FILL = """
INSERT INTO public.people
SELECT CASE WHEN i % 3 = 0 THEN 'DE' ELSE 'FR' END, i, 'p' || i, '2026-01-01 12:00+01', '90 min'
FROM generate_series(1, 600) AS i
"""


@pytest.fixture
async def api(database_url: str, tmp_path: Path, connection: asyncpg.Connection) -> AsyncIterator[ApiUnderTest]:
    await connection.execute(PEOPLE)
    await connection.execute(FILL)
    async with running_api(database_url, tmp_path) as running:
        yield running


async def ran(connection: asyncpg.Connection, slug: str = "greet") -> list[str]:
    rows = await connection.fetch(
        "SELECT e.inputs::jsonb ->> 'name' AS name FROM hark.workflow_executions AS e "
        "JOIN hark.workflows AS w ON w.id = e.workflow_id WHERE w.slug = $1",
        slug,
    )
    return sorted(row["name"] for row in rows)


GERMANS = sorted(f"p{number}" for number in range(3, 601, 3))


async def test_rows_are_offered_as_captured_ones_are_and_to_this_trigger_alone(
    api: ApiUnderTest, connection: asyncpg.Connection
) -> None:
    """Under a key of two columns, in parts; the same event data as capture makes of the same row."""
    await api.hark.apply(GREET)
    await api.hark.apply(OTHER)
    first = await api.client.backfill_rows("greet", limit=250)
    assert (first.scanned, first.done, first.more, first.position) == (250, 200, True, ["FR", "74"])
    assert first.unconcerned == {'when_false: new.country == "DE"': 50}
    rest = await api.client.backfill_rows("greet", limit=1000, after=first.position)
    assert (rest.scanned, rest.done, rest.more) == (350, 0, False)
    again = await api.client.backfill_rows("greet", limit=1000)
    assert (again.done, again.already, again.more) == (0, 200, False)
    assert await ran(connection) == GERMANS
    assert await ran(connection, "other") == []
    named = await api.client.backfill_rows("greet", name="second", limit=1, dry_run=True)
    assert (named.done, named.already) == (1, 0)

    await connection.execute("INSERT INTO public.people SELECT country, 9999, name, at, span FROM public.people "
                             "WHERE number = 3")  # fmt: skip
    await api.hark.until(lambda: _arrived(connection))
    events = await connection.fetch("SELECT data::jsonb AS data FROM hark.events WHERE data::jsonb ->> 'operation' = "
                                    "'insert' AND data::jsonb -> 'new' ->> 'name' = 'p3' ORDER BY id")  # fmt: skip
    mine, captured = json.loads(events[0]["data"]), json.loads(events[-1]["data"])
    assert (mine.pop("backfill"), mine.pop("transaction_id")) == ("rows", None)
    captured.pop("transaction_id")
    captured["new"]["number"] = 3
    assert mine == captured


async def _arrived(connection: asyncpg.Connection) -> bool:
    return (await ran(connection)).count("p3") == 2


async def test_instances_and_attempts_that_die_run_each_row_once(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_backfill, "PART", 20)
    await connection.execute(PEOPLE)
    await connection.execute(FILL)
    async with running_engine(database_url) as one, running_engine(database_url) as two:
        await one.apply(GREET)
        wanted = WantedRows(limit=10_000)
        dying = asyncio.create_task(one.engine.row_backfill.run(DEFAULT_TENANT, "greet", wanted))
        await one.until(lambda: _has_some(connection))
        dying.cancel()
        await asyncio.wait([dying])
        before = len(await ran(connection))
        assert 0 < before < 200
        both = await asyncio.gather(
            *(tested.engine.row_backfill.run(DEFAULT_TENANT, "greet", wanted) for tested in (one, two, one))
        )
    assert all(part.done + part.already == 200 and not part.more for part in both)
    assert await ran(connection) == GERMANS


async def _has_some(connection: asyncpg.Connection) -> bool:
    return bool(await ran(connection))


async def test_what_could_not_be_stored_is_offered_again_and_a_changed_row_is_the_same_one(
    api: ApiUnderTest, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.hark.apply(GREET)
    ingest = api.hark.engine.ingest
    take = ingest.take

    async def away(event: Any, **how: Any) -> Any:
        if event.data["new"]["name"] == "p300":
            raise UnavailableError("the database is away")
        return await take(event, **how)

    monkeypatch.setattr(ingest, "take", away)
    with pytest.raises(ApiError) as refused:
        await api.client.backfill_rows("greet")
    assert refused.value.status == 503
    monkeypatch.undo()
    await connection.execute("ALTER TABLE public.people DISABLE TRIGGER USER")
    await connection.execute("UPDATE public.people SET at = now()")

    async def unknown(*_: Any) -> set[str]:
        return set()  # as when another instance has run them since they were looked up

    rest = await api.client.backfill_rows("greet", dry_run=True)
    monkeypatch.setattr(row_backfill.RowBackfill, "_known", unknown)
    again = await api.client.backfill_rows("greet")
    assert 0 < again.done == rest.done < 200
    assert (again.already, again.refused) == (rest.already, [])
    assert await ran(connection) == GERMANS


async def test_it_waits_while_many_executions_queue(
    api: ApiUnderTest, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_backfill, "MOST_PENDING", 10)
    monkeypatch.setattr(row_backfill, "PART", 5)
    monkeypatch.setattr(row_backfill, "PATIENCE_S", 1.0)
    await api.hark.apply(GREET.replace("steps:\n", "overlap: queue\nsteps:\n  - {id: hold, wait: 1h}\n"))
    answer = await api.client.backfill_rows("greet")
    assert (answer.done, answer.pending, answer.more, len(answer.position or ())) == (15, 10, True, 2)


async def test_large_rows_partitions_and_tables_without_a_key(
    api: ApiUnderTest, connection: asyncpg.Connection
) -> None:
    plain = GREET.replace('    when: new.country == "DE"\n', "")
    await connection.execute(
        "CREATE TABLE public.split (id uuid, name text, big text, PRIMARY KEY (id)) PARTITION BY HASH (id);"
        "CREATE TABLE public.split_0 PARTITION OF public.split FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        "CREATE TABLE public.split_1 PARTITION OF public.split FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "INSERT INTO public.split SELECT gen_random_uuid(), 'n' || i, repeat(md5(i::text), 40000) "
        "FROM generate_series(1, 12) AS i;"
        "CREATE TABLE public.keyless (name text); INSERT INTO public.keyless VALUES ('a');"
        "CREATE TABLE public.parent (id integer PRIMARY KEY, name text);"
        "CREATE TABLE public.child () INHERITS (public.parent);"
        "CREATE TYPE public.pair AS (a integer, b integer);"
        "CREATE TABLE public.composed (id public.pair PRIMARY KEY, name text)"
    )
    await api.hark.apply(plain.replace("public.people", "public.split"))
    answer = await api.client.backfill_rows("greet", where='new.name != "n1"')
    assert (answer.scanned, answer.done, answer.left_out, answer.refused, answer.more) == (12, 11, 1, [], False)
    data = json.loads(await connection.fetchval("SELECT data::text FROM hark.events ORDER BY id LIMIT 1"))
    assert (data["left_out"], "big" in data["new"], data["table"]) == (["big"], False, "split")
    for table, says in (("keyless", "no primary key"), ("parent", "inherit"), ("composed", "from outside")):
        await api.hark.apply(plain.replace("public.people", f"public.{table}"))
        with pytest.raises(ApiError, match=says):
            await api.client.backfill_rows("greet")


async def test_what_cannot_be_meant_is_refused(api: ApiUnderTest) -> None:
    await api.hark.apply(GREET)
    await api.hark.apply(GREET.replace("id: greet", "id: later").replace("[insert, update]", "[update]"))
    for name, body, status, says in (
        ("missing", {}, 404, "no workflow"),
        ("later", {}, 422, "insert among its"),
        ("greet", {"trigger": "x"}, 422, "one of: new"),
        ("greet", {"after": ["DE"]}, 422, "has 2 columns"),
        ("greet", {"after": ["DE", "x"]}, 422, "invalid input syntax"),
        ("greet", {"where": "new.country =="}, 422, "where"),
        ("greet", {"where": "old.country"}, 422, "old"),
    ):
        with pytest.raises(ApiError, match=says) as refused:
            await api.client.backfill_rows(name, **body)
        assert refused.value.status == status
    await api.client.pause("greet")
    with pytest.raises(ApiError, match="resume it first"):
        await api.client.backfill_rows("greet")


async def test_the_command_line_runs_all_parts(api: ApiUnderTest, tmp_path: Path) -> None:
    await api.hark.apply(GREET)
    hark = Program(api, tmp_path)
    tried = await hark("backfill", "greet", "--rows", "--name", "tried", "--dry-run")
    assert "600 rows of public.people: 200 would run, 0 had run already" in tried.out, tried
    assert '400 start nothing: when_false: new.country == "DE"' in tried.out
    part = (await hark("backfill", "greet", "--rows", "--limit", "50", "--json")).json
    assert (part["done"], part["more"], part["position"]) == (50, True, ["DE", "150"])
    shown = await hark.on_terminal("backfill", "greet", "--rows", "--after", '["DE", "150"]', "--limit", "50")
    assert "50 rows of public.people: 50 run, 0 refused" in shown
    assert """there are more: go on with --after '["DE", "300"]'""" in shown
    wrong = await hark("backfill", "greet", "--rows", "--from", "1d")
    assert (wrong.status, "belongs to slots" in wrong.err) == (2, True), wrong
