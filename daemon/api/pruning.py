"""`/api/prune`: what retention would let go, and letting it go now."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict

from hark.daemon.api.executions import workflow_id_of
from hark.daemon.api.models.history import PruneAnswer
from hark.daemon.api.paging import Query
from hark.daemon.api.table import Call, Table
from hark.daemon.engine.foresight import foresee, summary
from hark.workflows.documented import Documented
from hark.workflows.errors import ConflictError

table = Table("retention")


class PruneBody(Documented):
    """What to let go: all that is past, or only what the policy of one workflow lets go."""

    model_config = ConfigDict(extra="forbid")

    workflow: str | None = None
    """Slug or id."""
    dry_run: bool = False
    """Only tell what would go, and why the rest stays."""


@table.add("POST /api/prune", scope="admin", answer=PruneAnswer, body=PruneBody)
async def prune(call: Call[Query, PruneBody]) -> dict[str, Any]:
    """Let go at once what the policies let go; maintenance does the same every ten minutes."""
    retention, name = call.services.engine.retention, call.body.workflow
    workflow_id = None if name is None else (await workflow_id_of(call, name))[0]
    if call.body.dry_run:
        found = await foresee(call.services.database, retention.policy, call.tenant_id, workflow_id)
        return {"dry_run": True, **summary(found), "shares": found.shares}
    done = await retention.run(workflow_id)
    if done is None:
        raise ConflictError("an instance is pruning already; ask again in a moment")
    return {
        "dry_run": False,
        "executions": done.executions,
        "unmatched_events": done.unmatched_events,
        "weeks_dropped": done.weeks,
    }
