"""Retries and replays: executions that repeat an ended one, whole or from one of its steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from hark.daemon.engine.handed_over import HandedOver
from hark.daemon.engine.inputs import InputRules, InvalidInputsError
from hark.daemon.engine.payload import encode
from hark.daemon.engine.program import Program
from hark.daemon.engine.programs import Programs
from hark.daemon.engine.sealing import SealedError, Vault, names_of
from hark.daemon.store.database import Connection, Database, Record, sql
from hark.workflows.errors import ConflictError, NotFoundError, UnprocessableError
from hark.workflows.ids import EventId, ExecutionId, TenantId, WorkflowId, execution_id, new_id, same_millisecond
from hark.workflows.replay_plan import Recorded, ReplayPlan, check_version, plan_replay
from hark.workflows.turns import Turns

_RETRIED = frozenset({"failed", "cancelled", "timeout"})


@dataclass(frozen=True, slots=True)
class Replay:
    """How an execution is to be run again."""

    from_step: str | None = None
    """The path of the first step that runs anew; None: all of them."""
    version: int | None = None
    """Another version than the one it ran with."""
    inputs: Mapping[str, Any] | None = None
    """Other inputs than it had."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Secrets beside those that it was handed, or in their place."""


@dataclass(slots=True)
class _Following:
    """The execution that follows, before it has an id."""

    origin: Record
    kind: str
    version: int
    timeout: Any
    inputs: str | None = None
    due_at: datetime | None = None
    first: bool = False
    """Whether there must be none yet that follows."""
    handed: HandedOver = field(default_factory=HandedOver)
    """The secrets that it is handed, of the origin and beside it."""
    detail: dict[str, Any] = field(default_factory=dict)


Carry = Callable[[Connection, ExecutionId], Any]


