"""The triggers on the users' tables: placed, repaired, taken away, and never in anybody's way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import asyncpg
import pytest
from support.capture import Capture, capturing, watch
from support.database import connected

from hark.daemon.store.capture_checks import check_tables
from hark.daemon.store.capture_program import leads_capture, program
from hark.daemon.store.capture_site import CaptureSite
from hark.daemon.store.capture_triggers import describe_tables, install
from hark.triggers.capture_plan import plan_captures
from hark.triggers.table_name import TableName

CLIENTS = "CREATE TABLE public.clients (id bigint PRIMARY KEY, name text, status text)"
LEAD = 'new.status == "lead"'


@pytest.fixture
async def capture(connection: asyncpg.Connection, database_url: str) -> AsyncIterator[Capture]:
    """Have a table `clients` in a fresh database."""
    await connection.execute(CLIENTS)
    async with capturing(connection, database_url) as capture:
        yield capture


async def test_only_differences_are_touched(capture: Capture) -> None:
    first = await capture.watch(watch(operations=["insert", "delete"]))
    assert first.placed == ["hark_capture_insert on clients", "hark_capture_delete on clients"]
    again = await capture.watch(watch(operations=["delete", "insert"]))
    assert (again.placed, again.removed) == ([], [])
    fewer = await capture.watch(watch(operations=["insert"]))
    assert (fewer.placed, fewer.removed) == ([], ["hark_capture_delete on public.clients"])


async def test_no_fingerprint_looks_like_another_when_it_is_read(capture: Capture) -> None:
    """One in sixteen ended in what was taken off behind it: such a trigger was replaced at every look, for ever."""
    names = [f"t{number}" for number in range(60)]
    await capture.connection.execute("; ".join(f"CREATE TABLE {name} (id int)" for name in names))
    watchers = [watch(name, operations=["insert"], when=f"new.id > {name[1:]}") for name in names]
    tables = await describe_tables(capture.connection, {TableName("public", name) for name in names})
    prints = {one.fingerprint()[-1] for plan in plan_captures(watchers, tables) for one in plan.placements}
    assert prints == set("0123456789abcdef")
    await capture.watched(*watchers)
    again = await capture.watch(*watchers)
    assert (again.placed, again.removed, again.problems) == ([], [], {})


async def test_a_filter_that_comes_or_goes_replaces_the_trigger(capture: Capture) -> None:
    await capture.watched(watch(operations=["insert"]))
    await capture.watched(watch(operations=["insert"], when=LEAD))
    assert await capture.triggers() == ["clients hark_capture_insert_row"]
    other = await capture.watch(watch(operations=["insert"], when='new.status == "won"'))
    assert other.placed == ["hark_capture_insert_row on clients"]
    await capture.connection.execute("INSERT INTO clients VALUES (1, 'a', 'lead'), (2, 'b', 'won')")
    assert await capture.seen() == [("insert", None, 2)]
    await capture.watched(watch(operations=["insert"]))
    assert await capture.triggers() == ["clients hark_capture_insert"]


SETS = "SELECT proname FROM pg_proc WHERE pronamespace = 'hark'::regnamespace AND proname LIKE 'wants%' ORDER BY 1"


async def test_the_conditions_of_a_thousand_workflows_let_through_what_one_of_them_wants(
    capture: Capture, database_url: str
) -> None:
    """Also for a writer without any right on Hark's schema, and in a session that has seen the set as it was before."""
    names = ["o'x\\y", "é😀", "", "null", *map(str, range(1000))]
    many = [
        watch(operations=["insert", "update"], when=f"new.name == {json.dumps(name, ensure_ascii=False)}")
        for name in names
    ]
    await capture.watched(*many)
    role = f"writer_of_{await capture.connection.fetchval('SELECT current_database()')}"
    await capture.connection.execute(f"CREATE ROLE {role}; GRANT INSERT, UPDATE, SELECT ON clients TO {role}")
    try:
        async with connected(database_url) as writer:
            await writer.execute(f"SET ROLE {role}; SET search_path = public, pg_temp")
            insert = await writer.prepare("INSERT INTO clients VALUES ($1, $2)")
            for number, name in enumerate([*names, "1000", "x" * 300, None, "1.0", "É😀"]):
                await insert.fetch(number, name)
            assert await capture.seen() == [("insert", None, number) for number in range(len(names))]
            await capture.watched(*many[1:], watch(operations=["insert"], when='new.name == "1000"'))
            await writer.execute("UPDATE clients SET id = id + 9000 WHERE name IN ('7', '1000', $$o'x\\y$$)")
            await insert.fetch(8000, "1000")
            await insert.fetch(8001, names[0])
        assert await capture.seen() == [("update", 11, 9011), ("insert", None, 8000)]
    finally:
        await capture.connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")
    assert len(await capture.connection.fetch(SETS)) == 2
    await capture.watched(*many[:3])
    assert await capture.connection.fetch(SETS) == []


