"""Erasure of a subject: what is about a client, agent … goes from history and archive, and is on record as gone.

First everything is listed (`reaching.py`); until the list is complete nothing goes. Then the list is worked off in
bounded batches, each of which may be repeated. Should this instance die, whoever comes next works off what was decided.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import structlog

from hark.daemon.archive.lines import Line, Subject, workflow_key
from hark.daemon.archive.place import ArchiveError
from hark.daemon.engine.archive import RESTORE_LOCK, Archive
from hark.daemon.engine.cancelling import cancel_until_ended
from hark.daemon.engine.reaching import BATCH, Listed, Reaching, Task
from hark.daemon.engine.retention import LOCK
from hark.daemon.engine.rewriting import Choice, Rewriter
from hark.daemon.store.database import Database, Record
from hark.daemon.store.holds import Hold
from hark.daemon.store.listing import Span
from hark.daemon.store.outages import IN_THE_WAY, translated
from hark.workflows.counting import counted
from hark.workflows.errors import ConflictError, UnavailableError
from hark.workflows.ids import TenantId, new_id

log = structlog.get_logger(__name__)

PATIENCE_S = 30.0
"""How long an erasure waits for retention, for another erasure, and for row changes that were captured before it."""
MOST_NAMED = 10
_AT_ONCE = 500
_HISTORY = "erase_listed", "erase_listed_events"
"""All executions, then the events, of which some may be needed."""
_CANCELLED = orjson.dumps({"class": "cancelled", "message": "what it is about is being erased"}).decode()


@dataclass(slots=True)
class Erased:
    """What went, or would go in a dry run."""

    id: UUID
    executions: int = 0
    steps: int = 0
    logs: int = 0
    events: int = 0
    emptied: int = 0
    archived: int = 0
    files: int = 0
    open: list[dict[str, Any]] = field(default_factory=list)
    """Of a dry run: some of what would have to end first."""


class OfWorkflow:
    """Takes the executions of a workflow out of files."""

    def __init__(self, workflow_id: UUID) -> None:
        self._workflow_id = workflow_id

    async def choose(self, lines: Sequence[Line]) -> Choice:
        """Look at whose they are."""
        return Choice({line.id for line in lines if line.workflow_id == self._workflow_id})


class Eraser:
    """Erases subjects, and from the archive workflows too. One instance at a time is at it, and retention is not."""

    def __init__(
        self,
        database: Database,
        archive: Archive,
        *,
        now: Callable[[], datetime],
        elsewhere: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """Begin with nothing. `elsewhere` returns when changes that other databases captured before it are events."""
        self._database = database
        self._archive = archive
        self._elsewhere = elsewhere
        self._rewriter = Rewriter(database, archive)
        self._now = now
        self._turn = asyncio.Lock()

    async def erase(self, tenant_id: TenantId, subject: Subject, *, force: bool, by: str) -> Erased:
        """Erase everything about a subject that came before this call; returns when it is gone.

        Raises ConflictError when something of it is open, unless `force` is to end that, or when it does not end;
        ArchiveError when the archive cannot be read or written, UnavailableError. Called again it goes on.
        """
        await self._caught_up()
        async with self._begun(tenant_id, subject, by) as (task, reaching):
            await reaching.collect()
            more = True
            while more:
                await self._end_open(task, reaching, force=force)
                await self._decide(task)
                await self._delete(task, *_HISTORY)
                # What was repeated, called or handed out while the rest went.
                more = await reaching.collect()
            done = await self._finish(task)
            if force:
                with suppress(UnavailableError):  # one before, without it, may have waited for what was ended now
                    await self._leftovers(task.hold)
            return done

    async def foresee(self, tenant_id: TenantId, subject: Subject) -> Erased:
        """Tell what `erase` would take now. Raises ArchiveError, UnavailableError."""
        async with self._begun(tenant_id, subject, "") as (task, reaching):
            await reaching.collect()
            there = await reaching.counts()
            found = Erased(task.id, there.executions, there.steps, there.logs, there.events, there.emptied)
            found.archived = sum(one.dropped for one in reaching.files.values())
            found.emptied += sum(one.emptied for one in reaching.files.values())
            found.files = len(reaching.files)
            found.open = [dict(row) for row in await reaching.listed.open_ones(MOST_NAMED)][:MOST_NAMED]
            return found

    async def forget_workflow(self, workflow_id: UUID, tenant_id: UUID) -> None:
        """Take a workflow whose history is gone out of the archive. Raises ArchiveError, UnavailableError."""
        keys = [workflow_key(workflow_id)]
        if not self._archive.wanted and not await self._rewriter.with_keys(tenant_id, keys):
            return
        async with self._alone() as hold:  # with it nothing is on its way into the archive
            for row in await self._rewriter.with_keys(tenant_id, keys):
                await hold.confirm()
                await self._rewriter.rewrite(tenant_id, row, OfWorkflow(workflow_id))
            await self._archive.settle()

    async def page(self, tenant_id: TenantId, span: Span, subject: Subject | None = None) -> list[Record]:
        """Return a page of the erasures on record, or of those of a subject, the latest first."""
        of = subject or (None, None)
        return await self._database.fetch("list_erasures", tenant_id, span.before, span.since, span.limit, *of)

    async def finish_leftovers(self) -> None:
        """Carry out what was decided by who is gone, and forget what was not; not while somebody is at it."""
        if not await self._database.fetch("list_erasures_under_way"):
            return
        async with self._database.only_one(LOCK, RESTORE_LOCK) as hold:
            if hold is not None:
                await self._leftovers(hold)

    # ------------------------------------------------------------------ beginning

    async def _caught_up(self) -> None:
        """Wait until row changes that were captured before this moment are events. Raises UnavailableError."""
        last = await self._database.fetchval("last_row_change")
        until = time.monotonic() + PATIENCE_S
        while not await self._database.fetchval("is_captured_taken", last):
            if time.monotonic() > until:
                raise UnavailableError(
                    "row changes from before this call have not become events yet, and may be about the subject; "
                    "`hark doctor` tells what holds them up"
                )
            await asyncio.sleep(0.05)
        if self._elsewhere is not None:
            await self._caught_up_elsewhere(self._elsewhere, until)

    async def _caught_up_elsewhere(self, elsewhere: Callable[[], Awaitable[None]], until: float) -> None:
        why = "row changes of another database from before this call may be about the subject, and are not events yet"
        try:
            async with asyncio.timeout(max(until - time.monotonic(), 0.1)):
                await elsewhere()
        except TimeoutError:
            raise UnavailableError(f"{why}; `hark watch` tells what holds them up") from None
        except UnavailableError as error:
            remedy = "if it does not come back, take its connection out of the environment of all instances"
            raise UnavailableError(f"{why}: {error}; {remedy}") from error

    @asynccontextmanager
    async def _alone(self) -> AsyncIterator[Hold]:
        """Keep out retention, restoring and other erasures; wait for those that are at it. Raises UnavailableError."""
        until = time.monotonic() + PATIENCE_S
        async with self._my_turn():
            patience_s = max(until - time.monotonic(), 0.0)
            async with self._database.only_one(LOCK, RESTORE_LOCK, patience_s=patience_s) as hold:
                if hold is None:
                    raise _under_way()
                yield hold

    @asynccontextmanager
    async def _my_turn(self) -> AsyncIterator[None]:
        """Let those of this instance wait in the process: however many they are, one has a connection for it."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._turn.acquire()
        except TimeoutError:
            raise _under_way() from None
        try:
            yield
        finally:
            self._turn.release()

    @asynccontextmanager
    async def _begun(self, tenant_id: UUID, subject: Subject, by: str) -> AsyncIterator[tuple[Task, Reaching]]:
        """Begin an erasure; one that is not decided when the block ends leaves nothing behind."""
        async with self._alone() as hold:
            await self._leftovers(hold)
            await self._settle()
            salt = os.urandom(16)
            task = Task(tenant_id, new_id(self._now()), hold)
            until = await self._database.fetchval(
                "begin_erasure", task.tenant_id, task.id, subject[0], salt, digest_of(salt, subject), by
            )
            try:
                yield task, Reaching(self._database, self._rewriter, task, subject, until)
            finally:
                with suppress(UnavailableError):  # whoever comes next does it
                    await self._forget_undecided(hold)

    # ------------------------------------------------------------------ carrying out

    async def _end_open(self, task: Task, reaching: Reaching, *, force: bool) -> None:
        """Cancel what is open and wait for it, and for what it left; without `force`, refuse."""
        if not force:
            if rows := await reaching.listed.open_ones(_AT_ONCE):
                raise _still_open(rows)
            return
        while await cancel_until_ended(lambda: self._cancel_sets(task, reaching.listed), _not_ended):
            # What those that had not ended when all was listed have published and called since.
            await reaching.collect()

    async def _cancel_sets(self, task: Task, listed: Listed) -> tuple[int, int]:
        """Cancel what is open of each slice; returns how many are left, and how many were cancelled or asked."""
        await task.hold.confirm()
        left = cancelled = 0
        async for rows in listed.open_sets():
            ids = [row["id"] for row in rows]
            with translated(*IN_THE_WAY):
                done = await self._database.fetchrow("cancel_executions", task.tenant_id, ids, _CANCELLED)
            if done is not None:
                left, cancelled = left + len(ids) - done["ended"], cancelled + done["cancelled"]
        return left, cancelled

    async def _decide(self, task: Task) -> None:
        """Put on record that it is carried out. Raises UnavailableError when another instance has seen to it."""
        await task.hold.confirm()
        if await self._database.fetchval("decide_erasure", task.tenant_id, task.id) is None:
            raise UnavailableError("another instance has taken over what this erasure had begun; ask again")

    async def _delete(self, task: Task, *queries: str) -> None:
        """Delete what is listed from the history, in batches."""
        for query in queries:
            after: int | None = 0
            while after is not None:
                await task.hold.confirm()
                after = await self._database.fetchval(query, task.tenant_id, task.id, after, BATCH)

    async def _finish(self, task: Task) -> Erased:
        """Take what is listed out of the archive, and close the record. Raises ArchiveError, after all other files."""
        listed = Listed(self._database, task)
        failed: ArchiveError | None = None
        async for part in listed.slices():
            for archive_id in part.archives:
                try:
                    await self._rewrite(task, listed, archive_id)
                except ArchiveError as error:
                    failed = failed or error
        if failed is not None:
            raise failed
        await self._archive.settle()
        await self._clear(task)
        await self._database.execute("end_erasure", task.tenant_id, task.id)
        row = await self._database.fetchrow("get_erasure", task.tenant_id, task.id)
        done = Erased(**dict(row or {"id": task.id}))
        log.info("subject.erased", erasure=str(task.id), executions=done.executions, archived=done.archived)
        return done

    async def _rewrite(self, task: Task, listed: Listed, archive_id: UUID) -> None:
        row = await self._database.fetchrow("get_archive", task.tenant_id, archive_id)
        if row is not None:  # else it was written anew before
            await task.hold.confirm()
            await self._rewriter.rewrite(task.tenant_id, row, listed, task.id)

    async def _settle(self) -> None:
        """Remove what is not part of the archive any more: it holds something of somebody."""
        try:
            await self._archive.settle()
        except ArchiveError as error:  # a file that cannot be removed is no reason to erase nobody
            log.warning("erasure.not_removed", error=str(error))

    # ------------------------------------------------------------------ what is left of others

    async def _leftovers(self, hold: Hold) -> None:
        """Go on with what was decided. What one of them cannot do holds up neither the others nor who calls."""
        for row in await self._database.fetch("list_erasures_under_way"):
            if row["decided_at"] is not None:
                try:
                    await self._go_on(Task(row["tenant_id"], row["id"], hold))
                except ArchiveError as error:  # the next pass tries again
                    log.warning("erasure.postponed", erasure=str(row["id"]), error=str(error))
        await self._forget_undecided(hold)

    async def _go_on(self, task: Task) -> None:
        # Looked for first: what was open and ends meanwhile is deleted the next time.
        still = await Listed(self._database, task).open_ones(1)
        await self._delete(task, _HISTORY[0])
        if still:
            # It was called without `--force`, and something of it was repeated; its events are needed until that ends.
            log.warning("erasure.waits_for_its_end", erasure=str(task.id), execution=str(still[0]["id"]))
            return
        await self._delete(task, *_HISTORY[1:])
        await self._finish(task)

    async def _forget_undecided(self, hold: Hold) -> None:
        for row in await self._database.fetch("list_erasures_under_way"):
            if row["decided_at"] is None:
                task = Task(row["tenant_id"], row["id"], hold)
                await hold.confirm()
                await self._clear(task)
                await self._database.execute("drop_erasure", task.tenant_id, task.id)

    async def _clear(self, task: Task) -> None:
        while await self._database.fetchval("clear_erasing", task.tenant_id, task.id, 1000):
            continue


