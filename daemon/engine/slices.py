"""Long work on the event loop in slices, so that everything else has its turn in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

SLICE_S = 0.004
"""How long others wait at the most for work that is cut here, besides its last item."""


async def in_slices(items: Iterable[T]) -> AsyncIterator[T]:
    """Yield items; lets others run when their treatment has taken a while."""
    since = time.perf_counter()
    for item in items:
        yield item
        if time.perf_counter() - since > SLICE_S:
            await asyncio.sleep(0)
            since = time.perf_counter()
