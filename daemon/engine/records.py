"""What goes on record while executions run, as rows; and the writer that flushes them for all executions together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import structlog

from hark.daemon.engine.group_commit import GroupCommit
from hark.daemon.engine.instance import Instance
from hark.daemon.store.database import ENGINE_PLANNER, Connection, Database, Record, sql
from hark.daemon.store.lane import Lane
from hark.workflows.errors import FencedError, UnavailableError

log = structlog.get_logger(__name__)

Row = tuple[Any, ...]
STOP_S = 10.0
_CHANGES = 2
"""The place of the changes of state among the parameters of record_progress.sql."""


@dataclass(slots=True)
class StepRecord:
    """One step execution as it is to be on record; JSON fields are encoded."""

    path: str
    seq: int
    verb: str
    status: str
    action_type: str | None = None
    attempt: int = 1
    input: str | None = None
    output: str | None = None
    error: str | None = None
    due_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None

    def row(self, tenant_id: UUID, execution_id: UUID) -> Row:
        """Return the step as a `hark.progress_step`."""
        return (
            tenant_id, execution_id, self.path, self.seq, self.verb, self.action_type, self.status, self.attempt,
            self.input, self.output, self.error, self.due_at, self.started_at, self.completed_at,
        )  # fmt: skip


def step_view(record: StepRecord) -> dict[str, Any]:
    """Return what expressions see of a recorded step."""
    return {
        "output": None if record.output is None else orjson.loads(record.output),
        "status": record.status,
        "error": None if record.error is None else orjson.loads(record.error),
    }


def is_stop(record: StepRecord) -> bool:
    """Tell whether a step on record has stopped the execution: a `stop`, or a part in which one was reached."""
    return (record.verb, record.status) in {("stop", "completed"), ("part", "skipped")}


@dataclass(slots=True)
class Change:
    """An execution leaving this instance: ended, waiting, or given back."""

    status: str
    output: str | None = None
    error: str | None = None
    due_at: datetime | None = None
    pending_reason: str | None = None
    completed_at: datetime | None = None


@dataclass(slots=True)
class Extras:
    """What few executions have beside their steps and their end."""

    logs: list[Row] = field(default_factory=list)
    timeline: list[Row] = field(default_factory=list)
    context: dict[str, Row] = field(default_factory=dict)
    """By key; written with the step that says so."""
    waits: dict[str, Row] = field(default_factory=dict)
    """By path: events that steps begin to wait for, as `hark.progress_wait`; on record with the step."""
    waited: set[str] = field(default_factory=set)
    """Paths of steps whose wait is over."""
    folded: list[str] = field(default_factory=list)
    """Paths of turns, and of earlier folds, that a fold among the steps replaces."""

    def end_wait(self, path: str) -> None:
        """Note that a step waits no longer."""
        self.waits.pop(path, None)
        self.waited.add(path)

    def add(self, later: Extras) -> None:
        """Take in what came later."""
        self.logs += later.logs
        self.timeline += later.timeline
        self.context.update(later.context)
        self.waits.update(later.waits)
        self.folded += later.folded
        for path in later.waited:
            self.end_wait(path)


@dataclass(slots=True)
class Progress:
    """What one execution has to put on record, in one piece: all of it is committed together."""

    tenant_id: UUID
    execution_id: UUID
    licence: UUID
    """That of the instance as it held the execution; under another one this must not be written."""
    steps: dict[str, StepRecord] = field(default_factory=dict)
    """By path: a later state of a step replaces an earlier one that was not written yet."""
    change: Change | None = None
    extras: Extras | None = None

    def __bool__(self) -> bool:
        return bool(self.steps or self.change or self.extras)

    def log(self, log_id: UUID, path: str | None, level: str, message: str, data: str | None) -> None:
        """Add a line to the execution's logs."""
        self._more().logs.append((self.tenant_id, self.execution_id, log_id, path, level, message, data))

    def note(self, note_id: UUID, kind: str, path: str | None, detail: str | None) -> None:
        """Add an entry to the timeline."""
        self._more().timeline.append((self.tenant_id, self.execution_id, note_id, kind, path, detail))

    def remember(self, whole_id: UUID, key: str, value: str, path: str) -> None:
        """Set a key of the context of an execution, of which this may be a part.

        `path` is the step that does it, on record in this same piece.
        """
        self._more().context[key] = (self.tenant_id, whole_id, key, value, self.execution_id, path)

    def wait(self, path: str, route: str, key: tuple[Sequence[str], str], scanned_until: datetime | None) -> None:
        """Note for which events a step waits, and how far it has looked; `key` is a place in their data, and a text."""
        row = (self.tenant_id, self.execution_id, path, route, [*key[0]], key[1], scanned_until)
        self._more().waits[path] = row

    def end_wait(self, path: str) -> None:
        """Note that a step waits no longer."""
        self._more().end_wait(path)

    def fold(self, paths: Iterable[str]) -> None:
        """Note what a fold among the steps replaces; it has to be on record already."""
        self._more().folded.extend(paths)

    def add(self, later: Progress) -> None:
        """Take in what the same execution noted later: the later state counts."""
        self.steps.update(later.steps)
        self.change = later.change or self.change
        if later.extras is not None:
            self._more().add(later.extras)

    def _more(self) -> Extras:
        if self.extras is None:
            self.extras = Extras()
        return self.extras


