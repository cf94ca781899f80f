"""How long to wait before the next attempt."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hark.workflows.backoff import delay_after, nominal_delay
from hark.workflows.steps import Retry

retries = st.builds(
    lambda delay, backoff, factor, most, jitter: Retry.model_validate(
        {"delay": delay, "backoff": backoff, "factor": factor, "max_delay": most, "jitter": jitter}
    ),
    st.integers(0, 10_000),
    st.sampled_from(["constant", "linear", "exponential"]),
    st.floats(1, 100),
    st.integers(0, 1_000_000),
    st.sampled_from(["full", "equal", "none"]),
)


def test_each_backoff_grows_in_its_own_way() -> None:
    for backoff, seconds in (("constant", [2, 2, 2]), ("linear", [2, 4, 6]), ("exponential", [2, 6, 18])):
        retry = Retry.model_validate({"delay": "2s", "backoff": backoff, "factor": 3})
        assert [nominal_delay(retry, n).total_seconds() for n in (1, 2, 3)] == seconds


def test_the_cap_holds() -> None:
    retry = Retry.model_validate({"delay": "1s", "factor": 10, "max_delay": "1m"})
    assert nominal_delay(retry, 1000) == timedelta(minutes=1)


@given(retries, st.integers(1, 1000), st.floats(0, 1, exclude_max=True))
def test_jitter_stays_within_its_bounds(retry: Retry, failures: int, drawn: float) -> None:
    nominal = nominal_delay(retry, failures)
    delay = delay_after(retry, failures, random=lambda: drawn)
    assert timedelta(0) <= delay <= retry.max_delay
    lower = {"full": timedelta(0), "equal": nominal / 2, "none": nominal}[retry.jitter]
    assert lower - timedelta(microseconds=1) <= delay <= nominal


@given(retries, st.integers(1, 20), st.integers(1, 20))
def test_a_later_failure_never_waits_less(retry: Retry, one: int, other: int) -> None:
    early, late = sorted((one, other))
    assert nominal_delay(retry, early) <= nominal_delay(retry, late)


def test_what_the_remote_side_asks_for_is_kept() -> None:
    retry = Retry.model_validate({"delay": "1s", "jitter": "full"})
    assert delay_after(retry, 1, random=lambda: 0.0, retry_after_s=42) == timedelta(seconds=42)


@given(retries, st.integers(1, 1000), st.floats(0, 1, exclude_max=True), st.floats(0, 86_400) | st.none())
def test_the_remote_side_is_given_the_time_it_asks_for_and_never_less_than_the_delay(
    retry: Retry, failures: int, drawn: float, asked: float | None
) -> None:
    own = delay_after(retry, failures, random=lambda: drawn)
    kept = delay_after(retry, failures, random=lambda: drawn, retry_after_s=asked)
    assert kept == max(own, timedelta(seconds=asked or 0.0))


@given(retries, st.integers(1, 1000), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_jitter_grows_with_what_is_drawn_and_spreads_over_all_that_it_may(
    retry: Retry, failures: int, one: float, other: float
) -> None:
    less, more = sorted((one, other))
    assert delay_after(retry, failures, random=lambda: less) <= delay_after(retry, failures, random=lambda: more)
    nominal = nominal_delay(retry, failures)
    whole = delay_after(retry, failures, random=lambda: 1 - 2**-53)
    assert nominal - timedelta(microseconds=1) <= whole <= nominal


@given(retries, st.integers(1, 1000))
def test_each_backoff_is_what_its_formula_says(retry: Retry, failures: int) -> None:
    """Against exact arithmetic: whole numbers and fractions, which neither overflow nor round."""
    first, most = (Fraction(one.total_seconds()) for one in (retry.delay, retry.max_delay))
    growth = {"constant": 1, "linear": failures, "exponential": Fraction(retry.factor) ** min(failures - 1, 400)}
    expected = min(first * growth[retry.backoff], most)
    assert nominal_delay(retry, failures).total_seconds() == pytest.approx(float(expected), abs=2e-6, rel=1e-6)
