"""Row capture in the database: what is captured is what was committed, whoever wrote it and by whatever means."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import asyncpg
import orjson
import pytest
from support.capture import EVERYTHING, Capture, capturing, watch
from support.database import connected

from hark.workflows.ids import DEFAULT_TENANT

CLIENTS = """
CREATE TABLE public.clients (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, status text, n integer, data json,
    twice integer GENERATED ALWAYS AS (n * 2) STORED)
"""


@pytest.fixture
async def capture(connection: asyncpg.Connection, database_url: str) -> AsyncIterator[Capture]:
    """Have a table `clients` in a fresh database."""
    await connection.execute(CLIENTS)
    async with capturing(connection, database_url) as capture:
        yield capture


async def test_every_kind_of_change_is_captured_with_the_row_before_and_after(capture: Capture) -> None:
    await capture.watched(watch())
    run = capture.connection.execute
    await run("INSERT INTO clients (name, n) VALUES ('a', 1), ('b', 2), ('c', 3)")
    await run("UPDATE clients SET n = n + 10 WHERE id < 3")
    await run("DELETE FROM clients WHERE id = 2")
    await run("TRUNCATE clients")
    await run("UPDATE clients SET n = 1")
    events = await capture.events()
    assert [event.type for event in events] == [
        *["row.insert"] * 3,
        *["row.update"] * 2,
        "row.delete",
        "row.truncate",
    ]
    first, updated, deleted, truncated = events[0].data, events[3].data, events[5].data, events[6].data
    row = {"id": 1, "name": "a", "status": None, "n": 1, "data": None, "twice": 2}
    assert (first["old"], first["new"], first["changed"]) == (None, row, [])
    assert (updated["old"], updated["new"]) == (row, {**row, "n": 11, "twice": 22})
    assert updated["changed"] == ["n", "twice"]
    assert (deleted["old"]["id"], deleted["new"]) == (2, None)
    assert (truncated["old"], truncated["new"]) == (None, None)
    assert {event.tenant_id for event in events} == {DEFAULT_TENANT}
    assert first["transaction_id"] < updated["transaction_id"]


async def test_rows_pair_also_when_the_key_itself_changes(capture: Capture) -> None:
    await capture.connection.execute("CREATE TABLE pairs (id int PRIMARY KEY, n int)")
    await capture.connection.execute("INSERT INTO pairs SELECT i, i FROM generate_series(1, 2000) AS i")
    await capture.watched(watch("pairs"))
    await capture.connection.execute("UPDATE pairs SET id = -id WHERE n % 2 = 0")
    seen = await capture.seen()
    assert len(seen) == 1000
    assert all(old == -new for _, old, new in seen)


async def test_copy_merge_and_on_conflict_are_captured_as_what_they_did(capture: Capture) -> None:
    await capture.connection.execute("CREATE TABLE stock (id int PRIMARY KEY, n int)")
    await capture.watched(watch("stock"))
    await capture.connection.copy_records_to_table("stock", records=[(1, 1), (2, 2)])
    assert await capture.seen() == [("insert", None, 1), ("insert", None, 2)]
    await capture.connection.execute(
        "INSERT INTO stock VALUES (2, 9), (3, 3) ON CONFLICT (id) DO UPDATE SET n = excluded.n"
    )
    assert sorted(await capture.seen(), key=str) == [("insert", None, 3), ("update", 2, 2)]
    await capture.connection.execute("INSERT INTO stock VALUES (3, 0) ON CONFLICT DO NOTHING")
    assert await capture.seen() == []
    await capture.connection.execute(
        "MERGE INTO stock AS s USING (VALUES (1), (2), (4)) AS v (id) ON s.id = v.id "
        "WHEN MATCHED AND v.id = 1 THEN DELETE WHEN MATCHED THEN UPDATE SET n = 0 "
        "WHEN NOT MATCHED THEN INSERT VALUES (v.id, 0)"
    )
    assert sorted(await capture.seen(), key=str) == [("delete", 1, None), ("insert", None, 4), ("update", 2, 2)]


async def test_what_a_foreign_key_does_to_a_table_is_captured_too(capture: Capture) -> None:
    await capture.connection.execute(
        "CREATE TABLE notes (id int PRIMARY KEY, client bigint REFERENCES clients ON DELETE CASCADE);"
        "INSERT INTO clients (name) VALUES ('a'); INSERT INTO notes VALUES (7, 1), (8, 1)"
    )
    await capture.watched(watch("notes"))
    await capture.connection.execute("DELETE FROM clients")
    assert await capture.seen() == [("delete", 7, None), ("delete", 8, None)]


async def test_what_is_rolled_back_was_never_captured(capture: Capture) -> None:
    await capture.watched(watch())
    run = capture.connection.execute
    await run("BEGIN; INSERT INTO clients (name) VALUES ('gone')")
    await run("ROLLBACK")
    await run(
        "BEGIN; INSERT INTO clients (name) VALUES ('kept'); SAVEPOINT a; INSERT INTO clients (name) VALUES ('gone');"
        "ROLLBACK TO a; INSERT INTO clients (name) VALUES ('kept too')"
    )
    await run("COMMIT")
    assert [name for _, _, name in await capture.seen("name")] == ["kept", "kept too"]


async def test_a_prepared_transaction_is_captured_when_it_commits(capture: Capture) -> None:
    if await capture.connection.fetchval("SHOW max_prepared_transactions") == "0":
        pytest.skip("this server has no two-phase commit")
    await capture.watched(watch())
    await capture.connection.execute("BEGIN; INSERT INTO clients (name) VALUES ('two-phase')")
    await capture.connection.execute("PREPARE TRANSACTION 'captured'")
    assert await capture.seen() == []
    await capture.connection.execute("COMMIT PREPARED 'captured'")
    assert await capture.seen() == [("insert", None, 1)]


async def test_a_writer_says_who_it_is_and_why(capture: Capture) -> None:
    await capture.watched(watch())
    await capture.connection.execute(
        "BEGIN; SET LOCAL hark.actor = 'anna'; SET LOCAL hark.reason = 'moved house'; SET LOCAL hark.depth = '2';"
        "INSERT INTO clients (name) VALUES ('a'); COMMIT; INSERT INTO clients (name) VALUES ('b')"
    )
    told, untold = await capture.events()
    assert (told.data["actor"], told.data["reason"], told.depth) == ("anna", "moved house", 2)
    assert (untold.data["actor"], untold.data["reason"], untold.depth) == (None, None, 0)


# ------------------------------------------------------------------ nothing fails the writer


async def test_what_jsonb_cannot_hold_is_captured_all_the_same(capture: Capture) -> None:
    await capture.watched(watch())
    await capture.connection.execute("""INSERT INTO clients (data) VALUES ('{"a": "x\\u0000y"}')""")
    (event,) = await capture.events()
    assert event.data["new"]["data"] == {"a": "x\N{REPLACEMENT CHARACTER}y"}


async def test_values_too_large_for_an_event_are_left_out_and_named(capture: Capture) -> None:
    await capture.watched(watch())
    await capture.connection.execute(
        "INSERT INTO clients (name, status) VALUES ('small', 'x'), ('large', repeat('y', 30000000)), "
        "('incompressible', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 60000) AS i))"
    )
    small, large, dense = (event.data for event in await capture.events())
    assert small["new"]["status"] == "x"
    for data in (large, dense):
        assert "status" not in data["new"]
        assert data["new"]["name"] in {"large", "incompressible"}
        assert data["left_out"] == ["status"]


async def test_a_column_that_has_no_json_is_left_out_with_the_reason(capture: Capture) -> None:
    await capture.connection.execute(
        "CREATE TYPE moody AS ENUM ('glad', 'sad');"
        "CREATE FUNCTION refuse(moody) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE 'not in the mood'; END $$;"
        "CREATE CAST (moody AS json) WITH FUNCTION refuse(moody);"
        "CREATE TABLE moods (id int PRIMARY KEY, mood moody)"
    )
    await capture.watched(watch("moods"))
    await capture.connection.execute("INSERT INTO moods VALUES (1, 'sad'); UPDATE moods SET id = 2")
    inserted, updated = await capture.events()
    assert (inserted.data["new"], inserted.data["left_out"]) == ({"id": 1}, ["mood"])
    assert "not in the mood" in inserted.data["error"]
    assert (updated.data["old"], updated.data["new"]) == ({"id": 1}, {"id": 2})


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE hark.row_changes",
        "ALTER TABLE hark.row_changes DROP COLUMN operation",
        "DROP SEQUENCE hark.capture_wakeups",
        "DROP FUNCTION hark.keep_row_change",
        "DROP FUNCTION hark.careful_row_json",
        "ALTER TABLE hark.row_changes ADD CHECK (false)",
    ],
)
async def test_a_broken_schema_costs_the_capture_and_never_the_write(capture: Capture, damage: str) -> None:
    await capture.watched(watch())
    await capture.connection.execute(damage)
    warnings: list[str] = []
    capture.connection.add_log_listener(lambda _connection, message: warnings.append(message.message))
    await capture.connection.execute(
        "INSERT INTO clients (name) VALUES ('a'); UPDATE clients SET n = 1; TRUNCATE clients"
    )
    await capture.connection.execute("INSERT INTO clients (name) VALUES ('a')")
    assert await capture.connection.fetchval("SELECT count(*) FROM clients") == 1
    if "careful" not in damage:
        assert any("could not capture" in warning for warning in warnings)


async def test_a_writer_who_may_do_nothing_in_hark_is_captured(capture: Capture) -> None:
    role = f"writer_of_{await capture.connection.fetchval('SELECT current_database()')}"
    await capture.connection.execute(f"CREATE ROLE {role}; GRANT SELECT, INSERT, UPDATE ON clients TO {role}")
    await capture.connection.execute(f"GRANT USAGE ON SCHEMA hark TO {role}")  # it can name what it may not use
    await capture.connection.execute(
        "ALTER TABLE clients ENABLE ROW LEVEL SECURITY; ALTER TABLE clients FORCE ROW LEVEL SECURITY"
    )
    await capture.connection.execute(
        f"CREATE POLICY own ON clients TO {role} USING (name = current_user) WITH CHECK (name = current_user)"
    )
    await capture.watched(watch())
    try:
        await capture.connection.execute(f"SET ROLE {role}")
        await capture.connection.execute("SET search_path = pg_temp; SET row_security = on")
        await capture.connection.execute(f"INSERT INTO public.clients (name) VALUES ('{role}')")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await capture.connection.execute("SELECT 1 FROM hark.row_changes")
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="function"):
            await capture.connection.execute(
                "CREATE TEMP TABLE mine (id int);"
                "CREATE TRIGGER forge AFTER INSERT ON mine EXECUTE FUNCTION hark.capture_insert('1', 'row', '')"
            )
        await capture.connection.execute("RESET ROLE; RESET search_path")
        assert await capture.seen("name") == [("insert", None, role)]
    finally:
        await capture.connection.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")


async def test_the_writers_settings_do_not_show_in_what_is_captured(capture: Capture) -> None:
    await capture.connection.execute(
        "CREATE TABLE moments (id int, at timestamptz, on_day date, long interval, raw bytea, x float8, r daterange)"
    )
    await capture.watched(watch("moments"))
    await capture.connection.execute(
        "SET timezone = 'Asia/Tokyo'; SET datestyle = 'German'; SET intervalstyle = 'sql_standard';"
        "SET bytea_output = 'escape'; SET extra_float_digits = -10;"
        "INSERT INTO moments VALUES (1, '2026-03-01 00:00+00', '2026-03-01', '1 day 2 hours', '\\xff',"
        " 0.1234567890123456, '[2026-03-01,2026-04-01)')"
    )
    (event,) = await capture.events()
    assert event.data["new"] == {
        "id": 1,
        "at": "2026-03-01T00:00:00+00:00",
        "on_day": "2026-03-01",
        "long": "P1DT2H",
        "raw": "\\xff",
        "x": 0.1234567890123456,
        "r": "[2026-03-01,2026-04-01)",
    }
    assert await capture.connection.fetchval("SHOW timezone") == "Asia/Tokyo"


async def test_single_rows_go_a_short_way_that_shows_no_time_zone_and_leaves_it_as_it_was(capture: Capture) -> None:
    """It also goes on when the table gets a column of a type whose JSON is a failure, before the triggers follow."""
    run = capture.connection.execute
    await run("CREATE TABLE moments (id int, at timestamptz, tg_argv text, quiet text, works text)")
    await run("ALTER TABLE moments ADD capture_insert text")
    await capture.watched(watch("moments"), watch("clients", operations=["insert"], when="new.n > 0"))
    await run("ALTER FUNCTION hark.keep_row_change RENAME TO long_way_only")
    await run("SET timezone = 'Asia/Tokyo'; SET hark.actor = 'anna'")
    await run("INSERT INTO moments VALUES (1, '2026-03-01 00:00+00', 'a', 'b', 'c', 'd')")
    await run("UPDATE moments SET at = at + interval '1 hour'")
    await run("INSERT INTO clients (n) VALUES (0)")
    await run("INSERT INTO clients (n) VALUES (7)")
    await run("DELETE FROM moments")
    await run("ALTER FUNCTION hark.long_way_only RENAME TO keep_row_change")
    await run("UPDATE moments SET id = 2")
    assert await capture.connection.fetchval("SHOW timezone") == "Asia/Tokyo"
    inserted, updated, client, deleted = (event.data for event in await capture.events())
    first = {"id": 1, "at": "2026-03-01T00:00:00+00:00", "tg_argv": "a", "quiet": "b", "works": "c"}
    first["capture_insert"] = "d"
    assert (inserted["old"], inserted["new"], inserted["actor"]) == (None, first, "anna")
    assert (updated["old"], updated["new"]["at"], updated["changed"]) == (first, "2026-03-01T01:00:00+00:00", ["at"])
    assert (client["new"]["n"], deleted["old"], deleted["new"]) == (7, updated["new"], None)
    await run("CREATE TYPE mood AS ENUM ('sad'); ALTER TABLE moments ADD mood mood; SET timezone = 'UTC'")
    await run("CREATE FUNCTION fail(mood) RETURNS json LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$")
    await run("CREATE CAST (mood AS json) WITH FUNCTION fail(mood)")
    await run("INSERT INTO moments VALUES (3, NULL, 'a', 'b', 'c', 'd', 'sad')")
    (odd,) = await capture.events()
    assert (odd.data["new"]["id"], odd.data["left_out"]) == (3, ["mood"])


async def test_of_a_small_row_and_a_larger_one_neither_is_missing(capture: Capture) -> None:
    """The short way meets the other one late and turns back with an error, also where errors would end the session."""
    await capture.connection.execute("CREATE TABLE notes (id int, text text); SET exit_on_error = on")
    await capture.watched(watch("notes"))
    small, large = "(1, 'a')", "(2, repeat('x', 9000))"
    for rows in (f"{small}, {large}", f"{large}, {small}", f"{small}, {small}", small, large):
        for statement in (f"INSERT INTO notes VALUES {rows}", "UPDATE notes SET id = id + 10", "DELETE FROM notes"):
            await capture.connection.execute(statement)
            expected = [int(row[0]) for row in re.findall(r"(\d), [\'r]", rows)]
            rows_seen = [event.data["old" if "DELETE" in statement else "new"] for event in await capture.events()]
            assert [row["id"] % 10 for row in rows_seen] == expected
            assert [len(row["text"]) for row in rows_seen] == [1 if n == 1 else 9000 for n in expected]
    assert await capture.connection.fetchval("SHOW exit_on_error") == "on"
    for nothing in ("INSERT INTO notes SELECT 1 WHERE false", "UPDATE notes SET id = 1", "DELETE FROM notes"):
        await capture.connection.execute(nothing)
    assert await capture.events() == []


async def test_no_row_is_planned_for_anew_after_a_statement_of_many(capture: Capture) -> None:
    """PostgreSQL would compare the plan for one row with what a thousand had cost, and plan from then on for each."""
    settings = await capture.connection.fetch(
        "SELECT p.proname, p.proconfig FROM pg_proc AS p WHERE p.pronamespace = 'hark'::regnamespace "
        "AND p.proname ^@ 'capture_' AND p.prorettype = 'trigger'::regtype"
    )
    assert {"capture_insert", "capture_row", "capture_update_formatted"} <= {row["proname"] for row in settings}
    assert [row["proname"] for row in settings if "plan_cache_mode=force_generic_plan" not in row["proconfig"]] == []


async def test_single_rows_go_the_short_way_also_where_formats_would_show(capture: Capture) -> None:
    """And leave no setting behind: neither this way nor, for two rows, the long one."""
    run = capture.connection.execute
    await run("CREATE TABLE spans (x float8, long interval, days date[])")
    await capture.watched(watch("spans"), watch("clients"))
    await run("SET extra_float_digits = -10; SET intervalstyle = 'sql_standard'")
    await run("SET datestyle = 'German'; SET timezone = 'Asia/Tokyo'")
    await run("ALTER FUNCTION hark.keep_row_change RENAME TO long_way_only")
    await run("INSERT INTO spans VALUES (0.1234567890123456, '1 day 2 hours', '{2026-03-01}')")
    await run("DELETE FROM spans")
    await run("ALTER FUNCTION hark.long_way_only RENAME TO keep_row_change")
    await run("INSERT INTO spans VALUES (0.1234567890123456, '1 day 2 hours', '{2026-03-01}'), (NULL, NULL, NULL)")
    row = {"x": 0.1234567890123456, "long": "P1DT2H", "days": ["2026-03-01"]}
    inserted, deleted, first, _ = (event.data for event in await capture.events())
    assert (inserted["new"], deleted["old"], first["new"]) == (row, row, row)
    for setting, value in (("intervalstyle", "sql_standard"), ("datestyle", "German, DMY"), ("timezone", "Asia/Tokyo")):
        assert await capture.connection.fetchval(f"SHOW {setting}") == value


async def test_types_of_all_kinds_become_json(capture: Capture) -> None:
    await capture.connection.execute(
        "CREATE TYPE place AS (street text, number int); CREATE TYPE mood AS ENUM ('sad');"
        "CREATE DOMAIN short AS varchar(3);"
        "CREATE TABLE zoo (a int[], b place, c mood, d short, e numeric, f uuid, g inet, h point, i jsonb, j tsvector,"
        ' k money, l bit(3), m char(3), n "char", o oid, p int4multirange)'
    )
    await capture.watched(watch("zoo"))
    await capture.connection.execute(
        "INSERT INTO zoo VALUES ('{1,2}', ('x', 1), 'sad', 'abc', 'NaN', '00000000-0000-0000-0000-000000000001',"
        " '10.0.0.1', '(1,2)', '{\"a\": [1]}', 'a b', 1, '101', 'm', 'c', 7, '{[1,3)}')"
    )
    (event,) = await capture.events()
    new = event.data["new"]
    assert (new["a"], new["b"], new["c"], new["d"], new["e"]) == (
        [1, 2],
        {"street": "x", "number": 1},
        "sad",
        "abc",
        "NaN",
    )
    assert (new["g"], new["h"], new["i"], new["l"], new["p"]) == ("10.0.0.1", "(1,2)", {"a": [1]}, "101", "{[1,3)}")


_TYPES = """
SELECT format_type(oid, NULL) FROM pg_type
WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype IN ('b', 'r', 'm') AND typelem = 0 AND typisdefined
ORDER BY oid
"""
_SAMPLES = [
    "1",
    "t",
    "2026-01-31",
    "10:00",
    "{}",
    "(1,2)",
    "[1,2)",
    "((1,2),(3,4))",
    "{1,2,3}",
    "<(1,2),3>",
    "[(1,2),(3,4)]",
]
_SAMPLES += [
    "10.0.0.0/8",
    "08:00:2b:01:02:03",
    "08:00:2b:01:02:03:04:05",
    "00000000-0000-0000-0000-000000000001",
    "<a/>",
]
_SAMPLES += ["0/0", "pg_class", "10:20:", "[2026-01-31,2026-02-01)", "{[2026-01-31,2026-02-01)}", "english", "simple"]
_SAMPLES += ["sum(int4)", "*(int4,int4)", "public", "postgres", "a"]


async def samples(connection: asyncpg.Connection) -> dict[str, str]:
    """Return all types that PostgreSQL brings and a column may have, each with a value as it is written in SQL."""
    found: dict[str, str] = {}
    for (name,) in await connection.fetch(_TYPES):
        for sample in _SAMPLES:
            try:
                await connection.execute(f"CREATE TEMP TABLE try AS SELECT '{sample}'::{name} AS value; DROP TABLE try")
            except asyncpg.PostgresError:
                continue
            found[name] = f"'{sample}'::{name}"
            break
    return found


async def test_every_type_that_postgresql_brings_is_captured_as_it_reads(capture: Capture) -> None:
    """Values and NULLs: no writer fails, and what is shown is what `to_jsonb` shows with plain settings."""
    run, values = capture.connection.execute, await samples(capture.connection)
    assert len(values) > 60
    columns = ", ".join(f"c{number} {name}" for number, name in enumerate(values))
    await run(f"CREATE TABLE every ({columns})")
    await capture.watched(watch("every"))
    row = ", ".join(values.values())
    await run("SET timezone = 'UTC'; SET intervalstyle = 'iso_8601'; SET bytea_output = 'hex'; SET datestyle = 'ISO'")
    names = ", ".join(f"c{number}" for number in range(len(values)))
    plain = orjson.loads(await capture.connection.fetchval(f"SELECT to_jsonb(e) FROM (SELECT {row}) AS e ({names})"))
    await run("SET datestyle = 'German'; SET intervalstyle = 'sql_standard'; SET bytea_output = 'escape'")
    await run(f"INSERT INTO every VALUES ({row}); INSERT INTO every DEFAULT VALUES; DELETE FROM every")
    filled, empty, *gone = [event.data for event in await capture.events()]
    assert filled["new"] == plain
    assert set(empty["new"].values()) == {None}
    assert [data["old"] for data in gone] == [filled["new"], empty["new"]]


async def test_columns_named_like_anything_in_the_capture_do_no_harm(capture: Capture) -> None:
    await capture.connection.execute(
        'CREATE TABLE tricky (hark_new int, hark_old int, watch int, "new" int, "old" int, total int, "a ""b" int)'
    )
    await capture.watched(watch("tricky"))
    await capture.connection.execute("INSERT INTO tricky VALUES (1, 2, 3, 4, 5, 6, 7); UPDATE tricky SET total = 8")
    inserted, updated = await capture.events()
    assert list(inserted.data["new"].values()) == [1, 2, 3, 4, 5, 6, 7]
    assert updated.data["changed"] == ["total"]


async def test_a_table_may_change_while_a_session_that_has_captured_goes_on(capture: Capture) -> None:
    await capture.watched(watch(), watch("clients", when="new.n == 1", operations=["insert"], capture="all"))
    run = capture.connection.execute
    await run("INSERT INTO clients (name) VALUES ('before')")
    await run(
        "ALTER TABLE clients ADD COLUMN extra text DEFAULT 'x', DROP COLUMN data, ALTER COLUMN name TYPE varchar(9)"
    )
    await run("INSERT INTO clients (name) VALUES ('after')")
    before, after = await capture.events()
    assert "extra" not in before.data["new"]
    assert (after.data["new"]["name"], after.data["new"]["extra"], "data" in after.data["new"]) == ("after", "x", False)


MOST_IDS = 45
"""PostgreSQL keeps the first 64 of a transaction at hand; with more, all snapshots become slow."""


async def test_many_changes_in_one_transaction_cost_few_transaction_ids(capture: Capture) -> None:
    """A block with EXCEPTION that writes takes a transaction id; with thousands, all snapshots become slow."""
    await capture.watched(watch())
    taken = []
    for _ in range(5):
        await capture.connection.execute("BEGIN")
        for _ in range(100):
            await capture.connection.execute("INSERT INTO clients (name) VALUES ('a')")
        mine = await capture.connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
        await capture.connection.execute("COMMIT")
        taken.append(await capture.connection.fetchval("SELECT pg_current_xact_id()::text::bigint") - mine)
    # Others on the server take ids too, but hardly every time.
    assert min(taken) <= MOST_IDS + 2
    assert len(await capture.seen()) == 500


# ------------------------------------------------------------------ large statements


async def test_a_large_statement_is_kept_in_parts(capture: Capture) -> None:
    await capture.watched(watch())
    await capture.connection.execute("INSERT INTO clients (n) SELECT i FROM generate_series(1, 1201) AS i")
    changes = await capture.changes()
    assert [(change.part, change.row_count) for change in sorted(changes, key=lambda change: change.part)] == [
        (0, 500),
        (1, 500),
        (2, 201),
    ]
    assert sorted(row["n"] for change in changes for row in change.new) == list(range(1, 1202))
    assert max(change.statement_rows for change in changes) == 1201


async def test_wide_rows_make_smaller_parts(capture: Capture) -> None:
    await capture.watched(watch())
    await capture.connection.execute(
        "INSERT INTO clients (name) SELECT repeat('x', 200000) FROM generate_series(1, 20)"
    )
    changes = await capture.changes()
    assert [change.row_count for change in changes] == [6, 6, 6, 2]


async def test_an_event_per_statement_shows_the_first_rows_and_counts_all(capture: Capture) -> None:
    await capture.watched(watch(per="statement"))
    await capture.connection.execute("INSERT INTO clients (n) SELECT i FROM generate_series(1, 100000) AS i")
    await capture.connection.execute("UPDATE clients SET n = 0 WHERE id = 1")
    await capture.connection.execute("DELETE FROM clients")
    assert await capture.connection.fetchval("SELECT count(*) FROM hark.row_changes") == 3
    inserted, updated, deleted = await capture.events()
    assert (inserted.data["count"], len(inserted.data["rows"])) == (100_000, 500)
    assert (updated.data["count"], updated.data["rows"][0]["changed"]) == (1, ["n", "twice"])
    assert (deleted.data["count"], deleted.data["rows"][0]["new"]) == (100_000, None)


async def test_rows_and_statements_are_served_by_one_capture(capture: Capture) -> None:
    await capture.watched(watch(), watch(per="statement"))
    await capture.connection.execute("INSERT INTO clients (n) SELECT i FROM generate_series(1, 600) AS i")
    routes = [event.route for event in await capture.events()]
    assert (routes.count("row:public.clients"), routes.count("rows:public.clients")) == (600, 1)


async def test_a_drain_takes_no_more_than_it_can_hold(capture: Capture) -> None:
    await capture.watched(watch())
    for _ in range(3):
        await capture.connection.execute("INSERT INTO clients (n) SELECT i FROM generate_series(1, 300) AS i")
    assert [len(batch) for batch in await batches(capture)] == [1, 1, 1]
    for _ in range(4):
        await capture.connection.execute(
            "INSERT INTO clients (name) SELECT repeat('x', 330000) FROM generate_series(1, 6)"
        )
    assert [sum(change.row_count for change in batch) for batch in await batches(capture)]


async def batches(capture: Capture) -> list[list[object]]:
    from hark.daemon.store.row_outbox import take_row_changes

    taken = []
    more = True
    while more:
        changes, more, _ = await take_row_changes(capture.connection, 0, 200)
        taken.append(changes)
    return taken


# ------------------------------------------------------------------ filters in the database


async def test_a_change_that_interests_nobody_leaves_no_trace(capture: Capture) -> None:
    await capture.watched(watch(operations=["insert", "update"], when='new.status == "lead" && new.n > 3'))
    assert await capture.triggers() == ["clients hark_capture_insert_row", "clients hark_capture_update_row"]
    run = capture.connection.execute
    await run("INSERT INTO clients (status, n) VALUES ('lead', 4), ('lead', 3), ('lead', NULL), (NULL, 4), ('won', 4)")
    assert await capture.seen() == [("insert", None, 1)]
    await run("UPDATE clients SET n = n + 1")
    assert await capture.seen() == [("update", 1, 1), ("update", 2, 2)]


async def test_only_the_transition_that_is_waited_for_is_captured(capture: Capture) -> None:
    await capture.watched(watch(columns="status", **{"from": "lead", "to": ["won", None]}))
    run = capture.connection.execute
    await run("INSERT INTO clients (status) VALUES ('lead'), ('lead'), ('lead'), ('lost')")
    await run("UPDATE clients SET n = 1")
    await run("UPDATE clients SET status = status")
    assert await capture.seen() == []
    await run("UPDATE clients SET status = CASE id WHEN 1 THEN 'won' WHEN 2 THEN NULL ELSE 'lost' END")
    assert await capture.seen() == [("update", 1, 1), ("update", 2, 2)]


async def test_a_change_that_a_trigger_makes_to_the_new_row_counts(capture: Capture) -> None:
    """UPDATE OF looks at the statement's column list: it would miss what a BEFORE trigger changes."""
    await capture.connection.execute(
        "CREATE FUNCTION close() RETURNS trigger LANGUAGE plpgsql "
        "AS $$ BEGIN NEW.status := 'closed'; RETURN NEW; END $$;"
        "CREATE TRIGGER close BEFORE UPDATE ON clients FOR EACH ROW EXECUTE FUNCTION close();"
        "INSERT INTO clients (status) VALUES ('open')"
    )
    await capture.watched(watch(columns="status"))
    await capture.connection.execute("UPDATE clients SET n = 1")
    assert await capture.seen("status") == [("update", "open", "closed")]


