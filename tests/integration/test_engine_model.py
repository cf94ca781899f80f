"""Random workflows leave on record what the reference says, whatever happens to the instances that run them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.engine import running_engine
from support.model.flow import Flow
from support.model.found import check
from support.model.player import Effects, Player
from support.model.writer import flows

from hark.daemon.engine import parking
from hark.daemon.store.database import Database

TIMES = float(os.environ.get("HARK_TEST_EXAMPLES", "1"))
"""How many times the usual number of examples are tried: for hunting, with `--timeout 0`."""

numbers = st.integers(-2, 6)
kept = st.sampled_from([1, 1, 2, 500])
"""How many turns of a loop stay on record: with few, most loops fold some of theirs away."""


def examples(count: int) -> settings:
    """Try so many examples."""
    return settings(
        max_examples=max(1, round(count * TIMES)),
        # The engine is shared by all examples; shrinking a whole workflow takes minutes, which only a person waits for.
        suppress_health_check=list(HealthCheck),
        phases=[phase for phase in Phase if phase is not Phase.shrink or "HARK_TEST_SHRINK" in os.environ],
    )


@pytest.fixture
async def player(database_url: str) -> AsyncIterator[Player]:
    """Give somebody who plays workflows, on no engine yet."""
    database = Database(database_url)
    await database.start()
    yield Player([], Effects(), database)
    await database.stop()


@pytest.fixture
async def engines(database_url: str, tmp_path: Path, player: Player) -> AsyncIterator[AsyncExitStack]:
    """Run one engine for all examples of a test; entering the stack again is another one."""
    async with AsyncExitStack() as stack:
        await enter(stack, database_url, tmp_path, player)
        yield stack


async def enter(stack: AsyncExitStack, url: str, data_dir: Path, player: Player, **options: int) -> None:
    """Run one engine more."""
    running = running_engine(url, probe=player.effects, data_dir=data_dir, **options)
    player.engines.append(await stack.enter_async_context(running))


async def compare(player: Player, flow: Flow, *inputs: int, kept_turns: int, exact: bool = True) -> None:
    """Play a workflow and compare it with the reference."""
    for running in player.engines:
        running.engine.services.kept_turns = kept_turns
    given_inputs = [{"n": n} for n in inputs]
    executions, found = await player.play(flow, given_inputs)
    for execution, each in zip(executions, given_inputs, strict=True):
        check(found, execution, flow.run(each), exact=exact)


@examples(24)
@given(flow=flows(), n=numbers, kept_turns=kept)
@pytest.mark.usefixtures("engines")
async def test_a_workflow_does_what_the_reference_says(player: Player, flow: Flow, n: int, kept_turns: int) -> None:
    await compare(player, flow, n, kept_turns=kept_turns)


@examples(14)
@given(flow=flows(), n=numbers, kept_turns=kept, breaks_at=st.frozensets(st.integers(1, 12), min_size=1, max_size=4))
@pytest.mark.usefixtures("engines")
async def test_a_workflow_whose_instance_is_fenced_midway_comes_to_the_same(
    player: Player, flow: Flow, n: int, kept_turns: int, breaks_at: frozenset[int]
) -> None:
    player.effects.on_break = lambda: player.database.pool.execute("DELETE FROM hark.instances")
    player.effects.breaks_at = set(breaks_at)
    await compare(player, flow, n, kept_turns=kept_turns, exact=False)


@examples(5)
@given(flow=flows(), n=numbers, kept_turns=kept)
async def test_a_workflow_whose_daemon_is_restarted_while_it_waits_comes_to_the_same(
    database_url: str, tmp_path: Path, player: Player, flow: Flow, n: int, kept_turns: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parking, "HELD_S", 0.0)  # every wait gives its execution back
        async with AsyncExitStack() as last:

            async def restart() -> None:
                await first.aclose()
                player.engines.clear()
                await enter(last, database_url, tmp_path, player, kept_turns=kept_turns)

            first = await last.enter_async_context(AsyncExitStack())
            player.engines.clear()
            await enter(first, database_url, tmp_path, player)
            player.on_waiting = restart
            await compare(player, flow, n, kept_turns=kept_turns, exact=False)


@examples(4)
@given(flow=flows(), inputs=st.lists(numbers, min_size=2, max_size=5), kept_turns=kept)
async def test_several_instances_that_share_the_work_come_to_the_same(
    several: Player, flow: Flow, inputs: list[int], kept_turns: int
) -> None:
    await compare(several, flow, *inputs, kept_turns=kept_turns)


@pytest.fixture
async def several(database_url: str, tmp_path: Path, player: Player) -> AsyncIterator[Player]:
    """Run three instances with few places each."""
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await enter(stack, database_url, tmp_path, player, max_running=2)
        yield player
