"""Comparing what came of a test with what was expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from hark.daemon.engine.judging import values_of
from hark.daemon.engine.records import StepRecord, step_view
from hark.workflows.cases import SEEN, Expected, ExpectedStep
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import compile_expression


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What did not come as expected; `path` is where the expectation stands in the test."""

    path: str
    expected: Any
    seen: Any
    message: str = ""
    """More than the two values say."""


@dataclass(slots=True)
class Seen:
    """What came of an event."""

    event: Mapping[str, Any]
    started: bool = False
    reason: str | None = None
    detail: str | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    """What the condition saw that kept it from starting."""
    trigger: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    status: str | None = None
    output: Any = None
    error: Mapping[str, Any] | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    steps: Mapping[str, StepRecord] = field(default_factory=dict)
    emitted: Sequence[Mapping[str, Any]] = ()

    def why_not(self) -> str:
        """Say why it did not start."""
        seen = ", ".join(f"{path} is {orjson.dumps(value).decode()}" for path, value in self.values.items())
        return f"{self.reason}: {self.detail}{f' ({seen})' if seen else ''}"


def check(expected: Expected, seen: Seen, place: str) -> list[Mismatch]:
    """Return what did not come as expected."""
    return list(_check(expected, seen, place))


def _check(expected: Expected, seen: Seen, place: str) -> Iterator[Mismatch]:
    if not expected.starts or not seen.started:
        yield from _check_refusal(expected, seen, place)
        return
    said = expected.model_fields_set
    if expected.trigger is not None:
        yield from compare(expected.trigger, seen.trigger, f"{place}.trigger")
    yield from _check_end(expected, seen, place)
    for name, found in (("inputs", seen.inputs), ("vars", seen.variables), ("context", seen.context)):
        wanted = getattr(expected, name)
        if wanted is not None:
            yield from compare(wanted, found, f"{place}.{name}")
    if "output" in said:
        yield from compare(expected.output, seen.output, f"{place}.output")
    for path, step in expected.steps.items():
        yield from _check_step(step, seen.steps.get(path), f"{place}.steps.{path}")
    if expected.emitted is not None:
        wanted = [event.model_dump(exclude_unset=True) for event in expected.emitted]
        yield from compare(wanted, [*seen.emitted], f"{place}.emitted")
    for index, source in enumerate(expected.that):
        yield from _check_condition(source, seen, f"{place}.that[{index}]")


def _check_refusal(expected: Expected, seen: Seen, place: str) -> Iterator[Mismatch]:
    if expected.starts:
        yield Mismatch(f"{place}.starts", True, False, f"it does not start: {seen.why_not()}")
    elif seen.started:
        yield Mismatch(f"{place}.starts", False, True, f"it starts, by {seen.trigger or 'hand'}")
    elif expected.reason is not None and expected.reason != seen.reason and expected.reason not in seen.why_not():
        yield Mismatch(f"{place}.reason", expected.reason, seen.reason, seen.why_not())


def _check_end(expected: Expected, seen: Seen, place: str) -> Iterator[Mismatch]:
    """Check how it ended; when nothing is said, it completes."""
    status = expected.status or ("failed" if expected.error is not None else "completed")
    if seen.status != status:
        yield Mismatch(f"{place}.status", status, seen.status, _told(seen.error))
    if expected.error is not None:
        yield from _check_error(expected.error, seen.error, f"{place}.error")


def _told(error: Mapping[str, Any] | None) -> str:
    if error is None:
        return ""
    step = f"{error['step']}: " if error.get("step") else ""
    return f"{step}{error.get('class')}: {error.get('message')}"


def _check_error(wanted: str, error: Mapping[str, Any] | None, place: str) -> Iterator[Mismatch]:
    if error is None or (wanted != error.get("class") and wanted not in str(error.get("message"))):
        yield Mismatch(place, wanted, None if error is None else _told(error))


def _check_step(expected: ExpectedStep, record: StepRecord | None, place: str) -> Iterator[Mismatch]:
    status = "not_reached" if record is None else record.status
    error = None if record is None or record.error is None else orjson.loads(record.error)
    wanted = expected.status or ("failed" if expected.error is not None else None)
    if wanted is not None and status != wanted:
        yield Mismatch(f"{place}.status", wanted, status, _told(error))
        return
    named = expected.model_fields_set - {"status"}
    if record is None:
        if named:
            yield Mismatch(place, sorted(named), "not_reached")
        return
    for name in ("input", "output"):
        text = getattr(record, name)
        if name in named:
            yield from compare(getattr(expected, name), None if text is None else orjson.loads(text), f"{place}.{name}")
    if expected.attempts is not None:
        yield from compare(expected.attempts, record.attempt, f"{place}.attempts")
    if expected.error is not None:
        yield from _check_error(expected.error, error, f"{place}.error")


def _check_condition(source: str, seen: Seen, place: str) -> Iterator[Mismatch]:
    expression = compile_expression(source, SEEN)
    scope = {
        "event": seen.event, "inputs": seen.inputs, "vars": seen.variables, "context": seen.context,
        "steps": {path: step_view(record) for path, record in seen.steps.items()},
        "output": seen.output, "status": seen.status, "error": seen.error, "emitted": [*seen.emitted],
    }  # fmt: skip
    try:
        held, message = expression.holds(scope), ""
    except ExpressionError as error:
        held, message = False, str(error)
    if not held:
        yield Mismatch(place, source, dict(values_of(expression, scope)), message)


def compare(expected: Any, seen: Any, place: str) -> Iterator[Mismatch]:
    """Compare two values; of a mapping only the keys that are expected, of everything else all."""
    if isinstance(expected, Mapping) and isinstance(seen, Mapping):
        for key, value in expected.items():
            if key in seen:
                yield from compare(value, seen[key], f"{place}.{key}")
            else:
                yield Mismatch(f"{place}.{key}", value, None, "it is not there")
    elif isinstance(expected, list) and isinstance(seen, list) and len(expected) == len(seen):
        for index, (one, other) in enumerate(zip(expected, seen, strict=True)):
            yield from compare(one, other, f"{place}[{index}]")
    elif isinstance(expected, bool) is not isinstance(seen, bool) or expected != seen:
        yield Mismatch(place, expected, seen)
