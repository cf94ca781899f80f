"""The shapes of answers: what OpenAPI describes, what the client gives, what the tests hold answers to.

Answers may gain fields; whoever reads them keeps what it does not know.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from hark.workflows.documented import Documented
from hark.workflows.states import ExecutionStatus, StepStatus

ItemT = TypeVar("ItemT")

LogLevel = Literal["debug", "info", "warning", "error", "critical"]
Mode = Literal["production", "test", "dry_run"]


class Answer(Documented, BaseModel):
    """Base of what the API answers."""

    # Built at its first use: most processes need few of them.
    model_config = ConfigDict(extra="allow", defer_build=True)


class Page(Answer, Generic[ItemT]):
    """One page of a list; `next_cursor` leads to the next one and is null on the last."""

    items: list[ItemT]
    next_cursor: str | None = None


class ProblemItem(Answer):
    """One thing that is wrong, and where."""

    message: str
    file: str = ""
    line: int | None = None
    column: int | None = None
    path: str = ""
    hint: str = ""
    severity: str = "error"


class ProblemDocument(Answer):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    problems: list[ProblemItem] = Field(default_factory=list)


class Subject(Answer):
    """The business entity that something is about."""

    kind: str
    id: str


class TriggerRow(Answer):
    """A trigger of a workflow's published version."""

    id: str
    kind: str
    route: str
    event_type: str | None = None
    config: dict[str, Any] | None = None


class LastExecution(Answer):
    """The latest execution of a workflow."""

    id: UUID
    status: ExecutionStatus
    created_at: datetime


class WorkflowSummary(Answer):
    """A workflow in a list."""

    id: UUID
    slug: str
    name: str
    description: str | None
    category: str | None
    tags: list[str]
    status: Literal["draft", "active", "archived"]
    is_active: bool
    is_template: bool
    paused_at: datetime | None
    published_version: int | None
    latest_version: int
    created_at: datetime
    updated_at: datetime
    triggers: list[TriggerRow]
    last_execution: LastExecution | None = None


class WorkflowDetail(WorkflowSummary):
    """A workflow with the definition of one version, the published one unless asked otherwise."""

    version: int | None
    content_hash: str | None
    definition: dict[str, Any] | None


class WorkflowVersion(Answer):
    """An immutable version."""

    version: int
    content_hash: str
    created_at: datetime
    is_published: bool | None


class AppliedWorkflow(Answer):
    """What applying one definition did, or would do."""

    workflow: str
    id: UUID | None = None
    outcome: Literal["created", "updated", "unchanged", "archived"]
    version: int | None = None
    status: str | None = None
    file: str = ""


class Applied(Answer):
    """What applying several definitions did: all of it, or nothing."""

    items: list[AppliedWorkflow]
    warnings: list[ProblemItem]
    dry_run: bool = False


class Validated(Answer):
    """Whether definitions could be applied as they are."""

    valid: bool
    items: list[AppliedWorkflow]
    problems: list[ProblemItem]


class Deleted(Answer):
    """Something is gone, with its history."""

    success: bool = True


class ExecutionSummary(Answer):
    """An execution in a list."""

    id: UUID
    workflow: str
    workflow_id: UUID
    workflow_name: str
    version: int
    status: ExecutionStatus
    pending_reason: str | None
    mode: Mode
    trigger_type: str
    trigger_id: str | None
    event_id: UUID
    ordinal: int
    origin_id: UUID | None
    parent_id: UUID | None
    """The execution that called it, or that it is a part of."""
    part: str | None
    """Which item or branch of the parent it is, such as `each[3]`; null when it is no part."""
    subject: Subject | None
    instance_id: UUID | None
    due_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    duration_ms: float | None
    error_class: str | None
    error_message: str | None
    current_step: str | None
    """The step that was started last and has not ended; else the last one."""


