"""Cancelling many executions at once, and waiting until the last of them has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from hark.workflows.errors import ConflictError

STOPPED_WITHIN_S = 10.0
"""How long executions that are being cancelled may take, counted from the last that ended."""
_LOOK_S = 0.05


async def cancel_until_ended(
    cancel: Callable[[], Awaitable[tuple[int, int]]], not_ended: Callable[[int], ConflictError]
) -> bool:
    """Cancel until nothing is left, also what begins meanwhile; tells whether anything was open.

    `cancel` returns how many are left, and how many it has cancelled or asked. Raises `not_ended(left)` when nothing
    gets on any more.
    """
    last, since, were_open = 0, time.monotonic(), False
    while True:
        began = time.monotonic()
        left, cancelled = await cancel()
        if not left:
            return were_open or bool(cancelled)
        if cancelled or left < last:
            since = time.monotonic()
        elif began - since > STOPPED_WITHIN_S:
            raise not_ended(left)
        last, were_open = left, True
        await asyncio.sleep(max(_LOOK_S, time.monotonic() - began))
