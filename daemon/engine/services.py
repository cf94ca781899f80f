"""What running executions are handed of the daemon."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from hark.actions.sql import AsyncpgSql, named_connections
from hark.daemon.engine.approval_links import ApprovalLinks, digest_of
from hark.daemon.engine.approve import Question, answer_of
from hark.daemon.engine.call import Called, Ended
from hark.daemon.engine.claims import stored_event_view
from hark.daemon.engine.ingest import Ingest
from hark.daemon.engine.instance import Instance
from hark.daemon.engine.looks import AwaitedEvent, Looks
from hark.daemon.engine.part_starts import PartStarts, StartedPart
from hark.daemon.engine.records import Progress, Recorder, StepRecord, record_within
from hark.daemon.engine.run import Run
from hark.daemon.engine.sealing import Vault
from hark.daemon.engine.starts import Caller, Starts
from hark.daemon.settings import Settings
from hark.daemon.store.database import ENGINE_PLANNER, Connection, Database, Record
from hark.daemon.store.home_connections import HomeConnections
from hark.daemon.store.outages import IN_THE_WAY, translated
from hark.workflows.catalogue import Http, NewEvent, Receipt, Sql
from hark.workflows.errors import ActionError, UnavailableError
from hark.workflows.ids import ExecutionId, new_id

PATIENCE_S = 1.0

_PLANNER = ";".join(f"SET LOCAL {name} = {value}" for name, value in ENGINE_PLANNER.items())

_LOST = ("08", "57P", "25006")
"""SQLSTATEs that say that the connection or the server went away, not that the statement was wrong."""


def _marks(run: Run) -> dict[str, str]:
    """Return what row capture reads: a change made by a workflow is one step further from the outside world."""
    return {"hark.depth": str(run.depth + 1), "hark.execution_id": str(run.id)}


class _HomeTransaction:
    def __init__(self, connection: Connection, instance: Instance) -> None:
        self.sql: Sql = AsyncpgSql(connection)
        self._connection = connection
        self._instance = instance

    async def record(self, progress: Progress) -> None:
        """Write progress as the transaction's last statement."""
        await self._connection.execute(_PLANNER)
        await record_within(self._connection, self._instance, progress)


