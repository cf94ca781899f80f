"""Logging: one line per event, the same form for Hark and for the libraries."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from hark.daemon.logging import configure_logging


class Terminal(io.StringIO):
    """A stream that says somebody looks at it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Give logging back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def test_without_a_terminal_each_event_is_one_json_object() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    with structlog.contextvars.bound_contextvars(execution_id="x1"):
        structlog.get_logger().info("execution.claimed", wait_ms=3)
    event = json.loads(stream.getvalue())
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "execution.claimed", "level": "info", "execution_id": "x1", "wait_ms": 3}


def test_an_error_keeps_its_traceback_in_one_line() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    try:
        raise ValueError("no")
    except ValueError:
        structlog.get_logger().exception("step.failed")
    (line,) = stream.getvalue().splitlines()
    assert json.loads(line)["exception"][0]["exc_value"] == "no"


def test_on_a_terminal_it_is_for_people() -> None:
    stream = Terminal()
    configure_logging(stream=stream)
    structlog.get_logger().info("execution.claimed", wait_ms=3)
    assert "execution.claimed" in stream.getvalue()
    assert "\x1b[" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_what_libraries_say_has_the_same_form() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    logging.getLogger("aiohttp.server").error("gone %s", "wrong")
    logging.getLogger("apscheduler").info("chatter")
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["logger"]) == ("gone wrong", "error", "aiohttp.server")


def test_what_is_below_the_level_is_not_written() -> None:
    stream = io.StringIO()
    configure_logging(level="warning", stream=stream)
    structlog.get_logger().info("execution.claimed")
    assert stream.getvalue() == ""
