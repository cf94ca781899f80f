"""The trigger kind `row`: committed changes of the rows of a table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hark.triggers.row_changes import backfill_route_of, route_of
from hark.triggers.row_config import RowConfig, requirements_of, why_not
from hark.triggers.row_listener import RowListener
from hark.workflows.catalogue import Listener, ListenerContext, NewEvent, TriggerKind, TriggerSpec
from hark.workflows.ids import WorkflowId
from hark.workflows.requirements import Requirement


class RowTrigger(TriggerKind[RowConfig]):
    """Starts a workflow when rows of a table are inserted, updated or deleted, or the table is truncated."""

    spec = TriggerSpec(
        kind="row",
        name="Row change",
        description=(
            "A committed change of a row, in the home database or that of a named connection, whoever made it and by "
            "whatever means, captured in the "
            "writer's own transaction, which may say who makes it and why: SET LOCAL hark.actor = 'anna', "
            "SET LOCAL hark.reason = 'moved'."
        ),
        config=RowConfig,
        example={
            "id": "became_customer",
            "type": "row",
            "table": "public.clients",
            "operations": ["insert", "update"],
            "to": {"status": "customer"},
            "when": 'new.country == "DE"',
            "subject": {"kind": "client", "id": "${{ new.id }}"},
            "inputs": {"email": "${{ new.email }}"},
        },
        data_fields=(
            "connection",
            "schema",
            "table",
            "operation",
            "old",
            "new",
            "changed",
            "transaction_id",
            "actor",
            "reason",
            "rows",
            "count",
            "left_out",
            "error",
            "partition",
            "backfill",
        ),
        other_names=("database", "table"),
        roots=frozenset({"old", "new"}),
    )

    def route(self, config: RowConfig, workflow_id: WorkflowId, trigger_id: str) -> str:
        return route_of(config.table, config.per, config.connection)

    def routes(self, config: RowConfig, workflow_id: WorkflowId, trigger_id: str) -> Sequence[str]:
        route = self.route(config, workflow_id, trigger_id)
        return (route, backfill_route_of(workflow_id, trigger_id)) if config.takes_existing else (route,)

    def refusal(self, config: RowConfig, event: NewEvent) -> str | None:
        return why_not(config, event.data)

    def requirements(self, config: RowConfig) -> Iterable[Requirement]:
        return requirements_of(config)

    def listener(self, context: ListenerContext) -> Listener:
        return RowListener(context)

    def scope(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"old": event["old"], "new": event["new"]} if "old" in event else {}
