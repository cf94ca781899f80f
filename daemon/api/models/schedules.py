"""Due times."""

from __future__ import annotations

from datetime import datetime

from hark.daemon.api.models.answer import Answer


class Slot(Answer):
    """A due time of a schedule."""

    utc: datetime
    local: datetime
    note: str
    """What daylight saving or the calendar did to it: `02:30 is skipped, it does not exist that day; runs at 03:00`."""
    workflow: str | None = None
    trigger_id: str | None = None
    schedule: str | None = None
    timezone: str | None = None
    fires_at: datetime | None = None
    """When it fires, if the trigger's `jitter` makes that later."""
    paused: bool = False
    """Its workflow is paused: unless it is resumed before, nothing will run."""
