"""Publication: definitions become versions, versions become active, all or nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
from uuid import UUID

import orjson
import structlog
from pydantic import ValidationError

from hark.daemon.engine.cancelling import cancel_until_ended
from hark.daemon.engine.registry import build_config
from hark.daemon.store.database import Connection, Database, Record, sql
from hark.daemon.store.listing import FIRST_ID
from hark.daemon.store.outages import IN_THE_WAY, translated
from hark.workflows.catalogue import ActiveTrigger, Catalogue
from hark.workflows.connections import hint, unknown
from hark.workflows.counting import counted
from hark.workflows.definition import Trigger, Workflow
from hark.workflows.errors import ConflictError, DefinitionError, ExpressionError, NotFoundError, Problem
from hark.workflows.hashing import content_hash
from hark.workflows.ids import TenantId, WorkflowId, new_id
from hark.workflows.loading import Loaded
from hark.workflows.validation.connections import connections_of_steps

log = structlog.get_logger(__name__)

_SET = 500
"""How many executions are cancelled in one statement."""
_MOST_COUNTED = 1000
_CANCELLED = orjson.dumps({"class": "cancelled", "message": "its workflow is being deleted"}).decode()
_STILL_OPEN = "which would end with it"
_BEGUN_MEANWHILE = "which began while it was being taken out of service; it is archived now"


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one workflow: `created`, `updated`, `unchanged` or `archived`."""

    slug: str
    workflow_id: UUID
    outcome: str
    version: int
    status: str
    warnings: tuple[Problem, ...] = ()


Check = Callable[[Connection, Sequence[ActiveTrigger]], Awaitable[Sequence[Problem]]]
"""Looks at triggers that are to be published with the database at hand; a problem's path starts with the trigger's
place: (workflow slug, trigger id, …)."""


class Surroundings(Protocol):
    """What the publisher needs of the engine."""

    database: Database
    catalogue: Catalogue

    def now(self) -> Any:
        """Tell the time, by the database's clock."""
        ...


@dataclass(slots=True)
class _Draft:
    """A workflow on its way to publication."""

    loaded: Loaded
    existing: Record | None
    id: WorkflowId
    hash: str
    triggers: list[ActiveTrigger] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    """What the database or other workflows advise against."""

    @property
    def workflow(self) -> Workflow:
        """The definition."""
        return self.loaded.workflow

    @property
    def publishes(self) -> bool:
        """Whether it becomes active: a definition without steps stays a draft, a template never starts."""
        return bool(self.workflow.steps) and not self.is_template

    @property
    def is_template(self) -> bool:
        """Whether the source says that it is one."""
        return bool(self.loaded.imported.template)

    @property
    def pauses(self) -> bool | None:
        """Whether the source says that its triggers are off; None when it says nothing."""
        active = self.loaded.imported.active
        return None if active is None else not active

    @property
    def unchanged(self) -> bool:
        """Whether this very definition is the latest version and in force already."""
        row = self.existing
        if row is None or row["content_hash"] != self.hash:
            return False
        paused = self.pauses
        return row["status"] == self.status and (paused is None or paused == (row["paused_at"] is not None))

    @property
    def status(self) -> str:
        """The status that it gets."""
        return "active" if self.publishes else "draft"