class StepExecution(Answer):
    """One run of a step; `pending` and without `seq` while it has not been reached."""

    path: str
    container: str | None = None
    """Path of the step that it is inside of: a branch, a loop."""
    seq: int | None = None
    verb: str
    """That of the step, or `iteration` for a turn of a `while`, `part` for one of a distributed step, `fold` for turns
    of a loop that are folded away: then the output says which, and how many completed and failed."""
    action_type: str | None = None
    status: StepStatus
    attempt: int = 0
    input: Any = None
    output: Any = None
    error: dict[str, Any] | None = None
    due_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    duration_ms: float | None = None


class TimelineEntry(Answer):
    """Something that happened in an execution."""

    at: datetime
    type: str
    path: str | None = None
    detail: dict[str, Any] | None = None


class LogLine(Answer):
    """A line that an action or a user wrote."""

    id: UUID
    at: datetime
    level: LogLevel
    message: str
    data: Any = None
    path: str | None = None
    execution_id: UUID
    workflow: str


class ContextEntry(Answer):
    """What an execution remembers under one key."""

    key: str
    value: Any
    updated_at: datetime
    updated_by: str
    """`step:PATH`, `key:NAME` for the API, or the database role that wrote it with SQL."""


class ApprovalRow(Answer):
    """A step that waits for an answer of people."""

    id: UUID
    execution_id: UUID
    workflow: str
    workflow_name: str
    step: str
    """Path of the step."""
    message: str
    approvers: list[str]
    """Who may answer: names of keys, and `link`; anybody with the scope when empty."""
    form: dict[str, dict[str, Any]]
    """JSON Schema properties of what is filled in, with `required` beside them."""
    since: datetime
    until: datetime | None
    url: str | None = None
    """Where it is answered with the link, if that was asked for; null when the link was made with another key."""


class Answered(Answer):
    """What was answered."""

    execution_id: UUID
    step: str
    answer: Literal["approved", "rejected"]
    by: str


class HeldBack(Answer):
    """Which limit of its workflow an execution waits for."""

    reason: str | None
    """queued, throttled, debounced, batched; or retry and replay when it was asked for later."""
    until: datetime | None
    """When it may start, unless something else comes before."""
    key: str | None
    """Of a queued one: the key of the lane in which it waits."""
    limit: int | None
    behind: list[UUID]
    """Up to five of those that have a slot there."""
    place: int | None
    """Its place in the queue, from 1."""
    collected: int | None
    """Of a batch: how many events there are so far, of `size`."""
    size: int | None


class ExecutionDetail(ExecutionSummary):
    """An execution with all that is on record of it."""

    inputs: Any = None
    variables: dict[str, Any] | None = None
    """The `vars` that it was started with."""
    output: Any = None
    error: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    priority: int
    depth: int
    claims: int
    deadline_at: datetime | None
    cancel_requested_at: datetime | None
    steps: list[StepExecution]
    timeline: list[TimelineEntry]
    logs: list[LogLine]
    artifacts: list[dict[str, Any]]
    context: dict[str, Any]
    """What it remembers."""
    repeated_by: list[UUID]
    """The executions that retried or replayed it; `origin_id` is the other direction."""
    held_back: HeldBack | None = None
    """Which limit it waits for, while it does."""
    truncated: bool = False
    """There is more than is shown here."""


class RefusedStart(Answer):
    """Which limit of the workflow refused a start."""

    reason: str
    """idempotent, rate_limited or overlap."""
    detail: str | None


class StartedExecution(Answer):
    """An execution that was started; what it came to, if it ended while the caller waited."""

    execution_id: UUID | None
    event_id: UUID
    workflow_id: UUID
    workflow: str
    status: ExecutionStatus | None
    execution_time_ms: float | None = None
    output: Any = None
    error: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    duplicate: bool = False
    refused: RefusedStart | None = None
    """Why there is no execution."""


class ExecutionStatusChange(Answer):
    """What became of a request to change an execution."""

    execution_id: UUID
    status: ExecutionStatus


