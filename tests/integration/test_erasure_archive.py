"""What was archived is erased too: files are written anew without it, whatever dies on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from support.aged_history import WORKFLOW, History, days
from support.database import connected
from support.engine import running_engine
from support.s3 import s3_server

from hark.daemon.archive.lines import archive_key
from hark.daemon.archive.place import ArchiveError
from hark.daemon.doctor.checking import Case
from hark.daemon.doctor.report import Finding
from hark.daemon.doctor.retention import look_at_retention
from hark.daemon.engine.archive import Archive
from hark.daemon.engine.erasure import Eraser
from hark.daemon.engine.retention import Policy, Retention
from hark.daemon.engine.rewriting import Rewriter
from hark.daemon.settings import Settings
from hark.daemon.store.database import Database
from hark.workflows.errors import ConflictError, NotFoundError
from hark.workflows.ids import DEFAULT_TENANT, TenantId

TENANT = TenantId(DEFAULT_TENANT)
ABOUT = """
WITH it AS (
    UPDATE hark.workflow_executions
    SET subject_kind = 'client', subject_id = $2, inputs = jsonb_build_object('mark', $3::text)
    WHERE id = $1 RETURNING event_id
)
UPDATE hark.events AS v
SET subject_kind = 'client', subject_id = $2, data = jsonb_build_object('mark', $3::text), dedupe_key = $3
FROM it WHERE v.id = it.event_id
"""
"""Make an execution and its event be about a client, with a mark in both."""
SHARED = """
INSERT INTO hark.workflow_executions (tenant_id, id, workflow_id, version, event_id, ordinal, trigger_type, status,
                                      completed_at, subject_kind, subject_id, inputs)
SELECT tenant_id, overlay(event_id::text PLACING right(gen_random_uuid()::text, 12) FROM 25)::uuid, workflow_id, 1,
       event_id, 1, 'event', 'completed', completed_at, 'order', 'o1', '{"n": 12345678901234567890.125}'
