"""The `cron` kind: a workflow starts at the due times of a schedule."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from hark.triggers.alarm import SchedulerAlarm
from hark.triggers.cron_config import CronConfig
from hark.triggers.cron_listener import CronListener
from hark.triggers.cron_plan import route_of
from hark.workflows.catalogue import Listener, ListenerContext, TriggerKind, TriggerSpec
from hark.workflows.ids import WorkflowId


class CronTrigger(TriggerKind[CronConfig]):
    """Starts a workflow at the due times (slots) of a cron schedule, each once over all instances."""

    spec = TriggerSpec(
        kind="cron",
        name="Schedule",
        description="At the times of a schedule in a time zone, on business days if wanted; missed ones by rule.",
        config=CronConfig,
        example={"type": "cron", "schedule": "0 9 * * mon-fri", "timezone": "Europe/Berlin", "missed": "last"},
        data_fields=("schedule", "slot", "previous_slot", "missed"),
        other_names=("schedule",),
    )

    def route(self, config: CronConfig, workflow_id: WorkflowId, trigger_id: str) -> str:
        return route_of(workflow_id, trigger_id)

    def warnings(self, config: CronConfig) -> Sequence[str]:
        """Tell of a schedule that has nothing to come any more."""
        if next(config.built().after(datetime.now(UTC)), None) is None:
            return ["none of its times is to come: it will not start the workflow"]
        return ()

    def listener(self, context: ListenerContext) -> Listener:
        return CronListener(context, SchedulerAlarm())