async def test_columns_without_equality_are_compared(capture: Capture) -> None:
    await capture.connection.execute("INSERT INTO clients (data) VALUES ('{\"a\": 1}')")
    await capture.watched(watch(columns="data"))
    await capture.connection.execute("UPDATE clients SET data = '{\"a\": 1}'")
    assert await capture.seen() == []
    await capture.connection.execute("UPDATE clients SET data = '{\"a\": 2}'")
    assert await capture.seen() == [("update", 1, 1)]


async def test_a_difference_counts_that_the_writers_session_would_not_show(capture: Capture) -> None:
    await capture.connection.execute(
        "ALTER TABLE clients ADD places float8[], ADD at point, ADD known boolean[];"
        "INSERT INTO clients (places, at) VALUES ('{0.100000000000000001}', '(0.1, 0)'); SET extra_float_digits = -15"
    )
    for column, value in (("places", "{0.1000000000000001}"), ("at", "(0.1000000000000001, 0)"), ("known", "{}")):
        await capture.watched(watch(columns=column))
        await capture.connection.execute(f"UPDATE clients SET {column} = '{value}'")
        await capture.connection.execute(f"UPDATE clients SET {column} = '{value}'")
        (event,) = await capture.events()
        assert event.data["changed"] == [column]


async def test_an_enum_that_is_another_text_than_its_label_is_no_text(capture: Capture) -> None:
    await capture.connection.execute(
        "CREATE TYPE mood AS ENUM ('fine', 'bad'); ALTER TABLE clients ADD mood mood;"
        "CREATE FUNCTION told(mood) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'told' $$;"
        "CREATE CAST (mood AS text) WITH FUNCTION told(mood)"
    )
    await capture.watched(watch(operations=["insert", "update"], when='new.mood == "bad"'), watch(columns="mood"))
    await capture.connection.execute("INSERT INTO clients (mood) VALUES ('bad'); UPDATE clients SET mood = 'fine'")
    assert await capture.seen("mood") == [("insert", None, "bad"), ("update", "bad", "fine")]


