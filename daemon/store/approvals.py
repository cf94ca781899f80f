"""The waits of approvals, as the database keeps them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from hark.daemon.store.database import Database, Record
from hark.daemon.store.listing import Span
from hark.workflows.ids import TenantId
from hark.workflows.states import ENDED_EXECUTION


@dataclass(frozen=True, slots=True)
class Asked:
    """A question to people, as it stands."""

    tenant_id: TenantId
    id: UUID
    execution_id: UUID
    workflow: str
    workflow_name: str
    path: str
    message: str
    approvers: Sequence[str]
    form: Mapping[str, Mapping[str, Any]]
    since: datetime
    until: datetime | None
    answer: Mapping[str, Any] | None
    answered_at: datetime | None
    is_open: bool
    token_digest: bytes | None
    execution_status: str
    step_status: str = "waiting"

    @property
    def state(self) -> str:
        """Say what has become of it, in words."""
        if self.answer is not None:
            word = "approved" if self.answer["approved"] else "rejected"
            return f"{self.answer['by']} has {word} it already"
        if self.is_open:
            return "it waits for an answer"
        if self.execution_status in ENDED_EXECUTION:
            return f"its execution has ended: {self.execution_status}"
        if self.step_status == "cancelled":
            return "another branch was quicker, and it is not asked any more"
        return "its time has run out"


class ApprovalStore:
    """Reads the waits, and writes answers."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(self, tenant_id: UUID, span: Span, workflow: str | None = None) -> list[Asked]:
        """Return what waits for an answer, the latest first; of all workflows, or of the one with this slug."""
        rows = await self._database.fetch("list_approvals", tenant_id, span.before, span.since, span.limit, workflow)
        return [_asked(row) for row in rows]

    async def of_execution(self, tenant_id: UUID, execution_id: UUID) -> list[Asked] | None:
        """Return all questions of an execution, also those that have ended; None when there is no such execution."""
        rows = await self._database.fetch("list_approvals_of_execution", tenant_id, execution_id)
        if not rows:
            return None
        return [_asked(row) for row in rows if row["id"] is not None]

    async def again(self, asked: Asked) -> Asked | None:
        """Return a question as it stands now."""
        all_ = await self.of_execution(asked.tenant_id, asked.execution_id) or []
        return next((one for one in all_ if one.path == asked.path), None)

    async def by_token(self, execution_id: UUID, digest: bytes) -> Asked | None:
        """Return the question that a link is about."""
        row = await self._database.fetchrow("find_approval", execution_id, digest)
        return None if row is None else _asked(row)

    async def answer(self, asked: Asked, answer: str, by: str, *, approved: bool) -> bool:
        """Answer a question that is open; False when somebody was quicker or it has ended."""
        kind = "step.approved" if approved else "step.rejected"
        row = await self._database.fetchrow(
            "answer_approval", asked.tenant_id, asked.execution_id, asked.path, answer, by, kind
        )
        return row is not None


def _asked(row: Record) -> Asked:
    detail = orjson.loads(row["detail"])
    return Asked(
        tenant_id=row["tenant_id"],
        id=row["id"],
        execution_id=row["execution_id"],
        workflow=row["workflow"],
        workflow_name=row["workflow_name"],
        path=row["path"],
        message=detail["message"],
        approvers=detail["approvers"],
        form=detail["form"],
        since=row["opened_at"],
        until=row["until"],
        answer=None if row["answer"] is None else orjson.loads(row["answer"]),
        answered_at=row["answered_at"],
        is_open=row["is_open"],
        token_digest=row["token_digest"],
        execution_status=row["status"],
        step_status=row["step_status"],
    )
