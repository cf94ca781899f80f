"""The moments that have a name: each commit of a daemon, told from all other statements like it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from support.faults.length import some
from support.faults.proxy import Point
from support.faults.wire import Unit

SIDES = {False: "before", True: "after"}


@dataclass(frozen=True, slots=True)
class Moment:
    """A point, the kind of work that comes by there, and how this statement is told from others like it."""

    name: str
    kind: str
    query: str
    lane: str
    where: Callable[[Unit], bool] = lambda _: True
    held: str = ""
    """The step that has to take its time for this to happen."""

    def point(self, *, after: bool) -> Point:
        """Return the point before or after it."""
        return Point(self.query, self.lane, after=after, where=self.where)


def gives_up(status: str) -> Callable[[Unit], bool]:
    """Tell a flush by which an execution leaves its instance as this."""
    return lambda unit: unit.has_rows(3) and unit.mentions(3, status)


def records(path: str) -> Callable[[Unit], bool]:
    """Tell a flush that has a step, and leaves its execution where it is."""
    return lambda unit: unit.has_rows(2) and unit.mentions(2, path) and not unit.has_rows(3)


MOMENTS = [
    Moment("ingest", "chain", "ingest_events", "ingest"),
    Moment("ingest of a call", "call", "ingest_events", "ingest", lambda unit: unit.mentions(7, "called")),
    Moment("ingest of an emitted event", "news", "ingest_events", "ingest", lambda unit: unit.mentions(4, "NEWS")),
    Moment("record with step", "chain", "record_progress", "record", records("b")),
    Moment("record with a step of a loop", "loop", "record_progress", "record", records("each[1].ask")),
    Moment("record with a step of a branch", "branches", "record_progress", "record", records("r")),
    Moment("record with join", "branches", "record_progress", "record", records("both")),
    Moment("record with memory", "memory", "record_progress", "record", lambda unit: unit.has_rows(6)),
    Moment("record with wait for an event", "news", "record_progress", "record", lambda unit: unit.has_rows(7)),
    Moment("record with wait", "pause", "record_progress", "record", gives_up("waiting")),
    Moment("record with wait for a call", "call", "record_progress", "record", gives_up("waiting"), "outside"),
    Moment("record with end", "chain", "record_progress", "record", gives_up("completed")),
    Moment("record with end of a call", "call", "record_progress", "record", gives_up("completed")),
    Moment("record with end in a lane", "limited", "record_progress", "record", gives_up("completed")),
    Moment("record of an SQL step", "chain", "record_step", "sql"),
    Moment("COMMIT of an SQL step", "chain", "COMMIT", "sql"),
    Moment("COMMIT of an SQL step in a loop", "loop", "COMMIT", "sql"),
    Moment("start of a part", "parts", "start_parts", "parts"),
    Moment("question to people", "asks", "open_approval", "hark"),
    Moment("heartbeat", "chain", "beat_instance", "heartbeat", held="b"),
]


def both_sides(form: str, most: int) -> list[Any]:
    """Return the parameters of a test that takes a moment, and whether it is over; in the short form a sample."""
    both = [
        pytest.param(moment, after, id=f"{moment.name}-{SIDES[after]}".replace(" ", "_"))
        for moment in MOMENTS
        for after in SIDES
    ]
    return some(form, both, most)
