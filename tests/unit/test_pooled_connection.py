"""Ways to a database: what a setting says of them, how settings are written for each, what errors of a pooler say."""

from __future__ import annotations

import asyncpg
import pytest

from hark.actions.pooled_connection import Way, explain, script_of

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
