"""Starts that name their workflow, and retries: executions that no trigger makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from hark.daemon.engine.ingest import Ingest
from hark.daemon.engine.inputs import InvalidInputsError
from hark.daemon.engine.matcher import Start
from hark.daemon.engine.payload import encode
from hark.daemon.engine.program import Program
from hark.daemon.engine.programs import Programs
from hark.daemon.engine.registry import ActiveWorkflow, workflow_of
from hark.daemon.store.database import Database, Record, sql
from hark.workflows.catalogue import NewEvent, Receipt
from hark.workflows.errors import ActionError, ConflictError, NotFoundError, RequestError, UnprocessableError
from hark.workflows.ids import EventId, ExecutionId, TenantId, WorkflowId, execution_id, same_millisecond

_RETRIED = frozenset({"failed", "cancelled", "timeout"})


@dataclass(frozen=True, slots=True)
class Caller:
    """The attempt of a step that calls a workflow."""

    execution_id: ExecutionId
    path: str
    attempt: int
    depth: int
    """That of what it starts."""
    source: str
    detach: bool

    @property
    def key(self) -> str:
        """What makes a repetition after a crash the same execution."""
        return f"{self.execution_id}/{self.path}#{self.attempt}"


class Starts:
    """Makes executions on request."""

    def __init__(
        self, database: Database, ingest: Ingest, programs: Programs, *, on_queued: Callable[[], None]
    ) -> None:
        self._database = database
        self._ingest = ingest
        self._programs = programs
        self.on_queued = on_queued

    async def start(
        self,
        tenant_id: TenantId,
        slug: str,
        *,
        inputs: Mapping[str, Any],
        mode: str,
        key: str | None,
        metadata: Mapping[str, Any] | None,
        source: str,
    ) -> Receipt:
        """Start the published version of a workflow by hand. Its triggers may be paused; its conditions are not asked.

        Raises NotFoundError, ConflictError (not published, or the key was used with other inputs), UnprocessableError
        (inputs that the workflow refuses), UnavailableError.
        """
        workflow, applied, encoded = await self._accepted(tenant_id, slug, inputs)

        def explicit(event_id: EventId) -> Start:
            identifier = execution_id(event_id, workflow.id)
            return Start(identifier, workflow, None, applied, encoded, None, mode=mode, metadata=metadata)

        event = NewEvent(
            tenant_id=tenant_id,
            kind="manual",
            type="manual",
            source=f"{source}:{slug}",
            route=f"manual:{workflow.id}",
            data=dict(inputs),
            dedupe_key=key,
        )
        return await self._ingest.take(event, explicit=explicit)

    async def call(
        self, tenant_id: TenantId, slug: str, inputs: Mapping[str, Any], caller: Caller, *, mode: str
    ) -> ExecutionId:
        """Start the published version of a workflow for a step. Raises ActionError, UnavailableError."""
        try:
            workflow, applied, encoded = await self._accepted(tenant_id, slug, inputs)
        except RequestError as error:
            # What is not there or refuses now may not do so later; the author says whether to try again.
            raise ActionError(f"call {slug}: {error}", error_class="call_refused", retryable=False) from error

        def explicit(event_id: EventId) -> Start:
            start = Start(execution_id(event_id, workflow.id), workflow, None, applied, encoded, None, mode=mode)
            if not caller.detach:
                start.parent_id, start.parent_path = caller.execution_id, caller.path
            return start

        event = NewEvent(
            tenant_id=tenant_id,
            kind="call",
            type="call",
            source=caller.source,
            route=f"call:{workflow.id}",
            data=dict(inputs),
            dedupe_key=caller.key,
            fingerprint=caller.key.encode(),
            depth=caller.depth,
            caused_by=caller.execution_id,
        )
        return (await self._ingest.take(event, explicit=explicit)).executions[0]

    async def _accepted(
        self, tenant_id: TenantId, slug: str, inputs: Mapping[str, Any]
    ) -> tuple[ActiveWorkflow, dict[str, Any], str]:
        """Return a published workflow, with the inputs as it takes them. Raises RequestError."""
        row = await self._database.fetchrow("find_workflow_head", tenant_id, slug)
        if row is None:
            raise NotFoundError(f"there is no workflow {slug!r}")
        if row["status"] != "active":
            state = "a template" if row["is_template"] else row["status"]
            raise ConflictError(f"workflow {slug!r} is {state}: only a published one can be started")
        workflow = workflow_of(row, slug, orjson.loads(row["head"]))
        try:
            applied = workflow.inputs.apply(inputs)
        except InvalidInputsError as error:
            raise UnprocessableError(str(error)) from error
        return workflow, applied, encode(applied, "the inputs")

    async def retry(self, tenant_id: TenantId, identifier: UUID, *, from_start: bool) -> ExecutionId:
        """Run an ended execution again, from the step that failed or from its start.

        Raises NotFoundError, ConflictError when it has not ended, or when it completed and is not run from its start.
        """
        state = await self._database.fetchrow("get_execution_state", tenant_id, identifier)
        if state is None:
            raise NotFoundError(f"there is no execution {identifier}")
        if state["is_part"]:
            raise ConflictError(f"execution {identifier} is a part of another one: retry that one")
        if state["completed_at"] is None:
            raise ConflictError(f"execution {identifier} is {state['status']}: only one that has ended can be retried")
        if state["status"] not in _RETRIED and not from_start:
            raise ConflictError(f"execution {identifier} is {state['status']}: nothing failed; retry it from its start")
        program = await self._program(tenant_id, state)
        while True:
            following = await self._insert(tenant_id, identifier, state, program, from_start=from_start)
            if following is not None:
                self.on_queued()
                return following

    async def _program(self, tenant_id: TenantId, state: Record) -> Program:
        try:
            return await self._programs.get(tenant_id, state["workflow_id"], state["version"])
        except LookupError as error:
            raise ConflictError(str(error)) from error

    async def _insert(
        self, tenant_id: TenantId, identifier: UUID, state: Record, program: Program, *, from_start: bool
    ) -> ExecutionId | None:
        """Insert the next execution; None when another one took the same ordinal at the same time."""
        event_id = EventId(state["event_id"])
        workflow_id = WorkflowId(state["workflow_id"])
        async with self._database.transaction() as connection:
            last = await connection.fetchval(
                sql("last_ordinal"), tenant_id, workflow_id, event_id, *same_millisecond(event_id)
            )
            following = execution_id(event_id, workflow_id, last + 1)
            if (
                await connection.fetchval(
                    sql("insert_retry"), tenant_id, identifier, following, last + 1, program.timeout
                )
                is None
            ):
                return None
            if not from_start:
                failed = orjson.loads(state["error"] or "{}").get("step") or ""
                handlers = [node.id for node in program.on_error.nodes] if program.on_error else []
                await connection.execute(sql("copy_steps"), tenant_id, identifier, following, failed, handlers)
                await connection.execute(sql("copy_context"), tenant_id, identifier, following)
        return following