class Publisher:
    """Applies definitions and switches workflows on and off. Everything that it says was done is in force."""

    def __init__(
        self,
        surroundings: Surroundings,
        *,
        handed: Mapping[str, Any],
        checks: Sequence[Check],
        connections: Collection[str],
        refresh: Callable[[], Awaitable[object]],
        forget: Callable[[UUID, UUID], Awaitable[None]],
    ) -> None:
        self._database = surroundings.database
        self._catalogue = surroundings.catalogue
        self._now = surroundings.now
        self._handed = handed
        self._checks = checks
        self._connections = connections
        self._refresh = refresh
        self._forget = forget

    async def apply(
        self,
        tenant_id: TenantId,
        workflows: Sequence[Loaded],
        *,
        dry_run: bool = False,
        prune: bool = False,
        created_by: UUID | None = None,
    ) -> list[Applied]:
        """Publish definitions; with `prune`, archive what is not among them. Nothing is done unless all of it can be.

        Raises DefinitionError with every problem that the database or other workflows cause.
        """
        applied: list[Applied] = []
        try:
            async with self._database.transaction() as connection:
                applied = await self._apply(connection, tenant_id, workflows, prune=prune, created_by=created_by)
                if dry_run:
                    raise _RolledBack
        except _RolledBack:
            return applied
        await self._refresh()
        for one in applied:
            if one.outcome != "unchanged":
                log.info("workflow.applied", workflow=one.slug, outcome=one.outcome, version=one.version)
        return applied

    async def _apply(
        self, connection: Connection, tenant_id: TenantId, workflows: Sequence[Loaded], *, prune: bool,
        created_by: UUID | None,
    ) -> list[Applied]:  # fmt: skip
        await connection.execute(sql("lock_tenant"), tenant_id)
        slugs = [loaded.workflow.id for loaded in workflows]
        rows = await connection.fetch(sql("find_workflows_by_slug"), tenant_id, slugs)
        existing = {row["slug"]: row for row in rows}
        drafts = [self._draft(loaded, existing.get(loaded.workflow.id)) for loaded in workflows]
        await self._check(connection, tenant_id, drafts)
        applied = [await self._store(connection, tenant_id, draft, created_by) for draft in drafts]
        if prune:
            archived = await connection.fetch(sql("archive_others"), tenant_id, slugs)
            applied += [
                Applied(row["slug"], row["id"], "archived", row["latest_version"], "archived") for row in archived
            ]
        return applied

    def _draft(self, loaded: Loaded, existing: Record | None) -> _Draft:
        identifier = existing["id"] if existing is not None else new_id(self._now())
        return _Draft(loaded, existing, WorkflowId(identifier), content_hash(loaded.workflow))

    # ------------------------------------------------------------------ checks

    async def _check(self, connection: Connection, tenant_id: TenantId, drafts: Sequence[_Draft]) -> None:
        problems: list[Problem] = []
        for draft in drafts:
            draft.triggers, found = self._triggers(tenant_id, draft)
            problems += (*found, *self._steps(draft))
        by_slug = {draft.workflow.id: draft for draft in drafts}
        triggers = [trigger for draft in drafts if draft.publishes for trigger in draft.triggers]
        for check in self._checks:
            for problem in await check(connection, triggers):
                placed = _placed(problem, by_slug)
                if problem.severity == "warning":
                    by_slug[str(problem.path[0])].warnings.append(placed)
                else:
                    problems.append(placed)
        if problems:
            raise DefinitionError(problems)

    def _triggers(self, tenant_id: TenantId, draft: _Draft) -> tuple[list[ActiveTrigger], list[Problem]]:
        """Build the triggers as they will be attached; what cannot be built (a missing secret) is a problem."""
        triggers, problems = [], []
        for index, trigger in enumerate(draft.workflow.triggers):
            if not trigger.enabled:
                continue
            try:
                triggers.append(self._trigger(tenant_id, draft, trigger))
            except (ExpressionError, ValidationError, ValueError) as error:
                message, hint = str(error).splitlines()[0], getattr(error, "hint", "")
                problems.append(draft.loaded.problem(("triggers", index), message, hint))
        return triggers, problems

    def _steps(self, draft: _Draft) -> Iterator[Problem]:
        """Find steps that name a connection which this instance does not know, in what would run."""
        for path, name in connections_of_steps(draft.loaded.raw, self._catalogue) if draft.publishes else ():
            if name not in self._connections:
                yield draft.loaded.problem(path, unknown(name), hint(name, self._connections))

    def _trigger(self, tenant_id: TenantId, draft: _Draft, trigger: Trigger) -> ActiveTrigger:
        kind = self._catalogue.trigger(trigger.type)
        if kind is None:
            raise ValueError(f"there is no trigger kind {trigger.type!r}")
        raw = trigger.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return ActiveTrigger(
            tenant_id=tenant_id,
            workflow_id=draft.id,
            workflow=draft.workflow.id,
            version=0,
            id=trigger.id or "",
            kind=kind.spec.kind,
            config=build_config(kind, raw, self._handed),
            when=trigger.when,
            inputs=raw.get("inputs"),
            subject=raw.get("subject"),
        )

    # ------------------------------------------------------------------ storing

    async def _store(
        self, connection: Connection, tenant_id: TenantId, draft: _Draft, created_by: UUID | None
    ) -> Applied:
        workflow, row = draft.workflow, draft.existing
        status = draft.status
        warnings = (*draft.loaded.warnings, *draft.warnings)
        if row is not None and draft.unchanged:
            return Applied(workflow.id, draft.id, "unchanged", row["latest_version"], status, warnings)
        same = row is not None and row["content_hash"] == draft.hash
        version = (row["latest_version"] if row is not None else 0) + (not same)
        await connection.execute(
            sql("upsert_workflow"), tenant_id, draft.id, workflow.id, workflow.name, workflow.description,
            workflow.category, workflow.tags, version, draft.publishes, draft.pauses, draft.is_template, created_by,
        )  # fmt: skip
        if not same:
            definition = workflow.model_dump(mode="json", by_alias=True, exclude_unset=True)
            text = orjson.dumps(definition).decode()
            await connection.execute(sql("insert_version"), tenant_id, draft.id, version, draft.hash, text, created_by)
        await self._store_triggers(connection, tenant_id, draft)
        return Applied(workflow.id, draft.id, "created" if row is None else "updated", version, status, warnings)

    async def _store_triggers(self, connection: Connection, tenant_id: TenantId, draft: _Draft) -> None:
        await connection.execute(sql("delete_triggers"), tenant_id, draft.id)
        if not draft.publishes:
            return
        named = {trigger.id: trigger for trigger in draft.workflow.triggers}
        rows, followed = [], []
        for active in draft.triggers:
            kind = self._catalogue.triggers[active.kind]
            trigger = named[active.id]
            # As written, not as built: a secret that was filled in does not belong here.
            config = orjson.dumps(trigger.config).decode()
            rows.append((active.id, active.kind, kind.route(active.config, draft.id, active.id), trigger.as_, config))
            followed += [(active.id, slug) for slug in kind.follows(active.config)]
        if rows:
            await connection.execute(sql("insert_triggers"), tenant_id, draft.id, *zip(*rows, strict=True))
        if followed:
            await connection.execute(sql("insert_followed"), tenant_id, draft.id, *zip(*followed, strict=True))

    async def hints(self, tenant_id: TenantId) -> list[tuple[str, str]]:
        """Return what the authors of active workflows wrote for people to try (`metadata.try`), by slug."""
        rows = await self._database.fetch("list_hints", tenant_id)
        return [(row["slug"], row["hint"]) for row in rows]

    # ------------------------------------------------------------------ on, off, away

    async def pause(self, tenant_id: TenantId, slug: str) -> None:
        """Switch an active workflow's triggers off. Raises NotFoundError, ConflictError."""
        await self._switch("pause_workflow", tenant_id, slug)

    async def resume(self, tenant_id: TenantId, slug: str) -> None:
        """Switch an active workflow's triggers on again. Raises NotFoundError, ConflictError."""
        await self._switch("resume_workflow", tenant_id, slug)

    async def archive(self, tenant_id: TenantId, slug: str) -> None:
        """Take a workflow out of use; its history stays. Raises NotFoundError."""
        await self._switch("archive_workflow", tenant_id, slug)

    async def delete(self, tenant_id: TenantId, slug: str, *, force: bool = False) -> None:
        """Delete a workflow with all its history; with `force`, what is open is cancelled and waited for first.

        Raises NotFoundError, ConflictError when executions are open without `force`, or do not end with it, and when it
        is published again meanwhile; ArchiveError when the archive does not let go of it. After that, and after
        UnavailableError, it is archived; asked for again it goes on where it ended.
        """
        workflow_id = await self._retire(tenant_id, slug, force=force)
        await self._refresh()
        while True:
            if force:
                await self._end_all(tenant_id, slug, workflow_id)
            else:
                await self._refuse_open(tenant_id, slug, workflow_id, _BEGUN_MEANWHILE)
            # Piece by piece: one statement over a million executions would outlast every time-out.
            while (await self._database.fetchval("erase_some_history", tenant_id, workflow_id, 1000)) > 0:
                continue
            if await self._database.fetchval("is_archived", tenant_id, workflow_id):
                await self._forget(workflow_id, tenant_id)
            if await self._erase(tenant_id, slug, workflow_id):
                break
        await self._refresh()
        log.info("workflow.deleted", workflow=slug)

    async def _retire(self, tenant_id: TenantId, slug: str, *, force: bool) -> UUID:
        """Take a workflow that is to be deleted out of use; unless forced, only if none of its executions is open."""
        rows = await self._database.fetch("find_workflows_by_slug", tenant_id, [slug])
        if rows and not force:
            await self._refuse_open(tenant_id, slug, rows[0]["id"], _STILL_OPEN)
        row = await self._database.fetchrow("archive_workflow", tenant_id, slug)
        if row is None:
            raise NotFoundError(f"there is no workflow {slug!r}")
        workflow_id: UUID = row["id"]
        return workflow_id

    async def _refuse_open(self, tenant_id: TenantId, slug: str, workflow_id: UUID, why: str) -> None:
        """Raise ConflictError when executions are open. Nothing is locked: a later look sees what begins later."""
        counts = await self._database.fetch("count_open_executions", tenant_id, workflow_id, _MOST_COUNTED)
        if counts:
            raise _still_open(slug, counts, why)

    async def _erase(self, tenant_id: TenantId, slug: str, workflow_id: UUID) -> bool:
        """Delete a workflow and what is left of its history; False when something has begun meanwhile."""
        async with self._database.transaction() as connection:
            # In this order, as everybody who changes workflows: the registry, then the row.
            kept = await connection.fetchval(sql("keep_archived"), tenant_id, workflow_id)
            if await connection.fetchval(sql("lock_workflow"), tenant_id, workflow_id) is None:
                return True  # somebody else has deleted it; what has its slug now is another one
            if kept is None:
                raise ConflictError(
                    f"workflow {slug!r} was published again while it was being deleted: it stays, without the "
                    "executions that had ended by then"
                )
            # A retry, or a start by hand that came before the end and was stored after it.
            if await connection.fetchval(sql("has_open_executions"), tenant_id, workflow_id):
                return False
            await connection.execute(sql("delete_workflow"), tenant_id, workflow_id)
        return True

    async def _end_all(self, tenant_id: TenantId, slug: str, workflow_id: UUID) -> None:
        """Cancel what is open and wait for it: a record written after the deletion would be left behind."""

        def not_ended(left: int) -> ConflictError:
            return ConflictError(
                f"{counted(left, 'execution is', 'executions are')} being cancelled and not at an end yet; workflow "
                f"{slug!r} is archived: delete it again in half a minute, when what a dead instance held is taken over"
            )

        await cancel_until_ended(lambda: self._cancel_all(tenant_id, workflow_id), not_ended)

    async def _cancel_all(self, tenant_id: TenantId, workflow_id: UUID) -> tuple[int, int]:
        """Cancel all that is open, set by set; returns how many are left, and how many were cancelled or asked.

        One that runs is asked once, and its instance told; what is just being written is left for the next time.
        """
        left = cancelled = 0
        place = FIRST_ID
        while True:
            with translated(*IN_THE_WAY):
                row = await self._database.fetchrow(
                    "cancel_open_executions", tenant_id, workflow_id, _CANCELLED, place, _SET
                )
            if row is None or row["last"] is None:
                return left, cancelled
            left, cancelled, place = left + row["found"] - row["ended"], cancelled + row["cancelled"], row["last"]

    async def _switch(self, query: str, tenant_id: TenantId, slug: str) -> None:
        if await self._database.fetchrow(query, tenant_id, slug) is None:
            rows = await self._database.fetch("find_workflows_by_slug", tenant_id, [slug])
            if not rows:
                raise NotFoundError(f"there is no workflow {slug!r}")
            raise ConflictError(f"workflow {slug!r} is {rows[0]['status']}, not active")
        await self._refresh()


