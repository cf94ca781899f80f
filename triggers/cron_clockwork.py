"""How far one cron trigger has come: what is settled, what is pending, when to look again. Pure, without a clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain, takewhile

from hark.triggers.cron_config import COUNTED, CronConfig
from hark.triggers.cron_plan import REMEMBERED, Due, Firing, choose, due_of
from hark.triggers.ports import ScheduleState, TriggerKey
from hark.triggers.slot import Slot
from hark.triggers.slots import Schedule
from hark.workflows.catalogue import ActiveTrigger

AHEAD = timedelta(minutes=1)
"""What is settled so far in the future was settled by a clock that was wrong, and not by one that is a moment fast."""


def key_of(trigger: ActiveTrigger) -> TriggerKey:
    """Return what names a trigger over all versions of its workflow."""
    return TriggerKey(trigger.tenant_id, trigger.workflow_id, trigger.id)


@dataclass(slots=True)
class Clockwork:
    """One trigger that is attached, and how far it has come."""

    trigger: ActiveTrigger
    schedule: Schedule
    planned_until: datetime
    """Every slot up to here has been settled or stands in `pending`."""
    settled_until: datetime
    last_slot: datetime | None
    read_at: datetime
    """When the state was last read."""
    pending: deque[Firing] = field(default_factory=deque)
    next_at: datetime | None = None
    """When to look again; None: no slot is left."""
    unsaved: bool = True
    passed_over: int = 0
    """Slots since `last_slot` that the policy did not let fire."""
    fired_reading: datetime | None = None
    """What the wall clock showed at the slot that fired last before the zone got new rules."""

    @property
    def config(self) -> CronConfig:
        config: CronConfig = self.trigger.config
        return config

    @property
    def key(self) -> TriggerKey:
        return key_of(self.trigger)

    def state(self) -> ScheduleState:
        """Return what is to be kept."""
        return ScheduleState(self.key, self.config.text, self.config.timezone, self.settled_until, self.last_slot)

    def coming(self) -> Due | None:
        """Return the first slot that is not planned yet."""
        slot = next((slot for slot in self.schedule.after(self.planned_until) if not self._has_fired(slot)), None)
        return due_of(self.key, slot.utc, self.config.jitter) if slot else None

    def plan(self, now: datetime) -> None:
        """Take the slots that are due by now; what the policy lets fire goes to `pending`."""
        dues = self._due_by(now)
        if not dues:
            return
        firings = choose(dues, now, self.config)
        if firings:
            firings[0] = replace(firings[0], missed=firings[0].missed + self.passed_over)
            self.passed_over = 0
        else:
            self.passed_over += len(dues)
        self.pending.extend(firings)
        self.planned_until = dues[-1].slot
        self._settle()

    def fired(self, firing: Firing) -> None:
        """Note that the first pending slot has been stored."""
        self.pending.popleft()
        self.last_slot = firing.slot
        self.settled_until = firing.slot
        self._settle()

    def look_ahead(self) -> None:
        """Set `next_at` to when the next slot is due."""
        coming = self.coming()
        self.next_at = coming.at if coming else None

    def renew(self, trigger: ActiveTrigger) -> None:
        """Go on as another version's trigger, whose schedule is the same."""
        self.trigger = trigger
        if trigger.active_since is not None:
            self.planned_until = max(self.planned_until, trigger.active_since)
        if not self.pending:
            self.look_ahead()

    def follow_rules(self) -> None:
        """Go on with the zone's new rules; a reading of the wall clock that has fired by the old ones fires no more."""
        old, self.schedule = self.schedule.zone, self.config.built()
        if self.last_slot is not None and self.config.keeps_to_wall_clock:
            self.fired_reading = self.last_slot.astimezone(old).replace(tzinfo=None)
        if not self.pending:
            self.look_ahead()

    def turn_back(self, now: datetime) -> None:
        """Begin again from now if slots are settled that are still to come, because the clock was ahead when they were.

        Those that have fired do not fire again, for their keys are there; those that were passed over come at their
        time. Where the clock went back further than keys are kept, it may as well be wrong now: then nothing fires.
        """
        if AHEAD < self.planned_until - now <= REMEMBERED and not self.pending:
            self.planned_until = now
            self.look_ahead()

    def catch_up(self, state: ScheduleState | None, now: datetime) -> None:
        """Take over what another instance has settled meanwhile."""
        self.read_at = now
        if state is None or not same_schedule(state, self.trigger) or state.settled_until - now > AHEAD:
            return
        self.settled_until = max(self.settled_until, state.settled_until)
        self.planned_until = max(self.planned_until, self.settled_until)
        self.last_slot = max(filter(None, (self.last_slot, state.last_slot)), default=None)

    def _due_by(self, now: datetime) -> list[Due]:
        """Return the slots up to the first one that its jitter still holds back; of a standstill the latest."""
        certain = now - self.config.jitter
        passed = self.schedule.between(self.planned_until, certain, COUNTED)
        later = self.schedule.after(max(self.planned_until, certain)) if self.config.jitter else ()
        slots = chain(passed, takewhile(lambda slot: slot.utc <= now, later))
        dues = (due_of(self.key, slot.utc, self.config.jitter) for slot in slots if not self._has_fired(slot))
        return list(takewhile(lambda due: due.at <= now, dues))

    def _has_fired(self, slot: Slot) -> bool:
        return self.fired_reading is not None and slot.local.replace(tzinfo=None) == self.fired_reading

    def _settle(self) -> None:
        if not self.pending:
            self.settled_until = self.planned_until
        self.unsaved = True


def begin(trigger: ActiveTrigger, state: ScheduleState | None, now: datetime) -> Clockwork:
    """Begin where the state ends; without one, or with another schedule's, when the version was published."""
    known = state if state is not None and same_schedule(state, trigger) else None
    start = known.settled_until if known else (trigger.published_at or now)
    if trigger.active_since is not None:
        start = max(start, trigger.active_since)
    work = Clockwork(
        trigger=trigger,
        schedule=trigger.config.built(),
        planned_until=start,
        settled_until=start,
        last_slot=known.last_slot if known else None,
        read_at=now,
        unsaved=known is None,
    )
    work.look_ahead()
    return work


def same_schedule(state: ScheduleState, trigger: ActiveTrigger) -> bool:
    """Say whether a state was kept for the schedule that the trigger has now."""
    return (state.schedule, state.timezone) == (trigger.config.text, trigger.config.timezone)