class RetriedExecution(Answer):
    """The execution that repeats another one."""

    execution_id: UUID
    origin_id: UUID


class BulkItem(Answer):
    """What became of one execution of many."""

    execution_id: UUID
    workflow: str
    new_id: UUID | None = None
    """The execution that repeats it."""
    status: str | None = None
    """Its status, when it was to be cancelled."""
    due_at: datetime | None = None
    """When the new one may start, if not at once."""
    refused: str | None = None
    """Why nothing was done with it."""


class BulkAnswer(Answer):
    """What became of many executions."""

    matched: int
    done: int
    refused: int
    more: bool
    """The filter fits others too: send it again."""
    dry_run: bool
    items: list[BulkItem]


class BackfillItem(Answer):
    """What became of one slot of a backfill."""

    trigger_id: str
    slot: datetime
    event_id: UUID | None = None
    executions: list[UUID]
    """Empty in a dry run, and when the workflow's conditions or limits refused it: the event says why."""
    due_at: datetime | None = None
    """When its executions may start, if not at once."""
    refused: str | None = None
    """Why the slot was not stored; the same request tries again."""


class BackfillAnswer(Answer):
    """What became of the slots of a time."""

    matched: int
    """Slots that have not fired, as far as they are among the items."""
    done: int
    refused: int
    already: int
    """Slots of that time that had fired before."""
    unrecorded: int
    """Slots that were left out: history does not reach so far back, they may have fired."""
    unrecorded_before: datetime | None = None
    """How far history reaches back; absent when it holds all of this workflow."""
    more: bool
    """There are more slots: send it again."""
    dry_run: bool
    items: list[BackfillItem]


class RowBackfillAnswer(Answer):
    """What became of a part of the rows of a table."""

    trigger_id: str
    table: str
    estimate: int
    """About how many rows the table has, by the statistics of PostgreSQL."""
    scanned: int
    """Rows that were looked at."""
    done: int
    """Of these, those that were run; in a dry run, those that would be."""
    already: int
    """Those that had been run before under the same name."""
    left_out: int
    """Those for which `where` does not hold."""
    unconcerned: dict[str, int]
    """How many start nothing, by the reason."""
    refused: list[str]
    """Why rows could not be stored, each; they come again when the backfill begins anew."""
    pending: int
    """So many executions of the workflow wait for their turn that no more were started; else 0."""
    position: list[str] | None = None
    """The key of the last row that is done with: `after` of the next request."""
    more: bool
    """There may be more rows: send it again with `after`."""
    dry_run: bool


class PruneShare(Answer):
    """Executions of one workflow in one partition of the history that have the same prospect."""

    partition: str
    """A week such as 2026w07, or `oldest`."""
    workflow: str
    policy: Literal["for", "failed", "count"] | None = None
    """Which policy lets them go; null when they stay."""
    stays_as: Literal["open", "needed", "restored", "recent", "failed", "week"] | None = None
    """Why they stay: open; needed by something open; restored from the archive; too recent; failed, which stays longer;
    past, but goes with its whole week."""
    executions: int
    events: int
    bytes: int
    """An estimate: the partition's, by the number of executions."""


class PruneAnswer(Answer):
    """What went, or would go in a dry run. What went is counted over all tenants, whose weeks go together."""

    dry_run: bool
    executions: int
    unmatched_events: int
    weeks_dropped: int
    events: int | None = None
    """Of a dry run: events of these executions, at most."""
    bytes: int | None = None
    """Of a dry run."""
    shares: list[PruneShare] = Field(default_factory=list)
    """Of a dry run: what goes and what stays."""


class ArchiveRow(Answer):
    """A file of the archive: JSON Lines, compressed with zstd."""

    id: UUID
    location: str
    """A directory of the daemon's machine, or s3://bucket/prefix."""
    name: str
    """Its path in there."""
    week: str | None
    """The week that it is a part of; null when its executions went row by row."""
    sealed_at: datetime
    """When what is in it was dropped."""
    first_id: UUID
    last_id: UUID
    executions: int
    steps: int
    events: int
    logs: int
    bytes: int
    sha256: str


