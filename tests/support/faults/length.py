"""How much of the suite runs, and by which seed: HARK_FAULTS=long does all, else a sample that the seed draws.

Read when the tests are collected: they themselves run without the settings of whoever runs them.
"""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

LONG = os.environ.get("HARK_FAULTS") == "long"
DRAIN_S = float(os.environ.get("HARK_FAULTS_DRAIN_S", "60"))
"""How long something may stay open before it counts as stuck."""
SEED = os.environ.setdefault(
    "HARK_FAULTS_SEED", "1" if "CI" in os.environ else str(random.SystemRandom().randrange(10**9))
)
"""Left in the environment, so that the workers of pytest-xdist draw the same."""


def dice(name: str) -> random.Random:
    """Return dice for one purpose: they fall the same way for a seed, whatever else is thrown."""
    return random.Random(zlib.crc32(f"{SEED}/{name}".encode()))


def some(name: str, items: Sequence[T], most: int) -> list[T]:
    """Return all of them in the long form, and else a sample, in their order."""
    if LONG or len(items) <= most:
        return list(items)
    return [items[n] for n in sorted(dice(name).sample(range(len(items)), most))]


def sides(name: str) -> list[bool]:
    """Return False for before and True for after: both in the long form, else one."""
    return some(name, [False, True], 1)