FROM hark.workflow_executions WHERE id = $1 RETURNING id
"""
"""Add an execution about something else that the same event has started."""
JOINED = """
UPDATE hark.events AS v
SET kind = 'workflow', caused_by = gen_random_uuid(), also_caused_by = ARRAY[$2::uuid], data = '{"mark": "mark-carl"}'
FROM hark.workflow_executions AS e WHERE e.id = $1 AND v.id = e.event_id
"""
"""Let the event of an execution have been made of the ends of two."""
KEYED = """
INSERT INTO hark.event_keys (tenant_id, source, key, event_id, digest, expires_at)
SELECT v.tenant_id, v.source, v.dedupe_key, v.id, '', now() + interval '30 days' FROM hark.events AS v
WHERE v.dedupe_key IS NOT NULL ON CONFLICT DO NOTHING
"""
"""Let keys be remembered for longer than their events."""
CAUSED = """
UPDATE hark.events AS v SET caused_by = $2, data = '{"mark": "mark-carl"}'
FROM hark.workflow_executions AS e WHERE e.id = $1 AND v.id = e.event_id
"""
"""Let the event of an execution have been published by another one."""


@pytest.fixture
async def history(database_url: str) -> AsyncIterator[History]:
    """Give a database without weeks that are past: what goes goes row by row, which is quicker."""
    database = Database(database_url)
    await database.start()
    async with connected(database_url) as connection:
        await connection.execute(
            "INSERT INTO hark.workflows (tenant_id, id, slug, name) VALUES ($1, $2, 'w', 'W')", DEFAULT_TENANT, WORKFLOW
        )
        yield History(connection, database)
    await database.stop()


def retention_with(history: History, location: str | Path) -> Retention:
    return Retention(
        history.database, Policy(days(14), days(60), days(7), days(90)), Archive(history.database, str(location))
    )


def eraser_with(history: History, archive: Archive) -> Eraser:
    return Eraser(history.database, archive, now=lambda: datetime.now(UTC))


async def about(history: History, age: float, who: str, **options: Any) -> UUID:
    execution = await history.add("completed", days(age), **options)
    await history.connection.execute(ABOUT, execution, who, f"mark-{who}")
    return execution


async def lines_of(archive: Archive) -> dict[UUID, bytes]:
    """Return all lines of the archive by execution."""
    return {
        UUID(orjson.loads(line)["execution"]["id"]): line
        for row in await archive._database.pool.fetch(
            "SELECT * FROM hark.archives WHERE sealed_at IS NOT NULL AND dropped_at IS NULL"
        )
        async for line in archive.lines(row)
    }


async def files_match(history: History, root: Path) -> bool:
    """Tell whether there is a row for every file and a file for every row, and each is part of the archive."""
    rows = await history.connection.fetch("SELECT name, sealed_at, dropped_at FROM hark.archives")
    assert all(row["sealed_at"] is not None and row["dropped_at"] is None for row in rows)
    return {root / row["name"] for row in rows} == {path for path in root.rglob("*") if path.is_file()}


async def nothing_is_left(history: History, archive: Archive, root: Path | None, others: dict[UUID, bytes]) -> None:
    """Check that of carl nothing is anywhere, and that of the others every byte is."""
    lines = await lines_of(archive)
    assert lines == others
    assert not any(b"carl" in line for line in lines.values())
    if root is not None:
        assert await files_match(history, root)
    assert await history.connection.fetchval("SELECT count(*) FROM hark.erasing") == 0
    assert await history.connection.fetchval("SELECT count(*) FROM hark.erasures WHERE ended_at IS NULL") == 0
    for table in ("workflow_executions", "events", "event_keys"):
        query = f"SELECT count(*) FROM hark.{table} AS t WHERE strpos(t::text, 'carl') > 0"
        assert await history.connection.fetchval(query) == 0


async def test_files_are_written_anew_without_it_and_nothing_comes_back(history: History, tmp_path: Path) -> None:
    retention = retention_with(history, tmp_path)
    mine = await about(history, 30, "carl")
    shared = await history.connection.fetchval(SHARED, mine)
    restored = await about(history, 37, "carl")
    others = {await about(history, 30, "cleo")}
    await history.connection.execute(KEYED)
    await retention.run()
    await history.add("completed", days(29), parent=mine)  # what it has called lies in another file
    await retention.run()
    heard = await history.add("completed", days(22))  # and so does what started on what it has published
    await history.connection.execute(CAUSED, heard, mine)
    await retention.run()
    joined = await history.add("completed", days(22))  # and what was made of its end and of another one
    await history.connection.execute(JOINED, joined, mine)
    others |= {await history.add("completed", days(22))}
    await retention.run()
    alone = await about(history, 36, "carl")  # nothing else is in its file
    await retention.run()
    others |= {await about(history, 5, "cleo")}
    assert len(list(tmp_path.rglob("*.zst"))) == 5
    archive = retention.archive
    before = await lines_of(archive)
    await archive.restore_one(DEFAULT_TENANT, restored, days(30))
    eraser = eraser_with(history, archive)
    foreseen = await eraser.foresee(TENANT, ("client", "carl"))
    assert await lines_of(archive) == before

    done = await eraser.erase(TENANT, ("client", "carl"), force=False, by="test")

    # carl's three, what one of them called, and the two that heard of one; the restored one is in both places.
    assert (done.archived, done.executions, done.emptied) == (6, 1, 1)
    assert (foreseen.archived, foreseen.executions, foreseen.emptied, foreseen.files) == (6, 1, 1, done.files)
    assert await history.connection.fetchval("SELECT array_agg(DISTINCT key) FROM hark.event_keys") == ["mark-cleo"]
    lines = await lines_of(archive)
    kept = {one: before[one] for one in before if one in others}
    changed = lines.pop(UUID(str(shared)))
    assert b"12345678901234567890.125" in changed
    (event,) = orjson.loads(changed)["events"]
    assert (event["data"], event["subject_id"], event["dedupe_key"]) == ({}, None, None)
    assert orjson.loads(changed)["execution"] == orjson.loads(before[UUID(str(shared))])["execution"]
    assert lines == kept
    assert not any(b"carl" in line for line in (*lines.values(), changed))
    assert await files_match(history, tmp_path)
    for row in await history.connection.fetch("SELECT * FROM hark.archives"):
        found = [line async for line in archive.lines(row)]
        assert row["executions"] == len(found)
        assert archive_key("client", "carl") not in row["keys"]
        assert await archive.restore(DEFAULT_TENANT, row["id"], days(1)) == {"restored": len(found)}
    with pytest.raises(NotFoundError, match="no archive holds"):
        await archive.restore_one(DEFAULT_TENANT, alone, days(1))
    left = await history.connection.fetch("SELECT id FROM hark.workflow_executions")
    assert {row["id"] for row in left} == {*others, shared}
    # What is in a file anew is found as before.
    again = await eraser.erase(TENANT, ("client", "cleo"), force=False, by="test")
    assert again.archived == 1


class DeathError(Exception):
    """The process is gone."""


MOMENTS = ("begin_archive", "describe_archive", "replace_archive", "count_in_archive", "settle", "erase_listed_events",
           "clear_erasing", "end_erasure")  # fmt: skip


@pytest.mark.parametrize("moment", MOMENTS)
async def test_whoever_comes_next_finishes_what_a_crash_cut_off(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """At every moment after the decision. Nobody need know any more whom it was about."""
    await about(history, 30, "carl")
    others = {await about(history, 30, "cleo"), await about(history, 30, "cher")}
    retention = retention_with(history, tmp_path)
    await retention.run()
    await about(history, 1, "carl")
    archive = retention.archive
    kept = {one: line for one, line in (await lines_of(archive)).items() if one in others}
    with monkeypatch.context() as patched:
        _die_at(patched, history, moment)
        with pytest.raises(DeathError):
            await eraser_with(history, archive).erase(TENANT, ("client", "carl"), force=False, by="test")
    assert await history.connection.fetchval("SELECT count(*) FROM hark.erasures WHERE ended_at IS NULL") == 1

    await eraser_with(history, Archive(history.database, None)).finish_leftovers()

    await nothing_is_left(history, archive, tmp_path, kept)
    record = await history.connection.fetchrow("SELECT * FROM hark.erasures")
    assert (record["executions"], record["archived"], record["files"]) == (1, 1, 1)


def _die_at(patched: pytest.MonkeyPatch, history: History, moment: str) -> None:
    """Let the process end just before a statement, or in its transaction; `settle`: before the old file is removed."""
    if moment == "settle":
        settle, calls = Archive.settle, []

        async def dying_settle(self: Archive) -> None:
            calls.append(1)
            if len(calls) == 2:
                raise DeathError
            await settle(self)

        patched.setattr(Archive, "settle", dying_settle)
        return
    if moment in ("replace_archive", "count_in_archive"):
        replace = Rewriter._replace

        async def dying_replace(*about: Any) -> None:
            if moment == "count_in_archive":
                await replace(*about)
            raise DeathError

        patched.setattr(Rewriter, "_replace", staticmethod(dying_replace))
        return
    for name in ("fetchval", "execute"):
        patched.setattr(history.database, name, _dying(getattr(history.database, name), moment))


def _dying(run: Any, moment: str) -> Any:
    def dying(query: str, *args: Any) -> Any:
        if query == moment:
            raise DeathError
        return run(query, *args)

    return dying


async def test_what_was_not_decided_is_forgotten(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = await about(history, 1, "carl")
    archive = Archive(history.database, str(tmp_path))
    with monkeypatch.context() as patched:
        _die_at(patched, history, "decide_erasure")
        patched.setattr(Eraser, "_forget_undecided", _nothing)
        with pytest.raises(DeathError):
            await eraser_with(history, archive).erase(TENANT, ("client", "carl"), force=False, by="test")
    assert await history.connection.fetchval("SELECT count(*) FROM hark.erasing") > 0
    await eraser_with(history, archive).finish_leftovers()
    assert await history.left() == {mine}
    assert await history.connection.fetchval("SELECT count(*) FROM hark.erasures") == 0


async def _nothing(*_: Any) -> None:
    return None


async def test_a_file_that_was_given_up_takes_nobodys_place(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection with the lock was cut, and another instance has removed what it was writing."""
    await about(history, 30, "carl")
    other = await about(history, 30, "cleo")
    retention = retention_with(history, tmp_path)
    await retention.run()
    replace = Rewriter._replace

    async def replace_after_a_settling(*about: Any) -> None:
        await Archive(history.database, str(tmp_path)).settle()
        await replace(*about)

    with monkeypatch.context() as patched:
        patched.setattr(Rewriter, "_replace", staticmethod(replace_after_a_settling))
        with pytest.raises(Exception, match="taken over the archive"):
            await eraser_with(history, retention.archive).erase(TENANT, ("client", "carl"), force=False, by="test")
    assert len(await lines_of(retention.archive)) == 2
    await eraser_with(history, retention.archive).finish_leftovers()
    assert set(await lines_of(retention.archive)) == {other}
    assert await files_match(history, tmp_path)


