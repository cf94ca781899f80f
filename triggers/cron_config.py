"""What a cron trigger says: when, on which days, and what becomes of the slots that were missed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hark.triggers import zones
from hark.triggers.calendar_config import CalendarConfig, in_short
from hark.triggers.cron_expression import is_fixed, normalised, times_a_day
from hark.triggers.interval_slots import SHORTEST, IntervalSlots, MomentSlots, parse_moment
from hark.triggers.slots import Schedule, build
from hark.workflows.catalogue import Config
from hark.workflows.durations import Duration, format_duration

COUNTED = 1000
"""How many passed slots are looked at, at most, after a standstill: it bounds the work, and `missed`."""
_LONGEST_JITTER = timedelta(days=1)
_MOST_MOVED = 288
"""So often a day may a schedule fire whose slots move to other days: those of a week of holidays become one day's."""
_ONE_OF = ("schedule", "every", "at")


def _real_zone(name: str) -> str:
    return zones.zone(name).key


def _moment(text: str) -> str:
    parse_moment(text)
    return text


Moment = Annotated[str, Field(max_length=40), AfterValidator(_moment)]


class CronConfig(Config):
    """When a workflow starts, and what becomes of the times that were missed."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in _ONE_OF]})

    schedule: str | Annotated[list[str], Field(min_length=1, max_length=50)] | None = None
    """Five fields (minute hour day-of-month month day-of-week), six with seconds first, or `@daily` …; or a list."""
    every: Duration | None = None
    """Instead of `schedule`: at this distance, such as `15m`, whatever the wall clock does."""
    anchor: Moment | None = None
    """With `every`: the first slot. If absent, slots are counted from a Monday's midnight: `15m` are quarter hours."""
    at: Moment | Annotated[list[Moment], Field(min_length=1, max_length=100)] | None = None
    """Instead of `schedule`: once, at `2026-12-24T18:00` by the wall clock of the time zone; or a list."""
    timezone: Annotated[str, AfterValidator(_real_zone)] = "UTC"
    """IANA name of the zone whose wall clock counts."""
    calendar: Annotated[CalendarConfig | None, BeforeValidator(in_short)] = None
    """On which days; `DE-BY` for business days by the holidays there, `{}` for Monday to Friday."""
    missed: Literal["skip", "last", "all"] = "last"
    """Which of the slots that nobody could fire are made up for: none, the latest, or all."""
    grace: Duration = Field(default="1m", validate_default=True)
    """A slot no later than this, after its `jitter`, is on time, and fires whatever `missed` says."""
    max_missed: Annotated[int, Field(ge=1, le=COUNTED)] = 100
    """With `missed: all`, the latest so many."""
    jitter: Duration = Field(default="0s", validate_default=True)
    """Fire up to this much after the slot, by an amount that is fixed for each slot, in order. Spreads load."""
    overlap: Literal["allow", "skip", "queue", "restart"] | None = None
    """What happens when an execution is running already; the workflow's `overlap` if absent."""

    @field_validator("schedule")
    @classmethod
    def _fires(cls, schedule: str | list[str] | None) -> str | list[str] | None:
        for text in _listed(schedule):
            normalised(text)
        return schedule

    @field_validator("every")
    @classmethod
    def _is_long(cls, every: timedelta | None) -> timedelta | None:
        if every is not None and every < SHORTEST:
            raise ValueError("`every` is at least a second")
        return every

    @field_validator("jitter")
    @classmethod
    def _is_short(cls, jitter: timedelta) -> timedelta:
        if jitter > _LONGEST_JITTER:
            raise ValueError("jitter is at most one day")
        return jitter

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        given = [name for name in _ONE_OF if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(f"`{name}`" for name in given) or "none of them"
            raise ValueError(f"a cron trigger has one of `schedule`, `every`, `at`; found {found}")
        if self.anchor is not None and self.every is None:
            raise ValueError("`anchor` is the first slot of `every`; without `every` it means nothing")
        if self.calendar is not None and self.at is not None:
            raise ValueError("`at` names its days itself: leave `calendar` out")
        if self.calendar is not None and self.calendar.otherwise != "skip":
            self._check_movable()
        return self

    def _check_movable(self) -> None:
        """Refuse to move what has no place on another day, or too many."""
        if self.every is not None:
            raise ValueError("`every` cannot move to another day: leave `otherwise` out, or write a `schedule`")
        for text in _listed(self.schedule):
            plain = normalised(text)
            if not is_fixed(plain):
                raise ValueError(f"{text!r} fires all day and cannot move to another: leave `otherwise` out")
            if times_a_day(plain) > _MOST_MOVED:
                raise ValueError(f"{text!r} fires more than {_MOST_MOVED} times a day: too many to move to another")

    @cached_property
    def shown(self) -> str | list[str]:
        """The schedule as it is told to people and in events: the expressions, `every 15m`, or the moments."""
        if self.every is not None:
            return f"every {format_duration(self.every)}" + (f" from {self.anchor}" if self.anchor else "")
        return self.at or self.schedule or ""

    @cached_property
    def text(self) -> str:
        """All that decides about the slots besides the zone, on one or several lines."""
        lines = _listed(self.shown)
        if self.calendar is not None:
            lines = [*lines, f"calendar {self.calendar.model_dump_json(exclude_unset=True)}"]
        return "\n".join(lines)

    @property
    def keeps_to_wall_clock(self) -> bool:
        """Whether every slot stands for one reading of the wall clock."""
        return self.every is None and all(is_fixed(normalised(text)) for text in _listed(self.schedule))

    def built(self) -> Schedule:
        """Return the schedule, ready to reckon with."""
        here = zones.zone(self.timezone)
        calendar = None if self.calendar is None else self.calendar.built()
        if self.every is not None:
            anchor = None if self.anchor is None else parse_moment(self.anchor)
            return Schedule((IntervalSlots(self.every, here, anchor),), here, calendar)
        if self.at is not None:
            return Schedule((MomentSlots(tuple(map(parse_moment, _listed(self.at))), here),), here)
        return build(self.schedule or (), self.timezone, calendar)


def _listed(value: Any) -> Sequence[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