async def test_capture_all_captures_what_the_filter_would_hold_back(capture: Capture) -> None:
    await capture.watched(watch(operations=["insert"], when='new.status == "lead"', capture="all"))
    await capture.connection.execute("INSERT INTO clients (status) VALUES ('won')")
    assert await capture.seen() == [("insert", None, 1)]


async def test_row_triggers_in_bulk_cost_few_transaction_ids(capture: Capture) -> None:
    await capture.watched(watch(operations=["insert"], when="new.n > 0"))
    taken = []
    for _ in range(5):
        before = await capture.connection.fetchval("SELECT pg_current_xact_id()::text::bigint")
        await capture.connection.execute("INSERT INTO clients (n) SELECT i FROM generate_series(1, 300) AS i")
        taken.append(await capture.connection.fetchval("SELECT pg_current_xact_id()::text::bigint") - before)
    assert min(taken) <= MOST_IDS + 3
    assert len(await capture.seen()) == 1500


# ------------------------------------------------------------------ partitions and children


PARTITIONED = """
CREATE TABLE logs (id int, kind text, PRIMARY KEY (id, kind)) PARTITION BY LIST (kind);
CREATE TABLE logs_a PARTITION OF logs FOR VALUES IN ('a');
CREATE TABLE logs_rest PARTITION OF logs FOR VALUES IN ('b', 'c') PARTITION BY LIST (kind);
CREATE TABLE logs_b PARTITION OF logs_rest FOR VALUES IN ('b');
"""


