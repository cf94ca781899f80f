"""One execution in memory: what it knows, what it has to put on record, and what it is handed."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID
from weakref import proxy

import orjson

from hark.daemon.engine.approval_links import ApprovalLinks
from hark.daemon.engine.folding import Folding, highest_seq, join_vars, vars_of
from hark.daemon.engine.job import Job
from hark.daemon.engine.parking import Parking
from hark.daemon.engine.payload import Masker, encode
from hark.daemon.engine.program import Ask, Node
from hark.daemon.engine.programs import Version
from hark.daemon.engine.records import Progress, StepRecord, is_stop, step_view
from hark.workflows.catalogue import Http, NewEvent, Receipt, Sql
from hark.workflows.errors import ActionError, UnprocessableError
from hark.workflows.ids import ExecutionId, derived_id, new_id
from hark.workflows.states import ENDED_STEP

if TYPE_CHECKING:
    from hark.daemon.engine.approve import Question
    from hark.daemon.engine.call import Called, Ended

_MOST_INPUT = 256 * 1024
_MOST_OUTPUT = 4 * 1024 * 1024
_OUTPUT = "the step's output"
MOST_MEMORY = 256 * 1024
"""Bytes of one value of a context: all of it is read before every step that names it."""


class OutputTooLargeError(UnprocessableError):
    """A step's output is larger than what may go on record."""


class Services(Protocol):
    """What the interpreter needs of the daemon."""

    http: Http
    settings: Mapping[str, Any]
    kept_turns: int
    """How many turns of a loop stay on record where a workflow does not say."""

    @property
    def licence(self) -> UUID:
        """This instance's licence to write."""
        ...

    def now(self) -> datetime:
        """Tell the time, by the database's clock."""
        ...

    def random(self) -> float:
        """Draw a random number in [0, 1)."""
        ...

    def commit(self, progress: Progress) -> Awaitable[None]:
        """Put progress on record, whether or not it is awaited; done after the commit."""
        ...

    def publish(self, progress: Progress) -> None:
        """Send progress on its way; it is committed before anything that is submitted later."""
        ...

    def home_transaction(self, run: Run) -> AbstractAsyncContextManager[HomeTransaction]:
        """Open a transaction on the home database for a step's SQL and its record."""
        ...

    def connect(self, name: str, run: Run) -> AbstractAsyncContextManager[Sql]:
        """Open a transaction on a named connection for a step's SQL."""
        ...

    async def emit(self, run: Run, event: NewEvent) -> Receipt:
        """Store an event of an execution; returns after the commit."""
        ...

    async def load_context(self, run: Run) -> Mapping[str, Any]:
        """Return what an execution remembers now; waits for the database to come back."""
        ...

    @property
    def links(self) -> ApprovalLinks:
        """The links by which people answer approvals."""
        ...

    async def open_approval(self, run: Run, record: StepRecord) -> Question:
        """Ask people, unless that is done; returns how the question stands. Waits for the database to come back."""
        ...

    async def close_approval(self, run: Run, record: StepRecord) -> Question:
        """Take no answer any more; returns the one that was quicker. Waits for the database to come back."""
        ...

    async def scanned_until(self, run: Run, path: str) -> datetime | None:
        """Return up to when a step has looked through stored events; waits for the database to come back."""
        ...

    async def scan_events(
        self, run: Run, route: str, first: UUID, key: tuple[Sequence[str], str]
    ) -> list[dict[str, Any]]:
        """Return stored events of a route from an id on, oldest first, as expressions see them: a batch."""
        ...

    async def event_hits(self, run: Run, path: str) -> list[dict[str, Any]]:
        """Return the events that were found to have the key of a step's wait, oldest first; waits for the database."""
        ...

    async def call(self, run: Run, path: str, attempt: int, called: Called) -> ExecutionId:
        """Start another workflow; the same attempt of a step always starts the same execution. Raises ActionError."""
        ...

    async def ended(self, run: Run, child: UUID) -> Ended | None:
        """Return how an execution that this one has made ended, None while it is open; waits for the database."""
        ...

    async def start_part(self, run: Run, child: ExecutionId, path: str, part: str) -> None:
        """Store a part of a distributed step, for any instance to take; again is nothing. Waits for the database."""
        ...

    async def cancel_children(self, run: Run, paths: Sequence[str]) -> None:
        """Cancel the open executions that steps wait for; waits for the database to come back."""
        ...

    async def recorded_output(self, run: Run, path: str) -> tuple[bool, Any]:
        """Tell whether a step is on record as completed, and its output; waits for the database to come back."""
        ...


