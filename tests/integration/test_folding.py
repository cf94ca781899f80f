"""Long loops: earlier turns are folded away while they run, and nothing that the workflow needs of them is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from io import StringIO
from typing import Any

import orjson
import pytest
from rich.console import Console
from support.engine import EngineUnderTest, Probe, running_engine

from hark.daemon.api.models.executions import StepExecution
from hark.daemon.cli.tree import step_tree
from hark.daemon.engine import folding
from hark.daemon.store.database import Database
from hark.daemon.store.listing import Listing
from hark.workflows.catalogue import ActionContext
from hark.workflows.errors import UnprocessableError
from hark.workflows.ids import DEFAULT_TENANT

KEPT = 20


class Breaking(Probe):
    """A probe that takes the licence of its instance away when it is called for the n-th time."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self.breaks_at: set[int] = set()
        self.rows: list[int] = []
        """How many steps were on record when it broke: what whoever takes over has to load."""

    async def run(self, config: Any, context: ActionContext) -> Any:
        if len(self.calls) + 1 in self.breaks_at:
            self.breaks_at.discard(len(self.calls) + 1)
            pool = self._database.pool
            self.rows.append(await pool.fetchval("SELECT count(*) FROM hark.workflow_steps"))
            await pool.execute("DELETE FROM hark.instances")
        return await super().run(config, context)


@pytest.fixture
async def probe(database_url: str) -> AsyncIterator[Breaking]:
    database = Database(database_url)
    await database.start()
    yield Breaking(database)
    await database.stop()


@pytest.fixture
async def hark(database_url: str, probe: Breaking) -> AsyncIterator[EngineUnderTest]:
    async with running_engine(database_url, probe=probe, kept_turns=KEPT) as engine:
        yield engine


def flow(steps: str, output: str = "null") -> str:
    head = "id: flow\nname: Flow\ntriggers: [{type: event, event: GO, inputs: '${{ event.data }}'}]\n"
    inputs = "inputs: {turns: {type: integer, default: 0}, items: {type: array, default: []}}\n"
    return head + inputs + f"output: {output}\nsteps:\n" + steps.strip("\n") + "\n"