async def test_the_sets_go_with_their_trigger_or_their_table(capture: Capture) -> None:
    await capture.connection.execute("CREATE TABLE orders (id int)")
    tables = ("clients", "orders")
    many = [watch(table, operations=["insert"], when=f"new.id == {n}") for table in tables for n in range(50)]
    await capture.watched(*many)
    assert len(await capture.connection.fetch(SETS)) == 2
    await capture.connection.execute("DROP TABLE orders")
    await capture.watch(*many)
    assert len(await capture.connection.fetch(SETS)) == 1
    await capture.watched(watch(operations=["insert"]))
    assert await capture.triggers() == ["clients hark_capture_insert"]
    assert await capture.connection.fetch(SETS) == []


async def test_with_the_last_watcher_the_triggers_go_and_what_was_captured_stays(capture: Capture) -> None:
    await capture.watched(watch())
    await capture.connection.execute("INSERT INTO clients VALUES (1, 'a', 'lead')")
    await capture.watched()
    assert await capture.triggers() == []
    assert await capture.seen() == [("insert", None, 1)]
    row = await capture.connection.fetchrow("SELECT active, problem FROM hark.watches")
    assert (row["active"], row["problem"]) == (False, None)


async def test_a_watch_that_comes_back_keeps_its_identity(capture: Capture) -> None:
    await capture.watched(watch())
    await capture.watched()
    await capture.watched(watch())
    assert await capture.connection.fetch("SELECT id, active FROM hark.watches") == [(1, True)]


async def test_a_trigger_that_somebody_dropped_is_put_back(capture: Capture) -> None:
    await capture.watched(watch(operations=["insert", "delete"]))
    await capture.connection.execute("DROP TRIGGER hark_capture_insert ON clients")
    assert (await capture.watch(watch(operations=["insert", "delete"]))).placed == ["hark_capture_insert on clients"]


async def test_a_trigger_that_somebody_disabled_is_left_and_told(capture: Capture) -> None:
    await capture.watched(watch(operations=["insert"]))
    await capture.connection.execute("ALTER TABLE clients DISABLE TRIGGER ALL")
    installed = await capture.watch(watch(operations=["insert"]))
    assert installed.placed == []
    assert installed.problems == {
        "public.clients": "public.clients is not captured: somebody has disabled hark_capture_insert"
    }
    assert await capture.connection.fetchval("SELECT problem FROM hark.watches") == installed.problems["public.clients"]
    await capture.connection.execute("ALTER TABLE clients ENABLE TRIGGER ALL")
    await capture.watched(watch(operations=["insert"]))
    assert await capture.connection.fetchval("SELECT problem FROM hark.watches") is None


async def test_a_table_that_was_dropped_or_renamed_is_told_and_does_not_hold_up_the_others(capture: Capture) -> None:
    await capture.connection.execute("CREATE TABLE orders (id int); CREATE TABLE moved (id int)")
    watchers = [watch(operations=["insert"]), watch("orders", operations=["insert"]), watch("moved")]
    await capture.watched(*watchers)
    await capture.connection.execute("DROP TABLE orders; ALTER TABLE moved RENAME TO elsewhere")
    installed = await capture.watch(*watchers)
    assert set(installed.problems) == {"public.orders", "public.moved"}
    assert "there is no table public.orders" in installed.problems["public.orders"]
    assert await capture.triggers() == ["clients hark_capture_insert"]
    await capture.connection.execute("CREATE TABLE orders (id int)")
    assert (await capture.watch(*watchers)).placed == ["hark_capture_insert on orders"]


async def test_a_locked_table_is_put_off_without_making_others_wait(capture: Capture, database_url: str) -> None:
    await capture.connection.execute("CREATE TABLE orders (id int)")
    async with connected(database_url) as busy, connected(database_url) as writer:
        await busy.execute("BEGIN; INSERT INTO clients VALUES (1, 'a', 'lead')")
        waiting = asyncio.create_task(capture.watch(watch(), watch("orders"), patience_s=0.3))
        async with asyncio.timeout(5):
            await writer.execute("INSERT INTO clients VALUES (2, 'b', 'lead')")
        installed = await waiting
        assert installed.busy == {"public.clients"}
        assert any("on orders" in name for name in installed.placed)
        problem = "SELECT problem FROM hark.watches WHERE table_name = 'clients'"
        assert "locked" in await capture.connection.fetchval(problem)
        await busy.execute("COMMIT")
    await capture.watched(watch(), watch("orders"))


