"""The doctor on an embedded server of its own, as an installation has it: sound, stopped, a standby."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from support.database import connected
from support.engine import running_engine

from hark.daemon.doctor import server as server_checks
from hark.daemon.doctor.examination import CONTENT, DEEP, LOCAL, SERVER, examine
from hark.daemon.doctor.report import Finding, healthy
from hark.daemon.postgres.server import EmbeddedPostgres
from hark.daemon.runtime_file import RuntimeFile
from hark.daemon.settings import Settings
from hark.daemon.store.schema import ensure_schema

_WORKFLOW = """
id: watcher
name: Watcher
triggers:
  - {id: rows, type: row, table: clients, operations: [insert, update], columns: [status]}
  - {id: nights, type: cron, schedule: "0 3 * * *", timezone: Europe/Berlin}
  - {id: hook, type: webhook, path: leads, auth: {type: bearer, secret: "${{ secrets.doctor_key }}"}}
steps:
  - {id: note, action: log_event, with: {message: seen}}
"""


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Name a data directory that an embedded server's own account may pass."""
    parent = Path(tempfile.mkdtemp(prefix="hark-doctor-"))
    parent.chmod(0o711)
    yield Settings(data_dir=parent / "state", port=0)
    place = parent / "state" / "postgres"
    for path in (place / "run", place):
        if path.is_symlink():
            shutil.rmtree(path.resolve(), ignore_errors=True)
    shutil.rmtree(parent)


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[str]:
    """Use the embedded server for the length of a block."""
    server = EmbeddedPostgres(settings.data_dir, options={"max_prepared_transactions": "2"})
    try:
        yield await server.start()
    finally:
        await server.stop()


def of(findings: list[Finding], check: str) -> Finding:
    """Return the one finding of a check."""
    (found,) = [finding for finding in findings if finding.check == check]
    return found


async def test_an_installation_in_good_and_in_bad_days(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """One server for all of it: starting one takes seconds."""
    async with started(settings) as url:
        assert "no schema `hark`" in of(await examine(settings), "schema").message
        await ensure_schema(url)
        await sound(settings, url, monkeypatch)
        await prepared(settings, url, monkeypatch)
    await stopped(settings)
    (settings.data_dir / "postgres" / "data" / "standby.signal").touch()
    async with started(settings):
        found = of(await examine(settings), "recovery")
        assert (found.level, "standby" in found.message) == ("error", True)


async def sound(settings: Settings, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an instance works, every check speaks, none in error."""
    monkeypatch.setenv("HARK_SECRET_DOCTOR_KEY", "a-key-for-nothing")
    async with connected(url) as connection:
        await connection.execute("CREATE TABLE public.clients (id int PRIMARY KEY, status text)")
    async with running_engine(url, secrets={"doctor_key": "a-key-for-nothing"}) as engine:
        await engine.apply(_WORKFLOW)
        async with connected(url) as connection:
            captured = "SELECT count(*) > 0 FROM pg_trigger WHERE tgrelid = 'public.clients'::regclass"
            await engine.until(lambda: connection.fetchval(captured), "the trigger on clients")
        findings = await examine(settings, schema=True)
    # How old the time zones of the machine are is not for this test to say.
    assert [finding for finding in findings if finding.level != "ok" and finding.check != "tzdata"] == []
    assert healthy(findings)
    everything = {check.name for check in (*LOCAL, *SERVER, *CONTENT, *DEEP)} | {"database", "schema"}
    assert {finding.check for finding in findings} == everything


async def prepared(settings: Settings, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a prepared transaction behind, and see it named."""
    monkeypatch.setattr(server_checks, "OLD_TRANSACTION", server_checks.OLD_TRANSACTION * 0)
    async with connected(url) as connection:
        await connection.execute(
            "BEGIN; INSERT INTO public.clients VALUES (1, 'lead'); PREPARE TRANSACTION 'forgotten'"
        )
        try:
            findings = await examine(settings)
        finally:
            await connection.execute("ROLLBACK PREPARED 'forgotten'")
    found = of(findings, "transactions")
    assert (found.level, "prepared transaction forgotten" in found.message) == ("warning", True)
    assert "ROLLBACK PREPARED 'forgotten'" in found.advice


async def stopped(settings: Settings) -> None:
    """Without a daemon the server rests, and that is well; with one that lives it is not."""
    findings = await examine(settings)
    assert of(findings, "database").level == "ok"
    assert "not running, because no daemon is" in of(findings, "database").message
    runtime = RuntimeFile(settings.data_dir)
    runtime.write("http://127.0.0.1:9")
    try:
        found = of(await examine(settings), "database")
    finally:
        runtime.remove()
    assert (found.level, "is gone, although the daemon" in found.message) == ("error", True)
