"""SQL actions on a real PostgreSQL: every JSON value fits every column type, and comes back as JSON."""

from __future__ import annotations

import asyncio
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest
from support.actions import make_context, run_action
from support.database import connected
from support.faults.proxy import Proxy

from hark.actions.sql import AsyncpgSql, NamedConnections, named_connections, prepare_connection, sql_error
from hark.actions.update_database import UpdateDatabase
from hark.workflows.errors import ActionError

ID = "0190a0a0-0000-7000-8000-000000000001"

TYPES: list[tuple[str, Any, Any]] = [
    ("text", "ä", "ä"),
    ("text", 7, "7"),
    ("text", True, "true"),
    ("text", {"a": 1}, '{"a":1}'),
    ("varchar(3)", "abc", "abc"),
    ("smallint", 7, 7),
    ("integer", 7, 7),
    ("integer", 7.0, 7),
    ("integer", "7", 7),
    ("bigint", 2**63 - 1, 2**63 - 1),
    ("real", 1.5, 1.5),
    ("float8", 0.1, 0.1),
    ("float8", "NaN", "nan"),
    ("float8", "-Infinity", "-inf"),
    ("numeric", 7, 7),
    ("numeric", "12.50", 12.5),
    ("numeric", 0.1, 0.1),
    ("numeric", "0.1000000000000000000000001", "0.1000000000000000000000001"),
    ("numeric", "123456789012345678901234567890", "123456789012345678901234567890"),
    ("numeric", "NaN", "NaN"),
    ("boolean", True, True),
    ("boolean", "false", False),
    ("boolean", "yes", True),
    ("date", "2030-01-31", "2030-01-31"),
    ("date", "infinity", "infinity"),
    ("timestamp", "2030-01-31T08:00:00.5", "2030-01-31T08:00:00.500000"),
    ("timestamptz", "2030-01-31T09:00:00+01:00", "2030-01-31T08:00:00+00:00"),
    ("timestamptz", "2030-01-31 08:00 America/New_York", "2030-01-31T13:00:00+00:00"),
    ("timestamptz", "-infinity", "-infinity"),
    ("timestamptz", "0044-03-15 12:00:00+00 BC", "0044-03-15 12:00:00+00 BC"),
    ("time", "08:30", "08:30:00"),
    ("interval", "1 day 02:00", "1 day 02:00:00"),
    ("uuid", ID, ID),
    ("json", {"b": 1, "a": [None]}, {"b": 1, "a": [None]}),
    ("jsonb", {"a": "x"}, {"a": "x"}),
    ("jsonb", [1, "x"], [1, "x"]),
    ("jsonb", "text", "text"),
    ("jsonb", '{"a": 1}', '{"a": 1}'),
    ("jsonb", 7, 7),
    ("jsonb", False, False),
    ("json", r"with \u0000", r"with \u0000"),
    ("bytea", b64encode(b"\0\xff").decode(), "AP8="),
    ("bytea", "\\x00ff", "AP8="),
    ("inet", "10.0.0.1/8", "10.0.0.1/8"),
    ("macaddr", "08:00:2b:01:02:03", "08:00:2b:01:02:03"),
    ("bit(3)", "101", "101"),
    ("point", "(1,2)", "(1,2)"),
    ("tsvector", "a b", "'a' 'b'"),
    ("mood", "happy", "happy"),
    ("mood[]", ["happy", None], ["happy", None]),
    ("positive", 5, 5),
    ("text[]", ["a", 'b "c", {d}', None, "NULL", ""], ["a", 'b "c", {d}', None, "NULL", ""]),
    ("int[]", [1, "2", 3.0], [1, 2, 3]),
    ("int[]", [[1, 2], [3, 4]], [[1, 2], [3, 4]]),
    ("int[]", [], []),
    ("uuid[]", [ID], [ID]),
    ("timestamptz[]", ["2030-01-31T08:00:00Z"], ["2030-01-31T08:00:00+00:00"]),
    ("jsonb[]", [{"a": "x"}, "y", 1], [{"a": "x"}, "y", 1]),
    ("numeric[]", ["0.10", 7], [0.1, 7]),
]