async def test_plans_that_are_older_than_the_workflows_change_nothing(capture: Capture) -> None:
    assert not (await capture.watch(watch(), generation=999)).current
    assert await capture.triggers() == []


async def test_two_instances_at_once_come_to_the_same(capture: Capture) -> None:
    tables = await describe_tables(capture.connection, {TableName("public", "clients")})
    plans = plan_captures([watch()], tables)
    generation = await capture.connection.fetchval("SELECT generation FROM hark.registry")
    both = await asyncio.gather(
        *(install(CaptureSite(capture.database), plans, generation, patience_s=5) for _ in range(2))
    )
    assert all(installed.current and not installed.problems for installed in both)
    assert len(await capture.triggers()) == 4


@pytest.mark.parametrize(
    "other, leads",
    [
        ("'0.9', '1 hour', 'running'", True),
        ("'0.10.1', '-1 hour', 'running'", False),
        ("'0.10.0rc1', '1 hour', 'running'", False),
        ("'0.10.0', '-1 hour', 'running'", True),
        ("'unknown', '1 hour', 'running'", True),
        ("'1.0', '1 hour', 'draining'", True),
    ],
)
async def test_the_newest_release_leads_and_of_one_release_what_started_last(
    capture: Capture, other: str, leads: bool
) -> None:
    run = capture.connection.execute
    assert await leads_capture(capture.database)  # nobody is entered
    enter = "INSERT INTO hark.instances (id, host, pid, program, version, started_at, state) "
    await run(f"{enter} SELECT gen_random_uuid(), '', 1, '{program()}', '0.10.0', now(), 'running'")
    others = f"(VALUES ({other})) AS o (version, after, state)"
    await run(
        f"{enter} SELECT gen_random_uuid(), '', 1, 'another', version, now() + after::interval, state FROM {others}"
    )
    assert await leads_capture(capture.database) is leads


async def test_who_may_create_triggers_but_does_not_own_the_table_can_watch_and_stop_watching(
    capture: Capture,
) -> None:
    owner = f"owner_of_{await capture.connection.fetchval('SELECT current_database()')}"
    helper = owner.replace("owner", "helper")
    run = capture.connection.execute
    await run(f"CREATE ROLE {owner}; CREATE ROLE {helper}; ALTER TABLE clients OWNER TO {owner}")
    await run(f"GRANT TRIGGER ON clients TO {helper}; GRANT USAGE ON SCHEMA hark TO {helper}")
    await run(f"GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA hark TO {helper}")
    try:
        await run(f"SET ROLE {helper}")
        table = await capture.connection.fetchval("SELECT 'clients'::regclass::oid")
        place = "SELECT hark.place_capture($1, 'hark_capture_insert', 'INSERT', 'STATEMENT', NULL, '{1,row,x}')"
        await capture.connection.execute(place, table)
        await capture.connection.execute("SELECT hark.remove_capture($1, 'hark_capture_insert')", table)
        await run("RESET ROLE; INSERT INTO clients VALUES (1, 'a', 'lead')")
        assert await capture.seen() == []
        installed = await capture.watch()
        assert installed.removed == []
    finally:
        await run("RESET ROLE; ALTER TABLE clients OWNER TO CURRENT_USER")
        await run(f"DROP OWNED BY {owner}, {helper}; DROP ROLE {owner}, {helper}")


async def test_the_triggers_survive_a_dump(capture: Capture) -> None:
    """What pg_dump writes is what pg_get_triggerdef says; it has to be read back to the same."""
    await capture.connection.execute(
        "CREATE TYPE mood AS ENUM ('sad'); ALTER TABLE clients ADD doc json, ADD mood mood"
    )
    await capture.watched(
        watch(operations=["update"], columns=["doc", "status", "id"], **{"from": {"mood": "sad", "status": "it's"}})
    )
    read = "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname LIKE 'hark%'"
    before = await capture.connection.fetchval(read)
    await capture.connection.execute("DROP TRIGGER hark_capture_update_row ON clients")
    await capture.connection.execute(before)
    assert await capture.connection.fetchval(read) == before


