"""A catalogue for tests of the language: the real actions, and trigger kinds that only have a config."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from pydantic import Field, field_validator

from hark.actions.builtin import builtin_actions
from hark.workflows.catalogue import Catalogue, Config, TriggerKind, TriggerSpec
from hark.workflows.ids import WorkflowId
from hark.workflows.loading import Loaded, load_all

ROW_FIELDS = ("schema", "table", "operation", "old", "new", "changed", "transaction_id", "actor", "reason")


class RowConfig(Config):
    table: str
    operations: list[Literal["insert", "update", "delete"]] = Field(default=["insert"])
    columns: list[str] | None = None
    from_: Any = Field(default=None, alias="from")
    to: Any = None


class CronConfig(Config):
    schedule: str
    timezone: str = "UTC"

    @field_validator("schedule")
    @classmethod
    def _has_five_fields(cls, schedule: str) -> str:
        if not schedule.startswith("@") and len(schedule.split()) != 5:
            raise ValueError("a schedule has five fields; write minute hour day month weekday")
        return schedule


class AuthConfig(Config):
    type: Literal["none", "hmac", "github"]
    secret: str | None = None


class WebhookConfig(Config):
    path: str
    methods: list[str] = Field(default=["POST"])
    auth: AuthConfig | None = None


class EventConfig(Config):
    event: str


class ManualConfig(Config):
    """Nothing to configure."""


def trigger_kind(
    name: str,
    config: type[Config],
    data_fields: Collection[str] = (),
    roots: Collection[str] = (),
    other_names: Collection[str] = (),
) -> TriggerKind[Any]:
    """Make a trigger kind that is never listened to."""

    class Kind(TriggerKind[Any]):
        spec = TriggerSpec(
            kind=name,
            name=name,
            description=f"A {name} trigger.",
            config=config,
            example={},
            data_fields=tuple(data_fields),
            other_names=tuple(other_names),
            roots=frozenset(roots),
        )

        def route(self, config: Any, workflow_id: WorkflowId, trigger_id: str) -> str:
            return name

    return Kind()


def make_catalogue() -> Catalogue:
    """Make a catalogue of everything that the tests write."""
    return Catalogue(
        builtin_actions(),
        [
            trigger_kind("row", RowConfig, ROW_FIELDS, ("old", "new")),
            trigger_kind(
                "cron", CronConfig, ("schedule", "slot", "previous_slot", "missed"), other_names=("schedule",)
            ),
            trigger_kind("webhook", WebhookConfig, ("method", "path", "params", "query", "headers", "body")),
            trigger_kind("event", EventConfig),
            trigger_kind("manual", ManualConfig),
        ],
    )


CATALOGUE = make_catalogue()


def load_one(text: str, file: str = "flow.yaml") -> Loaded:
    """Load a text that holds one workflow."""
    (loaded,) = load_all(text, CATALOGUE, file=file)
    return loaded
