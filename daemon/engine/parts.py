"""Distributed steps: each item or branch is an execution of its own, a part, which any instance takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from hark.daemon.engine.call import Ended, await_child, certainly
from hark.daemon.engine.outcome import Failed, Outcome, Suspended
from hark.daemon.engine.payload import encode
from hark.daemon.engine.program import Block, ForEachWork, Node
from hark.daemon.engine.records import StepRecord
from hark.daemon.engine.run import Frame, Run, part_id
from hark.daemon.engine.stopping import stop_of
from hark.workflows.errors import ActionError
from hark.workflows.ids import ExecutionId
from hark.workflows.states import ENDED_STEP

MOST_PART = 1024 * 1024
"""Bytes of what one part is handed, beside its secrets: a loop may make thousands of them at once."""

# ---------------------------------------------------------------------- in the whole


async def run_as_part(run: Run, node: Node, frame: Frame, key: str, names: Mapping[str, Any]) -> tuple[Outcome, Any]:
    """Have one item or branch of a step run as a part; returns its outcome and its output."""
    path = frame.path(node)
    place = f"{path}[{key}]"
    known = run.known.get(place)
    if known is not None and known.status in ENDED_STEP:
        return _outcome(known)
    child = part_id(run.id, place)
    if known is None:
        known = await _begin(run, node, frame, child, place, key, names)
    ended = await await_child(run, child, place)
    if isinstance(ended, Suspended):
        return ended, None
    record = _ended(run, known, ended)
    run.record(record)
    return _outcome(record)


async def _begin(
    run: Run, node: Node, frame: Frame, child: ExecutionId, place: str, key: str, names: Mapping[str, Any]
) -> StepRecord:
    seen = {name: value for name, value in frame.scope.items() if name not in run.root_names}
    part = {
        "step": node.id,
        "path": frame.path(node),
        "key": key,
        "whole": str(run.whole_id),
        "iterations": run.iterations_around(frame.prefix),
        "names": _masked(run, {**seen, **names}),
        "vars": _masked(run, run.vars),
    }
    text = encode(part, "what the part is handed")
    if len(text) > MOST_PART:
        raise ActionError(
            f"what {place} is handed, `vars` among it, has {len(text)} bytes, more than the {MOST_PART} that a part "
            "may have; hand it a key by which it looks the rest up",
            error_class="part_too_large",
            retryable=False,
        )
    record = StepRecord(
        place, run.next_seq(), "part", "waiting", started_at=run.now(),
        output=orjson.dumps({"execution_id": str(child)}).decode(),
    )  # fmt: skip
    await run.settle()
    await certainly(run, run.services.start_part(run, child, place, text), lambda _: run.record(record))
    run.record(record)
    return record


def _masked(run: Run, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values without secrets. The names are the workflow's: a part that knew one by another would be lost."""
    return {name: run.masked(value) for name, value in values.items()}


def _ended(run: Run, record: StepRecord, ended: Ended) -> StepRecord:
    """Return the record of a part that has ended."""
    ended_at = run.now()
    failed = ended.failed(record.path)
    if failed is None:
        # Only a part in which a `stop` was reached ends as skipped: its output says how.
        output = None if ended.output is None else run.encoded_output(ended.output)[0]
        return replace(record, status=ended.status, output=output, completed_at=ended_at)
    # As if it had failed here: in the words of the part, but for one that was ended from outside.
    view = ended.error if ended.error and ended.error.get("step") else failed.view()
    error = run.encoded_error(view)
    return replace(record, status="failed", output=None, error=error, completed_at=ended_at)


def _outcome(record: StepRecord) -> tuple[Outcome, Any]:
    if record.status == "failed":
        return Failed.from_view(orjson.loads(record.error or "{}")), None
    if record.status == "cancelled":
        return Failed("cancelled", "the part was cancelled", record.path), None
    if record.status == "skipped":
        return stop_of(record), None
    return None, None if record.output is None else orjson.loads(record.output)


# ---------------------------------------------------------------------- in the part


def part_block(run: Run, part: Mapping[str, Any]) -> Block:
    """Return what a part runs."""
    work = run.program.node(part["step"]).work
    return work.do if isinstance(work, ForEachWork) else dict(work.branches)[part["key"]]


def part_output(run: Run, part: Mapping[str, Any]) -> Any:
    """Return what a part gives: the output of its last step."""
    return last_output(part_block(run, part), run.root)


def last_output(block: Block, frame: Frame) -> Any:
    """Return the output of a block's last step; None when it failed or was skipped."""
    return frame.steps.get(block.nodes[-1].id, {}).get("output") if block.nodes else None
