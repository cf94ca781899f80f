"""The step that calls another workflow: an execution of its own, whose end it waits for without keeping a place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import orjson

from hark.daemon.engine.matcher import DEPTH_LIMIT
from hark.daemon.engine.outcome import Failed, Outcome, Suspended, failure, mocked_failure
from hark.daemon.engine.pauses import seconds_of, until
from hark.daemon.engine.program import CallWork, Node
from hark.daemon.engine.records import StepRecord
from hark.daemon.engine.retrying import retry_delay
from hark.daemon.engine.run import Frame, Run
from hark.daemon.engine.step_record import end_step
from hark.daemon.engine.typed_steps import INPUTS_INVALID, checked_inputs, checked_output
from hark.workflows.counting import counted
from hark.workflows.errors import ActionError, FencedError, HarkError

MadeT = TypeVar("MadeT")


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child has ended."""

    id: UUID
    status: str
    output: Any
    error: dict[str, Any] | None

    def failed(self, step: str) -> Failed | None:
        """Return its end as the failure of the step that made it; None when it went well."""
        if self.status in {"completed", "skipped"}:
            return None
        error = self.error or {"class": self.status, "message": f"it ended as {self.status}"}
        details = {**(error.get("details") or {}), "execution_id": str(self.id), "status": self.status}
        return Failed(error["class"], error["message"], step, retryable=True, details=details)


@dataclass(frozen=True, slots=True)
class Called:
    """What a step calls, and with what."""

    slug: str
    inputs: Mapping[str, Any]
    secrets: Mapping[str, str] = field(repr=False)
    masked: tuple[str, ...] = field(repr=False)
    """Secrets of the caller: those that are handed over may be made of them."""
    detach: bool


async def run_call(run: Run, node: Node, known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    """Run a `call` step, attempt after attempt, each with an execution of its own."""
    if run.mode != "production" and node.id in run.failures:
        return end_step(run, node, path, frame, mocked_failure(run.failures, node.id, path), begun=known)
    if run.mode != "production" and node.id in run.mocks:
        return end_step(run, node, path, frame, output=run.masked(run.mocks[node.id]), begun=known)
    step = known or StepRecord(path, run.next_seq(), node.verb, "running", started_at=run.now())
    while True:
        if step.status == "retrying":
            suspended = await until(run, path, step.due_at or run.now())
            if suspended is not None:
                return suspended
            step = replace(step, status="running", attempt=step.attempt + 1, due_at=None, error=None, output=None)
        result = await _attempt(run, node, step, frame)
        if isinstance(result, StepRecord):
            step = result
            continue
        if not isinstance(result, Failed):
            return result
        delay = retry_delay(run, node, frame, result, step.attempt, step.started_at or run.now())
        if delay is None:
            return end_step(run, node, path, frame, result, begun=step)
        error = run.encoded_error(result.view())
        step = replace(step, status="retrying", due_at=run.now() + delay, error=error, output=None)
        run.record(step)


async def _attempt(run: Run, node: Node, step: StepRecord, frame: Frame) -> StepRecord | Outcome:
    """Start the execution, or go on waiting for it: returns the record as it is then, or the outcome."""
    work: CallWork = node.work
    try:
        if step.status != "waiting":
            step = await _start(run, node, step, frame)
            if work.detach:
                output = orjson.loads(step.output or "{}")
                return end_step(run, node, step.path, frame, output=output, begun=step)
            run.record(step)
            return step
        child = UUID(orjson.loads(step.output or "{}")["execution_id"])
        ended = await await_child(run, child, step.path, step.due_at)
        if isinstance(ended, Suspended):
            return ended
        failed = ended.failed(step.path)
        if failed is not None:
            return replace(failed, attempt=step.attempt)
        output = checked_output(node.outputs, run.masked(ended.output))
    except FencedError:
        raise
    except HarkError as error:
        failed = failure(error, step.path)
        # Inputs that do not fit are no attempt: nothing was called.
        return replace(failed, attempt=step.attempt - (failed.kind == INPUTS_INVALID))
    return end_step(run, node, step.path, frame, output=output, begun=replace(step, output=None))


async def _start(run: Run, node: Node, step: StepRecord, frame: Frame) -> StepRecord:
    if run.depth + 1 > DEPTH_LIMIT:
        raise ActionError(
            f"this is {counted(run.depth, 'call')} away from its origin: a loop?", error_class="depth_limit"
        )
    called = _called(run, node, frame)
    # Of secrets the names alone: what they are made of need not be a secret that is known, and so is not masked.
    shown = {"secrets": sorted(called.secrets)} if called.secrets else {}
    sent = run.encoded_input({"call": called.slug, "with": called.inputs, **shown})
    limit = None if node.timeout is None else timedelta(seconds=seconds_of(node.timeout, frame))
    await run.settle()

    def waiting(child: UUID) -> StepRecord:
        output = orjson.dumps({"execution_id": str(child)}).decode()
        due_at = None if limit is None else run.now() + limit
        return replace(step, status="waiting", input=sent, output=output, due_at=due_at)

    call = run.services.call(run, step.path, step.attempt, called)
    return waiting(await certainly(run, call, lambda child: run.record(waiting(child))))


def _called(run: Run, node: Node, frame: Frame) -> Called:
    """Render what is called. Raises ActionError when a secret would be among the inputs, which are on record."""
    work: CallWork = node.work
    slug, inputs = str(work.target.render(frame.scope)), checked_inputs(node.inputs, work.inputs.render(frame.scope))
    if run.holds_secret([slug, inputs]):
        message = f"{slug if not run.holds_secret(slug) else 'call'}: `with` holds a secret, and inputs are on record; "
        hint = "hand it over with `secrets: {name: ${{ secrets.name }}}`"
        raise ActionError(message + hint, error_class="secret_in_inputs", retryable=False)
    masked = (*run.handed.secrets.values(), *run.handed.masked)
    return Called(slug, inputs, work.secrets.render(frame.scope), masked, work.detach)


async def certainly(run: Run, making: Coroutine[Any, Any, MadeT], record: Callable[[MadeT], None]) -> MadeT:
    """Make an execution, also when this branch is cancelled meanwhile: whoever clears up then finds it on record."""
    made = asyncio.ensure_future(making)
    try:
        return await asyncio.shield(made)
    except asyncio.CancelledError:
        if run.ending in {None, "cancelled", "timeout"}:
            with suppress(HarkError):
                record(await made)
        else:
            made.cancel()
        raise


async def await_child(run: Run, child: UUID, path: str, due_at: datetime | None = None) -> Ended | Suspended:
    """Wait for the end of an execution that this one has made. Raises ActionError when its time is over first."""
    await run.settle()
    while True:
        news = run.parking.news
        ended = await run.services.ended(run, child)
        if ended is not None:
            return ended
        if due_at is not None and due_at <= run.now():
            await run.services.cancel_children(run, [path])
            raise ActionError("the called execution took longer than the step's timeout", error_class="timeout")
        suspended = await run.parking.park(due_at, news)
        if suspended is not None:
            return suspended
