"""The cron kind: which slots fire, once each, whatever the clock, the database and other instances do."""

from __future__ import annotations

import asyncio
import zoneinfo
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.triggers import Clock, Events, HandAlarm, Schedules, active, at, context

from hark.triggers import cron_listener, zones
from hark.triggers.alarm import SchedulerAlarm
from hark.triggers.cron import CronTrigger
from hark.triggers.cron_clockwork import begin, key_of
from hark.triggers.cron_config import CronConfig
from hark.triggers.cron_listener import CronListener
from hark.triggers.cron_plan import Due, choose, due_of
from hark.workflows.catalogue import ActiveTrigger


class Desk:
    """One instance's cron listener, with a clock that the test moves."""

    def __init__(self, start: str, events: Events | None = None, schedules: Schedules | None = None) -> None:
        self.clock = Clock(start)
        self.events = events or Events()
        self.schedules = schedules or Schedules()
        self.alarm = HandAlarm()
        self.listener = CronListener(context(self.events, self.clock, schedules=self.schedules), self.alarm)

    async def attach(self, *triggers: ActiveTrigger) -> None:
        await self.listener.start()
        await self.listener.attach(triggers)
        await self.idle()

    async def go_to(self, moment: str) -> None:
        """Move the clock and let the alarm ring."""
        self.clock.time = at(moment)
        self.alarm.ring()
        await self.idle()

    async def idle(self) -> None:
        """Return when the listener sleeps: nothing here takes real time."""
        for _ in range(300):
            await asyncio.sleep(0)

    @property
    def slots(self) -> list[str]:
        return [data["slot"][5:-1] for data in self.events.data]


def cron(schedule: str | list[str] = "0 * * * *", published_at: str = "2026-01-01", **config: Any) -> ActiveTrigger:
    return active("cron", CronConfig(schedule=schedule, **config), published_at=at(published_at))


@pytest.fixture
async def desks() -> AsyncIterator[Callable[..., Desk]]:
    """Make desks whose listeners are stopped at the end."""
    made: list[Desk] = []

    def make(*args: Any, **kwargs: Any) -> Desk:
        made.append(Desk(*args, **kwargs))
        return made[-1]

    yield make
    for desk in made:
        await desk.listener.stop()


async def test_each_slot_fires_when_it_is_due(desks: Callable[..., Desk]) -> None:
    desk = desks("2026-01-01T08:30:00")
    await desk.attach(cron(published_at="2026-01-01T08:30:00"))
    assert desk.slots == []
    assert desk.alarm.delay == timedelta(minutes=1)
    await desk.go_to("2026-01-01T08:59:30")
    assert desk.alarm.delay == timedelta(seconds=30)
    await desk.go_to("2026-01-01T09:00:00")
    await desk.go_to("2026-01-01T10:00:00.2")
    assert desk.slots == ["01-01T09:00:00", "01-01T10:00:00"]


async def test_the_event_says_which_slot_and_what_was_before(desks: Callable[..., Desk]) -> None:
    desk = desks("2026-01-01T08:30:00")
    trigger = cron("0 9,10 * * *", timezone="Europe/Berlin", published_at="2026-01-01T07:30:00")
    await desk.attach(trigger)
    await desk.go_to("2026-01-01T09:00:00")
    first, second = desk.events.stored.values()
    assert first.data == {
        "schedule": "0 9,10 * * *",
        "slot": "2026-01-01T08:00:00Z",
        "previous_slot": None,
        "missed": 0,
    }
    assert second.data["previous_slot"] == "2026-01-01T08:00:00Z"
    assert (second.kind, second.source, second.occurred_at) == ("cron", "cron:report/cron", at("2026-01-01T09:00:00"))
    assert second.dedupe_key == "2026-01-01T09:00:00Z"
    assert second.route == CronTrigger().route(trigger.config, trigger.workflow_id, trigger.id)


