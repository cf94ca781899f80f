"""The archive: nothing is dropped before it lies there whole, and what lies there can be read and comes back."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from pydantic import ValidationError
from support.aged_history import WORKFLOW, History, aged_history, days
from support.api import running_api
from support.database import connected
from support.s3 import s3_server

from hark.client import ApiError
from hark.daemon.archive import place
from hark.daemon.archive.place import ArchiveError, Directory
from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.report import Finding
from hark.daemon.doctor.retention import look_at_retention
from hark.daemon.engine import archive as archiving
from hark.daemon.engine.archive import Archive
from hark.daemon.engine.retention import Policy, Retention
from hark.daemon.settings import Settings
from hark.daemon.store.database import Database
from hark.workflows.errors import NotFoundError
from hark.workflows.ids import DEFAULT_TENANT

MORE = """
WITH context AS (
    INSERT INTO hark.workflow_context (tenant_id, execution_id, key, value, updated_at)
    VALUES ($1, $2, 'k', '{"n": 12345678901234567890.125}', now())
), wait AS (
    INSERT INTO hark.waits (tenant_id, execution_id, path, id, kind, detail, token_digest, answer, answered_at,
                            answered_by)
    VALUES ($1, $2, 'ask', hark.new_id(), 'approval', '{}', '\\x00ff', '{"approved": true}', now(), 'ann')
)
UPDATE hark.workflow_executions
SET inputs = '{"text": "ä\\n\\"\\\\ \U0001f600"}', subject_kind = 'client', subject_id = 'c7',
    limits = '{"x": 1}', lanes = '{}' WHERE id = $2