@pytest.fixture
async def sql(connection: asyncpg.Connection) -> AsyncIterator[AsyncpgSql]:
    """Give SQL inside a transaction on the test's database."""
    await connection.execute("CREATE TYPE public.mood AS ENUM ('happy', 'sad')")
    await connection.execute("CREATE DOMAIN public.positive AS int CHECK (value > 0)")
    await connection.execute("SET timezone = 'UTC'")
    await prepare_connection(connection)
    async with connection.transaction():
        yield AsyncpgSql(connection)


async def test_every_json_value_fits_its_column_and_comes_back_as_json(sql: AsyncpgSql) -> None:
    columns = ", ".join(f"c{number} {kind}" for number, (kind, _, _) in enumerate(TYPES))
    places = ", ".join(f"${number}" for number in range(1, len(TYPES) + 1))
    await sql.execute(f"CREATE TEMPORARY TABLE t ({columns})")
    assert await sql.execute(f"INSERT INTO t VALUES ({places})", *[given for _, given, _ in TYPES]) == 1
    (row,) = await sql.fetch("SELECT * FROM t")
    came = [(kind, given, value) for (kind, given, _), value in zip(TYPES, row.values(), strict=True)]
    assert came == TYPES
    assert [type(value) for *_, value in came] == [type(back) for *_, back in TYPES]
    orjson.dumps(row)


async def test_null_fits_every_column(sql: AsyncpgSql) -> None:
    kinds = sorted({kind for kind, _, _ in TYPES})
    for kind in kinds:
        assert await sql.fetch(f"SELECT $1::{kind} AS v", None) == [{"v": None}]


async def test_a_document_that_jsonb_cannot_hold_comes_as_text(sql: AsyncpgSql) -> None:
    assert await sql.fetch(r"""SELECT '{"a": "\u0000"}'::json AS v""") == [{"v": r'{"a": "\u0000"}'}]


async def test_types_without_a_codec_of_their_own_are_text(sql: AsyncpgSql) -> None:
    rows = await sql.fetch("SELECT row(1, 'a') AS r, 'pg_class'::regclass AS c, '1/2'::pg_lsn AS l")
    assert rows == [{"r": "(1,a)", "c": "pg_class", "l": "1/2"}]


async def test_composite_values_and_ranges_are_refused_with_a_hint(sql: AsyncpgSql) -> None:
    await sql.execute("CREATE TEMPORARY TABLE t (a int)")
    for value in ("t", "int4range(1, 5)"):
        with pytest.raises(ActionError, match="to_jsonb") as caught:
            await sql.fetch(f"SELECT {value} FROM t")
        assert (caught.value.error_class, caught.value.retryable) == ("sql_unsupported", False)


async def test_statements_of_the_daemon_keep_their_python_types(connection: asyncpg.Connection) -> None:
    await prepare_connection(connection)
    moment = datetime(2030, 1, 31, 8, tzinfo=UTC)
    values = (UUID(ID), moment, b"\0\xff", Decimal("1.50"), '{"a": 1}', [UUID(ID)], [moment], ['{"b": 2}'], 1.5, True)
    kinds = ["uuid", "timestamptz", "bytea", "numeric", "jsonb", "uuid[]", "timestamptz[]", "jsonb[]", "float8", "bool"]
    query = ", ".join(f"${number}::{kind}" for number, kind in enumerate(kinds, 1))
    row = await connection.fetchrow(f"SELECT {query}", *values)
    assert row is not None
    assert tuple(row) == values


async def test_what_the_hint_says_works(sql: AsyncpgSql) -> None:
    await sql.execute("CREATE TEMPORARY TABLE t (a int, r int4range)")
    await sql.execute("INSERT INTO t VALUES (1, $1::text::int4range)", "[1,5)")
    assert await sql.fetch("SELECT to_jsonb(t) AS t, r::text AS r FROM t") == [
        {"t": {"a": 1, "r": "[1,5)"}, "r": "[1,5)"}
    ]


async def test_no_more_rows_are_taken_than_asked_for(sql: AsyncpgSql) -> None:
    endless = "SELECT generate_series(1, 1000000000) AS n"
    assert await sql.fetch(endless, max_rows=2) == [{"n": 1}, {"n": 2}]