@dataclass(slots=True)
class _Rows:
    """The parameters of record_progress.sql, in their order."""

    steps: list[Row] = field(default_factory=list)
    changes: list[Row] = field(default_factory=list)
    logs: list[Row] = field(default_factory=list)
    timeline: list[Row] = field(default_factory=list)
    context: dict[tuple[UUID, str], Row] = field(default_factory=dict)
    """By execution and key: parts of one execution share a context, and one statement may not touch a row twice."""
    waits: list[Row] = field(default_factory=list)
    waited: list[Row] = field(default_factory=list)
    folded: list[Row] = field(default_factory=list)

    def add(self, part: Progress) -> None:
        """Add the rows of one execution."""
        tenant_id, execution_id, change = part.tenant_id, part.execution_id, part.change
        self.steps += [record.row(tenant_id, execution_id) for record in part.steps.values()]
        if change is not None:
            self.changes.append((
                tenant_id, execution_id, change.status, change.output, change.error, change.due_at,
                change.pending_reason, change.completed_at,
            ))  # fmt: skip
        if part.extras is not None:
            self._add_extras(tenant_id, execution_id, part.extras)

    def _add_extras(self, tenant_id: UUID, execution_id: UUID, extras: Extras) -> None:
        self.logs += extras.logs
        self.timeline += extras.timeline
        self.context.update(((row[1], key), row) for key, row in extras.context.items())
        self.waits.extend(extras.waits.values())
        self.waited.extend((tenant_id, execution_id, path) for path in extras.waited)
        self.folded.extend((tenant_id, execution_id, path) for path in extras.folded)


def _arguments(instance: UUID, parts: Sequence[Progress]) -> list[Any]:
    """Turn progress, one piece of each execution, into the parameters of record_progress.sql."""
    rows = _Rows()
    for part in parts:
        rows.add(part)
    # In one order on all instances, so that two flushes wait for each other and do not lock each other out.
    remembered = [rows.context[key] for key in sorted(rows.context)]
    return [
        instance, rows.steps, rows.changes, rows.logs, rows.timeline, remembered, rows.waits, rows.waited, rows.folded,
    ]  # fmt: skip


def _merged(parts: Sequence[Progress]) -> Sequence[Progress]:
    """Join parts of the same execution: one statement may not touch a row twice."""
    merged: dict[UUID, Progress] = {}
    for part in parts:
        first = merged.setdefault(part.execution_id, part)
        if first is not part:
            first.add(part)
    return list(merged.values())