class HomeTransaction(Protocol):
    """A transaction on the home database that ends with the record of the step whose SQL ran in it."""

    sql: Sql

    async def record(self, progress: Progress) -> None:
        """Write progress as the last statement; raises FencedError when the licence is gone."""
        ...


@dataclass(slots=True)
class Frame:
    """Where in the execution a block runs: the prefix of its steps' paths, and the names it sees."""

    prefix: str
    scope: dict[str, Any]

    @property
    def steps(self) -> dict[str, Any]:
        """The steps that expressions of this frame see."""
        steps: dict[str, Any] = self.scope["steps"]
        return steps

    def path(self, node: Node) -> str:
        """Return the path of a step here."""
        return self.prefix + node.id

    def inner(self, prefix: str, known: Mapping[str, Any], **names: Any) -> Frame:
        """Return a frame of its own for a loop's iteration: it sees the steps outside and adds its own."""
        return Frame(prefix, {**self.scope, **names, "steps": {**self.steps, **known}})

    def with_names(self, **names: Any) -> Frame:
        """Return a frame that sees more names and shares the steps."""
        return Frame(self.prefix, {**self.scope, **names})


_NONE: Mapping[str, Any] = MappingProxyType({})


class Run:
    """The state of one execution while an instance holds it."""

    def __init__(
        self, job: Job, version: Version, services: Services, *, names: Mapping[str, Any], masker: Masker | None
    ) -> None:
        self.tenant_id = job.tenant_id
        self.id = job.id
        self.slug, self.program = version
        self.services = services
        self.now = services.now
        self.mode = job.mode
        self.depth = job.depth
        self.mocks, self.failures = _answers_of(job)
        self.part = job.part
        self.whole_id = ExecutionId(UUID(job.part["whole"])) if job.part else job.id
        """The execution that this one is a part of; itself when it is none."""
        self.vars: dict[str, Any] = dict(job.part["vars"] if job.part else job.handed.variables)
        self.handed = job.handed
        """What it was handed for itself alone; its parts have the secrets too."""
        self.kept_turns = self.program.kept_turns or services.kept_turns
        """How many turns of a loop stay on record."""
        # Not the run itself: in a circle it would stay in memory, with all it knows, until the collector comes by.
        self.folding = Folding(proxy(self))
        self.known, remains = self.folding.restore(job.steps) if job.steps else ({}, [])
        self.stops = [record for record in self.known.values() if is_stop(record)]
        """What is on record from before and has stopped the execution."""
        self.unended = {path: record for path, record in self.known.items() if record.status not in ENDED_STEP}
        """Steps that are on record, or about to be, as begun and not ended."""
        self.open: dict[str, StepRecord] = {}
        """Steps that hold others and have begun in this walk."""
        self.parking = Parking(services.now)
        self.ending: str | None = None
        """Why the task is being cancelled: `cancelled`, `timeout`, `released` or `fenced`; None in a race.

        `ended`: its end is on its way into the record, and nothing but a fence cancels it any more.
        """
        self.woken = False
        """News came while it ran: the database does not let it wait, it goes on at once."""
        self._of_secrets = masker if "secrets" in self.program.roots else None
        """Masks secrets: links are masked too, but may be passed on."""
        if job.handed.secrets:
            # Whatever the workflow reads: they may also come back to it from outside, or be made of the daemon's.
            self._of_secrets = (masker or Masker(())).beside((*job.handed.secrets.values(), *job.handed.masked))
        self._masker = self._of_secrets
        self.licence = services.licence
        """The licence under which this execution is held; what it puts on record counts under no other."""
        self._progress = Progress(self.tenant_id, self.id, self.licence)
        if remains:
            self._progress.fold(remains)
        self._submitted = self._committed = 0
        self._seq = 0
        self._known_views: dict[str, dict[str, Any]] = {}
        if job.steps:
            self._seq = max(map(highest_seq, job.steps.values())) + 1
            self._restore_vars()
            self._known_views = self._by_prefix()
        scope = self._scope(job, names)
        self.root_names = frozenset(scope)
        """What expressions see everywhere in it, beside what loops and handlers add."""
        self.root = Frame("", scope) if job.part is None else self._part_frame(job.part, job.around, scope)

    def _part_frame(self, part: Mapping[str, Any], around: Mapping[str, Any], scope: dict[str, Any]) -> Frame:
        """Return the frame of a part, as its item or branch has it in the whole."""
        path, node = part["path"], self.program.node(part["step"])
        outer = path.removesuffix(node.id)
        prefix = f"{path}[{part['key']}]." if node.verb == "for_each" else outer
        frame = Frame(prefix, {**scope, **part["names"], "steps": {**around, **self.known_steps(prefix)}})
        if prefix != outer:
            frame.scope.update(self.names_in(frame, prefix, node.work.asks))
        return frame

    def _scope(self, job: Job, names: Mapping[str, Any]) -> dict[str, Any]:
        execution = execution_view(job, self.slug) if "execution" in self.program.roots else _NONE
        if self.program.reads_links:
            execution = {**execution, "approval_url": self._links_around(job.part)}
        return {
            **names,
            "event": job.event,
            "events": job.events or [job.event],
            "inputs": job.inputs,
            "vars": self.vars,
            "steps": dict(self.known_steps("")),
            "context": {},
            "execution": execution,
            "now": job.started_at,
        }

    # ------------------------------------------------------------------ links

    def names_in(self, frame: Frame, prefix: str, asks: Sequence[Ask]) -> dict[str, Any]:
        """Return the names of a loop's iteration that differ from those around it: the links of its approvals."""
        if not (asks and self.program.reads_links):
            return {}
        execution = frame.scope["execution"]
        links = {**execution["approval_url"], **self._links(self.id, prefix, asks)}
        return {"execution": {**execution, "approval_url": links}}

    def iterations_around(self, prefix: str) -> dict[str, str]:
        """Return in which executions the iterations run that a prefix of paths leads through, by their prefixes."""
        outside: Mapping[str, str] = self.part["iterations"] if self.part else {}
        return {found: outside.get(found, str(self.id)) for found in _prefixes(prefix)}

    def _links_around(self, part: Mapping[str, Any] | None) -> dict[str, str]:
        """Make the links that are seen everywhere in an execution.

        Those that a part sees lead to the execution in which the question will be asked: its whole, another part, or
        an iteration around it. They are computed, for what it is handed is on record, and links are masked there.
        """
        links = self._links(self.whole_id, "", self.program.asks)
        for prefix, owner in (part["iterations"] if part else {}).items():
            loop = self.program.node(prefix.rpartition("[")[0].rpartition(".")[2])
            links.update(self._links(ExecutionId(UUID(owner)), prefix, loop.work.asks))
        return links

    def _links(self, owner: ExecutionId, prefix: str, asks: Sequence[Ask]) -> dict[str, str]:
        """Make links; like secrets, they are masked in whatever goes on record."""
        links = self.services.links
        made = {ask.step: links.url(self.tenant_id, _asking(owner, prefix, ask), prefix + ask.step) for ask in asks}
        self._masker = (self._masker or Masker(())).beside(url.rpartition("/")[2] for url in made.values())
        return made

    # ------------------------------------------------------------------ what is known from before

    def _restore_vars(self) -> None:
        found: dict[str, tuple[int, Any]] = {}
        for record in (*self.known.values(), *self.folding.records()):
            join_vars(found, vars_of(record))
        self.vars.update({name: value for name, (_, value) in found.items()})

    def _by_prefix(self) -> dict[str, dict[str, Any]]:
        """Sort what is on record as ended by the prefix of its path: once, for loops ask for every iteration."""
        found: dict[str, dict[str, Any]] = {}
        for path, record in self.known.items():
            prefix, dot, name = path.rpartition(".")
            if record.status in ENDED_STEP and "[" not in name:
                found.setdefault(prefix + dot, {})[name] = step_view(record)
        return found

    def begun_turns(self, path: str) -> frozenset[int]:
        """Return the turns of a loop of which something is on record from an earlier walk."""
        start = f"{path}["
        return frozenset(int(known[len(start) :].partition("]")[0]) for known in self.known if known.startswith(start))

    def has_ended(self, path: str) -> bool:
        """Tell whether a step is on record as ended."""
        record = self.known.get(path)
        return record is not None and record.status in ENDED_STEP

    def known_steps(self, prefix: str) -> Mapping[str, Any]:
        """Return what expressions see of the recorded steps right below a prefix."""
        return self._known_views.get(prefix, _NONE)

    # ------------------------------------------------------------------ putting on record

    @property
    def noted(self) -> int:
        """How many steps are noted and not on their way into the record."""
        return len(self._progress.steps)

    @property
    def seq(self) -> int:
        """The number of the next step that is reached."""
        return self._seq

    @property
    def mark(self) -> int:
        """Which submission has to be committed so that all that is noted by now is."""
        return self._submitted + 1 if self._progress else self._submitted

    @property
    def committed(self) -> int:
        """Up to which submission all is committed."""
        return self._committed

    def next_seq(self) -> int:
        """Return the number of the next step that is reached."""
        self._seq += 1
        return self._seq - 1

    def record(self, record: StepRecord) -> None:
        """Note a step's state; it goes out before the next side effect."""
        self._progress.steps[record.path] = record
        if record.status in ENDED_STEP:
            self.unended.pop(record.path, None)
            if self.folding.open:
                self.folding.note(record)
        else:
            self.unended[record.path] = record

    def set_vars(self, prefix: str, values: Mapping[str, Any]) -> None:
        """Let variables have the values that the step that was just recorded has given them."""
        self.vars.update(values)
        self.folding.note_set(prefix, self._seq - 1, values)

    def fold(self, record: StepRecord, gone: Iterable[str]) -> None:
        """Note a fold, and the paths of the turns and folds that it replaces; they go with the next flush."""
        self._progress.steps[record.path] = record
        self._progress.fold(gone)

    def note(self, kind: str, path: str | None, detail: Any = None) -> None:
        """Note something for the timeline."""
        self._progress.note(new_id(self.now()), kind, path, None if detail is None else self.encoded(detail)[0])

    def note_not_waited(self, path: str, until: datetime | None) -> None:
        """Note that a step would have waited: in tests and dry runs none does."""
        self.note("step.not_waited", path, {"mode": self.mode, "until": None if until is None else until.isoformat()})

    def log(self, path: str, level: str, message: str, data: Any) -> None:
        """Note a line for the logs."""
        text = str(orjson.loads(self.encoded(message, what="the message of a log line")[0]))
        encoded = None if data is None else self.encoded(data, what="the data of a log line")[0]
        self._progress.log(new_id(self.now()), path, level, text, encoded)

    def remember(self, path: str, values: Mapping[str, str]) -> None:
        """Note what a step writes to the context, encoded; it goes out together with the step's record."""
        for key, value in values.items():
            self._progress.remember(self.whole_id, key, value, path)

    def wait(self, path: str, route: str, key: tuple[Sequence[str], str], scanned_until: datetime | None) -> None:
        """Note for which events a step waits, beside its record as waiting; see `Progress.wait`."""
        self._progress.wait(path, route, key, scanned_until)

    def end_wait(self, path: str) -> None:
        """Note that a step waits no longer, beside its record as ended."""
        self._progress.end_wait(path)

    async def refresh_context(self, scope: dict[str, Any]) -> None:
        """Let a scope see the context as it is now, with what this execution itself has noted."""
        await self.settle()
        scope["context"] = await self.services.load_context(self)

    def take_progress(self) -> Progress:
        """Hand over what is not on record yet; the caller writes it."""
        progress, self._progress = self._progress, Progress(self.tenant_id, self.id, self.licence)
        return progress

    def alone(self, record: StepRecord) -> Progress:
        """Return the progress of one step that has ended, to be written apart from what was noted."""
        self.folding.note(record)
        return Progress(self.tenant_id, self.id, self.licence, {record.path: record})

    def publish(self) -> None:
        """Send what was noted so far on its way, without waiting for it."""
        if self._progress:
            self._submitted += 1
            self.services.publish(self.take_progress())

    async def settle(self) -> None:
        """Wait until all that was noted so far is on record: the line that is crossed before every side effect."""
        if not self._progress and self._committed == self._submitted:
            return
        self._submitted += 1
        # A branch that notes nothing itself still waits for what others have on the way: flushes keep their order.
        mine = self._submitted
        await self.services.commit(self.take_progress())
        self._committed = max(self._committed, mine)

    # ------------------------------------------------------------------ values on their way into the record

    def holds_secret(self, value: Any) -> bool:
        """Tell whether a value holds a secret in the clear."""
        return self._of_secrets is not None and self._of_secrets.finds(encode(value))

    def encoded(self, value: Any, *, what: str = "the value") -> tuple[str, Any]:
        """Encode a value for the record; returns the text and the value as it is from now on.

        Where a secret had to be masked, the value is the masked one: an execution that resumes on the record must
        not see another value than the one that went on in memory.
        """
        text = encode(value, what)
        if self._masker is not None and self._masker.finds(text):
            value = self._masker.masked(orjson.loads(text))
            text = encode(value, what)
        return text, value

    def masked(self, value: Any, *, what: str = "the value") -> Any:
        """Return a value as it goes on record, for a place among others that are the engine's own."""
        return value if self._masker is None else self.encoded(value, what=what)[1]

    def masked_in(self, view: Mapping[str, Any], *names: str) -> dict[str, Any]:
        """Return the engine's own view of something, with those of its values masked that others have made.

        Masked as a whole, it would be unreadable to the engine itself for whom a secret is called `output` or `2026`.
        """
        return {**view, **{name: self.masked(view[name]) for name in names if name in view}}

    def bare(self, value: Any, what: str) -> Any:
        """Return a value by which something is found: it is on record as it is. Raises ActionError for a secret."""
        if self._masker is not None and self._masker.finds(encode(value)):
            message = f"{what} holds a secret, and is on record: masked, it would be the same as others"
            raise ActionError(message, error_class="secret_on_record", retryable=False)
        return value

    def encoded_error(self, view: Mapping[str, Any]) -> str:
        """Encode the view of a failure for the record."""
        return encode(self.masked_in(view, "message", "details"), "the error")

    def encoded_input(self, value: Any) -> str:
        """Encode a step's input for the record, shortened when it is very large: it is not read again."""
        text = self.encoded(value, what="the step's input")[0]
        if len(text) > _MOST_INPUT:
            return encode({"truncated": True, "bytes": len(text), "start": text[:2000]})
        return text

    def encoded_output(self, value: Any) -> tuple[str, Any]:
        """Encode a step's output; raises OutputTooLargeError beyond what may go on record."""
        text, value = self.encoded(value, what=_OUTPUT)
        return _bounded(text), value

    def encoded_own(self, value: Any) -> str:
        """Encode an output that the engine has made, of what is masked already; raises OutputTooLargeError too."""
        return _bounded(encode(value, _OUTPUT))

    def encoded_memory(self, key: str, value: Any) -> str:
        """Encode what is to be remembered under a key; raises ActionError beyond what a context keeps."""
        text = self.encoded(value, what=f"the value of {key!r}")[0]
        if len(text) > MOST_MEMORY:
            message = f"the value of {key!r} has {len(text)} bytes, more than the {MOST_MEMORY} that a context keeps"
            raise ActionError(message, error_class="context_too_large")
        return text

    def idempotency_key(self, path: str) -> str:
        """Return the key that all attempts of a step share."""
        return str(derived_id(self.id, "step", path))


