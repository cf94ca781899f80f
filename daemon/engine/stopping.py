"""A `stop` that is on record, in a step that is on record as completed, still ends the execution.

A crash or a wait may come between those records and the end: in a `finally`, or while another branch works.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from hark.daemon.engine.abandoning import first_step, ids_of
from hark.daemon.engine.outcome import Stopped
from hark.daemon.engine.program import Block, Node, ParallelWork, blocks_in
from hark.daemon.engine.records import StepRecord
from hark.daemon.engine.run import Frame, Run


def stop_on_record(run: Run, node: Node, known: StepRecord, frame: Frame) -> Stopped | None:
    """Return the stop that was reached in a completed step, the first of several; None when there was none."""
    if not run.stops:
        return None
    blocks, parts = _that_count(node, known)
    names = {*ids_of(blocks)} | ({node.id} if parts is None else set())
    found = [
        record
        for record in run.stops
        if record.path == known.path
        or first_step(record.path, frame.prefix) in names
        or (parts is not None and record.path.startswith(parts))
    ]
    return _stopped(min(found, key=lambda record: (record.completed_at or run.now(), record.seq))) if found else None


def _that_count(node: Node, known: StepRecord) -> tuple[Iterable[Block], str | None]:
    """Return the blocks that can have stopped it; of a race the winner's alone, and where its part is on record."""
    if isinstance(node.work, ParallelWork) and node.work.race:
        winner = orjson.loads(known.output or "{}").get("winner")
        return [do for name, do in node.work.branches if name == winner], f"{known.path}[{winner}]"
    return blocks_in(node), None


def _stopped(record: StepRecord) -> Stopped:
    stop: dict[str, Any] = orjson.loads(record.output or "{}")
    return Stopped(stop["status"], stop["reason"], stop["output"])
