"""The alarm clock of the process: wakes the cron listener in time, and knows nothing of schedules."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.date import DateTrigger


class Alarm(Protocol):
    """Rings once after a delay; setting it again replaces what was set."""

    def start(self, ring: Callable[[], None]) -> None:
        """Begin to work; `ring` is called from the event loop."""
        ...

    def set(self, delay: timedelta) -> None:
        """Ring after `delay`."""
        ...

    def stop(self) -> None:
        """Ring no more; idempotent, safe before start."""
        ...


class SchedulerAlarm:
    """An Alarm on APScheduler: one job, armed anew each time, that never counts as misfired."""

    def __init__(self) -> None:
        # It would tell at INFO about every job that it adds, runs and removes.
        logging.getLogger("apscheduler").setLevel(logging.WARNING)
        self._scheduler: AsyncIOScheduler | None = None
        self._ring: Callable[[], None] = lambda: None

    def start(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._scheduler = AsyncIOScheduler(timezone=UTC)
        self._scheduler.start()

    def set(self, delay: timedelta) -> None:
        if self._scheduler is not None:
            moment = DateTrigger(datetime.now(UTC) + delay)
            self._scheduler.add_job(self._on_time, moment, id="alarm", replace_existing=True, misfire_grace_time=None)

    def stop(self) -> None:
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            scheduler.shutdown(wait=False)

    async def _on_time(self) -> None:
        """Be a coroutine: APScheduler would call a plain function in a thread."""
        self._ring()
