"""When a failed attempt is repeated: however attempts and delays fall, the bounds that `retry` sets are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hark.daemon.engine.outcome import Failed
from hark.daemon.engine.retrying import retry_delay
from hark.workflows.backoff import nominal_delay
from hark.workflows.steps import Retry

START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class FakeRun:
    """Of a run, what repeating needs: a clock that the test moves, and randomness that it hands in."""

    drawn: float
    moment: datetime = START
    notes: list[str] = field(default_factory=list)

    @property
    def services(self) -> Any:
        """Give what draws."""
        return SimpleNamespace(random=lambda: self.drawn)

    def now(self) -> datetime:
        """Tell the test's time."""
        return self.moment

    def note(self, kind: str, _path: str, _detail: Any) -> None:
        """Keep a note for the timeline."""
        self.notes.append(kind)


def delay(
    run: FakeRun, retry: Retry, attempt: int, failed: Failed, *, when: object = None, first: datetime = START
) -> timedelta | None:
    """Ask whether an attempt that failed is repeated, and when."""
    node: Any = SimpleNamespace(retry=retry, retry_when=when)
    frame: Any = SimpleNamespace(scope={})
    return retry_delay(run, node, frame, failed, attempt, first)  # type: ignore[arg-type]


def failure(*, final: bool = False, retryable: bool = True, asked_s: float | None = None) -> Failed:
    """Make a failed attempt."""
    return Failed("probed", "no", "a", retryable=retryable, retry_after_s=asked_s, final=final)


retries = st.builds(
    lambda count, delay, backoff, longest, jitter: Retry.model_validate(
        {"retries": count, "delay": delay, "backoff": backoff, "max_duration": longest, "jitter": jitter}
    ),
    st.integers(0, 8),
    st.integers(0, 5000),
    st.sampled_from(["constant", "linear", "exponential"]),
    st.integers(0, 20_000) | st.none(),
    st.sampled_from(["full", "equal", "none"]),
)


@given(
    retries,
    st.floats(0, 1, exclude_max=True),
    st.lists(st.tuples(st.integers(0, 3000), st.floats(0, 30) | st.none()), min_size=9, max_size=9),
)
def test_attempts_are_no_more_than_retries_allow_and_none_begins_after_max_duration(
    retry: Retry, drawn: float, attempts: Sequence[tuple[int, float | None]]
) -> None:
    run, begun = FakeRun(drawn), [START]
    for number, (took_ms, asked_s) in enumerate(attempts, start=1):
        run.moment += timedelta(milliseconds=took_ms)
        wait = delay(run, retry, number, failure(asked_s=asked_s))
        longest = max(nominal_delay(retry, number), timedelta(seconds=asked_s or 0))
        if wait is None:
            late = retry.max_duration is not None and run.moment + longest > START + retry.max_duration
            assert number > retry.retries or late, "it gave up although another attempt was in its bounds"
            break
        assert timedelta(seconds=asked_s or 0) <= wait <= longest
        run.moment += wait
        begun.append(run.moment)
    assert len(begun) <= retry.retries + 1
    assert retry.max_duration is None or begun[-1] <= START + retry.max_duration or len(begun) == 1


class When:
    """A `retry.when` that gives what the test says."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer

    def holds(self, scope: dict[str, Any]) -> bool:
        """See the error and answer."""
        assert scope["error"]["class"]
        return self.answer


@pytest.mark.parametrize("retryable", [True, False])
@pytest.mark.parametrize("when", [None, True, False])
@pytest.mark.parametrize("final", [True, False])
def test_when_decides_if_there_is_one_else_the_failure_itself_and_what_is_final_stays(
    final: bool, when: bool | None, retryable: bool
) -> None:
    condition = None if when is None else When(when)
    again = delay(FakeRun(0.5), Retry(), 1, failure(final=final, retryable=retryable), when=condition)
    assert (again is not None) == (not final and (retryable if when is None else when))