def _still_open(slug: str, counts: Sequence[Record], why: str) -> ConflictError:
    """Say what keeps a workflow from being deleted, and what to do about it."""
    total = sum(row["executions"] for row in counts)
    which = ", ".join(f"{row['executions']} {row['status']}" for row in counts)
    number = counted(total, "open execution")
    number = number if total < _MOST_COUNTED else f"at least {number}"
    return ConflictError(
        f"workflow {slug!r} has {number} ({which}), {why}: wait for them, cancel them "
        f"(`hark cancel --workflow {slug}`), take it out of service (`--archive`), or delete it with `--force` "
        "(`?force=true`), which cancels them"
    )


class _RolledBack(Exception):  # noqa: N818 - no error: how a dry run leaves its transaction
    """Ends the transaction of a dry run."""


def _placed(problem: Problem, drafts: Mapping[str, _Draft]) -> Problem:
    """Give a check's problem its place in the source."""
    slug, trigger_id, *rest = problem.path
    draft = drafts.get(str(slug))
    if draft is None:
        return problem
    index = next((i for i, trigger in enumerate(draft.workflow.triggers) if trigger.id == trigger_id), 0)
    placed = draft.loaded.problem(("triggers", index, *rest), problem.message, problem.hint)
    return replace(placed, severity=problem.severity)
