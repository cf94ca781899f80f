"""The `notify` kind: a workflow starts for each PostgreSQL notification on a channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator

from hark.triggers.notify_hearing import route_of
from hark.triggers.notify_listener import NotifyListener
from hark.workflows.catalogue import Config, Listener, ListenerContext, TriggerKind, TriggerSpec
from hark.workflows.connections import ConnectionName
from hark.workflows.ids import WorkflowId

_LONGEST = 63
"""Bytes of a PostgreSQL identifier; a longer channel would be cut."""


def _channel(name: str) -> str:
    if not name or "\0" in name or len(name.encode()) > _LONGEST:
        raise ValueError(f"a channel has 1 to {_LONGEST} bytes")
    if name == "hark" or name.startswith(("hark_", "hark.")):
        raise ValueError("channels hark and hark_… are Hark's own; name yours otherwise")
    return name


class NotifyConfig(Config):
    """Which notifications start a workflow."""

    channel: Annotated[str, AfterValidator(_channel)]
    """The channel as NOTIFY has it; without quotes NOTIFY turns it into lower case."""
    connection: ConnectionName = ""
    """The name of another database, set by `HARK_CONNECTION_NAME`; without it (or `home`), the one that Hark itself
    lives in."""


class NotifyTrigger(TriggerKind[NotifyConfig]):
    """Starts a workflow for each message on a channel of the home database, or of that of a named connection.

    While instances listen, each message is one event, however many they are. What is sent while none listens is gone:
    PostgreSQL keeps no notification. Where nothing may be lost, `row` is the trigger to use.
    """

    spec = TriggerSpec(
        kind="notify",
        name="Notification",
        description="For each message that a program sends with NOTIFY or pg_notify on a channel. What is sent while no"
        " instance listens is gone; use a row trigger where nothing may be lost.",
        config=NotifyConfig,
        example={"type": "notify", "channel": "orders", "when": "event.data.payload.total > 100"},
        data_fields=("connection", "channel", "payload"),
    )

    def route(self, config: NotifyConfig, workflow_id: WorkflowId, trigger_id: str) -> str:
        return route_of(config.channel, config.connection)

    def warnings(self, config: NotifyConfig) -> Sequence[str]:
        if config.channel == config.channel.lower():
            return ()
        return (f'NOTIFY {config.channel} without quotes sends to "{config.channel.lower()}"; is that the channel?',)

    def listener(self, context: ListenerContext) -> Listener:
        return NotifyListener(context)