async def test_writes_through_the_table_and_straight_into_a_partition_are_each_captured_once(capture: Capture) -> None:
    await capture.connection.execute(PARTITIONED)
    await capture.watched(watch("logs"))
    run = capture.connection.execute
    await run("INSERT INTO logs VALUES (1, 'a'), (2, 'b')")
    await run("INSERT INTO logs_a VALUES (3, 'a')")
    await run("INSERT INTO logs_rest VALUES (4, 'b')")
    await run("INSERT INTO logs_b VALUES (5, 'b')")
    events = await capture.events()
    assert [event.data["new"]["id"] for event in events] == [1, 2, 3, 4, 5]
    assert {(event.source, event.data["table"]) for event in events} == {("table:public.logs", "logs")}


async def test_a_row_that_moves_to_another_partition_is_an_update(capture: Capture) -> None:
    await capture.connection.execute(PARTITIONED)
    await capture.watched(watch("logs", operations=["update"], when='new.kind == "b"'))
    await capture.connection.execute("INSERT INTO logs VALUES (1, 'a'), (2, 'a')")
    await capture.connection.execute("UPDATE logs SET kind = 'b'")
    assert await capture.seen("kind") == [("update", "a", "b"), ("update", "a", "b")]


async def test_truncate_is_one_event_also_with_partitions(capture: Capture) -> None:
    await capture.connection.execute(PARTITIONED)
    await capture.watched(watch("logs"))
    await capture.connection.execute("TRUNCATE logs")
    await capture.connection.execute("TRUNCATE logs_b")
    whole, part = await capture.events()
    assert "partition" not in whole.data
    assert part.data["partition"] == "public.logs_b"


