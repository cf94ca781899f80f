"""The actions that Hark brings along."""

from __future__ import annotations

from typing import Any

from hark.actions.control import Delay, SetVariables
from hark.actions.http_request import HttpRequest
from hark.actions.log_event import LogEvent
from hark.actions.send_email import SendEmail
from hark.actions.trigger_webhook import TriggerWebhook
from hark.actions.update_database import UpdateDatabase
from hark.workflows.catalogue import Action


def builtin_actions() -> list[Action[Any]]:
    """Return one of each, in the order of the documentation."""
    return [
        LogEvent(),
        SetVariables(),
        Delay(),
        HttpRequest(),
        TriggerWebhook(),
        UpdateDatabase(),
        SendEmail(),
    ]