@pytest.mark.parametrize(
    "missed, fired, passed_over",
    [
        ("skip", ["01-01T13:00:00"], 3),
        ("last", ["01-01T12:00:00", "01-01T13:00:00"], 2),
        ("all", ["01-01T10:00:00", "01-01T11:00:00", "01-01T12:00:00", "01-01T13:00:00"], 0),
    ],
)
async def test_slots_of_a_down_time_follow_the_policy(
    desks: Callable[..., Desk], missed: str, fired: list[str], passed_over: int
) -> None:
    before = desks("2026-01-01T08:30:00")
    await before.attach(cron(missed=missed))
    await before.go_to("2026-01-01T09:00:00")
    await before.listener.stop()
    before.events.stored.clear()
    after = desks("2026-01-01T12:30:00", before.events, before.schedules)
    await after.attach(cron(missed=missed))
    await after.go_to("2026-01-01T13:00:00")
    assert after.slots == fired
    assert after.events.data[0]["missed"] == passed_over
    assert after.events.data[0]["previous_slot"] == "2026-01-01T09:00:00Z"


async def test_nothing_is_made_up_for_before_publication_or_from_a_pause(desks: Callable[..., Desk]) -> None:
    desk = desks("2026-01-01T12:30:00")
    await desk.attach(cron(missed="all", published_at="2026-01-01T12:30:00"))
    assert desk.slots == []
    await desk.listener.attach([])
    await desk.go_to("2026-01-01T15:30:00")
    resumed = active("cron", CronConfig(schedule="0 * * * *", missed="all"), active_since=at("2026-01-01T15:30:00"))
    await desk.attach(resumed)
    await desk.go_to("2026-01-01T16:00:00")
    assert desk.slots == ["01-01T16:00:00"]


async def test_a_version_with_the_same_schedule_loses_no_slot(desks: Callable[..., Desk]) -> None:
    """Published a moment after the slot and before it fired: the slot still counts."""
    desk = desks("2026-01-01T08:59:59")
    await desk.attach(cron(published_at="2026-01-01T08:30:00"))
    desk.clock.time = at("2026-01-01T09:00:00.050")
    await desk.attach(cron(published_at="2026-01-01T09:00:00.040"))
    assert desk.slots == ["01-01T09:00:00"]


async def test_another_schedule_begins_at_its_publication(desks: Callable[..., Desk]) -> None:
    desk = desks("2026-01-01T09:30:00")
    await desk.attach(cron(published_at="2026-01-01T09:30:00"))
    desk.clock.time = at("2026-01-01T09:50:00")
    await desk.attach(cron("*/20 * * * *", missed="all", published_at="2026-01-01T09:45:00"))
    await desk.go_to("2026-01-01T10:00:00")
    assert desk.slots == ["01-01T10:00:00"]
    assert desk.schedules.states[key_of(cron())].schedule == "*/20 * * * *"


async def test_a_slot_waits_for_the_database_and_is_stored_once(desks: Callable[..., Desk]) -> None:
    desk = desks("2026-01-01T08:30:00")
    await desk.attach(cron(missed="skip"))
    desk.events.go_away()
    await desk.go_to("2026-01-01T09:00:00")
    assert desk.slots == []
    assert desk.listener.health().detail == "1 slot waits to be stored"
    await desk.go_to("2026-01-01T09:40:00")
    desk.events.come_back()
    await desk.go_to("2026-01-01T09:40:02")
    await desk.go_to("2026-01-01T09:40:04")
    assert desk.slots == ["01-01T09:00:00"]
    assert desk.listener.health().detail == ""


async def test_without_the_state_nothing_fires_and_it_is_not_attached(desks: Callable[..., Desk]) -> None:
    desk = desks("2026-01-01T08:30:00")
    desk.schedules.away = True
    await desk.attach(cron())
    assert not desk.listener.health().attached
    await desk.go_to("2026-01-01T09:00:00")
    assert desk.slots == []
    desk.schedules.away = False
    await desk.go_to("2026-01-01T09:00:05")
    assert desk.slots == ["01-01T09:00:00"]
    assert desk.listener.health().attached


async def test_a_state_that_could_not_be_kept_is_kept_later(desks: Callable[..., Desk]) -> None:
    desk = desks("2026-01-01T08:30:00")
    await desk.attach(cron())
    desk.schedules.away = True
    await desk.go_to("2026-01-01T09:00:00")
    desk.schedules.away = False
    await desk.go_to("2026-01-01T09:00:05")
    assert desk.schedules.states[key_of(cron())].last_slot == at("2026-01-01T09:00:00")


