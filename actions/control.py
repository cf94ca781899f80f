"""Actions that steer an execution: `set` defines variables, `delay` waits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, RootModel, WithJsonSchema, model_validator

from hark.actions.config import ActionConfig
from hark.workflows.catalogue import Action, ActionContext, ActionSpec, Effect, Pause
from hark.workflows.durations import Duration
from hark.workflows.steps import Identifier


class SetConfig(RootModel[dict[Identifier, Any]]):
    """Names and the values they shall have."""


class SetVariables(Action[SetConfig]):
    """Define variables of the execution."""

    spec: ClassVar[ActionSpec] = ActionSpec(
        type="set",
        name="Set variables",
        description="Define variables that later steps read as `vars.NAME`; the output is what was set.",
        category="control",
        effect=Effect.PURE,
        config=SetConfig,
        example={"id": "names", "set": {"team": "sales", "greeting": "Hello ${{ inputs.email }}"}},
        output_schema={"type": "object"},
        practice=(
            "Compute a value once and name it, rather than repeating an expression in several steps.",
            "Expressions see the variables as they were before the step: use two steps when one builds on the other.",
        ),
    )

    async def run(self, config: SetConfig, context: ActionContext) -> dict[str, Any]:
        return config.root


_MOMENT_EXPECTED = "write a moment as ISO 8601 with a zone, such as 2030-01-31T09:00:00+01:00 or 2030-01-31T08:00:00Z"


def parse_moment(value: object) -> datetime:
    """Read a moment: ISO 8601 with a zone. Raises ValueError with what would be right."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(_string(value))
    except ValueError as error:
        raise ValueError(_MOMENT_EXPECTED) from error
    if moment.tzinfo is None:
        raise ValueError(f"the zone is missing: {_MOMENT_EXPECTED}")
    return moment


def _string(value: object) -> str:
    if isinstance(value, str):
        return value.strip()
    raise ValueError(_MOMENT_EXPECTED)


Moment = Annotated[datetime, BeforeValidator(parse_moment), WithJsonSchema({"type": "string", "format": "date-time"})]


class DelayConfig(ActionConfig):
    """How long, or until when."""

    duration: Duration | None = None
    """How long to wait; a bare number is milliseconds."""
    until: Moment | None = None
    """The moment to wait for, ISO 8601 with a zone; one that has passed does not wait at all."""

    @model_validator(mode="after")
    def _has_one(self) -> DelayConfig:
        if (self.duration is None) == (self.until is None):
            raise ValueError("a delay has either `duration` or `until`")
        return self

    def end(self, now: datetime) -> datetime:
        """Return the moment at which the delay is over."""
        return self.until if self.until is not None else now + (self.duration or timedelta(0))


class Delay(Action[DelayConfig]):
    """Wait for a while, or until a moment."""

    spec: ClassVar[ActionSpec] = ActionSpec(
        type="delay",
        name="Delay",
        description="Wait for a while, or until a moment. The wait is durable: a restart does not end it.",
        category="control",
        effect=Effect.PURE,
        config=DelayConfig,
        example={"id": "cool_down", "action": "delay", "with": {"duration": "10m"}},
        output_schema={
            "type": "object",
            "properties": {"until": {"type": "string", "format": "date-time"}},
            "required": ["until"],
        },
        practice=(
            "The verb `wait: 10m` says the same in one line.",
            "A long wait keeps its place in `concurrency` and `max_running`.",
        ),
    )

    async def run(self, config: DelayConfig, context: ActionContext) -> Pause | dict[str, str]:
        end = config.end(context.now)
        output = {"until": end.isoformat()}
        return Pause(end, output) if end > context.now else output