def digest_of(salt: bytes, subject: Subject) -> bytes:
    """Return what is on record of a subject that was erased."""
    return hashlib.sha256(salt + f"{subject[0]}\n{subject[1]}".encode()).digest()


def _not_ended(left: int) -> ConflictError:
    return ConflictError(
        f"{counted(left, 'execution is', 'executions are')} being cancelled and not at an end yet; ask "
        "again in half a minute, when what a dead instance held is taken over"
    )


def _still_open(rows: Sequence[Record]) -> ConflictError:
    """Say what keeps a subject from being erased, and what to do about it."""
    named = ", ".join(f"{row['id']} of {row['workflow']} ({row['status']})" for row in rows[:MOST_NAMED])
    least = "at least " if len(rows) >= _AT_ONCE else ""
    what = "execution that has something of it is" if len(rows) == 1 else "executions that have something of it are"
    more = ", …" if len(rows) > MOST_NAMED else ""
    return ConflictError(
        f"{least}{len(rows)} {what} open: {named}{more}; wait for its end, cancel it, or erase with "
        "`--force` (`?force=true`), which cancels whatever is open"
    )


def _under_way() -> UnavailableError:
    return UnavailableError(
        "retention, a restoration or another erasure is under way; ask again when it is over", retry_after_s=30
    )
