"""What the language has and this version does not run: said when it is applied, so that nobody relies on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from hark.workflows.definition import Workflow
from hark.workflows.steps import CallStep, WaitForStep, verb_of

_VERBS = (CallStep, WaitForStep)
_LIMITS = ("max_running", "concurrency", "idempotency", "throttle", "rate_limit", "debounce", "batch")

Found = tuple[tuple[str | int, ...], str]
"""A path into the definition, and what is said about it."""


def not_run_yet(workflow: Workflow) -> Iterator[Found]:
    """Yield what of a workflow is read and not acted upon."""
    if workflow.overlap != "allow":
        yield ("overlap",), "`overlap` is not kept by this version: executions run side by side"
    for name in _LIMITS:
        if getattr(workflow, name) is not None:
            yield (name,), f"`{name}` is not kept by this version"
    for field in ("steps", "on_error"):
        yield from _steps(getattr(workflow, field), (field,))


def _steps(steps: Iterable[Any], path: tuple[str | int, ...]) -> Iterator[Found]:
    for index, step in enumerate(steps):
        place = (*path, index)
        if isinstance(step, _VERBS):
            verb = verb_of(step)
            yield (*place, verb or ""), f"`{verb}` is not run by this version: the step will fail"
        if getattr(step, "distribute", False):
            yield (*place, "distribute"), "`distribute` has no effect in this version: the parts run on one instance"
        yield from _inner(step, place)


def _inner(step: Any, place: tuple[str | int, ...]) -> Iterator[Found]:
    for name, field in type(step).model_fields.items():
        value = getattr(step, name)
        key = field.alias or name
        if isinstance(value, list) and value and isinstance(value[0], BaseModel):
            yield from _steps(value, (*place, key))
        elif name == "parallel" and isinstance(value, dict):
            for branch, steps in value.items():
                yield from _steps(steps, (*place, key, branch))
