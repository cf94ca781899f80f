"""The trigger kinds that come with Hark."""

from __future__ import annotations

from typing import Any

from hark.triggers.cron import CronTrigger
from hark.triggers.event import EventTrigger
from hark.triggers.manual import ManualTrigger
from hark.triggers.notify import NotifyTrigger
from hark.triggers.row import RowTrigger
from hark.triggers.webhook import WebhookTrigger
from hark.triggers.workflow import WorkflowTrigger
from hark.workflows.catalogue import TriggerKind


def builtin_triggers() -> list[TriggerKind[Any]]:
    """Return one of each kind."""
    return [
        RowTrigger(),
        NotifyTrigger(),
        CronTrigger(),
        WebhookTrigger(),
        EventTrigger(),
        WorkflowTrigger(),
        ManualTrigger(),
    ]
