"""Fixtures of the fault suite: how long it is, its seed, and the sites on which things go wrong."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import AsyncIterator, Iterator

import pytest
from support.database import fresh_database, make_template
from support.faults.processes import Nursery

from hark.daemon.store.schema import schema_text

# Read here: the tests themselves run without the settings of whoever runs them.
LONG = os.environ.get("HARK_FAULTS") == "long"
SEED = os.environ.get("HARK_FAULTS_SEED") or str(random.SystemRandom().randrange(10**9))


def pytest_report_header() -> str:
    """Print how to have the same again."""
    return f"faults: {'long' if LONG else 'short'}, HARK_FAULTS_SEED={SEED}"


def pytest_configure(config: pytest.Config) -> None:
    """Let the workers of pytest-xdist have the same seed."""
    os.environ["HARK_FAULTS_SEED"] = SEED


@pytest.fixture
def long() -> bool:
    """Whether there is time."""
    return LONG


@pytest.fixture
def choice(request: pytest.FixtureRequest) -> random.Random:
    """Throw the dice: the same for each test, whichever others run; the seed stands in a failure's report."""
    seed = f"{SEED}/{request.node.name}"
    print(f"HARK_FAULTS_SEED={SEED}")  # noqa: T201 - pytest shows it with a failure
    return random.Random(zlib.crc32(seed.encode()))


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Have a nursery for all daemons."""
    one = Nursery()
    yield one
    one.close()


@pytest.fixture(scope="session")
def faults_template(server_url: str) -> str:
    """Make a template from the schema of the package that is tried, which need not be the one in this tree."""
    import asyncio

    return asyncio.run(make_template(server_url, schema_text()))


@pytest.fixture
async def empty_database(server_url: str, faults_template: str) -> AsyncIterator[str]:
    """Make a database with the schema."""
    async with fresh_database(server_url, faults_template) as url:
        yield url
