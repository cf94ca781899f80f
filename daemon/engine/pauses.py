"""Waiting: durable, and free of cost while it lasts."""

from __future__ import annotations

from datetime import datetime, timedelta

import orjson

from hark.actions.control import parse_moment
from hark.daemon.engine.outcome import Failed, Outcome, Suspended, failure
from hark.daemon.engine.program import Node, WaitWork
from hark.daemon.engine.records import StepRecord
from hark.daemon.engine.run import Frame, Run
from hark.daemon.engine.step_record import end_step
from hark.workflows.durations import parse_duration
from hark.workflows.errors import ExpressionError
from hark.workflows.templates import Template


async def until(run: Run, path: str, due_at: datetime) -> Suspended | None:
    """Let a step wait for a moment that is on record: here while it is near or other branches work, else Suspended.

    In tests and dry runs nothing waits; that is noted instead.
    """
    if run.mode != "production":
        run.note_not_waited(path, due_at)
        return None
    if not run.parking.is_alone(due_at):
        await run.settle()
    return await run.parking.until(due_at)


async def run_wait(run: Run, node: Node, known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    """Run a `wait` step."""
    if known is None:
        try:
            due_at = _due(node.work, run.now(), frame)
        except (ExpressionError, ValueError) as error:
            return end_step(run, node, path, frame, _unusable(error, path))
        known = StepRecord(path, run.next_seq(), node.verb, "waiting", due_at=due_at, started_at=run.now())
        run.record(known)
    if known.due_at is not None:
        suspended = await until(run, path, known.due_at)
        if suspended is not None:
            return suspended
        output = {"waited_until": known.due_at.isoformat()}
        return end_step(run, node, path, frame, output=output, begun=known)
    return end_step(run, node, path, frame, begun=known)


def _unusable(error: Exception, path: str) -> Failed:
    return failure(error, path) if isinstance(error, ExpressionError) else Failed("invalid_wait", str(error), path)


def _due(work: WaitWork, now: datetime, frame: Frame) -> datetime:
    if work.duration is not None:
        return now + timedelta(seconds=seconds_of(work.duration, frame))
    moment = parse_moment(work.until.render(frame.scope))
    return moment if work.at_most is None else min(moment, now + work.at_most)


def seconds_of(value: timedelta | Template, frame: Frame) -> float:
    """Return a duration in seconds; a template is rendered first. Raises ExpressionError when it gives none."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    rendered = value.render(frame.scope)
    try:
        return parse_duration(rendered).total_seconds()
    except ValueError as error:
        raise ExpressionError(
            f"{orjson.dumps(rendered, default=str).decode()} is no duration", hint=str(error)
        ) from error
