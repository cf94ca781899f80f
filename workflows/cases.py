"""The tests in a workflow file: what comes, what steps answer instead of acting, and what has to come of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, ConfigDict, Field, model_validator

from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import compile_expression
from hark.workflows.steps import CelSource, Identifier, Model

SEEN = frozenset({"event", "inputs", "vars", "steps", "context", "error", "output", "status", "emitted"})
"""What the conditions in `that` see."""
StepStatus = Literal["completed", "failed", "skipped", "cancelled", "not_reached"]


def _compiles(source: str) -> str:
    try:
        compile_expression(source, SEEN)
    except ExpressionError as error:
        raise ValueError(str(error)) from error
    return source


def _status_alone(value: Any) -> Any:
    """Let a status stand for an expectation of it."""
    return {"status": value} if isinstance(value, str) else value


def _message_alone(value: Any) -> Any:
    """Let a message stand for a failure."""
    return {"message": value} if isinstance(value, str) else value


def _or(short: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Let the published schema take a short form too."""

    def add(schema: dict[str, Any]) -> None:
        whole = dict(schema)
        schema.clear()
        schema["description"] = whole.pop("description", "")
        schema["anyOf"] = [short, whole]

    return add


class CaseSubject(Model):
    """The business entity that an event is about."""

    kind: str
    id: str


class ExpectedStep(Model):
    """What has to come of a step; of a mapping only the keys that are named are compared."""

    model_config = ConfigDict(json_schema_extra=_or({"enum": [*get_args(StepStatus)]}))

    status: StepStatus | None = None
    input: Any = None
    output: Any = None
    error: str | None = None
    """The class of its error, or part of the message."""
    attempts: int | None = None


class ExpectedEvent(Model):
    """An event that steps have to publish."""

    type: str
    data: Any = None


class Expected(Model):
    """What has to come of an event or an input. What is not named is not looked at."""

    starts: bool = True
    """`false`: the workflow must not start."""
    reason: str | None = None
    """With `starts: false`: why not, such as `when_false`, or part of what is said about it."""
    trigger: Identifier | None = None
    """The trigger that has to start it."""
    inputs: dict[str, Any] | None = None
    status: Literal["completed", "failed", "skipped", "cancelled", "timeout"] | None = None
    """How the execution ends; `completed` unless `error` or this says otherwise."""
    output: Any = None
    error: str | None = None
    """The class of the error that it fails with, or part of the message."""
    vars: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    steps: dict[str, Annotated[ExpectedStep, BeforeValidator(_status_alone)]] = Field(default_factory=dict)
    """By id, in loops by path (`each[0].mail`): what came of it, or `completed`, `failed`, `skipped`, `not_reached`."""
    emitted: list[ExpectedEvent] | None = None
    """The events that its steps publish, in order; `[]`: none."""
    that: list[Annotated[CelSource, AfterValidator(_compiles)]] = Field(default_factory=list)
    """Conditions that have to hold at the end."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        ended = self.model_fields_set - {"starts", "reason"}
        if not self.starts and ended:
            raise ValueError(f"what does not start has no {', '.join(sorted(ended))}")
        if self.starts and self.reason is not None:
            raise ValueError("`reason` says why it does not start: write starts: false beside it")
        return self


class CaseEvent(Model):
    """An event, as the listener of a trigger would make it; what its data do not say is filled in."""

    trigger: Identifier | None = None
    """The trigger by whose listener it comes; may be left out where the workflow has one."""
    type: str | None = None
    """Instead of `trigger`: the type of a published event."""
    data: Any = Field(default_factory=dict)
    """What becomes `event.data`."""
    subject: CaseSubject | None = None
    expect: Expected | None = None
    """In a list of several: what has to come of this one."""

    @model_validator(mode="after")
    def _has_one_way(self) -> Self:
        if self.trigger is not None and self.type is not None:
            raise ValueError("write `trigger` or `type`, not both")
        return self


class MockedFailure(Model):
    """The failure of a step."""

    model_config = ConfigDict(json_schema_extra=_or({"type": "string"}))

    class_: str = Field(default="mocked", alias="class")
    message: str = "the test says so"


class Case(Model):
    """One test. Steps with effects outside do nothing: they answer what `mocks` says, else nothing."""

    model_config = ConfigDict(title="Test")

    name: str = Field(min_length=1, max_length=200)
    event: CaseEvent | None = None
    events: list[CaseEvent] | None = Field(default=None, min_length=1, max_length=100)
    """Several, one after the other, each with its own `expect`. Steps that wait for events find them all."""
    input: dict[str, Any] | None = None
    """Instead of an event: it is started by hand, with this."""
    now: AwareDatetime | None = None
    """The time at which all of it happens; that of the run if left out."""
    mocks: dict[str, Any] = Field(default_factory=dict)
    """By step id: its output; of `approve` the answer, of `wait_for` the event, of `call` the output."""
    failures: dict[str, Annotated[MockedFailure, BeforeValidator(_message_alone)]] = Field(default_factory=dict)
    """By step id: the failure of an action or a `call`: a message, or `{class, message}`."""
    variables: dict[str, Any] = Field(default_factory=dict)
    """The `vars` that it is started with."""
    secrets: dict[str, str] = Field(default_factory=dict)
    """What `secrets` are in the test; use invented ones."""
    config: dict[str, Any] = Field(default_factory=dict)
    expect: Expected | None = None

    @model_validator(mode="after")
    def _begins_one_way(self) -> Self:
        if sum(way is not None for way in (self.event, self.events, self.input)) != 1:
            raise ValueError("a test has one of `event`, `events` and `input`")
        if self.events is not None and self.expect is not None:
            raise ValueError("with `events`, each event has an `expect` of its own")
        if self.event is not None and self.event.expect is not None:
            raise ValueError("`expect` stands beside `event`, not inside of it")
        return self

    def expectations(self) -> list[tuple[CaseEvent | None, Expected]]:
        """Return what comes, each with what has to come of it; None for a start by hand."""
        if self.events is not None:
            return [(event, event.expect or Expected()) for event in self.events]
        return [(self.event, self.expect or Expected())]

    def step_names(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Return the steps that it names, each with where."""
        found: list[tuple[tuple[str | int, ...], str]] = [
            ((key, name), name) for key in ("mocks", "failures") for name in getattr(self, key)
        ]
        if self.expect is not None:
            found += [(("expect", "steps", path), path) for path in self.expect.steps]
        for index, event in enumerate(self.events or ()):
            if event.expect is not None:
                found += [(("events", index, "expect", "steps", path), path) for path in event.expect.steps]
        return found

    def moment(self, now: datetime) -> datetime:
        """Return the time at which it happens."""
        return self.now or now
