"""What the language has and this version does not run: said when it is applied, so that nobody relies on it."""

from __future__ import annotations

from collections.abc import Iterator

from hark.workflows.definition import Workflow

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
