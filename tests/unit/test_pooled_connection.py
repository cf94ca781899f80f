"""Ways to a database: what a setting says of them, how settings are written for each, what errors of a pooler say."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import asyncpg
import pytest

from hark.actions.pooled_connection import Way, explain, open_connection, script_of
from hark.actions.tls_files import UnusableFileError

SETTINGS = {
    "application_name": "hark record",
    "search_path": "hark, pg_catalog",
    "timezone": "O'Brien",
    "default_transaction_read_only": "on",
    "tcp_user_timeout": "10s",
}


def test_what_the_setting_says_is_a_way_and_auto_is_none() -> None:
    said = {word: Way.said(word) for word in ("auto", "none", "session", "transaction")}
    assert said == {"auto": None, "none": Way.DIRECT, "session": Way.SESSION, "transaction": Way.TRANSACTION}


def test_settings_are_those_of_the_transaction_or_of_the_session() -> None:
    assert script_of(SETTINGS, Way.TRANSACTION) == (
        "SET LOCAL search_path = 'hark', 'pg_catalog'; SET LOCAL timezone = 'O''Brien'; "
        "SET LOCAL transaction_read_only = 'on';"
    )
    assert script_of(SETTINGS, Way.SESSION) == (
        "SET search_path = 'hark', 'pg_catalog'; SET timezone = 'O''Brien'; SET default_transaction_read_only = 'on';"
    )


@pytest.mark.parametrize(
    "error, said",
    [
        (asyncpg.ProtocolViolationError("unsupported startup parameter: jit"), "takes no settings with the start-up"),
        (asyncpg.InvalidSQLStatementNameError('prepared statement "x" does not exist'), "works per transaction"),
        (asyncpg.DuplicatePreparedStatementError('prepared statement "x" already exists'), "works per transaction"),
    ],
)
def test_what_a_pooler_makes_of_it_is_said_with_the_remedy(error: Exception, said: str) -> None:
    assert said in explain(error)
    assert "HARK_DATABASE_POOLER=transaction" in explain(error)


def test_other_errors_say_what_they_say() -> None:
    assert explain(asyncpg.ProtocolViolationError("bad message")) == "bad message"
    assert explain(TimeoutError()) == "TimeoutError"


@pytest.mark.parametrize(
    "query, environment, said",
    [
        ("sslmode=require&sslrootcert={}/a.crt", {}, "^sslrootcert in its URL names {}/a.crt, .*: No such file"),
        ("sslmode=verify-ca&sslrootcert={}/empty", {}, "^sslrootcert in its URL names {}/empty, .*no certificates"),
        ("sslmode=verify-full", {"PGSSLROOTCERT": "b.crt"}, "^PGSSLROOTCERT in the environment names {}/b.crt, "),
        ("sslcert={}/empty&sslkey={}/c.key", {}, "^sslkey in its URL names {}/c.key, .*: No such file"),
        ("sslcert={}/d.crt", {"PGSSLCERT": "e.crt"}, "^sslcert in its URL names {}/d.crt, "),
    ],
)
async def test_a_file_of_encryption_that_cannot_be_used_is_named(
    query: str, environment: dict[str, str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver says `[Errno 2] No such file or directory`, as of a database that is away."""
    (tmp_path / "empty").touch()
    for name, file in environment.items():
        monkeypatch.setenv(name, str(tmp_path / file))
    url = "postgresql://me@127.0.0.1:1/x?" + query.replace("{}", str(tmp_path))
    with pytest.raises(UnusableFileError, match=said.replace("{}", str(tmp_path))):
        await open_connection(url, Way.DIRECT, {})


async def test_no_file_is_blamed_for_a_socket_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As that of the embedded database: no file of encryption is read on the way to it, unless it is asked for."""
    monkeypatch.setenv("PGSSLCERT", str(tmp_path / "a"))
    for url in (f"postgresql://me@/x?host={tmp_path}", f"postgresql://me@{quote(str(tmp_path), '')}/x"):
        with pytest.raises(FileNotFoundError) as absent:
            await open_connection(url, Way.DIRECT, {})
        assert not isinstance(absent.value, UnusableFileError)
        with pytest.raises(UnusableFileError, match=r"^PGSSLCERT in the environment"):
            await open_connection(url + ("&" if "?" in url else "?") + "sslmode=prefer", Way.DIRECT, {})


async def test_files_that_nobody_reads_are_not_blamed_for_what_else_fails(tmp_path: Path) -> None:
    for query in ("sslmode=disable&sslcert={}/a", "sslmode=prefer&sslrootcert={}/a"):
        with pytest.raises(ConnectionRefusedError):
            await open_connection("postgresql://me@127.0.0.1:1/x?" + query.format(tmp_path), Way.DIRECT, {})