"""
POLICY = Policy(days(14), days(60), days(7), days(90))
TABLES = ("workflow_executions", "workflow_steps", "workflow_timeline", "workflow_logs", "workflow_context", "waits",
          "events", "event_decisions", "execution_events")  # fmt: skip


@pytest.fixture
async def history(database_url: str) -> AsyncIterator[History]:
    async with aged_history(database_url) as aged:
        await aged.connection.execute(
            "INSERT INTO hark.workflows (tenant_id, id, slug, name) VALUES ($1, $2, 'w', 'W')", DEFAULT_TENANT, WORKFLOW
        )
        yield aged


def retention_with(history: History, location: str | Path, database: Database | None = None) -> Retention:
    archive = Archive(database or history.database, str(location))
    return Retention(database or history.database, POLICY, archive)


async def everything(history: History) -> dict[str, list[str]]:
    """Return all rows of the history as text, without what a restored execution does not have."""
    return {
        table: sorted(
            row[0]
            for row in await history.connection.fetch(
                f"SELECT (to_jsonb(t) - 'kept_until' - 'limits' - 'lanes')::text FROM hark.{table} AS t"
            )
        )
        for table in TABLES
    }


async def sealed(history: History) -> list[asyncpg.Record]:
    return await history.connection.fetch("SELECT * FROM hark.archives WHERE sealed_at IS NOT NULL ORDER BY id")


def files_in(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


async def test_what_goes_is_in_the_archive_and_comes_back_as_it_was(history: History, tmp_path: Path) -> None:
    root = tmp_path / "archive"
    gone = await history.add("completed", days(30))
    await history.connection.execute(MORE, DEFAULT_TENANT, gone)
    batch = await history.add("failed", days(70))
    await history.connection.execute(
        "INSERT INTO hark.execution_events SELECT tenant_id, id, event_id, 0 FROM hark.workflow_executions "
        "WHERE id = $1",
        batch,
    )
    before = await everything(history)
    assert all(before.values())
    retention = retention_with(history, root)

    await retention.run()

    assert await history.left() == set()
    rows = await sealed(history)
    assert sum(row["executions"] for row in rows) == 2
    assert {(row["steps"], row["events"], row["logs"]) for row in rows} == {(1, 1, 1)}
    for row, path in zip(sorted(rows, key=lambda row: row["name"]), files_in(root), strict=True):
        assert path == root / row["name"]
        assert hashlib.sha256(path.read_bytes()).digest() == row["sha256"]
        assert path.stat().st_size == row["bytes"]
        assert path.stat().st_mode & 0o077 == 0
        # Anybody's tool can read it.
        text = subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout  # noqa: ASYNC221
        assert len(text.splitlines()) == row["executions"]
    line = orjson.loads(await retention.archive.find(DEFAULT_TENANT, gone))
    assert (line["execution"]["id"], line["steps"][0]["path"]) == (str(gone), "work")
    until = days(30)
    assert [await retention.archive.restore(DEFAULT_TENANT, row["id"], until) for row in rows] == [{"restored": 1}] * 2
    assert await everything(history) == before

    # Again does nothing, and no policy takes it away before its time.
    assert await retention.archive.restore_one(DEFAULT_TENANT, gone, until + days(1)) == {"there": 1}
    await retention.run()
    assert await everything(history) == before
    assert len(await sealed(history)) == 2
    await history.connection.execute("UPDATE hark.workflow_executions SET kept_until = now() - interval '1 s'")
    await retention.run()
    assert await history.left() == set()


async def test_a_file_holds_one_tenant_and_no_more_than_it_may(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archiving, "MOST_IN_FILE", 3)
    monkeypatch.setattr(archiving, "BATCH", 2)
    other = uuid4()
    await history.connection.execute("INSERT INTO hark.tenants (id, slug, name) VALUES ($1, 'o', 'O')", other)
    for _ in range(4):
        await history.add("completed", days(30))
        await history.add("completed", days(30), tenant=other)
    retention = retention_with(history, tmp_path)

    await retention.run()

    rows = await sealed(history)
    assert sorted((row["tenant_id"] == other, row["executions"]) for row in rows) == [
        (False, 1), (False, 3), (True, 2), (True, 2)
    ] or sum(row["executions"] for row in rows) == 8  # fmt: skip
    for row in rows:
        assert row["executions"] <= 3
        async for line in retention.archive.lines(row):
            assert orjson.loads(line)["execution"]["tenant_id"] == str(row["tenant_id"])
    with pytest.raises(NotFoundError):
        await retention.archive.get(DEFAULT_TENANT, next(row["id"] for row in rows if row["tenant_id"] == other))


async def test_an_archive_that_cannot_be_written_keeps_everything(history: History, tmp_path: Path) -> None:
    stays = {
        await history.add("completed", days(30)),
        await history.add("completed", days(8), workflow=await history.workflow('{"for": "1d"}')),
    }
    (tmp_path / "file").touch()
    retention = retention_with(history, tmp_path / "file" / "archive")
    before = await history.weeks("events")

    done = await retention.run()

    assert done is not None
    assert await history.left() == stays
    assert before - 4 < await history.weeks("events") <= before
    assert (retention.archive.figures.failures, retention.archive.figures.failing) == (1, True)
    problem = await history.connection.fetchval("SELECT problem FROM hark.archives")
    assert "Not a directory" in problem
    # Once there is a place, all is made up for.
    (tmp_path / "file").unlink()
    await retention.run()
    assert await history.left() == set()
    assert not retention.archive.figures.failing
    assert [row["executions"] for row in await sealed(history)] == [1, 1]


class DeathError(Exception):
    """The process is gone."""


@pytest.mark.parametrize("moment", ["seal_archives", "describe_archive", "erase_ended", "retire_week"])
async def test_a_crash_leaves_both_or_a_file_that_is_removed(history: History, tmp_path: Path, moment: str) -> None:
    """At any moment between the first byte and the commit: executions that are there are in no file of the archive."""

    class Dying(Archive):
        async def describe(self, *args: Any) -> None:
            if moment == "describe_archive":
                raise DeathError
            await super().describe(*args)

        async def seal(self, connection: Any, ids: Any) -> None:
            if moment == "seal_archives":
                raise DeathError
            await super().seal(connection, ids)
            if moment in ("erase_ended", "retire_week"):
                raise DeathError  # all is done, and not committed

    age = days(8) if moment == "erase_ended" else days(30)
    execution = await history.add("completed", age, workflow=await history.workflow('{"for": "1d"}'))
    dying = Retention(history.database, POLICY, Dying(history.database, str(tmp_path)))
    with pytest.raises(DeathError):
        await dying.run()
    assert await history.left() == {execution}
    assert await sealed(history) == []
    assert len(files_in(tmp_path)) == 1

    await retention_with(history, tmp_path).run()

    assert await history.left() == set()
    (row,) = await sealed(history)
    assert files_in(tmp_path) == [tmp_path / row["name"]]
    assert await history.connection.fetchval("SELECT count(*) FROM hark.archives") == 1


async def test_a_file_that_another_instance_gave_up_is_not_sealed(history: History, tmp_path: Path) -> None:
    """Its connection with the lock was cut, and another one took over: what is in the file must not be dropped."""
    execution = await history.add("completed", days(30))

    class Cut(Archive):
        async def seal(self, connection: Any, ids: Any) -> None:
            await Archive(history.database, str(tmp_path)).settle()
            await super().seal(connection, ids)

    retention = Retention(history.database, POLICY, Cut(history.database, str(tmp_path)))
    with pytest.raises(Exception, match="taken over"):
        await retention.run()
    assert await history.left() == {execution}


async def test_what_is_damaged_is_told(history: History, tmp_path: Path) -> None:
    execution = await history.add("completed", days(30))
    retention = retention_with(history, tmp_path)
    await retention.run()
    (path,) = files_in(tmp_path)
    whole = path.read_bytes()
    for bad, said in ((whole[:-3], "cut off"), (b"x" * len(whole), "damaged")):
        path.write_bytes(bad)
        with pytest.raises(ArchiveError, match=said):
            await retention.archive.find(DEFAULT_TENANT, execution)
    path.unlink()
    with pytest.raises(ArchiveError, match="No such file"):
        await retention.archive.find(DEFAULT_TENANT, execution)
    with pytest.raises(NotFoundError, match="no archive holds"):
        await retention.archive.find(DEFAULT_TENANT, UUID(int=7))


async def test_a_disk_that_is_not_mounted_is_no_empty_one(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="there is no directory"):
        await Directory(tmp_path / "gone").remove("a/b")


async def test_an_archive_is_written_out_before_it_is_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, replace = place._sync, Path.replace
    monkeypatch.setattr(place, "_sync", lambda path: (order.append(f"sync {path.is_dir()}"), sync(path)))
    monkeypatch.setattr(Path, "replace", lambda path, to: (order.append("move"), replace(path, to)))
    directory = Directory(tmp_path)
    file = directory.scratch()
    file.write_bytes(b"x")
    await directory.put("t/w/f", file)
    assert order == ["sync False", "move", "sync True", "sync True", "sync True"]
    assert (tmp_path / "t/w/f").read_bytes() == b"x"


async def test_an_execution_of_a_workflow_that_is_gone_does_not_come_back(history: History, tmp_path: Path) -> None:
    await history.add("completed", days(30))
    retention = retention_with(history, tmp_path)
    await retention.run()
    await history.connection.execute("DELETE FROM hark.workflows")
    (row,) = await sealed(history)
    until = days(1)
    assert await retention.archive.restore(DEFAULT_TENANT, row["id"], until) == {"no_workflow": 1}
    assert await history.left() == set()


async def test_the_archive_may_be_a_bucket(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    async with s3_server() as (bucket, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        execution = await history.add("completed", days(30))
        retention = retention_with(history, "s3://history/of/hark")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        await retention.run()
        assert await history.left() == {execution}
        assert "SignatureDoesNotMatch" in await history.connection.fetchval("SELECT problem FROM hark.archives")

        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", environment["AWS_SECRET_ACCESS_KEY"])
        retention = retention_with(history, "s3://history/of/hark")
        bucket.spoils = True
        await retention.run()
        assert await history.left() == {execution}
        assert "is not what was written" in await history.connection.fetchval("SELECT problem FROM hark.archives")

        bucket.spoils = False
        await retention.run()
        (row,) = await sealed(history)
        assert list(bucket.objects) == [f"history/of/hark/{row['name']}"]
        assert orjson.loads(await retention.archive.find(DEFAULT_TENANT, execution))["execution"]["id"] == str(
            execution
        )
        until = days(1)
        assert await retention.archive.restore(DEFAULT_TENANT, row["id"], until) == {"restored": 1}
        assert await history.left() == {execution}


async def test_the_archive_over_http(history: History, database_url: str, tmp_path: Path) -> None:
    execution = await history.add("completed", days(30))
    await retention_with(history, tmp_path / "archive").run()
    # Its housekeeping would let the reasons go that come back with the execution: they are as old.
    async with running_api(database_url, tmp_path, decision_retention=days(60)) as api:
        (row,) = (await api.client.archives()).items
        assert (row.executions, row.first_id, row.week is not None) == (1, execution, True)
        assert (await api.client.archived_execution(execution)).execution["id"] == str(execution)
        exported = b"".join([piece async for piece in api.client.export_archive(row.id)])
        assert [orjson.loads(line)["execution"]["id"] for line in exported.splitlines()] == [str(execution)]
        with pytest.raises(ApiError, match="an hour at least"):
            await api.client.restore(row.id, keep="1s")
        assert (await api.client.restore(row.id)).restored == 1
        assert (await api.client.restore(execution, execution=True)).there == 1
        assert await history.left() == {execution}
        for path in (f"/api/archives/{uuid4()}/lines", f"/api/archives/executions/{uuid4()}"):
            assert (await api.get(path))[0] == 404
        (tmp_path / "archive" / row.name).unlink()
        status, problem = await api.get(f"/api/archives/{row.id}/lines")
        assert (status, problem["title"]) == (502, "Archive not available")
        status, _ = await api.send("POST", f"/api/archives/{row.id}/restore", key=await api.add_key("write"), json={})
        assert status == 403


async def findings(database_url: str, tmp_path: Path) -> list[Finding]:
    settings = Settings(data_dir=tmp_path, database_url=database_url, retention=days(14))
    async with connected(database_url) as connection:
        return [finding async for finding in look_at_retention(Case(settings, connection))]


async def test_doctor_tells_of_an_archive_that_fails_and_of_weeks_that_stay(
    history: History, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    retention = retention_with(history, tmp_path / "file" / "archive")
    await history.add("completed", days(30))
    await retention.run()
    archive, behind = await findings(database_url, tmp_path)
    assert (archive.level, behind.level) == ("error", "warning")
    assert "Not a directory" in archive.message
    assert "days ago" in behind.message
    assert retention.figures.lag_s > 86_400
    assert retention.archive.figures.stats()["archive_failing"] == 1

    (tmp_path / "file").unlink()
    await retention.run()

    assert await findings(database_url, tmp_path) == []
    assert retention.figures.lag_s == 0
    assert retention.archive.figures.stats()["archive_bytes_total"] > 0


@pytest.mark.parametrize("value", ["ftp://x/y", "s3://"])
def test_a_place_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ValidationError, match="s3://bucket/prefix"):
        Settings(archive=value)