async def test_what_a_trigger_names_has_to_be_there(capture: Capture) -> None:
    await capture.connection.execute(
        'CREATE SCHEMA sales; CREATE TABLE sales.orders (id int); CREATE TABLE "Invoices" ()'
    )
    await capture.connection.execute(
        "CREATE VIEW leads AS SELECT 1; CREATE TABLE whole (id int) PARTITION BY LIST (id)"
    )
    await capture.connection.execute("CREATE TABLE part PARTITION OF whole FOR VALUES IN (1)")
    problems = await check_tables(
        capture.connection,
        [
            watch("client"),
            watch("sale.orders"),
            watch("orders"),
            watch("invoices"),
            watch("leads"),
            watch("part"),
            watch("hark.events"),
            watch("pg_catalog.pg_class"),
            watch(columns=["nam"], when='old.name != new.nam && event.data.new.stat == "x" && has(new.whatever)'),
            watch(operations="update", to={"statu": 1}),
            watch(columns=["name"], when=LEAD),
        ],
    )
    found = [(problem.path[2:], problem.message, problem.hint) for problem in problems]
    assert found == [
        (("table",), "there is no table public.client", "did you mean clients?"),
        (("table",), "there is no schema sale", "did you mean sales?"),
        (("table",), "there is no table public.orders", "did you mean sales.orders?"),
        (("table",), "there is no table public.invoices", 'did you mean public."Invoices"?'),
        (("table",), "public.leads is a view", "it holds no rows, watch the table under it"),
        (("table",), "public.part is a part of whole", "watch whole, and filter with `when`"),
        (("table",), "hark.events belongs to Hark itself", ""),
        (("table",), "pg_catalog.pg_class belongs to PostgreSQL", ""),
        (("columns", 0), "public.clients has no column 'nam'", "did you mean name?"),
        (("when",), "public.clients has no column 'nam'", "did you mean name?"),
        (("when",), "public.clients has no column 'stat'", "did you mean status?"),
        (("to", "statu"), "public.clients has no column 'statu'", "did you mean status?"),
    ]


async def test_a_column_that_no_trigger_sees_is_refused(capture: Capture) -> None:
    if capture.connection.get_server_version().major < 18:
        pytest.skip("virtual generated columns came with PostgreSQL 18")
    await capture.connection.execute("ALTER TABLE clients ADD twice bigint GENERATED ALWAYS AS (id * 2) VIRTUAL")
    (problem,) = await check_tables(capture.connection, [watch(operations=["insert"], when="new.twice > 4")])
    assert "no trigger sees its value" in problem.message
    await capture.watched(watch(operations=["insert"]))
    await capture.connection.execute("INSERT INTO clients VALUES (1, 'a', 'lead')")
    (event,) = await capture.events()
    assert event.data["new"] == {"id": 1, "name": "a", "status": "lead"}
    assert event.data["left_out"] == ["twice"]


async def test_a_missing_right_is_told_with_what_would_give_it(capture: Capture) -> None:
    role = f"reader_of_{await capture.connection.fetchval('SELECT current_database()')}"
    await capture.connection.execute(f"CREATE ROLE {role}; GRANT SELECT ON clients TO {role}; SET ROLE {role}")
    try:
        (problem,) = await check_tables(capture.connection, [watch()])
        assert "may not create triggers on public.clients" in problem.message
        assert "GRANT TRIGGER" in problem.hint
    finally:
        await capture.connection.execute(f"RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}")


async def test_reserved_words_are_quoted_as_names_of_tables(connection: asyncpg.Connection) -> None:
    words = await connection.fetch("SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')")
    for name in (TableName(row["word"], row["word"]) for row in words):
        assert str(name) == name.sql == f'"{name.schema}"."{name.name}"'
        assert TableName.parse(str(name)) == name
    assert str(TableName("public", "events")) == "public.events"


async def test_a_thousand_thresholds_are_one_comparison(capture: Capture) -> None:
    await capture.connection.execute("CREATE TABLE orders (id int, amount numeric, due timestamptz)")
    many = [watch("orders", operations=["insert"], when=f"new.amount > {n} && new.id != 7") for n in range(5, 1005)]
    many += [watch("orders", operations=["insert"], when=f'new.due < "2026-01-{n:02}"') for n in range(1, 29)]
    await capture.watched(*many)
    assert await capture.triggers() == ["orders hark_capture_insert_row"]
    await capture.connection.execute("SET timezone = 'Asia/Tokyo'")
    await capture.connection.execute(
        "INSERT INTO orders VALUES (1, 4.99, NULL), (2, 5.01, NULL), (3, NULL, NULL), (4, 9999, NULL), "
        "(5, 0, '2026-01-28 08:59+09'), (6, 0, '2026-01-28 09:00+09'), (7, 0, '-infinity')"
    )
    # To a condition a time is text, and so is -infinity, which comes before all that begin with a digit.
    assert [after for *_, after in await capture.seen()] == [2, 4, 5, 7]
