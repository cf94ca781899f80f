"""Backoff: how long to wait before an attempt is repeated. Pure; randomness is handed in."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from datetime import timedelta

from hark.workflows.steps import Retry


def nominal_delay(retry: Retry, failures: int) -> timedelta:
    """Return the delay after the `failures`-th failure (from 1), before jitter and capped by `max_delay`."""
    first, most = retry.delay.total_seconds(), retry.max_delay.total_seconds()
    match retry.backoff:
        case "constant":
            seconds = first
        case "linear":
            seconds = first * failures
        case _:
            seconds = first * _power(retry.factor, failures - 1)
    return timedelta(seconds=min(seconds, most))


def _power(base: float, exponent: int) -> float:
    """Raise to a power; what no float can hold is the largest that one can, which is beyond every cap."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return sys.float_info.max


def delay_after(
    retry: Retry, failures: int, *, random: Callable[[], float], retry_after_s: float | None = None
) -> timedelta:
    """Return the delay to keep, with jitter; never shorter than what the remote side asked for.

    `full` jitter spreads over the whole delay, `equal` over its second half (the names are those of the AWS
    Architecture Blog, "Exponential Backoff and Jitter", 2015). `random` gives numbers in [0, 1).
    """
    delay = nominal_delay(retry, failures)
    match retry.jitter:
        case "full":
            delay *= random()
        case "equal":
            delay *= 0.5 + random() / 2
        case "none":
            pass
    return max(delay, timedelta(seconds=retry_after_s or 0.0))
