"""The step verbs of the workflow language, one model each.

A step is recognised by its verb key (`action`, `wait`, `for_each` …). `if` together with `then` is the branching verb;
beside any other verb `if` is a guard: the step is skipped when it does not hold.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator
from pydantic.alias_generators import to_snake

from hark.workflows.documented import Documented
from hark.workflows.durations import Duration

IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_]*$"
Identifier = Annotated[str, Field(pattern=IDENTIFIER, max_length=100)]
CelSource = Annotated[str, Field(min_length=1, max_length=10_000, json_schema_extra={"format": "cel"})]
"""A CEL expression, written without `${{ }}`."""
TemplateText = Annotated[str, Field(pattern=r"\$\{\{", max_length=10_000)]
"""A string that holds `${{ … }}`: its value is known only when the step runs."""
DurationOrTemplate = TemplateText | Duration


def _one_spelling(name: str) -> str:
    return name.lower() if name.isupper() else name if "." in name else to_snake(name)


ActionType = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_one_spelling)]


class Model(Documented):
    """Base of all definition models: immutable, strict about unknown fields, keys as in the language."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Retry(Model):
    """When and how often a failed attempt is repeated."""

    retries: Annotated[int, Field(ge=0, le=1000)] = 3
    """Attempts after the first."""
    delay: Duration = Field(default="1s", validate_default=True)
    backoff: Literal["constant", "linear", "exponential"] = "exponential"
    factor: Annotated[float, Field(ge=1, le=100)] = 2.0
    max_delay: Duration = Field(default="10m", validate_default=True)
    max_duration: Duration | None = None
    """No attempt starts later than this after the first."""
    jitter: Literal["full", "equal", "none"] = "full"
    when: CelSource | None = None
    """Retry only if this holds; sees `error`."""


class FieldSpec(Model):
    """A declared input or output: a JSON Schema property, plus `required`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str | list[str] | None = None
    required: bool = False
    default: Any = None
    description: str | None = None


class BaseStep(Model):
    """What every step may say, whatever its verb."""

    id: Identifier
    name: str | None = None
    description: str | None = None
    if_: CelSource | None = Field(default=None, alias="if")
    needs: list[Identifier] | None = None
    """Steps that must have ended before this one starts; `[]` starts at once. One `needs` makes the block a graph."""
    timeout: DurationOrTemplate | None = None
    """Per attempt."""
    retry: Retry | None = None
    continue_on_error: bool = False
    on_error: list[Step] | None = None
    inputs: dict[str, FieldSpec] | None = None
    outputs: dict[str, FieldSpec] | None = None


class ActionStep(BaseStep):
    """Run an action of the catalogue."""

    action: ActionType
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    effect: Literal["at_least_once", "at_most_once"] | None = None


class IfStep(BaseStep):
    """Run `then` if the condition holds, else `else`."""

    if_: CelSource = Field(alias="if")
    then: list[Step]
    else_: list[Step] = Field(default_factory=list, alias="else")


class Case(Model):
    """One branch of a `switch`: taken when the value equals `value` (or one of a list), or when `when` holds."""

    value: Any = None
    when: CelSource | None = None
    do: list[Step]

    @model_validator(mode="after")
    def _says_when(self) -> Case:
        if (self.when is None) == ("value" not in self.model_fields_set):
            raise ValueError("a case has either `value` or `when`")
        return self


class SwitchStep(BaseStep):
    """Run the first case that fits, else `default`."""

    switch: CelSource
    cases: list[Case]
    default: list[Step] = Field(default_factory=list)


class ForEachStep(BaseStep):
    """Run `do` once for every item of a list; the output is the list of the items' outputs."""

    for_each: CelSource | list[Any]
    as_: Identifier = Field(default="item", alias="as")
    do: list[Step]
    parallel: Annotated[int, Field(ge=1, le=1000)] = 1
    max_items: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    distribute: bool = False


class WhileStep(BaseStep):
    """Run `do` as long as the condition holds, at most `max_iterations` times."""

    while_: CelSource = Field(alias="while")
    do: list[Step]
    max_iterations: Annotated[int, Field(ge=1, le=1_000_000)] = 1000


class ParallelStep(BaseStep):
    """Run named branches side by side; with `race` the first one that completes cancels the others."""

    parallel: dict[Identifier, list[Step]]
    race: bool = False
    distribute: bool = False


class WaitUntil(Model):
    """A moment to wait for: an ISO 8601 time with zone, or a template that gives one."""

    until: str
    at_most: Duration | None = None


