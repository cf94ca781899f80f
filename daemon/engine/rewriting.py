"""Files of the archive are written anew without something. One mechanism, whatever the something is.

The new file is written and checked under a row of its own, like every file of the archive. One statement then puts it
in the place of the old one, whose object is removed after that. Whatever dies in between, `Archive.settle` removes what
is not, or no longer, part of the archive.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

import structlog

from hark.daemon.archive.lines import Line, read_line
from hark.daemon.engine.archive import BATCH, Archive
from hark.daemon.store.database import Connection, Database, Record, sql
from hark.workflows.errors import UnavailableError

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Choice:
    """What becomes of some lines: which are dropped, and which events of the others are to say nothing any more."""

    dropped: set[UUID] = field(default_factory=set)
    emptied: dict[UUID, set[UUID]] = field(default_factory=dict)
    """By the line's execution."""
    keys: set[tuple[str, str, UUID]] = field(default_factory=set)
    """Source, dedupe key and id of events that go: so the same may come again."""


class Chooser(Protocol):
    """Says what becomes of lines."""

    async def choose(self, lines: Sequence[Line]) -> Choice:
        """Look at some lines of a file."""
        ...


@dataclass(slots=True)
class Rewritten:
    """What was taken out of a file."""

    dropped: int = 0
    emptied: int = 0
    """Events in lines that stay."""
    kept: int = 0

    def add(self, choice: Choice, lines: int) -> None:
        """Count what became of some lines."""
        self.dropped += len(choice.dropped)
        self.kept += lines - len(choice.dropped)
        self.emptied += sum(map(len, choice.emptied.values()))


class Rewriter:
    """Writes files anew. Only whoever holds retention's lock may call it."""

    def __init__(self, database: Database, archive: Archive) -> None:
        self._database = database
        self._archive = archive

    async def with_keys(self, tenant_id: UUID, keys: Sequence[int]) -> list[Record]:
        """Return the files that may hold what has one of these keys."""
        return await self._database.fetch("find_archives_by_key", tenant_id, list(keys))

    async def pieces(self, row: Record) -> AsyncIterator[list[Line]]:
        """Read a file, some lines at a time. Raises ArchiveError."""
        batch: list[bytes] = []
        async for text in self._archive.lines(row):
            batch.append(text)
            if len(batch) >= BATCH:
                yield await asyncio.to_thread(_read, batch)
                batch = []
        if batch:
            yield await asyncio.to_thread(_read, batch)

    async def rewrite(
        self, tenant_id: UUID, row: Record, chooser: Chooser, erasure_id: UUID | None = None
    ) -> Rewritten:
        """Write a file anew as a chooser says; one with nothing to take out stays as it is, one with nothing left goes.

        With an erasure, what went is added to its record, in the same transaction. Raises ArchiveError,
        UnavailableError.
        """
        planned = Rewritten()
        async for lines in self.pieces(row):
            choice = await chooser.choose(lines)
            planned.add(choice, len(lines))
            if choice.keys:  # before the file, which alone says which they are
                await self._database.execute("erase_event_keys", tenant_id, *map(list, zip(*choice.keys, strict=True)))
        if not planned.dropped and not planned.emptied:
            return planned
        replacing = await self._write(tenant_id, row, chooser) if planned.kept else None
        async with self._database.transaction() as connection:
            await self._replace(connection, tenant_id, row["id"], replacing)
            if erasure_id is not None:
                await connection.execute(
                    sql("count_in_archive"), tenant_id, erasure_id, planned.dropped, planned.emptied
                )
        log.info("archive.file_rewritten", archive=str(row["id"]), dropped=planned.dropped, kept=planned.kept)
        return planned

    async def _write(self, tenant_id: UUID, row: Record, chooser: Chooser) -> UUID:
        archive_id, writer = await self._archive.begin_in_place_of(tenant_id, row)
        try:
            async for lines in self.pieces(row):
                await writer.add([line.row() for line in await self._left(lines, await chooser.choose(lines))])
            contents = await writer.finish()
        finally:
            writer.abandon()
        await self._archive.describe(tenant_id, archive_id, contents)
        return archive_id

    async def _left(self, lines: Sequence[Line], choice: Choice) -> list[Line]:
        left = [line for line in lines if line.id not in choice.dropped]
        wanting = [line for line in left if line.id in choice.emptied]
        if not wanting:
            return left
        emptied = [(n, one) for n, line in enumerate(wanting, 1) for one in sorted(choice.emptied[line.id])]
        texts = [line.text.decode() for line in wanting]
        rows = await self._database.fetch("without_events", texts, *map(list, zip(*emptied, strict=True)))
        changed = {line.id: read_line(row["line"].encode()) for line, row in zip(wanting, rows, strict=True)}
        return [changed.get(line.id, line) for line in left]

    @staticmethod
    async def _replace(connection: Connection, tenant_id: UUID, old: UUID, new: UUID | None) -> None:
        if new is None:
            done = await connection.fetchval(sql("drop_archive"), tenant_id, old)
        else:
            done = await connection.fetchval(sql("replace_archive"), tenant_id, old, new)
        if done is None:
            raise UnavailableError("another instance has taken over the archive; ask again")


def _read(batch: Sequence[bytes]) -> list[Line]:
    return [read_line(text) for text in batch]
