"""Fixtures of the fault suite: its dice, its figures, and what the sites are made of on which things go wrong."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import pytest_asyncio
from support.database import fresh_database, make_template
from support.faults import length
from support.faults.processes import Nursery
from support.faults.site import Site
from support.faults.sites import Sites

from hark.daemon.store.schema import schema_text


@pytest.fixture
def choice(request: pytest.FixtureRequest) -> random.Random:
    """Throw the dice: the same for each test, whichever others run."""
    print(f"HARK_FAULTS_SEED={length.SEED}")  # noqa: T201 - pytest shows it with a failure
    return length.dice(request.node.name)


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Put a figure into the summary."""
    return lambda text: request.node.user_properties.append(("faults", text))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how to have the same again, and what was measured."""
    terminalreporter.section("faults")
    terminalreporter.line(f"{'long' if length.LONG else 'short'} form, HARK_FAULTS_SEED={length.SEED}")
    for reports in [*terminalreporter.stats.values()]:
        for report in reports:
            if getattr(report, "when", "") == "teardown":
                continue
            for name, text in getattr(report, "user_properties", ()):
                if name == "faults":
                    terminalreporter.line(f"{report.nodeid.rpartition('::')[2]}: {text}")


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Have a nursery for all daemons."""
    one = Nursery()
    yield one
    one.close()


@pytest.fixture(scope="session")
def faults_template(server_url: str) -> str:
    """Make a template from the schema of the package that is tried, which need not be the one in this tree."""
    return asyncio.run(make_template(server_url, schema_text()))


@pytest.fixture
async def empty_database(server_url: str, faults_template: str) -> AsyncIterator[str]:
    """Make a database with the schema."""
    async with fresh_database(server_url, faults_template) as url:
        yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sites(nursery: Nursery, server_url: str, faults_template: str) -> AsyncIterator[Sites]:
    """Keep a site for this file."""
    one = Sites(nursery, server_url, faults_template)
    yield one
    await one.close()


@pytest_asyncio.fixture(loop_scope="module")
async def place(sites: Sites) -> AsyncIterator[Site]:
    """Give a site on which a daemon runs; the test has to leave it so that the oracle is content."""
    found = await sites.get()
    found.spoiled = True
    yield found
    found.one.proxy.clear()
    if found.spoiled:
        found.show_logs()