async def findings(database_url: str, tmp_path: Path) -> list[Finding]:
    settings = Settings(data_dir=tmp_path, database_url=database_url)
    async with connected(database_url) as connection:
        return [finding async for finding in look_at_retention(Case(settings, connection))]


async def test_a_bucket_that_fails_is_told_and_finished_later(
    history: History, monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path
) -> None:
    async with s3_server() as (bucket, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        await about(history, 30, "carl")
        other = await about(history, 30, "cleo")
        retention = retention_with(history, "s3://history/of/hark")
        await retention.run()
        eraser = eraser_with(history, retention.archive)
        bucket.spoils = True
        with pytest.raises(ArchiveError, match="is not what was written"):
            await eraser.erase(TENANT, ("client", "carl"), force=False, by="test")
        assert await findings(database_url, tmp_path) == []
        await history.connection.execute("UPDATE hark.erasures SET decided_at = now() - interval '2 hours'")
        (cut_off,) = await findings(database_url, tmp_path)
        assert "1 erasure decided" in cut_off.message
        bucket.spoils = False
        await eraser.finish_leftovers()
        lines = await lines_of(retention.archive)
        await nothing_is_left(history, retention.archive, None, {other: lines[other]})
        assert len(bucket.objects) == 1


async def test_while_something_is_erased_nothing_is_restored(history: History, tmp_path: Path) -> None:
    execution = await about(history, 30, "cleo")
    retention = retention_with(history, tmp_path)
    await retention.run()
    async with eraser_with(history, retention.archive)._alone():
        assert await retention.run() is None
        with pytest.raises(ConflictError, match="something is being erased"):
            await retention.archive.restore_one(DEFAULT_TENANT, execution, days(1))
    assert await retention.archive.restore_one(DEFAULT_TENANT, execution, days(1)) == {"restored": 1}


async def test_a_deleted_workflow_is_in_no_file_any_more(history: History, database_url: str, tmp_path: Path) -> None:
    await history.add("completed", days(30))
    kept = await history.add("completed", days(30), workflow=await history.workflow("{}"))
    retention = retention_with(history, tmp_path)
    await retention.run()
    before = await lines_of(retention.archive)
    assert len(before) == 2
    async with running_engine(database_url) as one:
        await one.engine.publisher.delete(TENANT, "w")
    assert await lines_of(retention.archive) == {kept: before[kept]}
    assert await files_match(history, tmp_path)


async def test_keys_are_made_alike_here_and_in_the_database(history: History) -> None:
    for kind, identifier in (("client", "carl"), ("agent", "ä/\n\U0001f600"), ("execution:id", str(WORKFLOW))):
        made = await history.connection.fetchval("SELECT hark.archive_key($1, $2)", kind, identifier)
        assert archive_key(kind, identifier) == made
