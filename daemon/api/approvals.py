"""`/api/approvals`, and answers to them: what waits for people, and what they say."""

from __future__ import annotations

from typing import Any, Literal

from hark.daemon.api.executions import id_of
from hark.daemon.api.models.answer import Page
from hark.daemon.api.models.approvals import Answered, ApprovalRow
from hark.daemon.api.paging import HistoryQuery, Query, page
from hark.daemon.api.requests import AnswerBody
from hark.daemon.api.table import Call, NoBody, Table
from hark.daemon.engine.approvals import Said
from hark.daemon.store.approvals import Asked

table = Table("approvals")


class ApprovalsQuery(HistoryQuery):
    """Which approvals."""

    workflow: str | None = None
    """Slug of a workflow."""
    links: bool = False
    """Tell the addresses of the pages on which they are answered; needs the scope `run`."""


@table.add("GET /api/approvals", scope="read", answer=Page[ApprovalRow], query=ApprovalsQuery)
async def list_approvals(call: Call[ApprovalsQuery, NoBody]) -> dict[str, Any]:
    """List what waits for an answer of people, the latest first."""
    query, approvals = call.query, call.services.engine.approvals
    if query.links:
        call.caller.require("run")
    found = await approvals.store.waiting(call.tenant_id, query.span(), query.workflow)
    return page([_row(call, asked, links=query.links) for asked in found], query.limit)


@table.add("POST /api/executions/{execution}/approve", scope="run", answer=Answered, body=AnswerBody)
async def approve_execution(call: Call[Query, AnswerBody]) -> dict[str, Any]:
    """Approve what an execution waits for."""
    return await _answer(call, approved=True)


@table.add("POST /api/executions/{execution}/reject", scope="run", answer=Answered, body=AnswerBody)
async def reject_execution(call: Call[Query, AnswerBody]) -> dict[str, Any]:
    """Reject what an execution waits for: the step that asked fails."""
    return await _answer(call, approved=False)


async def _answer(call: Call[Query, AnswerBody], *, approved: bool) -> dict[str, Any]:
    approvals, body = call.services.engine.approvals, call.body
    asked = await approvals.choose(call.tenant_id, id_of(call), body.step)
    name = call.caller.name
    said = Said(approved, by=body.by or name, via=name, comment=body.comment, form=body.form)
    await approvals.answer(asked, said)
    answer: Literal["approved", "rejected"] = "approved" if approved else "rejected"
    return {"execution_id": asked.execution_id, "step": asked.path, "answer": answer, "by": said.by}


def _row(call: Call[Any, Any], asked: Asked, *, links: bool) -> dict[str, Any]:
    made = call.services.engine.approvals.links
    row = {
        "id": asked.id,
        "execution_id": asked.execution_id,
        "workflow": asked.workflow,
        "workflow_name": asked.workflow_name,
        "step": asked.path,
        "message": asked.message,
        "approvers": asked.approvers,
        "form": asked.form,
        "since": asked.since,
        "until": asked.until,
    }
    if links:
        row["url"] = made.known_url(asked.tenant_id, asked.execution_id, asked.path, asked.token_digest)
    return row
