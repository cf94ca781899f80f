"""A `stop` that is on record, in a step that is on record as completed, still ends the execution.

A crash or a wait may come between those records and the end: in a `finally`, or while another branch works.
"""

from __future__ import annotations

from typing import Any

import orjson

from hark.daemon.engine.outcome import Stopped
from hark.daemon.engine.program import CONTAINERS, Node
from hark.daemon.engine.records import StepRecord, is_stop
from hark.daemon.engine.run import Run
from hark.daemon.engine.step_record import STOPPED_BY


def stop_on_record(run: Run, node: Node, known: StepRecord) -> Stopped | None:
    """Return the stop with which a completed step has ended; None when it has not."""
    if not run.stops:
        return None
    if is_stop(known):
        return stop_of(known)
    if not isinstance(node.work, CONTAINERS):
        return None
    by = (orjson.loads(known.input or "null") or {}).get(STOPPED_BY)
    return None if by not in run.known else stop_of(run.known[by])


def stop_of(record: StepRecord) -> Stopped:
    """Read a stop back, from the record of a `stop` or of a part in which one was reached."""
    stop: dict[str, Any] = orjson.loads(record.output or "{}")
    return Stopped(stop["status"], stop["reason"], stop["output"], record.path)
