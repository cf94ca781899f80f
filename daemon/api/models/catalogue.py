"""What the catalogue offers: actions and kinds of triggers."""

from __future__ import annotations

from typing import Any

from hark.daemon.api.models.answer import Answer


class ActionEntry(Answer):
    """An action of the catalogue."""

    type: str
    name: str
    description: str
    category: str
    config_schema: dict[str, Any]
    output_schema: dict[str, Any]
    example: dict[str, Any]
    permissions: list[str]
    effect: str


class TriggerEntry(Answer):
    """A trigger kind of the catalogue."""

    kind: str
    name: str
    description: str
    config_schema: dict[str, Any]
    event_data: list[str]
    example: dict[str, Any]
    other_names: list[str]
