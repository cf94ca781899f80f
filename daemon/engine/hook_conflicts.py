"""Before publication: two workflows on one webhook path must agree on how its requests are taken in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from pydantic import ValidationError

from hark.daemon.engine.registry import build_config
from hark.daemon.store.database import Connection, Record, sql
from hark.triggers.webhook import conflicts
from hark.workflows.catalogue import ActiveTrigger, Catalogue
from hark.workflows.errors import ExpressionError, Problem
from hark.workflows.ids import TenantId, WorkflowId


class HookConflicts:
    """A publisher's check. Publications of a tenant follow each other, so what it reads holds until the commit."""

    def __init__(self, catalogue: Catalogue, handed: Mapping[str, Any]) -> None:
        self._catalogue = catalogue
        self._handed = handed

    async def __call__(self, connection: Connection, triggers: Sequence[ActiveTrigger]) -> list[Problem]:
        """Return what the new triggers cannot share with others."""
        hooks = [trigger for trigger in triggers if trigger.kind == "webhook"]
        if not hooks:
            return []
        tenant_id = hooks[0].tenant_id
        replaced = {trigger.workflow_id for trigger in triggers}
        rows = await connection.fetch(sql("list_hook_triggers"), tenant_id)
        others = [self._active(tenant_id, row) for row in rows if row["workflow_id"] not in replaced]
        found = conflicts([one for one in others if one is not None], hooks)
        return [
            Problem(problem.message, (trigger.workflow, trigger.id, *problem.path), problem.hint)
            for trigger, problem in found
        ]

    def _active(self, tenant_id: TenantId, row: Record) -> ActiveTrigger | None:
        """Build a published trigger; one that cannot be built (its secret is gone) stands in nobody's way."""
        kind = self._catalogue.triggers["webhook"]
        try:
            config = build_config(kind, orjson.loads(row["config"]), self._handed)
        except (ExpressionError, ValidationError):
            return None
        return ActiveTrigger(tenant_id, WorkflowId(row["workflow_id"]), row["slug"], 0, row["id"], "webhook", config)
