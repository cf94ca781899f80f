"""When a failed attempt is repeated."""

from __future__ import annotations

from datetime import datetime, timedelta

from hark.daemon.engine.outcome import Failed
from hark.daemon.engine.program import Node
from hark.daemon.engine.run import Frame, Run
from hark.workflows.backoff import delay_after
from hark.workflows.errors import ExpressionError


def retry_delay(run: Run, node: Node, frame: Frame, failed: Failed, attempt: int, first: datetime) -> timedelta | None:
    """Return how long to wait before the next attempt; None for no other. `first`: when the first attempt began."""
    retry = node.retry
    if attempt > retry.retries or failed.final or not _wanted(run, node, frame, failed):
        return None
    delay = delay_after(retry, attempt, random=run.services.random, retry_after_s=failed.retry_after_s)
    if retry.max_duration is not None and run.now() + delay > first + retry.max_duration:
        return None
    return delay


def _wanted(run: Run, node: Node, frame: Frame, failed: Failed) -> bool:
    if node.retry_when is None:
        return failed.retryable
    try:
        return node.retry_when.holds({**frame.scope, "error": failed.view()})
    except ExpressionError as error:
        run.note("step.not_retried", failed.step, {"attempt": failed.attempt, "reason": str(error)})
        return False