async def test_new_and_detached_partitions_are_noticed_by_the_next_check(capture: Capture) -> None:
    await capture.connection.execute(PARTITIONED)
    await capture.watched(watch("logs", operations=["insert"]))
    run = capture.connection.execute
    await run(
        "CREATE TABLE logs_c PARTITION OF logs_rest FOR VALUES IN ('c'); ALTER TABLE logs DETACH PARTITION logs_a"
    )
    await run("INSERT INTO logs VALUES (1, 'c')")
    checked = await capture.watch(watch("logs", operations=["insert"]))
    assert checked.placed == ["hark_capture_insert on logs_c"]
    assert checked.removed == ["hark_capture_insert on public.logs_a"]
    await run("INSERT INTO logs_c VALUES (2, 'c'); INSERT INTO logs_a VALUES (3, 'a')")
    assert await capture.seen() == [("insert", None, 1), ("insert", None, 2)]


async def test_children_by_inheritance_belong_to_their_parent(capture: Capture) -> None:
    await capture.connection.execute(
        "CREATE TABLE parents (id int); CREATE TABLE children (extra int) INHERITS (parents)"
    )
    await capture.watched(watch("parents"))
    await capture.connection.execute("INSERT INTO children VALUES (1, 2); UPDATE parents SET id = 5")
    assert await capture.seen() == [("insert", None, 1), ("update", 1, 5)]