class ArchivedExecution(Answer):
    """An execution as the archive holds it: the rows of the tables, as they were."""

    execution: dict[str, Any]
    steps: list[dict[str, Any]]
    timeline: list[dict[str, Any]]
    logs: list[dict[str, Any]]
    context: list[dict[str, Any]]
    waits: list[dict[str, Any]]
    batch: list[dict[str, Any]]
    """Which events it collected."""
    events: list[dict[str, Any]]
    decisions: list[dict[str, Any]]


class Restored(Answer):
    """What became of executions that were to be restored."""

    restored: int
    there: int
    """Were there already, and stay as they are."""
    no_workflow: int
    """Not restored, because their workflow was deleted."""


class OpenExecution(Answer):
    """An execution that has not ended."""

    id: UUID
    workflow: str
    status: ExecutionStatus


class SubjectErased(Answer):
    """What of a subject went, or would go in a dry run."""

    dry_run: bool
    id: UUID | None
    """Under which the erasure is on record; null in a dry run."""
    executions: int
    steps: int
    logs: int
    events: int
    emptied: int
    """Events that executions about something else need, here or in the archive: they stay, without what they said."""
    archived: int
    """Executions that were taken out of the archive."""
    files: int
    """Files of the archive that were written anew for that."""
    open: list[OpenExecution] = Field(default_factory=list)
    """Of a dry run: up to ten executions that would have to end first."""


class ErasureRow(Answer):
    """An erasure on record."""

    id: UUID
    kind: str
    """Of the subject."""
    salt: str
    digest: str
    """SHA-256 of the salt's bytes, the kind, a line feed and the subject's id."""
    requested_by: str
    begun_at: datetime
    ended_at: datetime
    executions: int
    steps: int
    logs: int
    events: int
    emptied: int
    archived: int
    files: int


class Received(Answer):
    """An event that was stored, and what it started."""

    event_id: UUID
    executions: list[UUID]
    duplicate: bool = False


class EventSummary(Answer):
    """An event in a list."""

    id: UUID
    kind: str
    type: str
    source: str
    route: str
    subject: Subject | None
    occurred_at: datetime
    created_at: datetime
    dedupe_key: str | None
    depth: int
    caused_by: UUID | None
    matched: bool


class Decision(Answer):
    """Why a workflow that an event was offered to did not start."""

    workflow: str
    workflow_id: UUID
    trigger_id: str
    reason: str
    detail: str | None = None


class EventDetail(EventSummary):
    """An event with its data, what it started, and what it did not start."""

    data: Any = None
    executions: list[ExecutionSummary]
    decisions: list[Decision]
    passed_over: int | None = None
    """How many more triggers on its route did not start their workflows; where there are many, not each is listed."""


class Judged(Answer):
    """What became of one event with one trigger of a workflow."""

    workflow: str
    workflow_id: UUID
    trigger_id: str | None = None
    """None where it was started by hand, or is not there any more."""
    version: int | None = None
    """The version that was active then."""
    outcome: Literal["started", "joined", "refused"]
    reason: str | None = None
    """A stable word: `when_false`, `condition_false`, `rate_limited`, `paused` …"""
    detail: str | None = None
    values: dict[str, Any] = Field(default_factory=dict)
    """What the condition that failed saw, by path."""
    execution_id: UUID | None = None
    """What was started or joined."""
    status: str | None = None
    """How that stands."""


class EventDecisions(Answer):
    """Which workflows an event was offered to, and what became of it with each."""

    event_id: UUID
    type: str
    kind: str
    route: str
    at: datetime
    considered: int
    reasons: dict[str, int]
    """How many there are of each outcome and reason."""
    items: list[Judged]
    """What started first, then what came nearest to it."""
    complete: bool = True
    """Whether all workflows were asked. Not when very many have changed since: those that are left out, nothing is
    said of; ask for one of them with `workflow`."""
    warnings: list[str] = []
    """Of a row change: columns that the workflows use and that the table no longer has, or are of another type."""