FAILURES = [
    ("INSERT INTO t VALUES (1)", "sql_unique_violation", "23505", False),
    ("INSERT INTO t VALUES (NULL)", "sql_not_null_violation", "23502", False),
    ("INSERT INTO t VALUES (-1)", "sql_check_violation", "23514", False),
    ("SELECT no FROM t", "sql_undefined_column", "42703", False),
    ("SELECT * FROM nowhere", "sql_undefined_table", "42P01", False),
    ("SELEC 1", "sql_postgres_syntax", "42601", False),
    ("SELECT 1/0", "sql_division_by_zero", "22012", False),
    ("DO $$ BEGIN RAISE SQLSTATE '40001'; END $$", "sql_serialization", "40001", True),
    ("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$", "sql_deadlock_detected", "40P01", True),
    ("DO $$ BEGIN RAISE SQLSTATE '55P03'; END $$", "sql_lock_not_available", "55P03", True),
    ("DO $$ BEGIN RAISE SQLSTATE '53200'; END $$", "sql_out_of_memory", "53200", True),
]


async def test_a_failure_tells_its_state_and_whether_it_may_pass(connection: asyncpg.Connection) -> None:
    sql = AsyncpgSql(connection)
    await prepare_connection(connection)
    await sql.execute("CREATE TEMPORARY TABLE t (a int PRIMARY KEY CONSTRAINT positive CHECK (a > 0))")
    await sql.execute("INSERT INTO t VALUES (1)")
    for statement, error_class, state, retryable in FAILURES:
        with pytest.raises(ActionError) as caught:
            await sql.execute(statement)
        error = caught.value
        assert (error.error_class, error.details["sqlstate"], error.retryable) == (error_class, state, retryable)
        if state == "23514":
            assert (error.details["table"], error.details["constraint"]) == ("t", "positive")


async def test_a_value_that_does_not_fit_is_no_matter_of_another_attempt(connection: asyncpg.Connection) -> None:
    sql = AsyncpgSql(connection)
    await prepare_connection(connection)
    for kind, value in [("int", "many"), ("timestamptz", "someday"), ("uuid", "x"), ("bytea", "%"), ("int[]", "x")]:
        with pytest.raises(ActionError) as caught:
            await sql.fetch(f"SELECT $1::{kind}", value)
        assert not caught.value.retryable


async def lost(statement: Awaitable[object]) -> None:
    with pytest.raises(ActionError) as caught:
        await statement
    assert (caught.value.error_class, caught.value.retryable) == ("sql_connection", True)


async def test_a_connection_that_is_lost_under_a_statement_may_come_back(
    connection: asyncpg.Connection, database_url: str
) -> None:
    async with connected(database_url) as other:
        sleeping = asyncio.create_task(AsyncpgSql(other).fetch("SELECT pg_sleep(60)"), name="sleeping")
        end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND state = 'active'"
        while not await connection.fetchval(end, other.get_server_pid()):
            await connection.execute("SELECT pg_sleep(0.01)")
        await lost(sleeping)
        # Not by a listener: where the end comes in between prepare and execute the driver calls none.
        while not other.is_closed():
            await asyncio.sleep(0.01)
        await lost(AsyncpgSql(other).execute("SELECT 1"))  # it is known by now


async def test_a_server_that_said_why_and_has_not_hung_up_yet_may_come_back(database_url: str) -> None:
    """A statement that came in between met an InternalClientError, which nobody took for a lost connection."""
    last_words = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
    async with connected(database_url) as other:
        other._protocol.data_received(b"E" + (len(last_words) + 4).to_bytes(4, "big") + last_words)
        await lost(AsyncpgSql(other).fetch("SELECT 1"))


class ClosedUnnoticed:
    """A connection as uvloop leaves it between the end of its socket and `connection_lost`."""

    def __init__(self) -> None:
        self._closed = False

    def is_closed(self) -> bool:
        return self._closed

    async def fetch(self, *_: object) -> None:
        self._closed = True  # asyncpg gives it up as it passes the error on
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")


async def test_a_socket_that_the_loop_has_closed_already_may_come_back() -> None:
    await lost(AsyncpgSql(ClosedUnnoticed()).fetch("SELECT 1"))


async def test_a_session_that_was_ended_for_its_idleness_may_come_back(connection: asyncpg.Connection) -> None:
    await connection.execute("BEGIN; SET idle_in_transaction_session_timeout = 20")
    gone = asyncio.Event()
    connection.add_termination_listener(lambda _: gone.set())
    await gone.wait()
    await lost(AsyncpgSql(connection).fetch("SELECT 1"))
    for error in (asyncpg.IdleInTransactionSessionTimeoutError("idle"), asyncpg.AdminShutdownError("stop")):
        assert (sql_error(error).error_class, sql_error(error).retryable) == ("sql_connection", True)


