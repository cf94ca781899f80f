"""Keys to the API: how they look, what they open, and the admin key in the data directory."""

from __future__ import annotations

import hashlib
import re
import secrets
from pathlib import Path

from hark.daemon.data_dir import write_private
from hark.daemon.store.database import Connection, Database, sql
from hark.daemon.store.key_file import ADMIN_KEY_FILE, read_key
from hark.workflows.ids import DEFAULT_TENANT

PREFIX = "hark_"
_KEY = re.compile(r"hark_[A-Za-z0-9_-]{43}")


def new_key() -> str:
    """Make a key: 256 random bits behind a prefix that scanners for leaked secrets can recognise."""
    return PREFIX + secrets.token_urlsafe(32)


def digest_of(key: str) -> bytes | None:
    """Return the digest by which a key is looked up; None when it cannot be a key."""
    return hashlib.sha256(key.encode()).digest() if _KEY.fullmatch(key) else None


async def ensure_admin_key(database: Database, data_dir: Path) -> Path:
    """Return the file with the admin key, mode 0600, made at the first start and again when the database lacks the key.

    Safe when several processes do it at once: they take turns, and the second finds the work done.
    """
    path = data_dir / ADMIN_KEY_FILE
    async with database.transaction() as connection:
        await connection.execute(sql("lock_api_keys"))
        if not await _is_valid(connection, path):
            key = new_key()
            # The file first: a key that never reaches the database is replaced at the next start.
            write_private(path, f"{key}\n")
            await connection.execute(sql("add_api_key"), DEFAULT_TENANT, "admin", digest_of(key), ["admin"])
    return path


async def _is_valid(connection: Connection, path: Path) -> bool:
    digest = digest_of(read_key(path) or "")
    found = None if digest is None else await connection.fetchrow(sql("get_api_key"), digest)
    return found is not None and "admin" in found["scopes"]
