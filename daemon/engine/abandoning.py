"""What becomes of steps that nobody comes back to: branches that lost a race, what a container's timeout cut off."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from hark.daemon.engine.program import Block, Node, blocks_in
from hark.daemon.engine.records import StepRecord
from hark.daemon.engine.run import Frame, Run

WITH_CHILDREN = frozenset({"call", "part"})
_FIRST_STEP = re.compile(r"[^\[.]*")


async def abandon_within(run: Run, node: Node, frame: Frame) -> None:
    """Leave nothing open of what a container holds."""
    await _abandon(run, frame, {node.id, *ids_of(blocks_in(node))}, but=frame.path(node))


async def abandon_blocks(run: Run, frame: Frame, blocks: Sequence[Block], parts: Iterable[str] = ()) -> None:
    """Leave nothing open of some blocks, nor of `parts`, by path."""
    await _abandon(run, frame, {*ids_of(blocks)}, parts=frozenset(parts))


async def abandon_all(run: Run) -> None:
    """Leave nothing open: the execution stops while some of it only waits."""
    await _close(run, list(run.unended.values()))


async def _abandon(
    run: Run, frame: Frame, names: set[str], *, but: str = "", parts: frozenset[str] = frozenset()
) -> None:
    left = [
        record
        for path, record in run.unended.items()
        if path != but and (path in parts or first_step(path, frame.prefix) in names)
    ]
    await _close(run, left)


async def _close(run: Run, left: Sequence[StepRecord]) -> None:
    children = [record.path for record in left if record.verb in WITH_CHILDREN]
    if children:
        # Before it is on record that nobody waits for them: a crash in between does both again.
        await run.services.cancel_children(run, children)
    for record in left:
        if record.verb == "wait_for":
            run.end_wait(record.path)
        run.record(replace(record, status="cancelled", due_at=None, completed_at=run.now()))


def first_step(path: str, prefix: str) -> str | None:
    """Return the id of the step below a prefix that a path leads into."""
    if not path.startswith(prefix):
        return None
    found = _FIRST_STEP.match(path, len(prefix))
    return found[0] if found else None


def ids_of(blocks: Iterable[Block]) -> Iterable[str]:
    """Give the ids of all steps in some blocks, at all depths."""
    for block in blocks:
        for node in block.nodes:
            yield node.id
            yield from ids_of(blocks_in(node))