async def test_the_kernel_asks_a_server_that_says_nothing(database_url: str) -> None:
    """Else a step whose server has vanished from the network would wait for ever."""
    proxy = Proxy(database_url)
    await proxy.start()
    try:
        async with connected(proxy.url()) as connection:
            end = connection._transport.get_extra_info("socket")
            assert not end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            await prepare_connection(connection)
            assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
    finally:
        await proxy.stop()


async def test_the_server_ends_a_statement_that_takes_too_long(sql: AsyncpgSql) -> None:
    with pytest.raises(ActionError) as caught:
        await sql.execute("SELECT pg_sleep(60)", timeout_s=0.05)
    assert (caught.value.details["sqlstate"], caught.value.retryable) == ("57014", True)


async def test_the_time_limit_ends_with_the_transaction(connection: asyncpg.Connection) -> None:
    await prepare_connection(connection)
    async with connection.transaction():
        await AsyncpgSql(connection).execute("SELECT 1", timeout_s=3)
        assert await connection.fetchval("SHOW statement_timeout") == "3s"
    assert await connection.fetchval("SHOW statement_timeout") == "0"


@pytest.fixture
async def databases(database_url: str) -> AsyncIterator[NamedConnections]:
    """Give two names for the test's database, and one that leads nowhere."""
    urls = {"home": database_url, "warehouse": database_url, "gone": "postgresql://postgres@127.0.0.1:1/none"}
    connections = named_connections(urls)
    yield connections
    await connections.aclose()


async def run(databases: NamedConnections, /, **config: Any) -> dict[str, Any]:
    context = make_context(connect=lambda name: databases(name or "home"), timeout_s=10.0)
    output: dict[str, Any] = await run_action(UpdateDatabase(), config, context)
    return output


async def test_the_action_inserts_updates_upserts_and_deletes(databases: NamedConnections) -> None:
    await run(
        databases,
        sql="""CREATE TABLE public.clients (
            id uuid PRIMARY KEY, email text NOT NULL UNIQUE, tags text[], data jsonb, seen timestamptz
        )""",
    )
    row = {"id": ID, "email": "a", "tags": ["x"], "data": {"n": 1}, "seen": "2030-01-31T08:00:00Z"}
    inserted = await run(
        databases, operation="insert", table="public.clients", values=[row], returning=["id", "tags", "data"]
    )
    assert inserted == {"rows": [{"id": ID, "tags": ["x"], "data": {"n": 1}}], "row_count": 1, "truncated": False}
    upsert = {"operation": "upsert", "table": "clients", "conflict": ["email"]}
    assert (await run(databases, **upsert, values=row | {"data": None}))["row_count"] == 1
    update = {"operation": "update", "table": "clients", "where": {"id": [ID], "data": None}}
    assert (await run(databases, **update, values={"tags": []}))["row_count"] == 1
    read = await run(
        databases,
        sql="SELECT email, tags, data, seen <= :now::timestamptz AS old FROM clients WHERE email = :email;",
        params={"email": "a", "now": "2031-01-01T00:00:00Z"},
    )
    assert read["rows"] == [{"email": "a", "tags": [], "data": None, "old": True}]
    assert (await run(databases, operation="delete", table="clients", where={"email": "b"}))["row_count"] == 0
    assert (await run(databases, operation="delete", table="clients", where={"email": "a"}))["row_count"] == 1


async def test_many_rows_are_bound_with_the_types_of_their_columns(databases: NamedConnections) -> None:
    await run(databases, sql="CREATE TABLE public.t (a int, b timestamptz, c jsonb)")
    rows = [{"a": str(n), "b": None if n else "2030-01-01", "c": [n]} for n in range(1000)]
    assert (await run(databases, operation="insert", table="t", values=rows))["row_count"] == 1000
    cut = await run(databases, sql="SELECT a, c FROM t ORDER BY a", max_rows=2)
    assert cut == {"rows": [{"a": 0, "c": [0]}, {"a": 1, "c": [1]}], "row_count": 2, "truncated": True}


