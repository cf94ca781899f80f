"""Running an action: its attempts, its effect on the world, and what is on record before and after each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import orjson
import structlog
from pydantic import BaseModel, ValidationError

from hark.daemon.engine.eager import Done, begin
from hark.daemon.engine.outcome import Failed, Outcome, failure, mocked_failure
from hark.daemon.engine.pauses import seconds_of, until
from hark.daemon.engine.program import ActionWork, Node
from hark.daemon.engine.records import StepRecord
from hark.daemon.engine.retrying import retry_delay
from hark.daemon.engine.run import Frame, Run
from hark.daemon.engine.typed_steps import checked_inputs, checked_output
from hark.workflows.catalogue import ActionContext, Effect, Pause, Sql
from hark.workflows.errors import ActionError, FencedError, HarkError, UnavailableError

log = structlog.get_logger(__name__)

SHOWN_AFTER_S = 0.2
"""An attempt that takes longer is put on record as running, for those who watch."""


async def run_action(run: Run, node: Node, known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    """Run an action step from where its record stands to its end."""
    if known is None:
        step = _Step(run, node, path, frame, run.next_seq(), frame.scope["now"])
    else:
        step = _Step(run, node, path, frame, known.seq, known.started_at or run.now(), known.attempt)
        outcome = await step.resume(known)
        if not isinstance(outcome, _Again):
            return outcome
        step.started = run.now()
    return await step.run()


class _Again:
    """It is time for another attempt."""


_AGAIN = _Again()


class _Step:
    """One action step while it runs."""

    __slots__ = ("attempt", "first", "frame", "node", "path", "run_", "sent", "seq", "started", "work")

    def __init__(
        self, run: Run, node: Node, path: str, frame: Frame, seq: int, first: datetime, attempt: int = 1
    ) -> None:
        self.run_ = run
        self.node = node
        self.work: ActionWork = node.work
        self.path = path
        self.frame = frame
        self.seq = seq
        self.first = first
        """When the first attempt began."""
        self.attempt = attempt
        self.started = first
        self.sent: str | None = None
        """The input as it goes on record."""

    # ------------------------------------------------------------------ resuming

    async def resume(self, known: StepRecord) -> Outcome | _Again:
        """Go on from the record: an outcome, or _AGAIN for an attempt."""
        self.sent = known.input
        if known.status == "waiting" and known.due_at is not None:
            return await self._pause(known)
        if known.status == "retrying" and known.due_at is not None:
            suspended = await until(self.run_, self.path, known.due_at)
            if suspended is not None:
                return suspended
            self.attempt = known.attempt + 1
            return _AGAIN
        if self.work.at_most_once:
            message = "the instance died while this step ran; whether it took effect is not known"
            return self._fail(Failed("outcome_unknown", message, self.path, self.attempt))
        return _AGAIN

    # ------------------------------------------------------------------ attempts

    async def run(self) -> Outcome:
        """Attempt until it succeeds, pauses, or fails for good."""
        while True:
            if self.attempt > 1 and self.node.reads_context:
                await self.run_.refresh_context(self.frame.scope)
            try:
                result: Pause | Failed | None = await self._perform(self._config())
            except Exception as error:  # noqa: BLE001 - the edge of somebody's action: its defect is the step's failure
                result = self._failed_by(error)
            if not isinstance(result, Failed):
                return await self._pause_anew(result) if isinstance(result, Pause) else None
            following = await self._retry(result)
            if not isinstance(following, _Again):
                return following
            self.attempt += 1
            self.frame.scope["now"] = self.started = self.run_.now()

    def _failed_by(self, error: Exception) -> Failed:
        """Say how an attempt failed; what is not its fault is raised again."""
        match error:
            case FencedError() | UnavailableError():
                raise error
            case ValidationError():
                return Failed("config_invalid", _spoken(error), self.path, self.attempt)
            case _:
                return failure(error, self.path, self.attempt)

    async def _perform(self, config: BaseModel) -> Pause | Failed | None:
        """Do it, each kind of effect in its own way; on success the step is on record as completed."""
        run, effect = self.run_, self.work.effect
        if run.mode != "production" and self.node.id in run.failures:
            return mocked_failure(run.failures, self.node.id, self.path)
        if run.mode != "production" and effect is not Effect.PURE:
            self._answer_from_mock()
            return None
        if effect is Effect.TRANSACTIONAL:
            await self._in_transaction(config)
            return None
        if effect is Effect.EXTERNAL:
            if self.work.at_most_once:
                # The intent goes on record first: what may have happened is not repeated.
                self._record("running")
            await run.settle()
        output = await self._call(config, lambda name: run.services.connect(name, run))
        if isinstance(output, Pause):
            return output
        self._complete(checked_output(self.node.outputs, output))
        return None

    def _answer_from_mock(self) -> None:
        """Complete with what the test says; where it says nothing, nothing is declared of it either."""
        mocks, name = self.run_.mocks, self.node.id
        self._complete(checked_output(self.node.outputs, mocks[name]) if name in mocks else None)

    def _config(self) -> BaseModel:
        work = self.work
        if work.ready is not None:
            self.sent = self._literal_text(work)
            return work.ready
        rendered = self._declared(work.template.render(self.frame.scope))
        self.sent = self.run_.encoded_input(rendered)
        return work.action.spec.config.model_validate(rendered)

    def _literal_text(self, work: ActionWork) -> str:
        if self.run_.handed.secrets:  # masked by what no other execution knows
            return self.run_.encoded_input(work.template.render({}))
        if work.ready_text is None:
            work.ready_text = self.run_.encoded_input(work.template.render({}))
        return work.ready_text

    def _declared(self, rendered: Any) -> Any:
        """Fill in and check the inputs that the step declares; where they do not fit, this was no attempt."""
        try:
            return checked_inputs(self.node.inputs, rendered)
        except ActionError:
            self.sent = self.run_.encoded_input(rendered)
            self.attempt -= 1
            raise

    async def _call(self, config: BaseModel, connect: Callable[[str], AbstractAsyncContextManager[Sql]]) -> Any:
        timeout_s = None if self.node.timeout is None else seconds_of(self.node.timeout, self.frame)
        attempt = self.work.action.run(config, self._context(connect, timeout_s))
        shown = None
        try:
            # Timers are set once it waits for something: many an action returns without.
            begun = begin(attempt)
            if isinstance(begun, Done):
                return begun.value
            if self.work.effect is not Effect.PURE:
                shown = asyncio.get_running_loop().call_later(SHOWN_AFTER_S, self._show)
            async with asyncio.timeout(timeout_s):
                return await begun.finish()
        except TimeoutError as error:
            raise ActionError(f"the attempt took longer than {timeout_s} s", error_class="timeout") from error
        except asyncio.CancelledError:
            if self.run_.ending in {None, "cancelled", "timeout"}:
                self._record("cancelled", completed_at=self.run_.now())
            raise
        finally:
            if shown is not None:
                shown.cancel()

    def _context(
        self, connect: Callable[[str], AbstractAsyncContextManager[Sql]], timeout_s: float | None
    ) -> ActionContext:
        run, path = self.run_, self.path
        # By place: by name it would take twice as long.
        return ActionContext(
            run.tenant_id, run.id, run.slug, path, self.attempt, partial(run.idempotency_key, path),
            self.started, partial(run.log, path), run.services.http, run.services.settings, connect, timeout_s,
        )  # fmt: skip

    async def _in_transaction(self, config: BaseModel) -> None:
        """Run SQL on the home database and put the step on record in the same transaction.

        While the database is away it waits and tries again: that is no failure of the step. A COMMIT whose answer was
        lost is settled by looking whether the record is there.
        """
        run = self.run_
        await run.settle()
        while True:
            try:
                output = await self._commit_with_record(config)
            except UnavailableError as error:
                log.warning("step.database_awaited", execution=str(run.id), step=self.path, error=str(error))
                found, output = await run.services.recorded_output(run, self.path)
                if not found:
                    continue
            self._show_output(output)
            return

    async def _commit_with_record(self, config: BaseModel) -> Any:
        """Make the effect and its record one; returns the output.

        The record is written here and nowhere else: noted in the run it could go out with another flush after this
        transaction was rolled back.
        """
        run = self.run_
        async with run.services.home_transaction(run) as transaction:

            def connect(name: str) -> AbstractAsyncContextManager[Sql]:
                return run.services.connect(name, run) if name else nullcontext(transaction.sql)

            output = checked_output(self.node.outputs, await self._call(config, connect))
            text, output = run.encoded_output(output)
            record = self._row("completed", output=text, completed_at=run.now())
            await transaction.record(run.alone(record))
        return output

    # ------------------------------------------------------------------ what follows an attempt

    async def _retry(self, failed: Failed) -> Outcome | _Again:
        """Decide whether a failed attempt is repeated; returns _AGAIN when it is time for the next one."""
        delay = self._delay(failed)
        if delay is None:
            return self._fail(failed)
        due_at = self.run_.now() + delay
        self._record("retrying", error=failed.view(), due_at=due_at)
        detail = {"attempt": self.attempt, "error": failed.message, "due_at": due_at}
        self.run_.note("step.retrying", self.path, detail)
        suspended = await until(self.run_, self.path, due_at)
        return _AGAIN if suspended is None else suspended

    def _delay(self, failed: Failed) -> timedelta | None:
        if self.work.at_most_once:
            return None
        return retry_delay(self.run_, self.node, self.frame, failed, self.attempt, self.first)

    async def _pause_anew(self, pause: Pause) -> Outcome:
        output, _ = self.run_.encoded_output(pause.output)
        record = self._record("waiting", output=output, due_at=pause.until)
        return await self._pause(record)

    async def _pause(self, record: StepRecord) -> Outcome:
        """Wait as an action asked for; then the step is complete with the output that it gave along."""
        if record.due_at is not None:
            suspended = await until(self.run_, self.path, record.due_at)
            if suspended is not None:
                return suspended
        try:
            output = None if record.output is None else orjson.loads(record.output)
            self._complete(checked_output(self.node.outputs, output))
        except HarkError as error:
            return self._fail(failure(error, self.path, self.attempt))
        return None

    # ------------------------------------------------------------------ the record

    def _complete(self, output: Any) -> None:
        text, output = self.run_.encoded_output(output)
        self.run_.record(self._row("completed", output=text, completed_at=self.run_.now()))
        self._show_output(output)

    def _show_output(self, output: Any) -> None:
        self.frame.scope["steps"][self.node.id] = {"output": output, "status": "completed", "error": None}

    def _fail(self, failed: Failed) -> Failed:
        view = failed.view()
        self._record("failed", error=view, completed_at=self.run_.now())
        self.frame.steps[self.node.id] = {"output": None, "status": "failed", "error": view}
        return failed

    def _record(self, status: str, **fields: Any) -> StepRecord:
        record = self._row(status, **fields)
        self.run_.record(record)
        return record

    def _row(
        self,
        status: str,
        *,
        output: str | None = None,
        error: dict[str, Any] | None = None,
        due_at: datetime | None = None,
        completed_at: datetime | None = None,
    ) -> StepRecord:
        text = None if error is None else self.run_.encoded_error(error)
        return StepRecord(
            self.path, self.seq, "action", status, self.work.action.spec.type, self.attempt, self.sent, output, text,
            due_at, self.first, completed_at,
        )  # fmt: skip

    def _show(self) -> None:
        """Put a long attempt on record as running, without waiting for it."""
        self._record("running")
        self.run_.publish()


def _spoken(error: ValidationError) -> str:
    """Say in one line what is wrong with a rendered config."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"with.{where}: {first['msg']}" if where else first["msg"]
