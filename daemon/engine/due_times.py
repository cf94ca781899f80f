"""The due times of a schedule, looked for no longer than there is time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from hark.triggers.slot import Slot
from hark.triggers.slots import Schedule

_SHORTEST = timedelta(minutes=1)
_QUICK_S = 0.1


async def latest_due(
    schedule: Schedule, after: datetime, until: datetime, most: int, is_over: Callable[[], bool]
) -> tuple[list[Slot], bool]:
    """Return the due times with `after < slot <= until`, the latest `most`, in order, and whether these are all.

    Goes back through windows that grow only while they are quick to walk through: a schedule may be due every second
    or once in a generation, and `is_over` is asked between windows, at each slot, and by nobody who was cancelled.
    """
    found: list[Slot] = []
    window, left = _SHORTEST, threading.Event()
    try:
        while until > after:
            if len(found) >= most or is_over():
                return found, False
            begin, since = until - min(window, until - after), time.monotonic()
            part = await asyncio.to_thread(
                _walk, schedule, begin, until, most - len(found), lambda: left.is_set() or is_over()
            )
            if part is None:
                return found, False
            found = [*part, *found]
            window = window * 2 if time.monotonic() - since < _QUICK_S else max(window / 2, _SHORTEST)
            until = begin
    finally:
        left.set()  # a thread cannot be cancelled
    return found, len(found) < most


def _walk(
    schedule: Schedule, after: datetime, until: datetime, most: int, is_over: Callable[[], bool]
) -> deque[Slot] | None:
    """Return the latest slots of a window; None when the time was up before its end."""
    found: deque[Slot] = deque(maxlen=most)
    for slot in schedule.within(after, until):
        if is_over():
            return None
        found.append(slot)
    return found
