"""Fixtures for all tests: a real PostgreSQL, and a fresh database from a template for each test that asks.

The server is the embedded one with fsync off, shared by the workers of a session, or, with HARK_TEST_DATABASE_URL, any
other whose user may create databases and roles.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from hypothesis import settings
from support.database import (
    FAST,
    connected,
    fresh_database,
    make_template,
    quick_place,
    quicken_password,
    share_types,
)
from support.faults import length

from hark.daemon.postgres.server import EmbeddedPostgres

ROOT = Path(__file__).resolve().parent.parent
_OTHER_SERVER = "HARK_TEST_DATABASE_URL"
_DATA_DIR = "HARK_TEST_DATA_DIR"

# How long an example takes depends on who else uses the machine. In CI the same examples every time: a change is judged
# by what it changed; whoever runs the tests by hand explores.
settings.register_profile("hark", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("hark")


def pytest_configure(config: pytest.Config) -> None:
    """Name the server's directory once; the workers of pytest-xdist inherit it and so share the server."""
    share_types()
    if _OTHER_SERVER in os.environ or _DATA_DIR in os.environ:
        return
    data_dir = Path(tempfile.mkdtemp(prefix="hark-tests-", dir=quick_place()))
    data_dir.chmod(0o711)  # as root the server runs under another account, which has to pass
    os.environ[_DATA_DIR] = str(data_dir)
    config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(_DATA_DIR), ignore_errors=True))


def pytest_report_header() -> str:
    """Print by which seed the fault suite goes. Here, because the workers of pytest-xdist have to inherit it."""
    return f"faults: HARK_FAULTS_SEED={length.SEED}"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    for name in list(os.environ):
        if name.startswith(("HARK_", "PG", "LISTEN_")) and not name.startswith("HARK_TEST_"):
            monkeypatch.delenv(name)
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Start a PostgreSQL server; the URL is that of a database to connect to for administration."""
    if url := os.environ.get(_OTHER_SERVER):
        yield url
        return
    server = EmbeddedPostgres(Path(os.environ[_DATA_DIR]), options=FAST)
    try:
        url = asyncio.run(server.start())
        asyncio.run(quicken_password(url))
        yield url
    finally:
        asyncio.run(server.stop())


@pytest.fixture(scope="session")
def template_database(server_url: str) -> str:
    """Make a database that holds the schema and nothing else, and return its name."""
    return asyncio.run(make_template(server_url, (ROOT / "schema.sql").read_text(encoding="utf-8")))


@pytest.fixture
async def database_url(server_url: str, template_database: str) -> AsyncIterator[str]:
    """Make a database of the test's own, with the schema, and give its URL."""
    async with fresh_database(server_url, template_database) as url:
        yield url


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Connect to the test's own database."""
    async with connected(database_url) as opened:
        yield opened