class EngineServices:
    """The interpreter's `Services`, on the engine's parts."""

    ingest: Ingest
    """Needs an executor, which needs these services: it is set once there is one; so is `starts`."""
    starts: Starts

    def __init__(
        self,
        settings: Settings,
        database: Database,
        instance: Instance,
        recorder: Recorder,
        *,
        http: Http,
        now: Callable[[], datetime],
        connections: Mapping[str, str],
        on_queued: Callable[[], None],
    ) -> None:
        self.settings: Mapping[str, Any] = action_settings(settings)
        self.kept_turns = settings.kept_turns
        self.now = now
        self.http = http
        self.connections = named_connections(connections)
        self.home = HomeConnections(database)
        self.links = ApprovalLinks(settings)
        self.looks = Looks(database)
        self.parts = PartStarts(database, on_queued=on_queued)
        self.vault = Vault(settings, database)
        self._database = database
        self._instance = instance
        self._recorder = recorder

    @staticmethod
    def random() -> float:
        """Draw a random number in [0, 1)."""
        return random.random()  # noqa: S311 - jitter, no secret

    def commit(self, progress: Progress) -> asyncio.Future[None]:
        """Put progress on record."""
        return self._recorder.submit(progress)

    def publish(self, progress: Progress) -> None:
        """Send progress on its way; what goes wrong with it is met by the next commit."""
        self._recorder.submit(progress).add_done_callback(_retrieve)

    def connect(self, name: str, run: Run) -> AbstractAsyncContextManager[Sql]:
        """Open a transaction on a named connection for a step's SQL."""
        return self.connections(name, _marks(run))

    @asynccontextmanager
    async def home_transaction(self, run: Run) -> AsyncIterator[_HomeTransaction]:
        """Open a transaction for a step's SQL. Losing the database is UnavailableError, whoever noticed it."""
        try:
            with translated(*IN_THE_WAY):
                async with await self.home.acquire() as connection, connection.transaction():
                    await connection.execute(
                        "SELECT set_config('hark.depth', $1, true), set_config('hark.execution_id', $2, true)",
                        *_marks(run).values(),
                    )
                    yield _HomeTransaction(connection, self._instance)
        except ActionError as error:
            if error.error_class == "sql_connection" or str(error.details.get("sqlstate", "")).startswith(_LOST):
                raise UnavailableError(str(error)) from error
            raise

    @property
    def licence(self) -> UUID:
        """This instance's licence to write."""
        return self._instance.id

    async def load_context(self, run: Run) -> Mapping[str, Any]:
        """Return what an execution remembers now; waits for the database to come back."""
        while True:
            try:
                rows = await self._database.fetch("load_context", run.tenant_id, run.whole_id)
            except UnavailableError:
                await asyncio.sleep(PATIENCE_S)
                continue
            return {row["key"]: orjson.loads(row["value"]) for row in rows}

    async def open_approval(self, run: Run, record: StepRecord) -> Question:
        """Ask people, unless that is done; returns how the question stands. Waits for the database to come back."""
        digest = digest_of(self.links.token(run.tenant_id, run.id, record.path))
        wait_id = new_id(record.started_at or self.now())
        about = (run.tenant_id, run.id, record.path, wait_id, record.due_at, record.input, digest)
        row = await self._patiently("open_approval", run.licence, *about)
        if row is None:
            raise self._instance.fenced(run.licence)
        return Question(answer_of(row["answer"], row["answered_at"]), row["closed"])

    async def close_approval(self, run: Run, record: StepRecord) -> Question:
        """Take no answer any more; returns the one that was quicker. Waits for the database to come back."""
        if await self._patiently("close_approval", run.licence, run.tenant_id, run.id, record.path) is not None:
            return Question(None, closed=True)
        return await self.open_approval(run, record)

    async def _patiently(self, query: str, *args: Any) -> Record | None:
        while True:
            try:
                return await self._database.fetchrow(query, *args)
            except UnavailableError:
                await asyncio.sleep(PATIENCE_S)

    async def recorded_output(self, run: Run, path: str) -> tuple[bool, Any]:
        """Tell whether a step is on record as completed, and its output; waits for the database."""
        while True:
            await asyncio.sleep(PATIENCE_S)
            try:
                row = await self._database.fetchrow("get_step", run.tenant_id, run.id, path)
            except UnavailableError:
                continue
            if row is None or row["status"] != "completed":
                return False, None
            return True, None if row["output"] is None else orjson.loads(row["output"])

    async def scanned_until(self, run: Run, path: str) -> datetime | None:
        """Return up to when a step has looked through stored events."""
        rows = await self._fetch("get_event_wait", run.tenant_id, run.id, path)
        return rows[0]["scanned_until"] if rows else None

    async def scan_events(
        self, run: Run, route: str, first: UUID, key: tuple[Sequence[str], str]
    ) -> list[dict[str, Any]]:
        """Return stored events of a route from an id on, oldest first, as expressions see them."""
        rows = await self.looks.events(AwaitedEvent(run.tenant_id, route, first, [*key[0]], key[1]))
        return [stored_event_view(row) for row in rows]

    async def event_hits(self, run: Run, path: str) -> list[dict[str, Any]]:
        """Return the events that were found to have the key of a step's wait, oldest first."""
        return [stored_event_view(row) for row in await self.looks.hits(run.tenant_id, run.id, path)]

    async def call(self, run: Run, path: str, attempt: int, called: Called) -> ExecutionId:
        """Start another workflow; the same attempt of a step always starts the same execution."""
        caller = Caller(run.id, path, attempt, run.depth + 1, f"workflow:{run.slug}", called.detach, run.licence)
        while True:
            try:
                return await self.starts.call(run.tenant_id, called, caller, mode=run.mode)
            except UnavailableError:
                await asyncio.sleep(PATIENCE_S)

    async def ended(self, run: Run, child: UUID) -> Ended | None:
        """Return how an execution that this one has made ended, None while it is open."""
        row = await self.looks.end(run.tenant_id, child)
        if row is None:
            return Ended(child, "cancelled", None, {"class": "erased", "message": "the called execution is gone"})
        if row["completed_at"] is None:
            return None
        output, error = (None if text is None else orjson.loads(text) for text in (row["output"], row["error"]))
        return Ended(child, row["status"], output, error)

    async def start_part(self, run: Run, child: ExecutionId, path: str, part: str) -> None:
        """Store a part of a distributed step, for any instance to take; again is nothing."""
        sealed = self.vault.seal(run.tenant_id, child, run.handed) if run.handed.secrets else None
        await self.parts.store(StartedPart(run.licence, run.tenant_id, run.id, path, child, part, sealed))

    async def cancel_children(self, run: Run, paths: Sequence[str]) -> None:
        """Cancel the open executions that steps wait for."""
        await self._fetch("cancel_children", run.tenant_id, run.id, [*paths])

    async def _fetch(self, query: str, *args: Any) -> list[Record]:
        """Run a query, again and again while the database is away."""
        while True:
            try:
                return await self._database.fetch(query, *args)
            except UnavailableError:
                await asyncio.sleep(PATIENCE_S)

    async def emit(self, run: Run, event: NewEvent) -> Receipt:
        """Store an event of an execution; waits while the database is away or too much is waiting.

        Of a trial nobody gets to know: its event is looked at as if it were stored, and is not.
        """
        if run.mode != "production":
            return Receipt(self.ingest.arrival(event).id, ())
        while True:
            try:
                return await self.ingest.take(event, licence=run.licence)
            except UnavailableError:
                await asyncio.sleep(PATIENCE_S)


def action_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings that actions may read."""
    names = ("smtp_host", "smtp_port", "smtp_username", "smtp_tls")
    password = settings.smtp_password
    return {
        **{name: getattr(settings, name) for name in names},
        "smtp_password": password.get_secret_value() if password else None,
        "mail_from": settings.mail_from,
        "mail_dir": settings.mail_dir,
    }


def _retrieve(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
