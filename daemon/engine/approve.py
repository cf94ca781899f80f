"""The step that asks people: it waits for an answer that is on record in `waits`, and is looked for on every walk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import orjson

from hark.daemon.engine.form import FormRules
from hark.daemon.engine.outcome import Failed, Outcome, Suspended, failure
from hark.daemon.engine.pauses import seconds_of
from hark.daemon.engine.payload import encode
from hark.daemon.engine.program import ApproveWork, Node
from hark.daemon.engine.records import StepRecord
from hark.daemon.engine.run import Frame, Run
from hark.daemon.engine.step_record import end_step
from hark.workflows.errors import ActionError, FencedError, HarkError
from hark.workflows.templates import to_text

_LONGEST_MESSAGE = 20_000
_MOST_APPROVERS = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """How an approval was answered."""

    approved: bool
    by: str
    at: datetime | None
    comment: str
    form: dict[str, Any]

    def view(self) -> dict[str, Any]:
        """Return it as the step's output."""
        at = None if self.at is None else self.at.isoformat()
        return {"approved": self.approved, "by": self.by, "at": at, "comment": self.comment, "form": self.form}


@dataclass(frozen=True, slots=True)
class Question:
    """A wait as it stands: not answered, answered, or closed without an answer."""

    answer: Answer | None
    closed: bool


async def run_approve(run: Run, node: Node, known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    """Run an `approve` step."""
    try:
        if known is None:
            known = _ask(run, node, path, frame)
        if run.mode != "production":
            return _settled(run, node, path, frame, known, _mocked(run, node))
        question = await _answered(run, known)
        if isinstance(question, Suspended):
            return question
    except FencedError:
        raise
    except asyncio.CancelledError:
        _withdraw(run, known)
        raise
    except HarkError as error:
        return end_step(run, node, path, frame, failure(error, path), begun=known)
    return _settled(run, node, path, frame, known, question.answer)


def _withdraw(run: Run, known: StepRecord | None) -> None:
    """Ask no more: another branch was quicker, or the execution ends."""
    if known is not None and run.ending in {None, "cancelled", "timeout"}:
        run.record(replace(known, status="cancelled", completed_at=run.now()))


async def _answered(run: Run, known: StepRecord) -> Question | Suspended:
    """Wait until the question is answered, or its time has run out."""
    await run.settle()
    while True:
        news = run.parking.news
        question = await run.services.open_approval(run, known)
        if question.answer is not None or question.closed:
            return question
        if known.due_at is not None and known.due_at <= run.now():
            return await run.services.close_approval(run, known)
        suspended = await run.parking.park(known.due_at, news)
        if suspended is not None:
            return suspended


def _ask(run: Run, node: Node, path: str, frame: Frame) -> StepRecord:
    """Put the question on record."""
    work: ApproveWork = node.work
    approvers = work.approvers.render(frame.scope)
    if not isinstance(approvers, list) or not all(isinstance(name, str) for name in approvers):
        raise ActionError("approvers: they are a list of names", error_class="approvers_invalid", retryable=False)
    message = to_text(work.message.render(frame.scope))
    if len(message) > _LONGEST_MESSAGE or len(approvers) > _MOST_APPROVERS:
        text = f"the message may have {_LONGEST_MESSAGE} characters, and {_MOST_APPROVERS} may be asked"
        raise ActionError(text, error_class="question_too_long", retryable=False)
    asked = {
        "message": run.masked(message, what="the question"),
        "approvers": run.bare(approvers, "`approvers`"),
        "form": work.form,
    }
    limit = node.timeout if work.timeout is None else work.timeout
    now = run.now()
    due_at = None if limit is None else now + timedelta(seconds=seconds_of(limit, frame))
    text = encode(asked, "the question")
    record = StepRecord(path, run.next_seq(), node.verb, "waiting", input=text, due_at=due_at, started_at=now)
    run.record(record)
    return record


def _mocked(run: Run, node: Node) -> Answer:
    """Answer as the test says: yes, unless it says otherwise."""
    mock = run.mocks.get(node.id)
    said = mock if isinstance(mock, dict) else {} if mock is None else {"approved": bool(mock)}
    approved = said.get("approved", True) is True
    form = FormRules(node.work.form).read(said.get("form") or {}, complete=approved)
    return Answer(approved, str(said.get("by", "mock")), run.now(), str(said.get("comment", "")), form)


def _settled(run: Run, node: Node, path: str, frame: Frame, known: StepRecord, answer: Answer | None) -> Failed | None:
    """End the step as it was answered; without an answer its time has run out."""
    if answer is None:
        failed: Failed | None = Failed("timeout", "nobody has answered in time", path)
    elif answer.approved:
        output = run.masked_in(answer.view(), "by", "comment", "form")
        return end_step(run, node, path, frame, output=output, begun=known)
    else:
        message = f"{answer.by} rejected it: {answer.comment}" if answer.comment else f"{answer.by} rejected it"
        failed = Failed("rejected", message, path, details=answer.view())
    return end_step(run, node, path, frame, failed, begun=known)


def answer_of(text: str | None, at: datetime | None) -> Answer | None:
    """Read an answer as it is on record."""
    if text is None:
        return None
    said = orjson.loads(text)
    return Answer(said["approved"], said["by"], at, said["comment"], said["form"])