# ------------------------------------------------------------------ concurrency


async def test_captured_is_what_was_committed_each_once_whatever_the_order_of_commits(
    capture: Capture, database_url: str
) -> None:
    await capture.watched(watch(operations=["insert"]))
    async with connected(database_url) as first, connected(database_url) as second:
        await first.execute("BEGIN; INSERT INTO clients (name) VALUES ('slow')")
        await second.execute("INSERT INTO clients (name) VALUES ('quick')")
        assert [name for *_, name in await capture.seen("name")] == ["quick"]
        await first.execute("COMMIT")
    assert [name for *_, name in await capture.seen("name")] == ["slow"]


async def test_two_instances_take_turns(capture: Capture, database_url: str) -> None:
    from hark.daemon.store.row_outbox import take_row_changes

    await capture.watched(watch())
    for n in range(20):
        await capture.connection.execute("INSERT INTO clients (n) VALUES ($1)", n)
    async with connected(database_url) as first, connected(database_url) as second:
        async with first.transaction():
            taken = await take_row_changes(first, 0, 8)
            assert (await take_row_changes(second, 0, 100)).changes == []
        others = await take_row_changes(second, 0, 100)
    assert [change.id for change in (*taken.changes, *others.changes)] == list(range(1, 21))
    assert (taken.more, others.more) == (True, False)