class Repeats:
    """Makes executions that repeat others: the next ordinal of the same event and workflow."""

    def __init__(
        self,
        database: Database,
        programs: Programs,
        vault: Vault,
        *,
        now: Callable[[], datetime],
        on_queued: Callable[[], None],
        on_due: Callable[[datetime], None],
    ) -> None:
        self._database = database
        self._programs = programs
        self._vault = vault
        self._now = now
        self._on_queued = on_queued
        self._on_due = on_due

    async def retry(
        self,
        tenant_id: TenantId,
        identifier: UUID,
        *,
        from_start: bool,
        due_at: datetime | None = None,
        first: bool = False,
        secrets: Mapping[str, str] | None = None,
    ) -> ExecutionId:
        """Run an ended execution again, from the step that failed or from its start, not before `due_at`.

        It is handed the secrets of the first one again, and `secrets`. Raises NotFoundError, SealedError when they
        cannot be opened here, ConflictError when it has not ended, when it completed and is not run from its start, or,
        with `first`, when it has been repeated already.
        """
        state = await self._ended(tenant_id, identifier)
        if state["status"] not in _RETRIED and not from_start:
            raise ConflictError(f"execution {identifier} is {state['status']}: nothing failed; retry it from its start")
        program = await self._program(tenant_id, state, state["version"])
        failed = orjson.loads(state["error"] or "{}").get("step") or ""
        handlers = [node.id for node in program.on_error.nodes] if program.on_error else []

        async def carry(connection: Connection, following: ExecutionId) -> None:
            if not from_start:
                await connection.execute(sql("copy_steps"), tenant_id, identifier, following, failed, handlers)
                await connection.execute(sql("copy_context"), tenant_id, identifier, following, None)

        following = _Following(state, "retry", state["version"], program.timeout, due_at=due_at, first=first)
        following.handed = await self._handed(tenant_id, state, secrets or {})
        return await self._insert(tenant_id, following, carry)

    async def replay(
        self,
        tenant_id: TenantId,
        identifier: UUID,
        wanted: Replay,
        *,
        due_at: datetime | None = None,
        first: bool = False,
    ) -> ExecutionId:
        """Run an ended execution again from any of its steps, with the same or another version or input.

        Raises NotFoundError, ConflictError when it has not ended or, with `first`, has been repeated already,
        SealedError when its secrets cannot be opened here, UnprocessableError when it cannot be run so.
        """
        state = await self._ended(tenant_id, identifier)
        if wanted.from_step is not None and wanted.inputs is not None:
            raise UnprocessableError(
                "input: the steps before `from_step` ran with the old input; with another one it runs from its start"
            )
        version = state["version"] if wanted.version is None else wanted.version
        definition = await self._definition(tenant_id, state, version)
        program = await self._program(tenant_id, state, version)
        plan = await self._plan(tenant_id, state, identifier, definition, wanted, version)
        inputs = await self._inputs(tenant_id, identifier, definition, wanted, changed=version != state["version"])

        async def carry(connection: Connection, following: ExecutionId) -> None:
            if plan is not None:
                await connection.execute(
                    sql("copy_planned_steps"), tenant_id, identifier, following, plan.kept, plan.reopened
                )
                await connection.execute(
                    sql("copy_context"), tenant_id, identifier, following, await self._kept(tenant_id, identifier, plan)
                )

        detail = {"from_step": wanted.from_step, "version": version}
        handed = await self._handed(tenant_id, state, wanted.secrets)
        following = _Following(state, "replay", version, program.timeout, inputs, due_at, first, handed, detail)
        return await self._insert(tenant_id, following, carry)

    async def _ended(self, tenant_id: TenantId, identifier: UUID) -> Record:
        state = await self._database.fetchrow("get_repeated", tenant_id, identifier)
        if state is None:
            raise NotFoundError(f"there is no execution {identifier}")
        if state["is_part"]:
            raise ConflictError(f"execution {identifier} is a part of another one: repeat that one")
        if state["completed_at"] is None:
            raise ConflictError(f"execution {identifier} is {state['status']}: only one that has ended can be repeated")
        return state

    async def _program(self, tenant_id: TenantId, state: Record, version: int) -> Program:
        try:
            return (await self._programs.get(tenant_id, state["workflow_id"], version)).program
        except LookupError as error:
            raise ConflictError(str(error)) from error

    async def _definition(self, tenant_id: TenantId, state: Record, version: int) -> dict[str, Any]:
        row = await self._database.fetchrow("load_definition", tenant_id, state["workflow_id"], version)
        if row is None:
            raise UnprocessableError(f"version: the workflow has no version {version}")
        definition: dict[str, Any] = orjson.loads(row["definition"])
        return definition

    async def _plan(
        self, tenant_id: TenantId, state: Record, identifier: UUID, definition: Mapping[str, Any], wanted: Replay,
        version: int,
    ) -> ReplayPlan | None:  # fmt: skip
        """Plan what stays on record; None when nothing does."""
        if wanted.from_step is None:
            return None
        rows = await self._database.fetch("list_recorded_steps", tenant_id, identifier)
        own = definition if version == state["version"] else await self._definition(tenant_id, state, state["version"])
        plan = plan_replay(own, [_recorded(row) for row in rows], wanted.from_step)
        if own is not definition:
            check_version(plan, own, definition, wanted.from_step)
        return plan

    async def _kept(self, tenant_id: TenantId, identifier: UUID, plan: ReplayPlan) -> list[str]:
        """Return the steps of which stays what they remembered: those on record, and those that are folded away."""
        if not plan.folds:
            return plan.kept
        rows = await self._database.fetch("list_context", tenant_id, identifier, None, None)
        writers = {row["updated_by"].removeprefix("step:") for row in rows}
        return [writer for writer in writers if plan.keeps(writer)]

    async def _inputs(
        self, tenant_id: TenantId, identifier: UUID, definition: Mapping[str, Any], wanted: Replay, *, changed: bool
    ) -> str | None:
        """Hold the inputs to what the version declares; None when they stay as they are."""
        if wanted.inputs is None and not changed:
            return None
        given = wanted.inputs
        if given is None:
            row = await self._database.fetchrow("get_execution", tenant_id, identifier)
            given = {} if row is None else orjson.loads(row["inputs"] or "{}")
        try:
            return encode(InputRules(definition.get("inputs") or {}).apply(given), "the inputs")
        except InvalidInputsError as error:
            raise UnprocessableError(f"input: {error}") from error

    async def _handed(self, tenant_id: TenantId, state: Record, beside: Mapping[str, str]) -> HandedOver:
        """Return the secrets that an execution was handed, with others beside them or in their place.

        What cannot be opened any more does not keep anybody from handing all over anew. Raises SealedError while one
        is missing: in its place the workflow would use the daemon's of that name.
        """
        before = HandedOver()
        if state["sealed"] is not None:
            try:
                before = self._vault.open(tenant_id, state["id"], state["sealed"])
            except SealedError as error:
                missing = [name for name in names_of(state["sealed"]) if name not in beside]
                if missing:
                    raise SealedError(f"{error}; or hand over again: {', '.join(missing)}") from error
        handed = HandedOver.checked(None, {**before.secrets, **beside})
        if handed.secrets:
            await self._vault.ready()
        return replace(handed, masked=before.masked)

    async def _insert(self, tenant_id: TenantId, following: _Following, carry: Carry) -> ExecutionId:
        """Insert the next execution, with the next ordinal that nobody else takes at the same time."""
        origin = following.origin
        event_id, workflow_id = EventId(origin["event_id"]), WorkflowId(origin["workflow_id"])
        while True:
            async with self._database.transaction() as connection:
                last = await connection.fetchval(
                    sql("last_ordinal"), tenant_id, workflow_id, event_id, *same_millisecond(event_id)
                )
                if last is None:
                    raise NotFoundError(f"there is no execution {origin['id']} any more")
                if following.first and last != origin["ordinal"]:
                    raise ConflictError(f"execution {origin['id']} has been repeated already")
                made = execution_id(event_id, workflow_id, last + 1)
                handed = following.handed
                sealed = self._vault.seal(tenant_id, made, handed) if handed.secrets else None
                taken = await connection.fetchval(
                    sql("insert_retry"), tenant_id, origin["id"], made, last + 1, following.timeout, following.version,
                    following.inputs, following.kind, following.due_at, sealed,
                )  # fmt: skip
                if taken is None:
                    continue
                await connection.execute(sql("copy_batch"), tenant_id, origin["id"], made)
                await carry(connection, made)
                await self._note(connection, tenant_id, following, made)
            if following.due_at is None:
                self._on_queued()
            else:
                self._on_due(following.due_at)
            return made

    async def _note(
        self, connection: Connection, tenant_id: TenantId, following: _Following, made: ExecutionId
    ) -> None:
        """Put it on both timelines."""
        detail = {name: value for name, value in following.detail.items() if value is not None}
        past = "replayed" if following.kind == "replay" else "retried"
        for execution, kind, other in (
            (made, f"execution.{following.kind}", following.origin["id"]),
            (following.origin["id"], f"execution.{past}", made),
        ):
            text = orjson.dumps({"execution_id": str(other), **detail}).decode()
            await connection.execute(sql("note_timeline"), tenant_id, execution, new_id(self._now()), kind, text)


def _recorded(row: Record) -> Recorded:
    folded = None if row["folded"] is None else Turns(orjson.loads(row["folded"]))
    return Recorded(row["path"], row["verb"], row["status"], folded)
