"""The `manual` kind: a person or a program starts the workflow by name."""

from __future__ import annotations

from hark.workflows.catalogue import Config, TriggerKind, TriggerSpec
from hark.workflows.ids import WorkflowId


class ManualConfig(Config):
    """Nothing to say."""


class ManualTrigger(TriggerKind[ManualConfig]):
    """Says that a workflow is meant to be started by `hark start`, the API or the console.

    Every active workflow can be started so, also without it. What is given are the execution's inputs as they stand, so
    `inputs` and `when` of a trigger have no part in it.
    """

    spec = TriggerSpec(
        kind="manual",
        name="Manual start",
        description="By `hark start`, the API or the console, with the inputs given there. Every active workflow can be"
        " started so; the trigger says that it is meant to be.",
        config=ManualConfig,
        example={"type": "manual"},
        data_fields=(),
    )

    def route(self, config: ManualConfig, workflow_id: WorkflowId, trigger_id: str) -> str:
        return f"manual:{workflow_id}"