class JudgedEvent(Judged):
    """What became of one event with a workflow."""

    event_id: UUID
    type: str
    route: str
    at: datetime


class ListeningTrigger(Answer):
    """A trigger of a workflow's published version, and the routes by which events come to it."""

    id: str
    kind: str
    routes: list[str]
    when: str | None = None


class WorkflowDecisions(Answer):
    """The last events of the kinds that a workflow listens to, and what became of them with it."""

    workflow: str
    state: str
    triggers: list[ListeningTrigger]
    broken: list[str]
    """Triggers that could not be attached, and why."""
    warnings: list[str] = []
    """Columns that it uses and that its tables no longer have, or are of another type; which of its databases do not
    answer, so that this is not known."""
    items: list[JudgedEvent]
    next_cursor: str | None = None


class RehearsedEvents(Answer):
    """What a workflow would make of stored events."""

    scanned: int
    would_start: int
    started_then: int
    """How many of them have started this workflow."""
    newly: int
    """Would start it, and have not."""
    no_longer: int
    """Have started it, and would not."""
    complete: bool
    """Whether all events of the time were looked at."""
    reached: datetime | None = None
    """Where not: how far back."""


class RehearsedRows(Answer):
    """What a row trigger would make of the rows of its table, if they were inserted now."""

    connection: str = ""
    """The name of the other database in which the table is."""
    table: str
    scanned: int
    would_start: int
    complete: bool
    problem: str | None = None


class RehearsedSchedule(Answer):
    """The due times of a schedule in the span, whether they have fired or not."""

    trigger_id: str
    due: int
    would_start: int
    first: datetime | None = None
    last: datetime | None = None
    complete: bool
    """Whether these are all; else the latest."""


class RehearsedStart(Answer):
    """One start that there would be."""

    event_id: UUID | None = None
    """None for a row that is there."""
    type: str
    at: datetime
    trigger_id: str
    inputs: dict[str, Any]
    subject: Subject | None = None


class RehearsedRefusal(Answer):
    """Why events would not start it, and how many; `event_id` and `values` are of the first."""

    trigger_id: str
    reason: str
    detail: str | None = None
    count: int
    event_id: UUID | None = None
    values: dict[str, Any] = Field(default_factory=dict)


class Rehearsal(Answer):
    """What one workflow would have started."""

    workflow: str
    version: int | None = None
    """None for a definition that is not stored."""
    since: datetime
    until: datetime
    events: RehearsedEvents
    rows: list[RehearsedRows]
    schedules: list[RehearsedSchedule]
    samples: list[RehearsedStart]
    refusals: list[RehearsedRefusal]
    broken: list[str]
    """Triggers that could not be attached, and why."""
    limited: bool
    """Whether the workflow has limits: a dry run does not ask them, and they may refuse, delay or join some starts."""


class DryRun(Answer):
    """What workflows would have started."""

    items: list[Rehearsal]


class Slot(Answer):
    """A due time of a schedule."""

    utc: datetime
    local: datetime
    note: str
    """What daylight saving or the calendar did to it: `02:30 is skipped, it does not exist that day; runs at 03:00`."""
    workflow: str | None = None
    trigger_id: str | None = None
    schedule: str | None = None
    timezone: str | None = None
    fires_at: datetime | None = None
    """When it fires, if the trigger's `jitter` makes that later."""
    paused: bool = False
    """Its workflow is paused: unless it is resumed before, nothing will run."""


class ActionEntry(Answer):
    """An action of the catalogue."""

    type: str
    name: str
    description: str
    category: str
    config_schema: dict[str, Any]
    output_schema: dict[str, Any]
    example: dict[str, Any]
    permissions: list[str]
    effect: str


