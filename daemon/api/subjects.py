"""`/api/subjects`, `/api/erasures`: what is about a client, agent … goes, and that it went is on record."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from hark.daemon.api.models.answer import Page
from hark.daemon.api.models.subjects import ErasureRow, SubjectErased
from hark.daemon.api.paging import HistoryQuery, Query, page
from hark.daemon.api.table import Call, NoBody, Table
from hark.workflows.errors import UnprocessableError

table = Table("subjects")


class EraseQuery(Query):
    """How far erasure goes."""

    dry_run: bool = False
    """Only tell what would go."""
    force: bool = False
    """Cancel the executions that are open; without it they forbid the erasure."""


@table.add("DELETE /api/subjects/{kind}/{subject}", scope="admin", answer=SubjectErased, query=EraseQuery)
async def erase_subject(call: Call[EraseQuery, NoBody]) -> dict[str, Any]:
    """Erase everything about a subject from history and archive; what is not there is no error."""
    subject, eraser = (call.name("kind"), call.name("subject")), call.services.engine.eraser
    if call.query.dry_run:
        if call.query.force:
            raise UnprocessableError("force: a dry run cancels nothing; it tells what is open")
        found = await eraser.foresee(call.tenant_id, subject)
        return {"dry_run": True, **asdict(found), "id": None}
    done = await eraser.erase(call.tenant_id, subject, force=call.query.force, by=f"key:{call.caller.name}")
    return {"dry_run": False, **asdict(done)}


class ErasuresQuery(HistoryQuery):
    """Which erasures."""

    of: str | None = None
    """Of this subject, written kind/id."""


@table.add("GET /api/erasures", scope="admin", answer=Page[ErasureRow], query=ErasuresQuery)
async def list_erasures(call: Call[ErasuresQuery, NoBody]) -> dict[str, Any]:
    """List what was erased, when and by whom, the latest first; of whom it was there is only a digest."""
    query = call.query
    kind, slash, identifier = (query.of or "").partition("/")
    if query.of is not None and not (slash and kind and identifier):
        raise UnprocessableError("of: a subject is written kind/id")
    of = None if query.of is None else (kind, identifier)
    rows = await call.services.engine.eraser.page(call.tenant_id, query.span(), of)
    return page([dict(row) for row in rows], call.query.limit)
