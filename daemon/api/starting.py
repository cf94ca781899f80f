"""`/api/workflows/{workflow}/execute`: starting a workflow by hand, and waiting for what it comes to."""

from __future__ import annotations

import re
from typing import Any

from aiohttp import web
from aiohttp.typedefs import LooseHeaders

from hark.daemon.api.executions import workflow_id_of
from hark.daemon.api.models.starting import StartedExecution
from hark.daemon.api.paging import Query
from hark.daemon.api.requests import ExecuteBody, revealed
from hark.daemon.api.table import Call, Table, encode
from hark.daemon.engine.handed_over import HandedOver
from hark.daemon.store.listing import Row
from hark.workflows.ids import ExecutionId
from hark.workflows.states import ENDED_EXECUTION

table = Table("executions")

WAIT_S = 5.0
"""How long a caller waits who does not say (`Prefer: wait=N`)."""
MOST_WAIT_S = 300.0
_WAIT = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?:$|[,;\s])")


@table.add("POST /api/workflows/{workflow}/execute", scope="run", answer=StartedExecution, body=ExecuteBody)
async def execute_workflow(call: Call[Query, ExecuteBody]) -> web.Response:
    """Start a workflow and wait shortly for its end: 200 when it has ended, 202 when it goes on."""
    workflow_id, slug = await workflow_id_of(call, call.name("workflow"))
    body, engine = call.body, call.services.engine
    receipt = await engine.start_workflow(
        call.tenant_id, slug, inputs=body.input, mode=body.mode, key=body.key, metadata=body.metadata,
        handed=HandedOver.checked(body.variables, revealed(body.secrets)),
    )  # fmt: skip
    wait_s = wanted_wait(call.request.headers.get("Prefer", ""))
    row: Row | None = None
    if receipt.executions:
        execution_id = receipt.executions[0]
        if wait_s > 0:
            await engine.wait_for_end(call.tenant_id, execution_id, wait_s)
        row = await call.services.listing.get_execution(call.tenant_id, ExecutionId(execution_id))
    refused = None
    if not receipt.executions:
        decisions = await call.services.listing.list_decisions(call.tenant_id, receipt.event_id)
        refused = {name: decisions[0][name] for name in ("reason", "detail")} if decisions else None
    answer: dict[str, Any] = {
        "execution_id": row and row["id"],
        "event_id": receipt.event_id,
        "workflow_id": workflow_id,
        "workflow": slug,
        "status": row and row["status"],
        "execution_time_ms": row and row["duration_ms"],
        "output": row and row["output"],
        "error": row and row["error"],
        "metadata": row and row["metadata"],
        "duplicate": receipt.duplicate,
        "refused": refused,
    }
    status = 200 if row is None or row["status"] in ENDED_EXECUTION else 202
    headers: LooseHeaders = {"Location": f"/api/executions/{row['id']}"} if row else {}
    return web.Response(body=encode(answer), status=status, content_type="application/json", headers=headers)


def wanted_wait(prefer: str) -> float:
    """Return for how many seconds the caller wants to wait (RFC 7240)."""
    found = _WAIT.search(prefer)
    return WAIT_S if found is None else min(float(found[1]), MOST_WAIT_S)