class TriggerEntry(Answer):
    """A trigger kind of the catalogue."""

    kind: str
    name: str
    description: str
    config_schema: dict[str, Any]
    event_data: list[str]
    example: dict[str, Any]
    other_names: list[str]


class HookRow(Answer):
    """An address that webhooks may be sent to."""

    path: str
    url: str
    methods: list[str]
    auth: str
    workflow: str
    trigger_id: str
    last_delivery_at: datetime | None = None
    last_event_id: UUID | None = None
    last_outcome: str | None = None
    """How the executions stand that the last delivery has started; null for none."""
    refused: int = 0
    """Requests that were refused on the path within the last day."""
    last_refusal: str | None = None
    """Status and reason of the last one."""


class StartedBy(Answer):
    """An execution that a delivery has started."""

    id: UUID
    workflow: str
    status: ExecutionStatus


class DeliveryRow(Answer):
    """A webhook that was stored as an event, and what became of it."""

    id: UUID
    """Of the event."""
    created_at: datetime
    occurred_at: datetime
    dedupe_key: str | None
    matched: bool
    executions: list[StartedBy]


class HookRefusalRow(Answer):
    """Webhooks that were refused with one status on one path; details are those of the last one."""

    path: str
    status: int
    count: int
    first_at: datetime
    last_at: datetime
    detail: str
    method: str
    client: str


class HookTest(Answer):
    """A path that is open for trying out."""

    path: str
    url: str
    expires_at: datetime


class ArrivalRow(Answer):
    """What arrived at a path that is being tried out."""

    id: UUID
    at: datetime
    data: dict[str, Any]
    """The request, what it would have been answered, and what it would have started."""


class WatchRow(Answer):
    """A table whose changes start workflows, and whether they are captured."""

    connection: str = ""
    """The name of the other database in which the table is."""
    table: str
    operations: list[str]
    workflows: list[str]
    attached: bool
    detail: str = ""
    backlog: int = 0
    """Changes that are not events yet; counted up to 10,000."""
    parked: int = 0
    """Changes that could not be made into events."""
    warnings: list[str] = []
    """Columns that workflows use and that the table no longer has."""
    key: list[str] = []
    """The columns of its primary key."""
    filtered: list[str] = []
    """Operations of which the database captures only what may start a workflow."""


class StartedByChange(Answer):
    """An execution that a row change has started."""

    workflow: str
    trigger_id: str | None
    execution_id: UUID


class RefusedChange(Answer):
    """Why a workflow did not start."""

    workflow: str
    trigger_id: str
    reason: str
    detail: str | None


class CapturedChange(Answer):
    """A captured row change, and what became of it, as the live tail tells it."""

    event_id: UUID
    at: datetime
    """When it was stored."""
    occurred_at: datetime
    data: dict[str, Any]
    """As workflows see it in `event.data`."""
    cut: bool
    """Whether `data` is without its rows, being too large for a line: the event itself has them."""
    matched: bool
    passed_over: int | None
    """How many triggers did not start their workflows, and are not in `refused`."""
    started: list[StartedByChange]
    refused: list[RefusedChange]


class InstanceRow(Answer):
    """A daemon process on the database."""

    id: UUID
    host: str
    pid: int
    version: str
    state: str
    started_at: datetime
    heartbeat_at: datetime
    silent_s: float
    running: int
    """Executions in hand."""


class Stats(Answer):
    """How much there is; totals of history are estimates."""

    workflows: int
    active_workflows: int
    instances: int
    open_executions: dict[str, int]
    estimated_rows: dict[str, int] | None
    engine: dict[str, float]


class HealthPart(Answer):
    """Whether one part of the daemon can do its work."""

    ok: bool
    detail: str = ""


class Readiness(Answer):
    """Whether this daemon can take work, and if not, why."""

    ready: bool
    parts: dict[str, HealthPart]