async def test_any_number_of_instances_fire_a_slot_once(desks: Callable[..., Desk]) -> None:
    events, schedules = Events(), Schedules()
    four = [desks("2026-01-01T08:30:00", events, schedules) for _ in range(4)]
    for desk in four:
        await desk.attach(cron("*/10 * * * *"))
    before = events.offered
    for minute in range(40, 60, 10):
        await asyncio.gather(*(desk.go_to(f"2026-01-01T08:{minute}:00") for desk in four))
    assert events.offered - before == 8
    assert four[0].slots[-2:] == ["01-01T08:40:00", "01-01T08:50:00"]
    assert len(set(four[0].slots)) == len(events.stored)


async def test_a_frozen_instance_asks_what_the_others_did(desks: Callable[..., Desk]) -> None:
    """Its keys may have expired: only the state tells that the slots have been fired."""
    events, schedules = Events(), Schedules()
    frozen, awake = (desks("2026-01-01T08:30:00", events, schedules) for _ in range(2))
    for desk in (frozen, awake):
        await desk.attach(cron(missed="all", published_at="2026-01-01T08:30:00"))
    for hour in (9, 10, 11):
        await awake.go_to(f"2026-01-01T{hour:02}:00:00")
    events.stored.clear()
    await frozen.go_to("2026-01-01T11:30:00")
    assert events.stored == {}


async def test_a_clock_that_jumps_back_repeats_nothing(desks: Callable[..., Desk]) -> None:
    desk = desks("2026-01-01T08:30:00")
    await desk.attach(cron(published_at="2026-01-01T08:30:00"))
    await desk.go_to("2026-01-01T09:00:00")
    await desk.go_to("2026-01-01T08:00:00")
    await desk.go_to("2026-01-01T09:00:00")
    assert desk.slots == ["01-01T09:00:00"]
    await desk.go_to("2026-01-01T10:00:00")
    assert desk.slots == ["01-01T09:00:00", "01-01T10:00:00"]


async def test_a_clock_that_jumps_ahead_is_a_down_time(desks: Callable[..., Desk]) -> None:
    desk = desks("2026-01-01T08:30:00")
    await desk.attach(cron(missed="last", published_at="2026-01-01T08:30:00"))
    await desk.go_to("2026-01-01T20:30:00")
    assert desk.slots == ["01-01T20:00:00"]
    assert desk.events.data[0]["missed"] == 11


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_clock_that_was_ahead_and_is_set_back_leaves_no_silence(
    desks: Callable[..., Desk], *, restarted: bool
) -> None:
    """It was two days ahead; what fired then does not fire again, what was passed over comes at its time."""
    desk = desks("2026-01-01T08:30:00")
    await desk.attach(cron(published_at="2026-01-01T08:30:00"))
    await desk.go_to("2026-01-01T09:00:00")
    await desk.go_to("2026-01-03T09:30:00")
    assert desk.slots == ["01-01T09:00:00", "01-03T09:00:00"]
    if restarted:
        await desk.listener.stop()
        desk = desks("2026-01-01T09:01:00", desk.events, desk.schedules)
        await desk.attach(cron(published_at="2026-01-01T08:30:00"))
    await desk.go_to("2026-01-01T09:01:30")
    for moment in ("01T10:00:40", "01T11:00:00", "03T08:00:00", "03T09:00:00", "03T10:00:00"):
        await desk.go_to(f"2026-01-{moment}")
    assert sorted(desk.slots) == [
        "01-01T09:00:00", "01-01T10:00:00", "01-01T11:00:00", "01-03T08:00:00", "01-03T09:00:00", "01-03T10:00:00",
    ]  # fmt: skip


async def test_a_clock_that_is_set_back_by_weeks_fires_nothing(desks: Callable[..., Desk]) -> None:
    """Keys of that time are no longer kept: what fired then would fire again."""
    desk = desks("2026-01-31T08:30:00")
    await desk.attach(cron(published_at="2026-01-01T08:30:00"))
    await desk.go_to("2026-01-31T09:00:00")
    count = desk.events.offered
    await desk.go_to("2026-01-05T09:30:00")
    await desk.go_to("2026-01-05T10:00:00")
    assert desk.events.offered == count


