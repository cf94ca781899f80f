"""Starts that name their workflow: executions that no trigger makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from hark.daemon.engine.call import Called
from hark.daemon.engine.handed_over import HandedOver
from hark.daemon.engine.ingest import Ingest
from hark.daemon.engine.inputs import InvalidInputsError
from hark.daemon.engine.limits import Evaluated
from hark.daemon.engine.matcher import Start, event_view
from hark.daemon.engine.payload import encode
from hark.daemon.engine.registry import ActiveWorkflow, workflow_of
from hark.daemon.engine.sealing import Vault
from hark.daemon.store.database import Database
from hark.workflows.catalogue import NewEvent, Receipt
from hark.workflows.errors import (
    ActionError,
    ConflictError,
    ExpressionError,
    NotFoundError,
    RequestError,
    UnprocessableError,
)
from hark.workflows.ids import EventId, ExecutionId, TenantId, execution_id, new_id


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
    licence: UUID
    """That under which it runs."""

    @property
    def key(self) -> str:
        """What makes a repetition after a crash the same execution."""
        return f"{self.execution_id}/{self.path}#{self.attempt}"


class Starts:
    """Makes executions on request."""

    def __init__(
        self,
        database: Database,
        ingest: Ingest,
        *,
        vault: Vault,
        now: Callable[[], datetime],
        config: Mapping[str, Any],
    ) -> None:
        self._database = database
        self._ingest = ingest
        self._vault = vault
        self._now = now
        self._config = config

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
        handed: HandedOver,
    ) -> Receipt:
        """Start the published version of a workflow by hand. Its triggers may be paused; its conditions are not asked.

        Raises NotFoundError, ConflictError (not published, or the key was used with other inputs or variables),
        SealedError (this instance must not seal secrets), UnprocessableError (inputs that the workflow refuses),
        UnavailableError.
        """
        workflow, applied, encoded = await self._accepted(tenant_id, slug, inputs)
        variables = handed.encoded_variables

        event = NewEvent(
            tenant_id=tenant_id,
            kind="manual",
            type="manual",
            source=f"{source}:{slug}",
            route=f"manual:{workflow.id}",
            data=dict(inputs),
            dedupe_key=key,
            fingerprint=None if variables is None else encode([inputs, handed.variables]).encode(),
        )
        limits = self._limits(workflow, event, applied)
        if handed and workflow.limits is not None and workflow.limits.collects:
            raise UnprocessableError(
                f"workflow {slug!r} collects its starts (`batch`): what one of them is handed would be lost; "
                "give it as input, and secrets to the daemon"
            )
        if handed.secrets:
            await self._vault.ready()

        def explicit(event_id: EventId) -> Start:
            identifier = execution_id(event_id, workflow.id)
            start = Start(identifier, workflow, None, applied, encoded, None, mode=mode, metadata=metadata)
            start.limits, start.variables = limits, variables
            return self._with(start, handed)

        return await self._ingest.take(event, explicit=explicit)

    async def call(self, tenant_id: TenantId, called: Called, caller: Caller, *, mode: str) -> ExecutionId:
        """Start the published version of a workflow for a step. Raises ActionError, UnavailableError."""
        slug = called.slug
        try:
            workflow, applied, encoded = await self._accepted(tenant_id, slug, called.inputs)
            handed = replace(HandedOver.checked(None, called.secrets), masked=called.masked)
            if handed.secrets:
                await self._vault.ready()
        except RequestError as error:
            # What is not there or refuses now may not do so later; the author says whether to try again.
            raise ActionError(f"call {slug}: {error}", error_class="call_refused", retryable=False) from error

        def explicit(event_id: EventId) -> Start:
            start = Start(execution_id(event_id, workflow.id), workflow, None, applied, encoded, None, mode=mode)
            start.limits = limits
            if not caller.detach:
                start.parent_id, start.parent_path = caller.execution_id, caller.path
            return self._with(start, handed)

        event = NewEvent(
            tenant_id=tenant_id,
            kind="call",
            type="call",
            source=caller.source,
            route=f"call:{workflow.id}",
            data=dict(called.inputs),
            dedupe_key=caller.key,
            fingerprint=caller.key.encode(),
            depth=caller.depth,
            caused_by=caller.execution_id,
        )
        limits = self._limits_of_call(workflow, event, applied)
        found = (await self._ingest.take(event, explicit=explicit, licence=caller.licence)).executions
        if not found:
            raise ActionError(f"call {slug}: it is under way already", error_class="call_refused", retryable=True)
        return found[0]

    def _with(self, start: Start, handed: HandedOver) -> Start:
        """Give a start what it is handed."""
        start.handed = handed
        if handed.secrets:
            start.sealed = self._vault.seal(start.workflow.tenant_id, start.id, handed)
        return start

    def _limits_of_call(self, workflow: ActiveWorkflow, event: NewEvent, inputs: Mapping[str, Any]) -> Evaluated | None:
        try:
            return self._limits(workflow, event, inputs, only_waits=True)
        except UnprocessableError as error:
            raise ActionError(f"call {workflow.slug}: {error}", error_class="call_refused", retryable=False) from error

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

    def _limits(
        self, workflow: ActiveWorkflow, event: NewEvent, inputs: Mapping[str, Any], *, only_waits: bool = False
    ) -> Evaluated | None:
        """Evaluate the keys of a start; `event.id` is not known to them here. Raises UnprocessableError."""
        if workflow.limits is None:
            return None
        now = self._now()
        view = event_view(event, EventId(new_id(now)), now)
        try:
            scope = {"config": self._config, "event": view, "inputs": inputs, "now": now}
            return workflow.limits.evaluate(scope, only_waits=only_waits)
        except ExpressionError as error:
            raise UnprocessableError(f"the workflow cannot be started with these inputs: {error}") from error
