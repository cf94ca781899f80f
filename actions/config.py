"""What the configs of the built-in actions have in common: both spellings of a field, and text from any value."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

import orjson
from pydantic import AliasChoices, AliasGenerator, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.alias_generators import to_camel

from hark.workflows.catalogue import Config
from hark.workflows.durations import Duration


def both_spellings(name: str) -> str | AliasChoices:
    """Accept `reply_to` also as `replyTo`; the first is the one that is documented."""
    camel = to_camel(name)
    return name if camel == name else AliasChoices(name, camel)


class ActionConfig(Config):
    """Base of the built-in actions' configs: every field is accepted in snake case and in camel case."""

    model_config = ConfigDict(
        alias_generator=AliasGenerator(validation_alias=both_spellings),
        populate_by_name=True,  # mypy's plugin does not look for it in the base class
    )


def as_text(value: Any) -> Any:
    """Write a JSON value as text: strings as they are, everything else as JSON; None stays for the type to refuse."""
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value, default=str).decode()


Text = Annotated[str, BeforeValidator(as_text), WithJsonSchema({"type": "string"})]
"""A string; numbers, booleans, lists and mappings that an expression gave are written as JSON."""

Timeout = Annotated[Duration, Field(gt=timedelta(0), le=timedelta(hours=1))]
"""How long something may take: more than nothing, at most an hour."""
