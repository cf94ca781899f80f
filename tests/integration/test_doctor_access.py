"""The doctor at the door: why there is no connection, told apart and explained."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
from support.database import with_database

from hark.daemon.doctor import access
from hark.daemon.doctor.examination import examine
from hark.daemon.doctor.report import Finding
from hark.daemon.settings import Settings

_ERROR_FIELD = b"S%b\0V%b\0C%b\0M%b\0\0"


@pytest.fixture
async def role(connection: asyncpg.Connection) -> AsyncIterator[str]:
    """Make a role that may log in and no more."""
    name = f"hark_visitor_{secrets.token_hex(4)}"
    await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'visit'")
    yield name
    await connection.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def as_user(url: str, user: str, password: str) -> str:
    """Return the URL for another user."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}"))


async def look(url: str, tmp_path: Path) -> Finding:
    """Examine, and return what is said of the database; all else is skipped, with a word about it."""
    findings = await examine(Settings(database_url=url, data_dir=tmp_path / "state", port=0), schema=True)
    database, skipped = findings[-2:]
    assert (database.check, skipped.check) == ("database", "skipped")
    assert skipped.level == "warning"
    assert database.advice
    return database


def closed_port() -> int:
    """Return a port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port: int = closed.getsockname()[1]
    return port


async def test_a_wrong_password_is_told_and_never_shown(database_url: str, role: str, tmp_path: Path) -> None:
    found = await look(as_user(database_url, role, "wrong-one"), tmp_path)
    assert found.level == "error"
    assert f"refuses the password of user {role}" in found.message
    assert "wrong-one" not in str(found)


async def test_a_database_that_is_missing_is_named(server_url: str, tmp_path: Path) -> None:
    found = await look(with_database(server_url, "hark_nowhere"), tmp_path)
    assert "there is no database hark_nowhere" in found.message
    assert "CREATE DATABASE hark_nowhere" in found.advice


async def test_a_user_without_connect_is_told_the_grant(
    database_url: str, role: str, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    name = urlsplit(database_url).path[1:]
    await connection.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    found = await look(as_user(database_url, role, "visit"), tmp_path)
    assert f"GRANT CONNECT ON DATABASE {name} TO {role}" in found.advice


async def test_a_user_whose_connections_are_all_taken(
    database_url: str, role: str, connection: asyncpg.Connection, tmp_path: Path
) -> None:
    await connection.execute(f"ALTER ROLE {role} CONNECTION LIMIT 0")
    found = await look(as_user(database_url, role, "visit"), tmp_path)
    assert "all connections of the database are taken" in found.message


async def test_nobody_listens(tmp_path: Path) -> None:
    found = await look(f"postgresql://me:x@127.0.0.1:{closed_port()}/app", tmp_path)
    assert "nothing listens at" in found.message


async def test_no_socket_there(tmp_path: Path) -> None:
    found = await look(f"postgresql://me:x@/app?host={tmp_path}", tmp_path)
    assert "there is no socket" in found.message


async def test_an_unknown_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_args: object, **_kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = await look("postgresql://me:x@db.invalid/app", tmp_path)
    assert "no machine is known as db.invalid" in found.message


async def test_a_url_that_cannot_be_used(tmp_path: Path) -> None:
    found = await look("postgresql://me:x@127.0.0.1:1/app?sslmode=perhaps", tmp_path)
    assert found.level == "error"
    assert "HARK_DATABASE_URL" in found.advice


async def test_a_file_of_certificates_that_is_not_there(tmp_path: Path) -> None:
    """It was taken for the socket of a server."""
    found = await look(f"postgresql://me:x@127.0.0.1:1/app?sslmode=verify-full&sslrootcert={tmp_path}/ca.crt", tmp_path)
    assert f"sslrootcert in its URL names {tmp_path}/ca.crt, which cannot be used: No such file" in found.message
    assert "HARK_DATABASE_URL" in found.advice


async def test_a_file_that_a_variable_names_is_not_to_be_corrected_in_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSSLCERT", f"{tmp_path}/me.crt")
    found = await look("postgresql://me:x@127.0.0.1:1/app", tmp_path)
    assert f"PGSSLCERT in the environment names {tmp_path}/me.crt" in found.message
    assert found.advice.startswith("put it there")


@asynccontextmanager
async def server_that_says(code: bytes | None) -> AsyncIterator[str]:
    """Answer every connection as a PostgreSQL does that refuses it; None: never answer."""
    writers = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.readexactly(int.from_bytes(await reader.readexactly(4), "big") - 4)
        if code is not None:
            body = _ERROR_FIELD % (b"FATAL", b"FATAL", code, b"the database system is starting up")
            writer.write(b"E" + (len(body) + 4).to_bytes(4, "big") + body)
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"postgresql://me:x@127.0.0.1:{server.sockets[0].getsockname()[1]}/app?sslmode=disable"
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()


async def test_a_server_that_is_starting_up(tmp_path: Path) -> None:
    async with server_that_says(b"57P03") as url:
        found = await look(url, tmp_path)
    assert "takes no connections now (the database system is starting up)" in found.message
    assert "wait" in found.advice


async def test_a_server_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "CONNECT_S", 0.2)
    async with server_that_says(None) as url:
        found = await look(url, tmp_path)
    assert "did not answer" in found.message
