"""Blocks whose steps start as their `needs` allow."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from hark.daemon.engine.outcome import Failed, Outcome, Stopped, merged
from hark.daemon.engine.parking import Branches
from hark.daemon.engine.program import Block, Node
from hark.daemon.engine.run import Frame, Run

StepRunner = Callable[[Run, Node, Frame], Coroutine[Any, Any, Outcome]]


async def run_graph(run: Run, block: Block, frame: Frame, run_step: StepRunner) -> Outcome:
    """Run steps as their `needs` allow; a step without `needs` follows the one written before it."""
    needs: dict[str, set[str]] = {}
    before: str | None = None
    for node in block.nodes:
        needs[node.id] = set(node.needs) if node.needs is not None else ({before} if before else set())
        before = node.id
    nodes = {node.id: node for node in block.nodes}
    ended: set[str] = set()
    outcomes: list[Outcome] = []
    async with Branches[Outcome](run.parking) as branches:
        names: dict[object, str] = {}
        while True:
            await _replay_ready(run, nodes, needs, ended, outcomes, frame, run_step)
            over = any(isinstance(outcome, Failed | Stopped) for outcome in outcomes)
            for name in _ready(needs, ended):
                # What an earlier walk has begun goes on all the same.
                if not over or frame.path(nodes[name]) in run.known:
                    del needs[name]
                    names[branches.start(run_step(run, nodes[name], frame), f"step {name}")] = name
            if not branches.running:
                return merged(outcomes)
            for task in await branches.ended():
                outcome = task.result()
                outcomes.append(outcome)
                if outcome is None:
                    ended.add(names[task])


def _ready(needs: dict[str, set[str]], ended: set[str]) -> list[str]:
    return [name for name, wanted in needs.items() if wanted <= ended]


async def _replay_ready(
    run: Run,
    nodes: dict[str, Node],
    needs: dict[str, set[str]],
    ended: set[str],
    outcomes: list[Outcome],
    frame: Frame,
    run_step: StepRunner,
) -> None:
    """Answer from the record for all steps that have ended, before any new one begins.

    Otherwise a walk would begin steps that the first one never reached, because another had failed before them.
    """
    while True:
        replayed = [name for name in _ready(needs, ended) if run.has_ended(frame.path(nodes[name]))]
        if not replayed:
            return
        for name in replayed:
            del needs[name]
            outcome = await run_step(run, nodes[name], frame)
            outcomes.append(outcome)
            if outcome is None:
                ended.add(name)
