"""The schema: made once however many make it, whole or not at all, and the same by psql."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from support.database import connected, fresh_database

from hark.daemon.doctor.examination import examine
from hark.daemon.settings import Settings
from hark.daemon.store.database import Database
from hark.daemon.store.schema import SCHEMA_VERSION, SchemaState, ensure_schema, schema_state, schema_text
from hark.workflows.errors import ConfigurationError, UnavailableError

ROOT = Path(__file__).resolve().parents[2]

SHAPE = """
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
       pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum)
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'hark'::regnamespace
ORDER BY 1, 2
"""


@pytest.fixture
async def empty_url(database_url: str) -> str:
    """Give a database without a schema."""
    async with connected(database_url) as connection:
        await connection.execute("DROP SCHEMA hark CASCADE")
    return database_url


async def shape(url: str) -> list[tuple[object, ...]]:
    """Return every column of every table and index."""
    async with connected(url) as connection:
        return [tuple(row.values()) for row in await connection.fetch(SHAPE)]


async def test_four_processes_at_once_make_one_schema(empty_url: str) -> None:
    states = await asyncio.gather(*(ensure_schema(empty_url) for _ in range(4)))
    assert all(state.found == SCHEMA_VERSION for state in states)


async def test_psql_gives_the_same_schema(empty_url: str, server_url: str) -> None:
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("there is no psql on the PATH")
    await ensure_schema(empty_url)
    made_by_hark = await shape(empty_url)
    async with connected(empty_url) as connection:
        await connection.execute("DROP SCHEMA hark CASCADE")
    process = await asyncio.create_subprocess_exec(
        psql, "-q", "-v", "ON_ERROR_STOP=1", "-f", str(ROOT / "schema.sql"), empty_url,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert await shape(empty_url) == made_by_hark
    assert await ensure_schema(empty_url) == SchemaState(SCHEMA_VERSION)


async def test_a_schema_that_cannot_be_made_whole_is_not_made_at_all(empty_url: str) -> None:
    async with connected(empty_url) as connection:
        broken = schema_text().replace("CREATE TABLE workflow_logs", "CREATE TABLE workflow_logs (;")
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await connection.execute(broken)
        await connection.execute("ROLLBACK")
        assert not (await schema_state(connection)).found
        assert await connection.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = 'hark'") == 0


async def test_a_database_in_which_backslashes_are_escapes_is_as_good_as_any(empty_url: str) -> None:
    async with connected(empty_url) as connection:
        name = await connection.fetchval("SELECT current_database()")
        await connection.execute(f"ALTER DATABASE {name} SET standard_conforming_strings = off")
    assert await ensure_schema(empty_url) == SchemaState(SCHEMA_VERSION)
    database = Database(empty_url)
    await database.start()
    try:
        assert await database.pool.fetchval("SHOW standard_conforming_strings") == "on"
        assert await database.fetch("list_capture_triggers", None) == []
    finally:
        await database.stop()


async def test_a_newer_schema_is_refused_with_what_to_do(database_url: str) -> None:
    async with connected(database_url) as connection:
        await connection.execute("INSERT INTO hark.schema_migrations VALUES (999, 'from the future')")
    with pytest.raises(ConfigurationError, match="upgrade Hark"):
        await ensure_schema(database_url)


async def test_a_user_who_may_not_create_is_told_what_to_grant(empty_url: str) -> None:
    async with connected(empty_url) as connection:
        role = f"powerless_{await connection.fetchval('SELECT pg_backend_pid()')}"
        await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
        try:
            parts = urlsplit(empty_url)
            netloc = f"{role}:secret@{parts.netloc.rpartition('@')[2]}"
            with pytest.raises(ConfigurationError, match="grant CREATE"):
                await ensure_schema(urlunsplit(parts._replace(netloc=netloc)))
        finally:
            await connection.execute(f"DROP ROLE {role}")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_cannot_hold_every_text_is_refused_with_what_to_do(
    server_url: str, tmp_path: Path, encoding: str
) -> None:
    """It was said which character of schema.sql has no equivalent; or nothing, until somebody wrote an umlaut."""
    template = f"template0 ENCODING {encoding} LOCALE_PROVIDER libc LOCALE 'C'"
    remedy = f"encoding {encoding}.*needs UTF8.* CREATE DATABASE hark TEMPLATE template0 ENCODING 'UTF8'"
    async with fresh_database(server_url, template) as url:
        with pytest.raises(ConfigurationError, match=remedy):
            await ensure_schema(url)
        found = await examine(Settings(database_url=url, data_dir=tmp_path))
        (finding,) = [one for one in found if one.check == "encoding"]
        assert re.search(remedy, f"{finding.message}: {finding.advice}")
        async with connected(url) as connection:
            assert not (await schema_state(connection)).found
            with pytest.raises(asyncpg.RaiseError, match=f"encoding {encoding}"):
                await connection.execute(schema_text().partition("-- Two processes")[0])


async def test_no_database_is_unavailable_and_not_a_traceback() -> None:
    with pytest.raises(UnavailableError):
        await ensure_schema("postgresql://nobody:x@127.0.0.1:1/hark")


async def test_a_url_that_the_driver_does_not_understand_is_a_wrong_setting() -> None:
    """It was a traceback at the start; of another database one with every attempt."""
    url = "postgresql://127.0.0.1:1/hark?sslmode=banana"
    with pytest.raises(ConfigurationError, match="the URL of the database: `sslmode` parameter must be one of"):
        await ensure_schema(url)
    with pytest.raises(UnavailableError, match="connection crm: its URL: `sslmode`"):
        await Database(url, name="crm").fetch("list_tenants")


async def test_every_table_and_partial_index_says_what_it_is_for(connection: asyncpg.Connection) -> None:
    silent_tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'hark'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition AND obj_description(oid) IS NULL"
    )
    assert [row["relname"] for row in silent_tables] == []
    silent_indexes = await connection.fetch(
        "SELECT indexrelid::regclass::text AS name FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid"
        " WHERE c.relnamespace = 'hark'::regnamespace AND indpred IS NOT NULL AND NOT c.relispartition"
        " AND obj_description(indexrelid) IS NULL"
    )
    assert [row["name"] for row in silent_indexes] == []


async def test_functions_with_their_owners_rights_are_nobody_elses_and_see_no_temporary_tables(
    connection: asyncpg.Connection,
) -> None:
    """Whoever could name the schema had code of theirs run by its owner: a trigger on a temporary `registry`."""
    rows = await connection.fetch(
        """
        SELECT p.proname, array_to_string(p.proconfig, '; ') AS settings, p.prosecdef AS as_owner,
               has_function_privilege('public', p.oid, 'EXECUTE') AS for_all
        FROM pg_proc AS p WHERE p.pronamespace = 'hark'::regnamespace
        """
    )
    definers = {row["proname"] for row in rows if row["as_owner"]}
    assert {"announce_workflows", "note_late", "capture_change", "capture_row_formatted"} <= definers
    assert [row["proname"] for row in rows if row["as_owner"] and row["for_all"]] == []
    paths = {row["proname"]: re.search(r"search_path=([^;]*)", row["settings"] or "") for row in rows}
    at_home = {name: path[1] for name, path in paths.items() if path and ("hark" in path[1] or name in definers)}
    assert definers <= at_home.keys()
    assert {name for name, path in at_home.items() if not path.endswith(", pg_temp")} == set()
    was = await connection.fetchval("SELECT generation FROM hark.registry")
    await connection.execute("CREATE TEMP TABLE registry AS TABLE hark.registry; DELETE FROM hark.workflows")
    assert await connection.fetchval("SELECT generation FROM hark.registry") == was + 1


async def test_a_statement_file_begins_with_its_purpose() -> None:
    for file in sorted((ROOT / "daemon" / "store" / "queries").glob("*.sql")):
        text = file.read_text(encoding="utf-8")
        assert text.startswith("-- "), file.name
        assert "SELECT *" not in text, file.name
