"""The action `log_event`: write a line into the execution's logs."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator

from hark.actions.config import ActionConfig, Text
from hark.workflows.catalogue import Action, ActionContext, ActionSpec, Effect


def _level(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    word = value.lower()
    return "warning" if word == "warn" else word


Level = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_level)]


class LogEventConfig(ActionConfig):
    """What to write."""

    level: Level = "info"
    """How grave it is; upper case and `warn` are understood."""
    message: Text
    """The line. A value that is no text is written as JSON."""
    data: Any = None
    """Anything that belongs to the line, kept as it is."""


class LogEvent(Action[LogEventConfig]):
    """Write a line into the execution's logs."""

    spec: ClassVar[ActionSpec] = ActionSpec(
        type="log_event",
        name="Log event",
        description="Write a line into the execution's logs, where console, CLI and API show it.",
        category="control",
        effect=Effect.PURE,
        config=LogEventConfig,
        example={
            "id": "note",
            "action": "log_event",
            "with": {
                "level": "info",
                "message": "New lead ${{ inputs.email }}",
                "data": {"country": "${{ inputs.country }}"},
            },
        },
        output_schema={
            "type": "object",
            "properties": {"level": {"type": "string"}, "message": {"type": "string"}},
            "required": ["level", "message"],
        },
        practice=(
            "Put what varies into `data` and keep `message` short: lines with the same message are easy to find.",
            "Use `on_error` with `level: error` to leave a trace of what went wrong in words of your own.",
        ),
        security=("Everybody who may see the execution reads its logs: write no passwords, tokens or card numbers.",),
    )

    async def run(self, config: LogEventConfig, context: ActionContext) -> dict[str, str]:
        context.log(config.level, config.message, config.data)
        return {"level": config.level, "message": config.message}