def _bounded(text: str) -> str:
    if len(text) > _MOST_OUTPUT:
        raise OutputTooLargeError(
            f"the step's output has {len(text)} bytes, more than the {_MOST_OUTPUT} that are kept"
        )
    return text


def _answers_of(job: Job) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return what a test has steps answer, and which of them fail, each with class and message."""
    return job.metadata.get("mocks") or {}, job.metadata.get("failures") or {}


def part_id(whole: ExecutionId, place: str) -> ExecutionId:
    """Return the id of the part that an execution makes at a place, such as `each[3]`."""
    return ExecutionId(derived_id(whole, "part", place))


def _asking(owner: ExecutionId, prefix: str, ask: Ask) -> ExecutionId:
    """Return the execution in which an approve step asks."""
    for step, branch in ask.via:
        owner = part_id(owner, f"{prefix}{step}[{branch}]")
    return owner


def _prefixes(prefix: str) -> Iterator[str]:
    """Yield the prefixes of all iterations that a prefix leads through: `a[0].`, `a[0].b[2].`."""
    end = prefix.find("].")
    while end >= 0:
        yield prefix[: end + 2]
        end = prefix.find("].", end + 2)


def execution_view(job: Job, slug: str) -> dict[str, Any]:
    """Return what expressions see as `execution`."""
    return {
        "id": str(job.id) if job.part is None else job.part["whole"],
        "workflow": slug,
        "version": job.version,
        "mode": job.mode,
        "attempt": job.claims,
        "started_at": job.started_at,
        "event_id": job.event.get("id"),
        "trigger_type": job.trigger_type,
        "trigger": job.trigger,
    }
