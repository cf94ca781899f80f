"""The archive: executions are written to files before they are dropped, read back, and restored."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import orjson
import structlog

from hark.daemon.archive.files import Contents, FileWriter, read_lines
from hark.daemon.archive.place import ArchiveError, Place, open_place
from hark.daemon.store.database import Connection, Database, Record, sql
from hark.daemon.store.listing import FIRST_ID, Span
from hark.workflows.counting import counted
from hark.workflows.errors import ConflictError, NotFoundError, UnavailableError
from hark.workflows.ids import new_id, time_of

log = structlog.get_logger(__name__)

RESTORE_LOCK = 7020856
"""The advisory lock that all who restore hold together, and who erases alone: what has just gone must not come back."""
MOST_IN_FILE = 20_000
MOST_BYTES = 32 * 1024**2
BATCH = 200


@dataclass(slots=True)
class ArchiveFigures:
    """What was written since this process began, and how often that failed."""

    files: int = 0
    bytes: int = 0
    failures: int = 0
    failing: bool = False

    def stats(self) -> dict[str, float]:
        """Return them by the names that they have as metrics."""
        return {
            "archive_files_total": self.files,
            "archive_bytes_total": self.bytes,
            "archive_failures_total": self.failures,
            "archive_failing": int(self.failing),
        }


class Archive:
    """Writes and reads files. All that writes is called by one instance at a time: who holds retention's lock."""

    def __init__(self, database: Database, location: str | None) -> None:
        self._database = database
        self._location = location
        self._places: dict[str, Place] = {}
        self.figures = ArchiveFigures()

    @property
    def wanted(self) -> bool:
        """Whether what is dropped is archived before."""
        return self._location is not None

    # ------------------------------------------------------------------ writing

    async def write_week(self, week: str) -> list[UUID]:
        """Write all that goes with a week, a file for each tenant and 20,000 executions; returns the files' ids."""
        written: list[UUID] = []
        for tenant in await self._database.fetch("list_tenants"):
            after = FIRST_ID
            while ids := await self._going(week, tenant["id"], after):
                archive_id, number = await self.write(tenant["id"], ids, week)
                written.append(archive_id)
                after = ids[number - 1]
        return written

    async def _going(self, week: str, tenant_id: UUID, after: UUID) -> list[UUID]:
        return [row["id"] for row in await self._database.fetch("list_going", week, tenant_id, after, MOST_IN_FILE)]

    async def write(self, tenant_id: UUID, ids: Sequence[UUID], week: str | None = None) -> tuple[UUID, int]:
        """Write executions to a file; returns its id, and how many there was room for. Raises ArchiveError."""
        location = self._location
        if location is None:
            raise ArchiveError("no archive is set")
        moment = await self._database.fetchval("get_time")
        archive_id = new_id(moment)
        name = f"{tenant_id}/{week or f'{moment:%G}w{moment:%V}-rows'}/{archive_id}.jsonl.zst"
        await self._database.execute("begin_archive", tenant_id, archive_id, location, name, week)
        writer = None
        try:
            writer = FileWriter(self._place(location), name)
            contents, number = await self._fill(writer, tenant_id, ids)
        except ArchiveError as error:
            await self._note_failure(tenant_id, archive_id, error, begun=writer is not None)
            raise
        await self.describe(tenant_id, archive_id, contents)
        return archive_id, number

    async def begin_in_place_of(self, tenant_id: UUID, row: Record) -> tuple[UUID, FileWriter]:
        """Begin a file that is to take the place of another one: beside it, and in the same order among the others."""
        archive_id = new_id(time_of(row["id"]))
        name = f"{row['name'].rpartition('/')[0]}/{archive_id}.jsonl.zst"
        await self._database.execute("begin_archive", tenant_id, archive_id, row["location"], name, row["week"])
        return archive_id, FileWriter(self._place(row["location"]), name)

    async def _fill(self, writer: FileWriter, tenant_id: UUID, ids: Sequence[UUID]) -> tuple[Contents, int]:
        done = 0
        try:
            while done < len(ids) and writer.contents.size < MOST_BYTES:
                batch = ids[done : done + BATCH]
                rows = await self._database.fetch("export_executions", tenant_id, batch)
                if len(rows) != len(batch):  # deleted with their workflow, this moment
                    raise ArchiveError(f"{counted(len(batch) - len(rows), 'execution')} vanished while being archived")
                await writer.add(rows)
                done += len(batch)
            return await writer.finish(), done
        finally:
            writer.abandon()

    async def _note_failure(self, tenant_id: UUID, archive_id: UUID, error: ArchiveError, *, begun: bool) -> None:
        self.figures.failures += 1
        self.figures.failing = True
        log.error("archive.failed", error=str(error))
        await self._database.execute("note_archive_problem", tenant_id, archive_id, str(error)[:1000], not begun)

    async def describe(self, tenant_id: UUID, archive_id: UUID, contents: Contents) -> None:
        """Note what a file that was written has in it."""
        await self._database.execute(
            "describe_archive", tenant_id, archive_id, contents.first_id, contents.last_id, contents.executions,
            contents.steps, contents.events, contents.logs, contents.size, contents.sha256, sorted(contents.keys),
        )  # fmt: skip
        self.figures.files += 1
        self.figures.bytes += contents.size
        self.figures.failing = False

    async def seal(self, connection: Connection, ids: Sequence[UUID]) -> None:
        """Make files part of the archive, in the transaction that drops what is in them.

        Raises UnavailableError when another instance has given them up meanwhile: nothing may be dropped then.
        """
        rows = await connection.fetch(sql("seal_archives"), ids)
        if len(rows) != len(set(ids)):
            raise UnavailableError("another instance has taken over the retention")

    async def settle(self) -> None:
        """Remove the files that were given up, and those that others have taken the place of. Raises ArchiveError."""
        for row in await self._database.fetch("list_unsettled_archives"):
            try:
                if row["name"]:
                    await self._place(row["location"]).remove(row["name"])
            except ArchiveError:
                self.figures.failing = True
                self.figures.failures += 1
                raise
            await self._database.execute("forget_archive", row["tenant_id"], row["id"])

    # ------------------------------------------------------------------ reading

    def _place(self, location: str) -> Place:
        if location not in self._places:
            self._places[location] = open_place(location)
        return self._places[location]

    async def page(self, tenant_id: UUID, span: Span) -> list[Record]:
        """Return a page of the files of a tenant, the latest first."""
        return await self._database.fetch("list_archives", tenant_id, span.before, span.since, span.limit)

    async def find(self, tenant_id: UUID, execution_id: UUID) -> bytes:
        """Return an execution as an archive holds it, as JSON. Raises NotFoundError, ArchiveError."""
        for row in await self._database.fetch("find_archives", tenant_id, execution_id):
            async for line in self.lines(row):
                if str(execution_id).encode() in line and UUID(orjson.loads(line)["execution"]["id"]) == execution_id:
                    return line
        raise NotFoundError(f"no archive holds execution {execution_id}")

    async def get(self, tenant_id: UUID, archive_id: UUID) -> Record:
        """Return what is known of a file. Raises NotFoundError."""
        row = await self._database.fetchrow("get_archive", tenant_id, archive_id)
        if row is None:
            raise NotFoundError(f"there is no archive {archive_id}")
        return row

    async def lines(self, row: Record) -> AsyncIterator[bytes]:
        """Give the lines of a file. Raises ArchiveError."""
        async for line in read_lines(self._place(row["location"]), row["name"]):
            yield line

    # ------------------------------------------------------------------ restoring

    async def restore(self, tenant_id: UUID, archive_id: UUID, keep: timedelta) -> dict[str, int]:
        """Put all executions of a file back; returns how many by what became of them. Raises ConflictError."""
        outcomes: dict[str, int] = {}
        async with self._restoring():
            row = await self.get(tenant_id, archive_id)
            batch: list[str] = []
            async for line in self.lines(row):
                batch.append(line.decode())
                if len(batch) >= BATCH:
                    await self._restore(tenant_id, batch, keep, outcomes)
                    batch.clear()
            await self._restore(tenant_id, batch, keep, outcomes)
        return outcomes

    async def restore_one(self, tenant_id: UUID, execution_id: UUID, keep: timedelta) -> dict[str, int]:
        """Put one execution back, from whatever file holds it. Raises ConflictError."""
        outcomes: dict[str, int] = {}
        async with self._restoring():
            line = await self.find(tenant_id, execution_id)
            await self._restore(tenant_id, [line.decode()], keep, outcomes)
        return outcomes

    @asynccontextmanager
    async def _restoring(self) -> AsyncIterator[None]:
        async with self._database.only_one(RESTORE_LOCK, shared=True) as nothing_is_erased:
            if nothing_is_erased is None:
                raise ConflictError("something is being erased from the archive; ask again in a moment")
            yield

    async def _restore(self, tenant_id: UUID, lines: Sequence[str], keep: timedelta, outcomes: dict[str, int]) -> None:
        for row in await self._database.fetch("restore_executions", tenant_id, lines, keep):
            outcomes[row["outcome"]] = outcomes.get(row["outcome"], 0) + 1
