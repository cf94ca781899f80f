"""Erasures beside each other: what one cannot do, or has left, holds up no other, and many leave room for all else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from support.engine import EngineUnderTest, running_engine

from hark.daemon.archive.place import ArchiveError
from hark.daemon.engine import cancelling, erasure
from hark.daemon.engine.erasure import Eraser
from hark.daemon.engine.reaching import Reaching
from hark.daemon.engine.rewriting import Rewriter
from hark.workflows.errors import UnavailableError
from hark.workflows.ids import DEFAULT_TENANT, TenantId

TENANT = TenantId(DEFAULT_TENANT)
CARL = ("client", "carl")
WORKFLOW = """
id: one
name: One
triggers: [{type: event, event: GO, subject: {kind: client, id: "${{ event.data.client }}"}}]
steps: [{id: a, set: {x: 1}}]
"""
WAITS = WORKFLOW.replace("set: {x: 1}", "wait: 1h")
DECIDED = """
WITH begun AS (
    INSERT INTO hark.erasures (tenant_id, id, kind, salt, digest, requested_by, decided_at)
    VALUES ($1, hark.new_id(), 'client', 'x', sha256('x'), 'key:gone', now()) RETURNING tenant_id, id
)
INSERT INTO hark.erasing (tenant_id, erasure_id, what, id) SELECT tenant_id, id, $2, $3 FROM begun RETURNING erasure_id
"""
"""An erasure that was decided by an instance that is gone, with something listed."""


async def erase(hark: EngineUnderTest, who: str = "carl", *, force: bool = False) -> erasure.Erased:
    return await hark.engine.eraser.erase(TENANT, ("client", who), force=force, by="test")


async def left(hark: EngineUnderTest, table: str) -> int:
    number: int = await hark.database.pool.fetchval(f"SELECT count(*) FROM hark.{table}")
    return number


async def go_on(hark: EngineUnderTest) -> None:
    """Do what maintenance does with what is left; a dry run waits for the one that is at it as the engine starts."""
    await hark.engine.eraser.foresee(TENANT, ("client", "nobody"))


async def waiting(hark: EngineUnderTest, number: int) -> None:
    query = "SELECT count(*) = $1 FROM hark.workflow_executions WHERE status = 'waiting'"
    async with asyncio.timeout(20):
        while not await hark.database.pool.fetchval(query, number):
            await asyncio.sleep(0.02)


async def test_a_file_that_is_lost_holds_up_no_other_erasure(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_engine(database_url) as one:
        await one.apply(WORKFLOW)
        await one.run("GO", {"client": "carl"})
        pool = one.database.pool
        fetchrow, rewritten = one.database.fetchrow, []

        async def row(query: str, *args: Any) -> Any:
            return {"id": args[1]} if query == "get_archive" else await fetchrow(query, *args)

        async def rewrite(_: Rewriter, _tenant: UUID, lost: Any, *_about: Any) -> None:
            rewritten.append(lost["id"])
            raise ArchiveError("there is no such file")

        monkeypatch.setattr(one.database, "fetchrow", row)
        monkeypatch.setattr(Rewriter, "rewrite", rewrite)
        # Two erasures, of which the first has two files: neither stops the other, nor one file the next.
        first = await pool.fetchval(DECIDED, DEFAULT_TENANT, "archive", UUID(int=1))
        await pool.execute(
            "INSERT INTO hark.erasing SELECT tenant_id, id, 'archive', $2 FROM hark.erasures WHERE id = $1",
            first,
            UUID(int=2),
        )
        await pool.fetchval(DECIDED, DEFAULT_TENANT, "archive", UUID(int=3))
        assert (await one.engine.eraser.foresee(TENANT, ("client", "nobody"))).executions == 0
        assert rewritten == [UUID(int=1), UUID(int=2), UUID(int=3)]
        assert (await erase(one)).executions == 1
        # Theirs go on waiting for their files.
        assert await pool.fetchval("SELECT count(*) FROM hark.erasures WHERE ended_at IS NULL") == 2


async def test_many_at_once_take_turns_and_leave_the_pool_to_others(database_url: str) -> None:
    async with running_engine(database_url) as one:
        # As many as the pool has connections, and more, wait for somebody else who is at it.
        async with one.database.only_one(erasure.LOCK) as hold:
            assert hold is not None
            tasks = [asyncio.create_task(erase(one, str(n))) for n in range(12)]
            while not one.engine.eraser._turn.locked():
                await asyncio.sleep(0.01)
            async with asyncio.timeout(2):
                for _ in range(20):
                    await one.database.fetchval("last_row_change")
                    await asyncio.sleep(0.02)
        assert [done.executions for done in await asyncio.gather(*tasks)] == [0] * 12
        assert await left(one, "erasures") == 12


async def test_who_lost_the_lock_erases_nothing_more(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_engine(database_url) as one, running_engine(database_url) as two:
        await one.apply(WORKFLOW)
        await one.run("GO", {"client": "carl"})
        end_open = Eraser._end_open

        async def cut_off(self: Eraser, *about: Any, **how: Any) -> None:
            await end_open(self, *about, **how)
            await one.database.pool.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted "
                "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
                "AND objid = $1::int::oid",
                erasure.LOCK,
            )
            while await left(one, "erasures"):  # the other forgets what was not decided
                await two.engine.eraser.finish_leftovers()

        monkeypatch.setattr(Eraser, "_end_open", cut_off)
        with pytest.raises(UnavailableError):
            await erase(one)
        assert await left(one, "workflow_executions") == 1
        # Also when only the record is gone.
        monkeypatch.setattr(Eraser, "_end_open", end_open)
        monkeypatch.setattr(erasure.Hold, "confirm", lambda _: asyncio.sleep(0))
        async with one.engine.eraser._begun(TENANT, CARL, "test") as (task, _):
            await one.database.pool.execute("DELETE FROM hark.erasures")
            with pytest.raises(UnavailableError, match="taken over what this erasure had begun"):
                await one.engine.eraser._decide(task)


async def test_what_is_left_of_one_is_not_done_while_something_of_it_is_open(database_url: str) -> None:
    async with running_engine(database_url) as one:
        await one.apply(WAITS)
        (open_one,) = (await one.emit("GO", {"client": "carl"})).executions
        await waiting(one, 1)
        query = "SELECT ended_at IS NOT NULL FROM hark.erasures WHERE id = $1"
        erasure_id = await one.database.pool.fetchval(DECIDED, DEFAULT_TENANT, "execution", open_one)
        await go_on(one)
        assert not await one.database.pool.fetchval(query, erasure_id)
        assert await left(one, "erasing") == 1
        await one.engine.cancel(TENANT, open_one)
        await go_on(one)
        assert await one.database.pool.fetchval(query, erasure_id)
        assert (await left(one, "erasing"), await left(one, "workflow_executions")) == (0, 0)


async def test_many_that_are_open_end_in_sets_and_are_looked_for_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "STOPPED_WITHIN_S", 0.0)  # progress alone lets it go on
    collect, collected = Reaching.collect, []

    async def counted(self: Reaching) -> bool:
        collected.append(1)
        return await collect(self)

    monkeypatch.setattr(Reaching, "collect", counted)
    async with running_engine(database_url) as one:
        await one.apply(WAITS)
        await asyncio.gather(*(one.emit("GO", {"client": "carl"}) for _ in range(600)))
        await waiting(one, 600)
        fetchrow, sets = one.database.fetchrow, []

        async def row(query: str, *args: Any) -> Any:
            sets.extend([len(args[1])] if query == "cancel_executions" else [])
            return await fetchrow(query, *args)

        monkeypatch.setattr(one.database, "fetchrow", row)
        assert (await erase(one, force=True)).executions == 600
        assert (sum(sets), len(sets) <= 8) == (600, True)
        assert len(collected) == 3  # all, what those have left that ended, what came while the rest went
