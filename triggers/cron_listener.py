"""The running part of `cron`: fires the slots of all schedules, and keeps how far each has come."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta

import structlog

from hark.triggers import zones
from hark.triggers.alarm import Alarm
from hark.triggers.cron_clockwork import AHEAD, Clockwork, begin, key_of, same_schedule
from hark.triggers.cron_plan import Firing, slot_event
from hark.triggers.ports import SchedulePort, ScheduleState, TriggerKey
from hark.workflows.catalogue import ActiveTrigger, Health, ListenerContext
from hark.workflows.counting import counted
from hark.workflows.errors import ConflictError, UnavailableError

log = structlog.get_logger(__name__)

_LONGEST_SLEEP = timedelta(minutes=1)
"""However far the next slot, the clock is looked at this often: it may jump, and other instances may publish."""
_LATE = timedelta(seconds=30)
"""Later than this, another instance may have been at work meanwhile: what it recorded is read first."""
_RETRY = timedelta(seconds=5)
_AT_ONCE = 64
"""So many triggers are worked on between two turns of the event loop."""
_RULES_S = 300.0
"""So often is looked whether the system has new rules of time zones."""


class CronListener:
    """Fires the slots of all attached cron triggers.

    A slot that could not be stored stays pending and is tried again; one that was due while no instance ran is found
    again from the state that is kept. Each instance fires each slot: its key makes the second one the same event.
    """

    def __init__(self, context: ListenerContext, alarm: Alarm) -> None:
        self._emit = context.emit
        self._now = context.now
        self._port: SchedulePort = context.ports["schedules"]
        self._alarm = alarm
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._wanted: dict[TriggerKey, ActiveTrigger] = {}
        self._works: dict[TriggerKey, Clockwork] = {}
        self._refused: dict[TriggerKey, tuple[ActiveTrigger, str]] = {}
        self._trouble = ""
        self._rules_due_s = 0.0

    async def start(self) -> None:
        if self._task is None:
            self._stopping = False
            self._alarm.start(self._wake.set)
            self._task = asyncio.create_task(self._run(), name="hark.cron")

    async def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        task, self._task = self._task, None
        if task is not None:
            await task
        self._alarm.stop()

    async def attach(self, triggers: Sequence[ActiveTrigger]) -> None:
        self._wanted = {key_of(trigger): trigger for trigger in triggers}
        self._wake.set()

    def health(self) -> Health:
        if self._task is None or self._task.done():
            return Health(attached=False, detail="not started")
        for trigger, reason in self._refused.values():
            return Health(attached=False, detail=f"the schedule of {trigger.workflow}/{trigger.id} is wrong: {reason}")
        unread = len(self._wanted.keys() - self._works.keys())
        if unread:
            return Health(attached=False, detail=f"{counted(unread, 'schedule')} not read yet")
        waiting = sum(len(work.pending) for work in self._works.values())
        held = f"{counted(waiting, 'slot waits', 'slots wait')} to be stored" if waiting else ""
        return Health(attached=True, detail=self._trouble or held)

    async def _run(self) -> None:
        while not self._stopping:
            self._wake.clear()
            try:
                await self._turn()
                self._trouble = ""
            except UnavailableError as error:
                self._stumble("cron.database_unavailable", error)
            except Exception as error:
                log.exception("cron.turn_failed")
                self._stumble("cron.turn_retried", error)
            await self._sleep()

    def _stumble(self, event: str, error: Exception) -> None:
        self._trouble = str(error)
        log.warning(event, error=str(error), retry_s=_RETRY.total_seconds())
        self._alarm.set(_RETRY)

    async def _sleep(self) -> None:
        """Wait for the alarm or a change; never longer than a minute of the monotonic clock, whatever the wall does."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LONGEST_SLEEP.total_seconds()):
                await self._wake.wait()

    async def _turn(self) -> None:
        """Bring the attached triggers up to date, fire what is due, keep how far each has come, set the alarm."""
        await self._adopt()
        self._follow_rules()
        now = self._now()
        for work in self._works.values():
            work.turn_back(now)
        due = [work for work in self._works.values() if work.next_at is not None and work.next_at <= now]
        await self._reread([work for work in due if _is_late(work, now)], now)
        limit = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._advance(work, now, limit) for work in due))
        await self._save()
        self._arm()

    async def _adopt(self) -> None:
        """Make the works those of the wanted triggers; one whose schedule stays keeps how far it has come."""
        wanted = dict(self._wanted)
        self._refused = {key: kept for key, kept in self._refused.items() if kept[0] == wanted.get(key)}
        for key in self._works.keys() - wanted.keys():
            del self._works[key]
        strangers = []
        for key, trigger in wanted.items():
            work = self._works.get(key)
            if key in self._refused or (work is not None and work.trigger is trigger):
                continue
            if work is None or not same_schedule(work.state(), trigger):
                strangers.append(trigger)
            elif work.trigger != trigger:
                work.renew(trigger)
        if strangers:
            await self._add(strangers, await self._port.last_slots([key_of(trigger) for trigger in strangers]))

    async def _add(self, triggers: Sequence[ActiveTrigger], states: Mapping[TriggerKey, ScheduleState]) -> None:
        for index, trigger in enumerate(triggers):
            key = key_of(trigger)
            try:
                self._works[key] = begin(trigger, states.get(key), self._now())
                self._check_clock(self._works[key])
            except Exception as error:
                log.exception("cron.schedule_refused", workflow=trigger.workflow, trigger=trigger.id)
                self._refused[key] = trigger, str(error)
                self._works.pop(key, None)
            if index % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def _check_clock(self, work: Clockwork) -> None:
        ahead = work.settled_until - self._now()
        if ahead > AHEAD:
            where = {"workflow": work.trigger.workflow, "trigger": work.trigger.id}
            log.warning("cron.clock_was_ahead", **where, ahead_s=ahead.total_seconds())

    def _follow_rules(self) -> None:
        """Take up the rules of time zones that have been replaced, as they are when the system's tzdata is upgraded."""
        loop_s = asyncio.get_running_loop().time()
        if loop_s < self._rules_due_s:
            return
        self._rules_due_s = loop_s + _RULES_S
        zones.reload_changed()
        for work in self._works.values():
            if work.schedule.zone is not zones.zone(work.config.timezone):
                work.follow_rules()

    async def _reread(self, works: Sequence[Clockwork], now: datetime) -> None:
        if works:
            states = await self._port.last_slots([work.key for work in works])
            for work in works:
                work.catch_up(states.get(work.key), now)

    async def _advance(self, work: Clockwork, now: datetime, limit: asyncio.Semaphore) -> None:
        """Fire one trigger's due slots in order; on trouble the rest stays pending."""
        async with limit:
            try:
                await self._fire_due(work, now)
            except Exception:
                log.exception("cron.trigger_failed", workflow=work.trigger.workflow, trigger=work.trigger.id)
                work.next_at = now + _RETRY

    async def _fire_due(self, work: Clockwork, now: datetime) -> None:
        if not work.pending:
            work.plan(now)
        while work.pending:
            if self._stopping:  # what is left will be found again from the state
                return
            retry = await self._fire(work, work.pending[0])
            if retry is not None:
                work.next_at = now + retry
                return
        work.look_ahead()

    async def _fire(self, work: Clockwork, firing: Firing) -> timedelta | None:
        """Store one slot; return after how long to try again if that failed."""
        trigger = work.trigger
        try:
            await self._emit(slot_event(trigger, firing, work.last_slot))
        except ConflictError:
            log.warning("cron.slot_known_otherwise", workflow=trigger.workflow, trigger=trigger.id, slot=firing.slot)
        except UnavailableError as error:
            return max(timedelta(seconds=error.retry_after_s), timedelta(seconds=1))
        except Exception:
            log.exception("cron.slot_failed", workflow=trigger.workflow, trigger=trigger.id, slot=firing.slot)
            return _RETRY
        work.fired(firing)
        return None

    async def _save(self) -> None:
        works = [work for work in self._works.values() if work.unsaved]
        if works:
            states = [work.state() for work in works]
            for work in works:
                work.unsaved = False
            try:
                await self._port.record_slots(states)
            except BaseException:
                for work in works:
                    work.unsaved = True
                raise

    def _arm(self) -> None:
        moments = [work.next_at for work in self._works.values() if work.next_at is not None]
        delay = min(moments) - self._now() if moments else _LONGEST_SLEEP
        self._alarm.set(min(max(delay, timedelta()), _LONGEST_SLEEP))


def _is_late(work: Clockwork, now: datetime) -> bool:
    return work.next_at is not None and min(now - work.next_at, now - work.read_at) > _LATE