async def test_an_error_in_one_trigger_spares_the_others(desks: Callable[..., Desk]) -> None:
    desk = desks("2026-01-01T08:30:00")
    bad = active("cron", CronConfig.model_construct(schedule="no cron", timezone="UTC"), id="bad")
    await desk.attach(bad, cron())
    await desk.go_to("2026-01-01T09:00:00")
    assert desk.slots[-1] == "01-01T09:00:00"
    health = desk.listener.health()
    assert not health.attached
    assert "report/bad" in health.detail


async def test_an_unexpected_error_is_survived_and_the_slot_kept(desks: Callable[..., Desk]) -> None:
    desk = desks("2026-01-01T08:30:00")
    await desk.attach(cron(published_at="2026-01-01T08:30:00"))
    desk.events.failure = ZeroDivisionError()
    await desk.go_to("2026-01-01T09:00:00")
    desk.events.failure = None
    await desk.go_to("2026-01-01T09:00:06")
    assert desk.slots == ["01-01T09:00:00"]


async def test_jitter_delays_a_slot_by_what_is_its_own(desks: Callable[..., Desk]) -> None:
    trigger = cron(jitter="10m", published_at="2026-01-01T08:30:00")
    due = due_of(key_of(trigger), at("2026-01-01T09:00:00"), timedelta(minutes=10))
    assert timedelta() < due.at - due.slot < timedelta(minutes=10)
    desk = desks("2026-01-01T08:30:00")
    await desk.attach(trigger)
    await desk.go_to((due.at - timedelta(milliseconds=1)).isoformat())
    assert desk.slots == []
    await desk.go_to(due.at.isoformat())
    assert desk.slots == ["01-01T09:00:00"]


@pytest.mark.parametrize(
    "config",
    [
        {"schedule": "* * * * *", "jitter": "10m"},
        {"schedule": "*/5 * * * *", "jitter": "10m", "missed": "skip"},
        {"every": "10s", "jitter": "4h", "missed": "all"},
    ],
)
def test_a_jitter_longer_than_the_time_between_slots_loses_none(config: dict[str, Any]) -> None:
    """And no turn is for nothing: a listener that is due at once and has nothing to do would spin."""
    start, end = at("2026-01-01"), at("2026-01-01T06:00:00")
    built = CronConfig(**config)
    work = begin(active("cron", built, published_at=start), None, start)
    fired = []
    for now in (start + timedelta(minutes=minute) for minute in range(361)):
        if work.next_at is not None and work.next_at <= now:
            work.plan(now)
            assert work.pending
            while work.pending:
                assert work.pending[0].missed == 0
                fired.append(work.pending[0].slot)
                work.fired(work.pending[0])
            work.look_ahead()
    slots = [slot.utc for slot in built.built().between(start, end, 9999)]
    assert fired == slots[: len(fired)]
    assert fired[-1] >= end - built.jitter


def test_a_slot_that_waited_for_those_before_it_is_not_late_after_a_restart() -> None:
    now = at("2026-01-01T12:00:00")
    held_back = [Due(now - timedelta(minutes=10), now - timedelta(minutes=9))]
    config = CronConfig(schedule="* * * * *", jitter="10m", missed="skip")
    assert len(choose(held_back, now, config)) == 1
    assert choose(held_back, now + timedelta(minutes=2), config) == []


async def test_intervals_and_moments_fire_like_any_schedule(desks: Callable[..., Desk]) -> None:
    desk = desks("2026-01-01T08:30:00")
    often = active("cron", CronConfig(every="20m"), id="often", published_at=at("2026-01-01T08:30:00"))
    once = active("cron", CronConfig(at="2026-01-01T08:50:00"), id="once", published_at=at("2026-01-01T08:30:00"))
    past = active("cron", CronConfig(at="2026-01-01T08:00:00"), id="past", published_at=at("2026-01-01T08:30:00"))
    await desk.attach(often, once, past)
    for minute in ("40", "50", "59"):
        await desk.go_to(f"2026-01-01T08:{minute}:00")
    assert [(data["slot"][11:16], data["schedule"]) for data in desk.events.data] == [
        ("08:40", "every 20m"),
        ("08:50", "2026-01-01T08:50:00"),
    ]
    assert desk.listener.health().attached