class WaitStep(BaseStep):
    """Wait for a duration, or until a moment; durable and free of cost while it lasts."""

    wait: DurationOrTemplate | WaitUntil


class WaitForSpec(Model):
    """The event that a step waits for."""

    event: str
    when: CelSource | None = None
    lookback: Duration | None = None
    timeout: DurationOrTemplate | None = None


class WaitForStep(BaseStep):
    """Wait for an event; the output is the event."""

    wait_for: WaitForSpec


class ApproveSpec(Model):
    """A question to people: who may answer, with which form, until when."""

    message: str = ""
    approvers: list[str] = Field(default_factory=list)
    form: dict[str, FieldSpec] = Field(default_factory=dict)
    timeout: DurationOrTemplate | None = None


class ApproveStep(BaseStep):
    """Wait until somebody approves or rejects."""

    approve: ApproveSpec


class CallStep(BaseStep):
    """Start another workflow as an execution of its own, and wait for its output unless `detach`."""

    call: str
    with_: dict[str, Any] = Field(default_factory=dict, alias="with")
    secrets: dict[Identifier, str] = Field(default_factory=dict)
    detach: bool = False


class SetStep(BaseStep):
    """Define variables of the execution; the output is what was set."""

    set: dict[Identifier, Any]


class RememberStep(BaseStep):
    """Write to the execution's context, which API and SQL can read and change while it runs."""

    remember: dict[Annotated[str, Field(min_length=1, max_length=200)], Any]


class EmitSpec(Model):
    """An event to publish."""

    type: str
    data: Any = None
    subject: Any = None
    key: str | None = None


class EmitStep(BaseStep):
    """Publish an event that other workflows may subscribe to."""

    emit: EmitSpec


class StopStep(BaseStep):
    """End the execution here, with this status."""

    stop: Literal["completed", "failed", "skipped"]
    reason: str | None = None
    output: Any = None


class TryStep(BaseStep):
    """Run `try`; on failure run `catch`, which sees `error`; always run `finally`."""

    try_: list[Step] = Field(alias="try")
    catch: list[Step] = Field(default_factory=list)
    finally_: list[Step] = Field(default_factory=list, alias="finally")

    @model_validator(mode="after")
    def _handles(self) -> TryStep:
        if not (self.catch or self.finally_):
            raise ValueError("`try` needs `catch` or `finally`")
        return self


VERBS: dict[str, type[BaseStep]] = {
    "action": ActionStep,
    "then": IfStep,
    "switch": SwitchStep,
    "for_each": ForEachStep,
    "while": WhileStep,
    "parallel": ParallelStep,
    "wait": WaitStep,
    "wait_for": WaitForStep,
    "approve": ApproveStep,
    "call": CallStep,
    "set": SetStep,
    "remember": RememberStep,
    "emit": EmitStep,
    "stop": StopStep,
    "try": TryStep,
}
"""The key that tells a step's verb, and its model. `for_each` comes before `parallel`, which may stand beside it."""

_VERB_OF_MODEL = {model: verb for verb, model in VERBS.items()}


def verb_of(step: Any) -> str | None:
    """Return the verb key of a raw step or a step model; None if it has none."""
    if isinstance(step, BaseStep):
        return _VERB_OF_MODEL[type(step)]
    if not isinstance(step, dict):
        return None
    return next((verb for verb in VERBS if verb in step), None)


Step = Annotated[
    Annotated[ActionStep, Tag("action")]
    | Annotated[IfStep, Tag("then")]
    | Annotated[SwitchStep, Tag("switch")]
    | Annotated[ForEachStep, Tag("for_each")]
    | Annotated[WhileStep, Tag("while")]
    | Annotated[ParallelStep, Tag("parallel")]
    | Annotated[WaitStep, Tag("wait")]
    | Annotated[WaitForStep, Tag("wait_for")]
    | Annotated[ApproveStep, Tag("approve")]
    | Annotated[CallStep, Tag("call")]
    | Annotated[SetStep, Tag("set")]
    | Annotated[RememberStep, Tag("remember")]
    | Annotated[EmitStep, Tag("emit")]
    | Annotated[StopStep, Tag("stop")]
    | Annotated[TryStep, Tag("try")],
    Discriminator(
        verb_of,
        custom_error_type="no_verb",
        custom_error_message="a step needs one verb",
    ),
]

_MODELS: tuple[type[BaseModel], ...] = (BaseStep, Case, *VERBS.values())
for _model in _MODELS:
    _model.model_rebuild()
