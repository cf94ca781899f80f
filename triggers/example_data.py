"""What `event.data` of each kind of trigger has where a test does not say it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from hark.triggers.cron_config import CronConfig
from hark.triggers.cron_plan import utc_text
from hark.triggers.row_changes import changed_columns
from hark.triggers.row_config import RowConfig
from hark.triggers.workflow import WorkflowConfig

Given = Mapping[str, Any]


def filled(kind: str, config: Any, given: Any, now: datetime) -> Any:
    """Return the data of an event with what a listener would have put beside what is given."""
    fill = _FILL.get(kind)
    return given if fill is None or not isinstance(given, Mapping) else _over(fill(config, given, now), given)


def _over(made: Given, given: Given) -> Given:
    """Put what is given over what is made up; `ends` has both already."""
    return {**made, **{name: value for name, value in given.items() if name != "ends" or "ends" not in made}}


def _row(config: RowConfig, given: Given, _: datetime) -> Given:
    old, new = given.get("old"), given.get("new")
    one = "update" if old is not None and new is not None else "delete" if old is not None else "insert"
    table = config.table_name
    origin = {"schema": table.schema, "table": table.name, "transaction_id": 0, "actor": None, "reason": None}
    if config.per == "statement":
        rows = given.get("rows", [])
        return {**origin, "operation": config.operations[0], "rows": rows, "count": len(rows)}
    return {**origin, "operation": one, "old": old, "new": new, "changed": changed_columns(old, new)}


def _webhook(config: Any, _: Given, __: datetime) -> Given:
    method = (getattr(config, "methods", None) or ["POST"])[0]
    return {"method": method, "path": config.path, "params": {}, "query": {}, "headers": {}, "body": None}


def _cron(config: CronConfig, _: Given, now: datetime) -> Given:
    return {"schedule": config.shown, "slot": utc_text(now), "previous_slot": None, "missed": 0}


def _notify(config: Any, _: Given, __: datetime) -> Given:
    return {"channel": getattr(config, "channel", ""), "payload": ""}


def _workflow(config: WorkflowConfig, given: Given, _: datetime) -> Given:
    """Fill in how executions ended; of a trigger that waits for all of several, each of them."""
    nobody = "00000000-0000-7000-8000-000000000000"
    said: dict[str, Any] = {
        "execution_id": nobody,
        "status": config.states[0],
        "output": None,
        "inputs": {},
        "error": None,
    }
    one = {"workflow": config.followed[-1], **said}
    if config.all_ is None:
        return one
    told = given.get("ends") or {}
    return {**one, "ends": {slug: {**said, **told.get(slug, {})} for slug in config.all_}}


_FILL: dict[str, Callable[[Any, Given, datetime], Given]] = {
    "row": _row,
    "webhook": _webhook,
    "cron": _cron,
    "notify": _notify,
    "workflow": _workflow,
}
