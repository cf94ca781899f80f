"""What executions are handed in a test: memory in the place of the database, and nothing of the world."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID

import orjson

from hark.daemon.engine.approve import Question
from hark.daemon.engine.call import Called, Ended
from hark.daemon.engine.records import Change, Progress, StepRecord, step_view
from hark.daemon.engine.run import HomeTransaction, Run
from hark.workflows.catalogue import HttpAnswer, NewEvent, Receipt, Sql
from hark.workflows.errors import ActionError
from hark.workflows.ids import EventId, ExecutionId, new_id

LICENCE = UUID(int=1)


@dataclass(slots=True)
class Kept:
    """What one execution has put on record."""

    steps: dict[str, StepRecord] = field(default_factory=dict)
    change: Change | None = None
    context: dict[str, Any] = field(default_factory=dict)
    logs: list[tuple[Any, ...]] = field(default_factory=list)


class NoLinks:
    """Links of approvals that lead nowhere."""

    @staticmethod
    def url(_tenant: UUID, execution_id: UUID, path: str) -> str:
        """Return an address."""
        return f"http://test.invalid/approve/{execution_id}.{path}"


class NoHttp:
    """Outgoing requests, which a test does not make."""

    async def request(self, *_args: Any, **_options: Any) -> HttpAnswer:
        """Refuse."""
        _refuse("a request over HTTP")


def _refuse(what: str) -> NoReturn:
    raise ActionError(f"in a test there is no {what}: give the step a mock", error_class="not_mocked", retryable=False)


class CaseServices:
    """The interpreter's `Services` for one test. `on_part` and `on_ended` are told what the executor has to do."""

    kept_turns = 1_000_000
    links: Any = NoLinks()
    licence = LICENCE

    def __init__(self, start: datetime, events: Sequence[tuple[str, dict[str, Any]]]) -> None:
        self.http = NoHttp()
        self.settings: Mapping[str, Any] = {}
        self.kept: dict[UUID, Kept] = {}
        self.emitted: list[NewEvent] = []
        self.on_part: Callable[[Run, ExecutionId, str, str], None]
        self.on_ended: Callable[[UUID, Change], None]
        self._start = start
        self._began = time.monotonic()
        self._events = events

    def now(self) -> datetime:
        """Tell the time: that of the test, and what has passed since it began."""
        return self._start + timedelta(seconds=time.monotonic() - self._began)

    @staticmethod
    def random() -> float:
        """Draw no random number: a test comes out the same every time."""
        return 0.5

    def commit(self, progress: Progress) -> asyncio.Future[None]:
        """Keep progress."""
        self.publish(progress)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def publish(self, progress: Progress) -> None:
        """Keep progress."""
        kept = self.of(progress.execution_id)
        kept.steps.update(progress.steps)
        if progress.extras is not None:
            kept.logs += progress.extras.logs
            for row in progress.extras.context.values():
                self.of(row[1]).context[row[2]] = orjson.loads(row[3])
        if progress.change is not None:
            kept.change = progress.change
            self.on_ended(progress.execution_id, progress.change)

    def of(self, execution_id: UUID) -> Kept:
        """Return what an execution has put on record so far."""
        return self.kept.setdefault(UUID(str(execution_id)), Kept())

    def home_transaction(self, run: Run) -> AbstractAsyncContextManager[HomeTransaction]:
        """Refuse."""
        _refuse("database")

    def connect(self, name: str, run: Run) -> AbstractAsyncContextManager[Sql]:
        """Refuse."""
        _refuse("database")

    async def emit(self, run: Run, event: NewEvent) -> Receipt:
        """Keep what is published; nobody gets it."""
        self.emitted.append(event)
        return Receipt(EventId(new_id(self.now())), ())

    async def load_context(self, run: Run) -> Mapping[str, Any]:
        """Return what an execution remembers."""
        return dict(self.of(run.whole_id).context)

    async def open_approval(self, run: Run, record: StepRecord) -> Question:
        """Refuse: approvals are answered by mocks."""
        _refuse("approval")

    async def close_approval(self, run: Run, record: StepRecord) -> Question:
        """Refuse: approvals are answered by mocks."""
        _refuse("approval")

    async def scanned_until(self, run: Run, path: str) -> datetime | None:
        """Return that nothing was looked through."""
        return None

    async def scan_events(
        self, run: Run, route: str, first: UUID, key: tuple[Sequence[str], str]
    ) -> list[dict[str, Any]]:
        """Return the events of the test on a route."""
        return [view for on, view in self._events if on == route]

    async def event_hits(self, run: Run, path: str) -> list[dict[str, Any]]:
        """Return nothing: what there is, a scan finds."""
        return []

    async def call(self, run: Run, path: str, attempt: int, called: Called) -> ExecutionId:
        """Refuse: what is called is another workflow."""
        _refuse(f"workflow {called.slug!r} to call")

    async def ended(self, run: Run, child: UUID) -> Ended | None:
        """Return how a part has ended."""
        change = self.of(child).change
        if change is None or change.completed_at is None:
            return None
        output, error = (None if text is None else orjson.loads(text) for text in (change.output, change.error))
        return Ended(child, change.status, output, error)

    async def start_part(self, run: Run, child: ExecutionId, path: str, part: str) -> None:
        """Run a part of a distributed step, here."""
        if UUID(str(child)) not in self.kept:
            self.of(child)
            self.on_part(run, child, path, part)

    async def cancel_children(self, run: Run, paths: Sequence[str]) -> None:
        """Do nothing: parts of a test end with it."""

    async def recorded_output(self, run: Run, path: str) -> tuple[bool, Any]:
        """Return what is on record of a step."""
        record = self.of(run.id).steps.get(path)
        found = record is not None and record.status == "completed"
        return found, orjson.loads(record.output) if record is not None and record.output else None

    def around(self, whole: UUID, path: str) -> dict[str, Any]:
        """Return the ended steps that a part of a step sees."""
        return {
            found.rpartition(".")[2]: step_view(record)
            for found, record in self.of(whole).steps.items()
            if record.completed_at is not None and not found.endswith("]") and path.startswith(_prefix(found))
        }


def _prefix(path: str) -> str:
    head, dot, _ = path.rpartition(".")
    return head + dot
