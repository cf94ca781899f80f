"""How the engine's own verbs put their steps on record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from hark.daemon.engine.outcome import Failed, Stopped, failure
from hark.daemon.engine.payload import encode
from hark.daemon.engine.program import Node
from hark.daemon.engine.records import StepRecord
from hark.daemon.engine.run import Frame, Run
from hark.daemon.engine.typed_steps import checked_output
from hark.workflows.errors import HarkError, MissingFieldError
from hark.workflows.expressions import Expression

STOPPED_BY = "stopped_by"
"""Beside the decision of a step that holds others: the path of the `stop`, or of the part, by which it ended."""


def begin_step(
    run: Run, node: Node, known: StepRecord | None, path: str, decision: Callable[[], Any] | None = None
) -> StepRecord:
    """Put a step on record as running, with the decision that it makes; the decision is made only once."""
    if known is not None:
        return known
    text = None if decision is None else encode(decision(), "the step's decision")
    record = StepRecord(path, run.next_seq(), node.verb, "running", input=text, started_at=run.now())
    run.record(record)
    run.open[path] = record
    return record


def end_step(
    run: Run,
    node: Node,
    path: str,
    frame: Frame,
    failed: Failed | None = None,
    *,
    output: Any = None,
    begun: StepRecord | None = None,
    stopped: Stopped | None = None,
) -> Failed | None:
    """Put a step on record as completed or failed; returns the failure.

    `output` is masked already, as far as it is not the engine's own.
    `stopped`: what it holds has stopped the execution, so its output need not be what it declares.
    """
    if failed is None and node.outputs is not None and stopped is None:
        try:
            output = checked_output(node.outputs, output)
        except HarkError as error:
            failed = failure(error, path)
    moment = run.now()
    record = StepRecord(
        path,
        begun.seq if begun else run.next_seq(),
        node.verb,
        "failed" if failed else "completed",
        attempt=begun.attempt if begun else 1,
        input=_stopped_by(begun, stopped) if begun else None,
        started_at=begun.started_at if begun else moment,
        completed_at=moment,
    )
    view = failed.view() if failed else None
    if view is not None:
        record.error = run.encoded_error(view)
    elif output is not None:
        try:
            record.output = run.encoded_own(output)
        except HarkError as error:
            return end_step(run, node, path, frame, failure(error, path), begun=begun)
    run.record(record)
    run.open.pop(path, None)
    frame.steps[node.id] = {"output": None if failed else output, "status": record.status, "error": view}
    return failed


def _stopped_by(begun: StepRecord, stopped: Stopped | None) -> str | None:
    """Return the input of a step, with the stop that it ended with: of several in it, nobody else knows which."""
    if stopped is None:
        return begun.input
    return orjson.dumps({**(orjson.loads(begun.input or "null") or {}), STOPPED_BY: stopped.step}).decode()


def holds(condition: Expression, frame: Frame) -> bool:
    """Evaluate a condition in a step: a missing field makes it false, any other fault is the step's failure."""
    try:
        return condition.holds(frame.scope)
    except MissingFieldError:
        return False