async def test_new_rules_of_a_zone_are_taken_up_and_no_reading_fires_twice(
    desks: Callable[..., Desk], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Berlin is given London's clock after its nine o'clock has fired: London's, an hour later, is the same reading."""
    monkeypatch.setattr(zones, "_loaded", {})
    monkeypatch.setattr(cron_listener, "_RULES_S", 0)
    sources = {name: zones._path_of(name).read_bytes() for name in ("Europe/Berlin", "Europe/London")}
    rules = tmp_path / "Europe" / "Berlin"
    rules.parent.mkdir()
    rules.write_bytes(sources["Europe/Berlin"])
    with only_zones_of(tmp_path):
        desk = desks("2026-01-01T07:30:00")
        await desk.attach(cron("0 9 * * *", timezone="Europe/Berlin", published_at="2026-01-01T07:30:00"))
        await desk.go_to("2026-01-01T08:00:00")
        rules.write_bytes(sources["Europe/London"])
        await desk.go_to("2026-01-01T08:30:00")
        await desk.go_to("2026-01-01T09:00:00")
        assert desk.slots == ["01-01T08:00:00"]
        await desk.go_to("2026-01-02T08:00:00")
        await desk.go_to("2026-01-02T09:00:00")
    assert desk.slots == ["01-01T08:00:00", "01-02T09:00:00"]


@contextmanager
def only_zones_of(folder: Path) -> Iterator[None]:
    """Let Python find time zones in a folder."""
    zoneinfo.reset_tzpath([str(folder)])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        yield
    finally:
        zoneinfo.reset_tzpath()
        zoneinfo.ZoneInfo.clear_cache()


def dues(*minutes_late: int) -> tuple[list[Due], Any]:
    now = at("2026-01-01T12:00:00")
    return [Due(slot, slot) for slot in (now - timedelta(minutes=late) for late in minutes_late)], now


@pytest.mark.parametrize(
    "config, late, fire",
    [
        ({"missed": "skip"}, (3, 2, 1, 0), [(1, 2), (0, 0)]),
        ({"missed": "last"}, (3, 2, 1, 0), [(1, 2), (0, 0)]),
        ({"missed": "last"}, (4, 3, 2), [(2, 2)]),
        ({"missed": "last"}, (2,), [(2, 0)]),
        ({"missed": "skip"}, (2,), []),
        ({"missed": "skip", "grace": "5m"}, (2,), [(2, 0)]),
        ({"missed": "all"}, (4, 3, 0), [(4, 0), (3, 0), (0, 0)]),
        ({"missed": "all", "max_missed": 1}, (4, 3, 0), [(3, 1), (0, 0)]),
    ],
)
def test_what_is_late_is_up_to_the_policy(
    config: dict[str, Any], late: tuple[int, ...], fire: list[tuple[int, int]]
) -> None:
    due, now = dues(*late)
    chosen = choose(due, now, CronConfig(schedule="* * * * *", **config))
    assert [(int((now - firing.slot) / timedelta(minutes=1)), firing.missed) for firing in chosen] == fire


@pytest.mark.parametrize(
    "config, says",
    [
        ({"schedule": "0 0 30 2 *"}, "never fires"),
        ({"schedule": []}, "at least 1 item"),
        ({"schedule": "0 9 * * *", "timezone": "Europe/Berln"}, "did you mean Europe/Berlin"),
        ({"schedule": "0 9 * * *", "jitter": "2d"}, "at most one day"),
        ({"schedule": "0 9 * * *", "missed": "never"}, "'skip', 'last' or 'all'"),
        ({"schedule": "0 9 * * *", "max_missed": 0}, "greater than or equal to 1"),
        ({"schedule": "0 9 * * *", "zone": "UTC"}, "Extra inputs"),
    ],
)
def test_a_bad_config_is_refused(config: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        CronConfig(**config)


async def test_the_alarm_rings_from_the_event_loop() -> None:
    alarm, rung = SchedulerAlarm(), asyncio.Event()
    alarm.stop()
    alarm.start(rung.set)
    alarm.set(timedelta(hours=1))
    alarm.set(timedelta(milliseconds=5))
    async with asyncio.timeout(5):
        await rung.wait()
    alarm.stop()
    alarm.stop()
