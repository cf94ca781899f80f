"""The fixtures themselves: every test has a database of its own."""

from __future__ import annotations

import asyncpg
import pytest


@pytest.mark.parametrize("_turn", ["first", "second"])
async def test_each_test_finds_a_fresh_database(connection: asyncpg.Connection, _turn: str) -> None:
    await connection.execute("CREATE TABLE public.left_behind (id int)")
    assert await connection.fetchval("SELECT count(*) FROM public.left_behind") == 0


async def test_the_url_leads_to_the_same_database(connection: asyncpg.Connection, database_url: str) -> None:
    other = await asyncpg.connect(database_url)
    try:
        assert await other.fetchval("SELECT current_database()") == await connection.fetchval(
            "SELECT current_database()"
        )
    finally:
        await other.close()


def test_a_test_without_a_loop_can_have_a_database(database_url: str) -> None:
    assert "hark_test_" in database_url