async def test_writers_notify_only_while_it_is_wanted(capture: Capture, database_url: str) -> None:
    await capture.watched(watch())
    heard = asyncio.Event()
    async with connected(database_url) as listener:
        await listener.add_listener("hark_rows", lambda *_: heard.set())
        await capture.connection.execute("INSERT INTO clients (n) VALUES (1); SELECT pg_notify('after', '')")
        await listener.execute("SELECT 1")
        assert not heard.is_set()
        await capture.connection.execute("SELECT setval('hark.capture_wakeups', 1)")
        await capture.connection.execute("INSERT INTO clients (n) VALUES (2)")
        async with asyncio.timeout(5):
            await heard.wait()


async def test_replicated_changes_are_not_captured(capture: Capture) -> None:
    """They are somebody else's: PostgreSQL fires no ordinary trigger in that role."""
    await capture.watched(watch())
    await capture.connection.execute("SET session_replication_role = replica; INSERT INTO clients (n) VALUES (1)")
    await capture.connection.execute("RESET session_replication_role")
    assert await capture.seen() == []


async def test_no_capture_trigger_needs_the_schema_on_the_search_path(capture: Capture) -> None:
    await capture.watched(watch())
    definitions = await capture.connection.fetch(
        "SELECT pg_get_triggerdef(oid) AS text FROM pg_trigger WHERE tgname LIKE 'hark%'"
    )
    assert len(definitions) == len(EVERYTHING)
    assert all(re.search(r"EXECUTE FUNCTION hark\.capture_\w+\(", row["text"]) for row in definitions)
