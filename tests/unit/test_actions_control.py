"""The actions that need nothing from outside: log_event, set, delay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError
from support.actions import NOW, make_context, run_action

from hark.actions.control import Delay, SetVariables
from hark.actions.log_event import LogEvent
from hark.workflows.catalogue import Pause


async def test_log_event_writes_to_the_executions_logs() -> None:
    lines: list[tuple[str, str, Any]] = []
    context = make_context(log=lambda level, message, data: lines.append((level, message, data)))
    output = await run_action(LogEvent(), {"level": "WARN", "message": "New lead", "data": {"a": [1]}}, context)
    assert output == {"level": "warning", "message": "New lead"}
    assert lines == [("warning", "New lead", {"a": [1]})]


@pytest.mark.parametrize(
    "value, text", [(7, "7"), (True, "true"), ({"a": 1}, '{"a":1}'), (["x"], '["x"]'), ("", "")], ids=str
)
async def test_a_message_may_be_any_value_that_an_expression_gave(value: object, text: str) -> None:
    assert (await run_action(LogEvent(), {"message": value}))["message"] == text


@pytest.mark.parametrize("config", [{}, {"message": None}, {"message": "x", "level": "loud"}, {"message": "x", "a": 1}])
def test_log_event_refuses_what_it_cannot_write(config: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LogEvent.spec.config.model_validate(config)


async def test_set_gives_back_what_it_set() -> None:
    assert await run_action(SetVariables(), {"team": "sales", "n": None}) == {"team": "sales", "n": None}


def test_set_refuses_names_that_expressions_cannot_read() -> None:
    with pytest.raises(ValidationError):
        SetVariables.spec.config.model_validate({"two words": 1})


@pytest.mark.parametrize("duration", ["90s", 90_000, "PT1M30S"])
async def test_delay_pauses_for_a_duration(duration: object) -> None:
    pause = await run_action(Delay(), {"duration": duration})
    assert pause == Pause(NOW + timedelta(seconds=90), {"until": "2030-01-31T08:01:30+00:00"})


async def test_delay_pauses_until_a_moment() -> None:
    pause = await run_action(Delay(), {"until": "2030-02-01T09:00:00+01:00"})
    assert isinstance(pause, Pause)
    assert pause.until == datetime(2030, 2, 1, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize("config", [{"duration": 0}, {"until": "2029-01-01T00:00:00Z"}])
async def test_a_delay_that_is_over_does_not_pause(config: dict[str, object]) -> None:
    output = await run_action(Delay(), config)
    assert set(output) == {"until"}


@pytest.mark.parametrize(
    "config, said",
    [
        ({}, "either `duration` or `until`"),
        ({"duration": "1m", "until": "2030-01-01T00:00:00Z"}, "either `duration` or `until`"),
        ({"until": "2030-01-01T09:00:00"}, "the zone is missing"),
        ({"until": "tomorrow"}, "write a moment as ISO 8601"),
        ({"until": 1_900_000_000}, "write a moment as ISO 8601"),
        ({"duration": "-1s"}, "write a duration"),
    ],
)
def test_delay_says_what_would_be_right(config: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Delay.spec.config.model_validate(config)