def folds(execution: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {path: step["output"] for path, step in execution["steps"].items() if step["verb"] == "fold"}


COUNTING = """
  - {id: begin, set: {n: 0, odd: 0, told: first}}
  - id: count
    while: vars.n < inputs.turns
    max_iterations: 100000
    do:
      - {id: work, action: probe, with: {say: "${{ vars.n }}"}}
      - {id: next, set: {n: "${{ vars.n + 1 }}"}}
      - {id: half, if: vars.n % 2 == 1, set: {odd: "${{ vars.odd + 1 }}"}}
      - {id: once, if: vars.n == 2, set: {told: "${{ 'in turn ' + string(index) }}"}}
  - {id: end, action: probe, with: {say: "${{ steps.count.output.iterations }}"}}
"""
COUNTED = "{n: '${{ vars.n }}', odd: '${{ vars.odd }}', told: '${{ vars.told }}', end: '${{ steps.end.output }}'}"


async def test_a_loop_of_many_turns_keeps_few_rows_and_loses_nothing_in_crashes(
    hark: EngineUnderTest, probe: Breaking
) -> None:
    turns = 1200
    await hark.apply(flow(COUNTING, COUNTED))
    probe.breaks_at = {500, 900}
    receipt = await hark.emit("GO", {"turns": turns})
    done = await hark.ended(receipt.executions[0], 60)
    assert done["status"] == "completed", done["error"]
    assert done["output"] == {"n": turns, "odd": turns // 2, "told": "in turn 1", "end": turns}
    # Of a turn its own record and four steps; a fifth of what is kept may wait to be folded together.
    most = 5 * (KEPT + KEPT // 5 + 1) + 10
    assert len(probe.rows) == 2
    assert max(*probe.rows, len(done["steps"])) <= most
    (fold,) = folds(done).values()
    assert turns - KEPT - KEPT // 5 <= fold["completed"] <= turns - KEPT
    assert (fold["turns"], fold["failed"]) == ([[0, fold["completed"] - 1]], 0)
    called = Counter(path for path, _, _ in probe.calls)
    assert called.keys() == {*(f"count[{n}].work" for n in range(turns)), "end"}
    assert sum(called.values()) <= turns + 1 + 2, "only what was broken off is done again"
    kept = [path for path in done["steps"] if path.startswith("count[") and path.endswith(".work")]
    assert f"count[{turns - 1}].work" in kept


SIDE_BY_SIDE = (
    f"  - id: each\n    for_each: {[*range(160)]}"
    """
    parallel: 4
    do:
      - {id: hold, if: index == 0, action: probe, with: {hold: true}}
      - {id: risky, action: probe, with: {say: 1}, if: item % 50 != 7}
      - {id: bad, action: probe, with: {fail: bad}, if: item % 50 == 7, continue_on_error: true}
      - {id: note, set: {last: "${{ item }}"}}
      - {id: give, action: probe, with: {say: "${{ item * 10 }}"}}
"""
)


async def test_turns_beside_one_that_waits_are_folded_around_it(hark: EngineUnderTest, probe: Breaking) -> None:
    await hark.apply(flow(SIDE_BY_SIDE, "'${{ steps.each.output }}'"))
    receipt = await hark.emit("GO")
    await hark.until(lambda: any(path == "each[159].give" for path, _, _ in probe.calls))
    await hark.database.pool.execute("DELETE FROM hark.instances")
    before = len(probe.calls)
    await hark.until(lambda: len(probe.calls) > before)
    now = await hark.execution(receipt.executions[0])
    assert len(now["steps"]) < 6 * (KEPT + KEPT // 5 + 10)
    assert all(fold["turns"][0][0] > 0 for fold in folds(now).values())
    probe.release.set()
    done = await hark.ended(receipt.executions[0])
    assert done["output"] == [n * 10 for n in range(160)]
    assert len({path for path, _, _ in probe.calls[before:]}) < 8, "what is folded is not done again"
    assert {path for path in done["steps"] if path.endswith(".bad") and done["steps"][path]["status"] == "failed"} == {
        f"each[{n}].bad" for n in range(7, 160, 50)
    }, "turns with a failure stay, so that people see it"
    folded = folds(done)
    assert sum(fold["completed"] for fold in folded.values()) >= 160 - 2 * KEPT
    assert len(folded) < 8


NESTED = """
  - {id: begin, set: {n: 0, deep: 0, last: 0}}
  - id: outer
    while: vars.n < 6
    do:
      - id: inner
        for_each: inputs.items
        do:
          - {id: add, set: {deep: "${{ vars.deep + item }}"}}
          - {id: work, action: probe, with: {say: "${{ vars.deep }}"}}
      - {id: next, set: {n: "${{ vars.n + 1 }}", last: "${{ steps.inner.output[27] }}"}}
"""


async def test_turns_of_loops_in_loops_count_for_both(hark: EngineUnderTest, probe: Breaking) -> None:
    probe.breaks_at = {100}
    await hark.apply(flow(NESTED, "{deep: '${{ vars.deep }}', last: '${{ vars.last }}'}"))
    done = await hark.run("GO", {"items": [*range(1, 29)]})
    assert done["output"] == {"deep": 6 * 28 * 29 // 2, "last": 6 * 28 * 29 // 2}
    assert max(*probe.rows, len(done["steps"])) < 3 * 3 * (KEPT + KEPT // 5 + 1)
    assert len({path for path, _, _ in probe.calls}) == 6 * 28


async def test_of_large_turns_fewer_stay(hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "MOST_KEPT", 10_000)
    do = "{id: give, action: probe, with: {say: '${{ item }}'}}"
    await hark.apply(flow(f"  - {{id: each, for_each: inputs.items, do: [{do}]}}", "'${{ steps.each.output }}'"))
    items = [f"{number:01000}" for number in range(20)]
    done = await hark.run("GO", {"items": items})
    assert done["output"] == items
    # Each is on record in its input and in its output.
    assert 1 < len([path for path in done["steps"] if path.endswith(".give")]) <= 5


FAILING = """
  - {id: begin, set: {n: 0}}
  - id: count
    while: vars.n < 60
    do:
      - {id: keep, remember: {seen: "${{ vars.n }}"}, if: vars.n == 3}
      - {id: odd, action: probe, with: {fail: odd}, if: vars.n == 11, continue_on_error: true}
      - {id: work, action: probe, with: {fail: "${{ vars.n == 50 ? 'no' : '' }}", times: 1}, retry: {retries: 0}}
      - {id: next, set: {n: "${{ vars.n + 1 }}"}}
"""


async def test_what_is_repeated_goes_on_behind_what_is_folded(hark: EngineUnderTest, probe: Breaking) -> None:
    await hark.apply(flow(FAILING, "'${{ vars.n }}'"))
    failed = await hark.run("GO")
    assert (failed["status"], failed["error"]["step"]) == ("failed", "count[50].work")
    assert [*folds(failed)]
    probe.calls.clear()
    again = await hark.ended(await hark.engine.retry(DEFAULT_TENANT, failed["id"]))
    assert (again["status"], probe.calls[0][0]) == ("failed", "count[50].work"), "its first attempt fails again"

    async def replay(from_step: str) -> dict[str, Any]:
        probe.calls.clear()
        return await hark.ended(await hark.engine.replay(DEFAULT_TENANT, failed["id"], from_step=from_step))

    done = await replay("count[48].work")
    assert [path for path, _, _ in probe.calls] == [f"count[{n}].work" for n in range(48, 51)]
    assert folds(done).keys() == folds(failed).keys()
    context = await hark.database.pool.fetch("SELECT execution_id, value FROM hark.workflow_context")
    assert dict(context)[done["id"]] == "3", "what a folded turn has remembered stays"
    await replay("count")
    assert probe.calls[0][0] == "count[0].work"
    for lost in ("count[5].work", "count[5]", "count[11].odd"):
        with pytest.raises(UnprocessableError, match=r"turns 0-10, 12-\d\d of 'count' are folded .* after \d\d, or "):
            await replay(lost)


async def test_folds_are_shown_for_what_they_are(hark: EngineUnderTest) -> None:
    await hark.apply(flow(FAILING))
    failed = await hark.run("GO")
    listing = Listing(hark.database)
    steps = await listing.list_steps(DEFAULT_TENANT, failed["id"])
    (shown,) = [row for row in steps if row["verb"] == "fold"]
    assert shown["input"] is None
    page = Console(width=200, record=True, file=StringIO())
    page.print(step_tree([StepExecution.model_validate(orjson.loads(orjson.dumps(row))) for row in steps]))
    assert "… turns 0-10, 12-29 folded: 29 completed" in page.export_text()
    told = [entry["type"] for entry in await listing.list_timeline(DEFAULT_TENANT, failed["id"])]
    assert told.count("turns.folded") == 1


async def test_remains_of_a_folded_turn_are_not_gone_on_with_and_vanish(hark: EngineUnderTest, probe: Breaking) -> None:
    """A flush whose answer was lost is written again, when somebody else may have folded what is in it."""
    await hark.apply(flow(SIDE_BY_SIDE, "'${{ steps.each.output }}'"))
    receipt = await hark.emit("GO")
    await hark.until(lambda: any(path == "each[159].give" for path, _, _ in probe.calls))
    pool = hark.database.pool
    await pool.execute(
        "INSERT INTO hark.workflow_steps (tenant_id, execution_id, path, seq, verb, status, attempt) "
        "VALUES ($1, $2, 'each[3].give', 99999, 'action', 'running', 1)", DEFAULT_TENANT, receipt.executions[0],
    )  # fmt: skip
    await pool.execute("DELETE FROM hark.instances")
    before = len(probe.calls)
    await hark.until(lambda: len(probe.calls) > before)
    probe.release.set()
    done = await hark.ended(receipt.executions[0])
    assert done["status"] == "completed"
    assert "each[3].give" not in done["steps"]
    assert "each[3].give" not in {path for path, _, _ in probe.calls[before:]}
