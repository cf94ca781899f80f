"""The state of cron triggers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hark.daemon.store.database import Database
from hark.triggers.ports import ScheduleState, TriggerKey


class Schedules:
    """Keeps how far each cron trigger has come (`SchedulePort`)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def last_slots(self, keys: Sequence[TriggerKey]) -> Mapping[TriggerKey, ScheduleState]:
        """Return the states that are known."""
        if not keys:
            return {}
        rows = await self._database.fetch("get_schedules", *zip(*keys, strict=True))
        states = [ScheduleState(TriggerKey(*tuple(row.values())[:3]), *tuple(row.values())[3:]) for row in rows]
        return {state.key: state for state in states}

    async def record_slots(self, states: Sequence[ScheduleState]) -> None:
        """Keep these states; they only move forward."""
        if not states:
            return
        rows = [(*s.key, s.schedule, s.timezone, s.settled_until, s.last_slot) for s in states]
        await self._database.execute("record_slots", *zip(*rows, strict=True))
