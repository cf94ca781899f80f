"""What an erasure takes is listed before anything goes: in the database and in the files of the archive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from hark.daemon.archive.lines import Line, Reach, Subject, archive_key, execution_key, named_in
from hark.daemon.engine.rewriting import Choice, Rewriter, Rewritten
from hark.daemon.store.database import Database, Record
from hark.daemon.store.holds import Hold
from hark.daemon.store.listing import FIRST_ID

BATCH = 200


@dataclass(frozen=True, slots=True)
class Task:
    """An erasure that is under way."""

    tenant_id: UUID
    id: UUID
    hold: Hold
    """What keeps others from it; to be confirmed before anything goes."""


@dataclass(slots=True)
class Slice:
    """Some of what is listed."""

    executions: list[UUID]
    events: list[UUID]
    archives: list[UUID]


@dataclass(slots=True)
class Counts:
    """What the database has of it."""

    executions: int = 0
    steps: int = 0
    logs: int = 0
    events: int = 0
    emptied: int = 0


class Listed:
    """Takes out of files what is on the list; whoever goes on with an erasure need not know whose it is."""

    def __init__(self, database: Database, task: Task) -> None:
        self._database = database
        self._task = task

    async def choose(self, lines: Sequence[Line]) -> Choice:
        """Look up the lines and their events."""
        executions, events = await self.among({line.id for line in lines}, named_in(lines)[1])
        choice = Choice({line.id for line in lines if line.id in executions})
        for line in lines:
            choice.keys |= {(*event.dedupe, event.id) for event in line.events if event.dedupe and event.id in events}
            emptied = {event.id for event in line.events if event.says_something and event.id in events}
            if emptied and line.id not in choice.dropped:
                choice.emptied[line.id] = emptied
        return choice

    async def among(self, executions: set[UUID], events: set[UUID]) -> tuple[set[UUID], set[UUID]]:
        """Return those of some executions and events that are on the list."""
        rows = await self._database.fetch(
            "find_erasing", self._task.tenant_id, self._task.id, list(executions), list(events)
        )
        return (
            {row["id"] for row in rows if row["what"] == "execution"},
            {row["id"] for row in rows if row["what"] == "event"},
        )

    async def slices(self) -> AsyncIterator[Slice]:
        """Give what is listed, in the order in which it was found."""
        after = 0
        while rows := await self._database.fetch("list_erasing", self._task.tenant_id, self._task.id, after, BATCH):
            after = rows[-1]["seq"]
            executions, events, archives = (
                [row["id"] for row in rows if row["what"] == what] for what in ("execution", "event", "archive")
            )
            yield Slice(executions, events, archives)

    async def open_sets(self) -> AsyncIterator[list[Record]]:
        """Give what has not ended of it, or needs one of its events, slice by slice; each once."""
        given: set[UUID] = set()
        async for part in self.slices():
            rows = await self._database.fetch(
                "list_open_of_erasure", self._task.tenant_id, part.executions, part.events
            )
            new = [row for row in rows if row["id"] not in given]
            given.update(row["id"] for row in new)
            if new:
                yield new

    async def open_ones(self, most: int) -> list[Record]:
        """Return what has not ended of it, or needs one of its events; as many as `most`, or a few more."""
        found: list[Record] = []
        async for rows in self.open_sets():
            found += rows
            if len(found) >= most:
                break
        return found

    async def last(self) -> int:
        """Return the number of the latest entry; 0 when there is none."""
        found: int | None = await self._database.fetchval("last_erasing")
        return found or 0


class Reaching:
    """Lists all that is about a subject and came before a moment, and all that follows from it."""

    def __init__(self, database: Database, rewriter: Rewriter, task: Task, subject: Subject, until: UUID) -> None:
        self._database = database
        self._rewriter = rewriter
        self._task = task
        self._subject = subject
        self._until = until
        self.listed = Listed(database, task)
        self._searched = 0
        """Up to where the files that what is listed may lead into have been looked through."""
        self.files: dict[UUID, Rewritten] = {}
        """What will go from each file."""

    async def collect(self) -> bool:
        """List everything, or what has followed since; tells whether anything was new. Raises ArchiveError."""
        known = await self.listed.last()
        for query in ("list_executions_of_subject", "list_events_of_subject"):
            await self._note_roots(query)
        # All that is listed may have led further; into files only what was not listed before: they stay as they are.
        followed = 0
        keys = [] if self._searched else [archive_key(*self._subject)]
        files = {row["id"]: row for row in await self._with_keys(keys)}
        while True:
            followed = await self._follow(followed)
            files |= {row["id"]: row for row in await self._files_of_listed(self._searched)}
            self._searched = followed
            # What one file adds may lead into another, or into one that was looked through already.
            if not sum([await self._look_through(row) for row in files.values()]):
                return await self.listed.last() > known
            files = {}

    async def _note_roots(self, query: str) -> None:
        after: UUID | None = FIRST_ID
        while after is not None:
            after = await self._database.fetchval(
                query, self._task.tenant_id, self._task.id, *self._subject, after, self._until, BATCH
            )

    async def _follow(self, after: int) -> int:
        """List what follows in the database from all that was listed after a place; returns up to where."""
        while True:
            last = await self._database.fetchval(
                "reach_further", self._task.tenant_id, self._task.id, *self._subject, after, BATCH
            )
            if last is None:
                return after
            after = last

    # ------------------------------------------------------------------ in the archive

    async def _with_keys(self, keys: Sequence[int]) -> list[Record]:
        return await self._rewriter.with_keys(self._task.tenant_id, keys)

    async def _files_of_listed(self, after: int) -> list[Record]:
        """Return the files that may hold what some executions have called, or what their events started."""
        found: list[Record] = []
        while rows := await self._database.fetch("list_erasing", self._task.tenant_id, self._task.id, after, BATCH):
            after = rows[-1]["seq"]
            keys = [execution_key(row["id"]) for row in rows if row["what"] == "execution"]
            found += await self._with_keys(keys) if keys else ()
        return found

    async def _look_through(self, row: Record) -> int:
        """List what a file has of it; returns how much of that was new."""
        planned, new = Rewritten(), 0
        async for lines in self._rewriter.pieces(row):
            executions, events = await self.listed.among(*named_in(lines))
            reach = Reach(self._subject, executions, events)
            taken = {line.id for line in lines if reach.takes(line)}
            told = {line.id: set(reach.events_of(line)) for line in lines}
            planned.add(Choice(taken, {one: ids for one, ids in told.items() if one not in taken}), len(lines))
            new += await self._note({"execution": taken, "event": set().union(*told.values())})
        if planned.dropped or planned.emptied:
            self.files[row["id"]] = planned
            await self._note({"archive": {row["id"]}})
        return new

    async def _note(self, found: dict[str, set[UUID]]) -> int:
        entries = [(what, one) for what, ids in found.items() for one in sorted(ids)]
        if not entries:
            return 0
        whats, ids = zip(*entries, strict=True)
        number: int = await self._database.fetchval("note_erasing", self._task.tenant_id, self._task.id, whats, ids)
        return number

    # ------------------------------------------------------------------ what was found

    async def counts(self) -> Counts:
        """Count what the database has of it."""
        total = Counts()
        async for part in self.listed.slices():
            row = await self._database.fetchrow(
                "count_of_erasure", self._task.tenant_id, self._task.id, part.executions, part.events
            )
            for name, number in (row or {}).items():
                setattr(total, name, getattr(total, name) + number)
        return total
