"""The admin key: made once, private, made again when the database does not know it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hark.daemon.store.database import Database
from hark.daemon.store.key_file import read_key
from hark.daemon.store.keys import digest_of, ensure_admin_key


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """Open a pool on the test's own database."""
    opened = Database(database_url)
    await opened.start()
    yield opened
    await opened.stop()


async def count(database: Database) -> int:
    """Count the keys."""
    found: int = await database.pool.fetchval("SELECT count(*) FROM hark.api_keys")
    return found


async def test_the_admin_key_is_private_kept_and_stored_as_a_digest(database: Database, tmp_path: Path) -> None:
    path = await ensure_admin_key(database, tmp_path)
    key = read_key(path)
    assert key is not None
    assert path == tmp_path / "admin.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert await ensure_admin_key(database, tmp_path) == path
    assert (read_key(path), await count(database)) == (key, 1)
    row = await database.fetchrow("get_api_key", digest_of(key))
    assert row is not None
    assert row["scopes"] == ["admin"]
    assert key.encode() not in row["digest"]


@pytest.mark.parametrize("damage", ["", "nonsense", "hark_" + "x" * 43])
async def test_a_key_that_the_database_does_not_know_is_replaced(
    database: Database, tmp_path: Path, damage: str
) -> None:
    path = await ensure_admin_key(database, tmp_path)
    path.write_text(damage)
    await ensure_admin_key(database, tmp_path)
    key = read_key(path)
    assert key is not None
    assert key != damage
    assert await database.fetchrow("get_api_key", digest_of(key)) is not None


async def test_several_starts_at_once_agree_on_one_key(database: Database, tmp_path: Path) -> None:
    await asyncio.gather(*(ensure_admin_key(database, tmp_path) for _ in range(5)))
    assert await count(database) == 1


async def test_an_expired_key_opens_nothing(database: Database, tmp_path: Path) -> None:
    key = read_key(await ensure_admin_key(database, tmp_path))
    assert key is not None
    await database.pool.execute("UPDATE hark.api_keys SET expires_at = now() - interval '1 second'")
    assert await database.fetchrow("get_api_key", digest_of(key)) is None
