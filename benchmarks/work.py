"""The work that is measured: executions of a few trivial steps, each step with or without an effect outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hark.actions.builtin import builtin_actions
from hark.triggers.builtin import builtin_triggers
from hark.workflows.catalogue import Action, ActionContext, ActionSpec, Catalogue, Config, Effect, NewEvent
from hark.workflows.ids import DEFAULT_TENANT

STEP_OUTPUT = 1
"""What every step gives; the floor writes the same."""


class TouchConfig(Config):
    """Config of the benchmark's action."""

    say: Any = STEP_OUTPUT


class Touch(Action[TouchConfig]):
    """An effect outside that takes no time, so that what is measured is what the engine does around it."""

    spec = ActionSpec("touch", "Touch", "Does nothing, outside.", "control", Effect.EXTERNAL, TouchConfig, {})

    async def run(self, config: TouchConfig, context: ActionContext) -> Any:
        """Do nothing."""
        return config.say


@dataclass(frozen=True, slots=True)
class Work:
    """A workflow of `steps` steps. Strict: a step starts only after the previous one's record is committed."""

    steps: int
    strict: bool

    @property
    def name(self) -> str:
        """What it is called, also as a workflow and as the type of its events."""
        return f"{'strict' if self.strict else 'pure'}-{self.steps}"

    @property
    def text(self) -> str:
        """The workflow, written out."""
        head = f"id: {self.name}\nname: {self.name}\ntriggers: [{{type: event, event: {self.name}}}]\nsteps:\n"
        return head + "\n".join(self._step(number) for number in range(self.steps)) + "\n"

    def _step(self, number: int) -> str:
        if self.strict:
            return f"  - {{id: s{number}, action: touch, with: {{say: {STEP_OUTPUT}}}}}"
        return f'  - {{id: s{number}, set: {{v{number}: "${{{{ event.data.n + {number} }}}}"}}}}'

    def event(self, number: int) -> NewEvent:
        """Make the event that starts one execution."""
        return NewEvent(DEFAULT_TENANT, "event", self.name, "bench", f"event:{self.name}", {"n": number})


def catalogue() -> Catalogue:
    """Return everything that is built in, and the benchmark's own action."""
    return Catalogue([*builtin_actions(), Touch()], builtin_triggers())