async def test_a_failed_statement_leaves_nothing_behind(databases: NamedConnections) -> None:
    await run(databases, sql="CREATE TABLE public.t (a int UNIQUE)")
    with pytest.raises(ActionError) as caught:
        await run(databases, sql="INSERT INTO t VALUES (1), (1)", connection="warehouse")
    assert caught.value.details["constraint"] == "t_a_key"
    assert (await run(databases, sql="SELECT count(*) AS n FROM t"))["rows"] == [{"n": 0}]


async def test_a_database_that_does_not_answer_holds_up_nobody_else(database_url: str) -> None:
    ends: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _reader, writer: ends.append(writer), "127.0.0.1", 0)
    url = f"postgresql://postgres@127.0.0.1:{silent.sockets[0].getsockname()[1]}/none"
    connections = NamedConnections({"home": database_url, "silent": url}, connect_timeout_s=2.0)

    async def use(name: str) -> None:
        async with connections(name) as sql:
            await sql.execute("SELECT 1")

    waiting = [asyncio.create_task(use("silent")) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    async with asyncio.timeout(1.5):
        await use("home")
    async with asyncio.timeout(3.5):  # who wait for the same wait together
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError, ActionError, ActionError]
    await connections.aclose()
    for end in ends:
        end.close()
    silent.close()


async def test_a_transaction_ends_with_its_block(databases: NamedConnections) -> None:
    await run(databases, sql="CREATE TABLE public.t (a int)")
    transaction = databases("home")
    sql = await transaction.__aenter__()
    await sql.execute("INSERT INTO t VALUES (1)")
    assert not await transaction.__aexit__(LookupError, LookupError(), None)
    assert (await run(databases, sql="SELECT a FROM t"))["rows"] == []


async def test_a_step_that_is_cancelled_ends_its_statement(
    databases: NamedConnections, connection: asyncpg.Connection
) -> None:
    sleeping = asyncio.create_task(run(databases, sql="SELECT pg_sleep(60)"), name="sleeping")
    running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
    while not await connection.fetchval(running):
        await connection.execute("SELECT pg_sleep(0.01)")
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    assert not await connection.fetchval(running)


async def test_many_steps_at_once_share_a_few_connections(databases: NamedConnections) -> None:
    outputs = await asyncio.gather(*(run(databases, sql="SELECT :n::int AS n", params={"n": n}) for n in range(20)))
    assert [output["rows"][0]["n"] for output in outputs] == list(range(20))


async def test_an_unknown_connection_is_named_with_those_that_are_known(databases: NamedConnections) -> None:
    with pytest.raises(ActionError, match="did you mean warehouse") as caught:
        await run(databases, sql="SELECT 1", connection="warehous")
    assert not caught.value.retryable
    with pytest.raises(ActionError, match="no connection's name") as nameless:
        async with databases("postgresql://u:hidden@db/x"):
            pass  # what plug-ins ask for may be any text
    assert "hidden" not in str(nameless.value).lower()


async def test_a_name_is_known_as_publishing_reads_it(databases: NamedConnections) -> None:
    async with databases("WareHouse") as sql:
        assert await sql.fetch("SELECT 1 AS n") == [{"n": 1}]


async def test_a_database_that_is_away_may_come_back(databases: NamedConnections) -> None:
    with pytest.raises(ActionError) as caught:
        await run(databases, sql="SELECT 1", connection="gone")
    assert (caught.value.error_class, caught.value.retryable) == ("sql_connection", True)
    # Which one: a file or a host that the URL of a connection names is not that of the home database.
    assert str(caught.value).startswith("connection gone: the database is away: ")


async def test_a_connection_to_what_was_the_primary_is_replaced(
    databases: NamedConnections, connection: asyncpg.Connection
) -> None:
    """A session keeps the setting that it began with, like one that keeps leading to a server that was demoted."""
    await connection.execute("CREATE TABLE public.t (a int)")
    name = await connection.fetchval("SELECT current_database()")
    await connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    change = {"sql": "UPDATE t SET a = a", "connection": "warehouse"}
    with pytest.raises(ActionError) as caught:
        await run(databases, **change)
    assert (caught.value.details["sqlstate"], caught.value.retryable) == ("25006", True)
    await connection.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    await run(databases, **change)


async def test_closing_twice_does_no_harm(databases: NamedConnections) -> None:
    await run(databases, sql="SELECT 1")
    await databases.aclose()
    await databases.aclose()