async def record_within(connection: Connection, instance: Instance, progress: Progress) -> None:
    """Write one execution's steps in the caller's open transaction.

    Raises FencedError without a licence, and UnavailableError when a step is on record already: then an earlier COMMIT
    did get through although its answer did not, and what was done here must be rolled back.
    """
    for record in progress.steps.values():
        step = record.row(progress.tenant_id, progress.execution_id)
        row = await connection.fetchrow(sql("record_step"), progress.licence, *step)
        if row is None or row["licence"] is None:
            raise instance.fenced(progress.licence)
        if not row["steps"]:
            raise UnavailableError("the step is on record already")


class Recorder:
    """Writes the progress of all executions in flight, flush after flush.

    It does not give up while the database is away: an execution that waits for its record waits on. Only losing the
    licence ends it, with FencedError for everybody.
    """

    def __init__(self, database: Database, instance: Instance, *, patience: Callable[[], Any]) -> None:
        self._instance = instance
        self._patience = patience
        self._lane = Lane(database, "record", ENGINE_PLANNER)
        self._group: GroupCommit[Progress, None] = GroupCommit("record", self._write, limit=1_000_000)

    def start(self) -> None:
        """Start to write."""
        self._group.start()

    async def stop(self) -> None:
        """Write what was submitted, then stop; idempotent."""
        with suppress(TimeoutError):
            # Away for good: what is not on record now is done again by whoever takes the executions up.
            async with asyncio.timeout(STOP_S):
                await self._group.stop()
        await self._lane.stop()

    @property
    def backend_pid(self) -> int | None:
        """The server process behind the connection."""
        return self._lane.backend_pid

    @property
    def flushes(self) -> int:
        """Transactions so far."""
        return self._group.flushes

    def submit(self, progress: Progress) -> asyncio.Future[None]:
        """Queue progress; the future is done after its commit."""
        return self._group.submit(progress)

    def discard(self, error: Exception) -> None:
        """Give up what is not being written yet; who waits for it gets the error."""
        self._group.discard(error)

    async def _write(self, parts: Sequence[Progress]) -> Sequence[Exception | None]:
        licence = self._instance.id
        current = [part for part in parts if part.licence == licence]
        if len(current) < len(parts):
            # Held under a licence that is lost: somebody else has these executions now.
            await self._write_current(current, licence)
            lost = FencedError("another instance has taken over")
            return [None if part.licence == licence else lost for part in parts]
        await self._write_current(parts, licence)
        return [None] * len(parts)

    async def _write_current(self, parts: Sequence[Progress], licence: UUID) -> None:
        merged = _merged(parts)
        arguments = _arguments(licence, merged)
        again = False
        while True:
            try:
                if again:
                    rows = await self._repeat(merged, licence, arguments[_CHANGES])
                else:
                    rows = await self._lane.fetch("record_progress", *arguments)
            except UnavailableError as error:
                log.warning("record.delayed", executions=len(parts), error=str(error))
                await self._patience()
                again = True
                continue
            if rows[0]["licence"] is None:
                raise self._instance.fenced(licence)
            return

    async def _repeat(self, parts: Sequence[Progress], licence: UUID, changes: Sequence[Row]) -> list[Record]:
        """Write what may have been committed although nobody was told, except of executions that have left here.

        Of those it was; since then somebody else may have had them, or they were erased: nothing may bring that back.
        """
        tenants, ids = [part.tenant_id for part in parts], [part.execution_id for part in parts]
        async with self._lane.connection() as connection, connection.transaction():
            held = {row["id"] for row in await connection.fetch(sql("lock_held"), licence, changes, tenants, ids)}
            left = [part for part in parts if part.execution_id in held]
            rows: list[Record] = await connection.fetch(sql("record_progress"), *_arguments(licence, left))
            return rows
