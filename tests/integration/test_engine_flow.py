"""Steps that wait for others: for events, for the workflows that they call, for parts on other instances."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from unittest.mock import AsyncMock
from uuid import UUID

import pytest
from support.engine import EngineUnderTest, Probe, running_engine

from hark.daemon.engine.event_waits import awaited_key
from hark.workflows.expressions import compile_expression
from hark.workflows.ids import DEFAULT_TENANT


@pytest.fixture
async def hark(database_url: str) -> AsyncIterator[EngineUnderTest]:
    """Run an engine for the test."""
    async with running_engine(database_url) as engine:
        yield engine


def flow(steps: str, name: str = "flow", event: str = "GO", **fields: str) -> str:
    """Write a workflow that an event starts."""
    head = "".join(f"{field}: {value}\n" for field, value in fields.items())
    return f"id: {name}\nname: {name}\ntriggers: [{{type: event, event: {event}}}]\n{head}steps:\n{steps}\n"


async def waiting(hark: EngineUnderTest, execution: UUID) -> dict[str, Any]:
    """Return an execution once it waits outside of memory."""

    async def waits() -> bool:
        return bool((await hark.execution(execution))["status"] == "waiting")

    await hark.until(waits)
    return await hark.execution(execution)


async def again(hark: EngineUnderTest) -> None:
    """Give everything back as a crash does, and let it be taken up again.

    Nothing is claimed meanwhile: what was taken in between would run twice, under one licence.
    """
    await hark.engine.claimer.stop()
    await hark.engine.executor.abort()
    await hark.database.pool.execute(
        "UPDATE hark.workflow_executions SET status = 'pending', instance_id = NULL WHERE status = 'running'"
    )
    hark.engine.claimer.start()
    hark.engine.claimer.work_arrived()


# ---------------------------------------------------------------------- wait_for

PAID = """  - id: paid
    wait_for: {event: PAID, when: event.data.order == inputs.order, timeout: 1h}
  - {id: told, set: {sum: "${{ steps.paid.output.data.sum }}"}}"""


async def test_an_event_wakes_only_those_whose_key_it_has(
    hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hark.apply(flow(PAID, inputs="{order: {type: integer}}", output='"${{ vars.sum }}"'))
    executions = [(await hark.emit("GO", {"order": order})).executions[0] for order in (1, 2, 3)]
    for execution in executions:
        await waiting(hark, execution)
    claimed = "SELECT count(*) FROM hark.event_waits WHERE scanned_until IS NOT NULL"
    assert await hark.database.pool.fetchval(claimed) == 3
    scans = AsyncMock(side_effect=hark.engine.services.scan_events)
    monkeypatch.setattr(hark.engine.services, "scan_events", scans)
    await hark.emit("PAID", {"order": 2.0, "sum": 7})
    done = await hark.ended(executions[1])
    assert not scans.called, "it was told which event to look at"
    assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.event_hits") == 0
    assert (done["status"], done["output"]) == ("completed", 7)
    assert done["steps"]["paid"]["output"]["type"] == "PAID"
    rest = await hark.database.pool.fetch(
        "SELECT e.status, e.woken, w.key FROM hark.event_waits AS w JOIN hark.workflow_executions AS e"
        " ON e.id = w.execution_id ORDER BY w.key"
    )
    assert [tuple(row) for row in rest] == [("waiting", False, "1"), ("waiting", False, "3")]


async def test_an_event_that_came_shortly_before_is_taken_with_a_lookback(hark: EngineUnderTest) -> None:
    await hark.apply(flow("  - {id: w, wait_for: {event: PAID, lookback: 1h, timeout: 1s}}"))
    first = await hark.emit("PAID", {"n": 1})
    await hark.emit("PAID", {"n": 2})
    done = await hark.run("GO")
    assert done["steps"]["w"]["output"]["id"] == str(first.event_id)
    await hark.apply(flow("  - {id: w, wait_for: {event: PAID, timeout: 300ms}}"))
    done = await hark.run("GO")
    assert (done["status"], done["error"]["class"], done["error"]["step"]) == ("failed", "timeout", "w")
    assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.event_waits") == 0


async def test_an_event_stored_while_nobody_could_tell_is_found_by_looking_again(
    hark: EngineUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction began before the wait was committed and ended after the first look."""
    await hark.apply(flow("  - {id: w, wait_for: {event: PAID, timeout: 10s}}"))
    looked = asyncio.Event()
    original = hark.engine.services.scan_events
    looks: list[int] = []

    async def scan(*args: Any) -> Any:
        found = await original(*args)
        looks.append(len(found))
        if len(looks) == 1:
            # As if it became visible only now: no wake-up comes with it.
            await hark.database.pool.execute("DELETE FROM hark.wait_shapes")
            await hark.emit("PAID")
        looked.set()
        return found

    monkeypatch.setattr(hark.engine.services, "scan_events", scan)
    assert (await hark.run("GO"))["status"] == "completed"
    assert looks == [0, 1]


async def test_a_wait_for_an_event_goes_on_beside_a_branch_that_works(hark: EngineUnderTest) -> None:
    await hark.apply(
        flow(
            """  - id: p
    parallel:
      a: [{id: w, wait_for: {event: PAID, when: "event.data.n > 1"}}, {id: x, action: probe}]
      b: [{id: long, action: probe, with: {hold: true}}]"""
        )
    )
    (execution,) = (await hark.emit("GO")).executions
    await hark.until(lambda: hark.database.pool.fetchval("SELECT count(*) FROM hark.event_waits"))
    await hark.emit("PAID", {"n": "two"})
    await hark.emit("PAID", {"n": 2})
    await hark.until(lambda: [call[0] for call in hark.probe.calls] == ["long", "x"])
    hark.probe.release.set()
    done = await hark.ended(execution)
    assert done["steps"]["w"]["output"]["data"] == {"n": 2}


async def test_derived_and_emitted_events_count(hark: EngineUnderTest) -> None:
    await hark.apply(flow("  - {id: w, wait_for: {event: NEWS}}"))
    await hark.apply(
        "id: namer\nname: N\ntriggers: [{type: event, event: RAW, as: NEWS}]\nsteps: [{id: s, set: {a: 1}}]"
    )
    (one,) = (await hark.emit("GO")).executions
    await waiting(hark, one)
    await hark.emit("RAW", {"k": 1})
    assert (await hark.ended(one))["steps"]["w"]["output"]["data"] == {"k": 1}
    await hark.apply(flow("  - {id: e, emit: {type: NEWS, data: {k: 2}}}", name="teller", event="TELL"))
    (two,) = (await hark.emit("GO")).executions
    await waiting(hark, two)
    await hark.emit("TELL")
    assert (await hark.ended(two))["steps"]["w"]["output"]["data"] == {"k": 2}


async def test_a_race_that_an_event_wins_leaves_no_wait_behind(hark: EngineUnderTest) -> None:
    steps = (
        "  - {id: r, race: true, parallel: {a: [{id: w, wait_for: {event: A}}], b: [{id: v, wait_for: {event: B}}]}}"
    )
    await hark.apply(flow(steps))
    (execution,) = (await hark.emit("GO")).executions
    await waiting(hark, execution)
    await hark.emit("B")
    done = await hark.ended(execution)
    assert done["steps"]["r"]["output"] == {"winner": "b"}
    assert done["steps"]["w"]["status"] == "cancelled"
    assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.event_waits") == 0
    (cancelled,) = (await hark.emit("GO")).executions
    await waiting(hark, cancelled)
    await hark.engine.cancel(DEFAULT_TENANT, cancelled)
    assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.event_waits") == 0


@pytest.mark.parametrize(
    "when, key",
    [
        ("event.data.order == inputs.order", (("order",), "5")),
        ('"x" == event.data.a.b && event.data.n > 1', (("a", "b"), "x")),
        ("event.data.flag == true", (("flag",), "true")),
        ("event.data.items[0].id == steps.make.output.id", (("items", "0", "id"), "z")),
        ("event.data.order == vars.order", ((), "")),
        ("event.data.order == inputs.order || true", ((), "")),
        ("event.data.price == 1.5", ((), "")),
        ("event.subject.id == inputs.order", ((), "")),
        ("event.data.order == inputs.missing", ((), "")),
    ],
)
def test_the_key_is_an_equality_that_must_hold_with_a_side_that_stays(when: str, key: tuple[Any, str]) -> None:
    scope = {"inputs": {"order": 5}, "vars": {"order": 5}, "steps": {"make": {"output": {"id": "z"}}}, "event": {}}
    roots = frozenset({"event", "inputs", "vars", "steps"})
    assert awaited_key(compile_expression(when, roots), scope) == key


# ---------------------------------------------------------------------- call


async def children(hark: EngineUnderTest) -> Sequence[Any]:
    """Return the executions that have a parent, oldest first."""
    return await hark.database.pool.fetch(
        "SELECT id, status, parent_id, parent_path, depth, version, part FROM hark.workflow_executions"
        " WHERE parent_id IS NOT NULL ORDER BY id"
    )


CHILD = """id: child
name: Child
inputs: {n: {type: integer, required: true}}
steps:
  - {id: p, action: probe, with: {say: "${{ inputs.n + 1 }}", hold: true}}
output: {n: "${{ steps.p.output }}"}
"""
CALL = '  - {id: c, call: child, with: {n: "${{ event.data.n }}"}}'


async def test_a_called_workflow_gives_its_output_and_waiting_costs_no_place(hark: EngineUnderTest) -> None:
    await hark.apply(CHILD)
    await hark.apply(flow(CALL, output='"${{ steps.c.output.n }}"'))
    (execution,) = (await hark.emit("GO", {"n": 1})).executions
    await hark.probe.called.wait()
    await waiting(hark, execution)
    assert hark.engine.executor.in_flight == 1
    hark.probe.release.set()
    done = await hark.ended(execution)
    assert (done["status"], done["output"]) == ("completed", 2)
    (child,) = await children(hark)
    assert (child["parent_id"], child["parent_path"], child["depth"]) == (execution, "c", 1)


async def test_a_call_that_is_repeated_after_a_crash_is_the_same_execution(hark: EngineUnderTest) -> None:
    await hark.apply(CHILD)
    await hark.apply(flow(CALL + "\n  - {id: h, action: probe, with: {hold: true}}"))
    (execution,) = (await hark.emit("GO", {"n": 1})).executions
    await hark.probe.called.wait()
    await waiting(hark, execution)
    await hark.database.pool.execute("DELETE FROM hark.workflow_steps WHERE path = 'c'")
    await hark.database.pool.execute("SELECT hark.wake_executions(tenant_id, ARRAY[id]) FROM hark.workflow_executions")
    await hark.until(lambda: hark.database.pool.fetchval("SELECT 1 FROM hark.workflow_steps WHERE path = 'c'"))
    assert len(await children(hark)) == 1
    hark.probe.release.set()
    assert (await hark.ended(execution))["status"] == "completed"


@pytest.mark.parametrize(
    "target, inputs, word",
    [
        ("nobody", "{}", "there is no workflow"),
        ("child", "{n: text}", "inputs.n"),
        ("old", "{}", "archived"),
    ],
)
async def test_what_cannot_be_called_fails_the_step_and_says_why(
    hark: EngineUnderTest, target: str, inputs: str, word: str
) -> None:
    await hark.apply(CHILD)
    await hark.apply("id: old\nname: O\nsteps: [{id: s, set: {a: 1}}]")
    await hark.database.pool.execute("UPDATE hark.workflows SET status = 'archived' WHERE slug = 'old'")
    await hark.apply(flow(f"  - {{id: c, call: {target}, with: {inputs}, retry: 2}}"))
    done = await hark.run("GO")
    assert (done["status"], done["error"]["class"], done["error"]["step"]) == ("failed", "call_refused", "c")
    assert word in done["error"]["message"]


async def test_a_called_workflow_that_fails_is_called_anew_by_a_retry(hark: EngineUnderTest) -> None:
    await hark.apply("id: child\nname: C\nsteps: [{id: p, action: probe, with: {fail: broken}}]")
    await hark.apply(flow("  - {id: c, call: child, retry: {retries: 1, delay: 10ms}}"))
    done = await hark.run("GO")
    made = await children(hark)
    assert [row["status"] for row in made] == ["failed", "failed"]
    error = done["error"]
    assert (error["class"], error["message"], error["step"], error["attempt"]) == ("probed", "broken", "c", 2)
    assert error["details"]["status"] == "failed"
    assert error["details"]["execution_id"] in {str(row["id"]) for row in made}


async def test_a_detached_call_is_not_waited_for(hark: EngineUnderTest) -> None:
    await hark.apply(CHILD)
    await hark.apply(flow("  - {id: c, call: child, with: {n: 1}, detach: true}"))
    done = await hark.run("GO")
    child = UUID(done["steps"]["c"]["output"]["execution_id"])
    assert (await hark.execution(child))["parent_id"] is None
    hark.probe.release.set()
    assert (await hark.ended(child))["status"] == "completed"


async def test_a_skipped_execution_counts_as_completed(hark: EngineUnderTest) -> None:
    await hark.apply("id: child\nname: C\nsteps: [{id: s, stop: skipped, output: {done: false}}]")
    await hark.apply(flow("  - {id: c, call: child}"))
    done = await hark.run("GO")
    assert (done["status"], done["steps"]["c"]["output"]) == ("completed", {"done": False})


async def test_a_workflow_that_calls_itself_ends_at_the_limit(hark: EngineUnderTest) -> None:
    await hark.apply(flow("  - {id: c, call: flow}"))
    done = await hark.run("GO")
    assert (done["status"], done["error"]["class"]) == ("failed", "depth_limit")
    assert len(await children(hark)) == 20


@pytest.mark.parametrize(
    "steps",
    [
        "  - {id: r, timeout: 300ms, if: 'true', then: [{id: c, call: child, with: {n: 1}}]}",
        "  - {id: c, call: child, with: {n: 1}, timeout: 300ms}",
        "  - {id: r, race: true, parallel: {a: [{id: c, call: child, with: {n: 1}}], b: [{id: w, wait: 500ms}]}}",
        "  - {id: t, timeout: 300ms, try: [{id: c, call: child, with: {n: 1}}], catch: [{id: s, set: {a: 1}}]}",
    ],
)
async def test_what_is_not_waited_for_any_more_is_cancelled(hark: EngineUnderTest, steps: str) -> None:
    await hark.apply(CHILD)
    await hark.apply(flow(steps))
    (execution,) = (await hark.emit("GO")).executions
    await hark.ended(execution)
    (child,) = await children(hark)
    assert (await hark.ended(child["id"]))["status"] == "cancelled"


async def test_cancelling_a_waiting_parent_cancels_what_it_called_down_to_the_last(hark: EngineUnderTest) -> None:
    await hark.apply(CHILD)
    await hark.apply("id: between\nname: B\nsteps: [{id: c, call: child, with: {n: 1}}]")
    await hark.apply(flow("  - {id: b, call: between}"))
    (execution,) = (await hark.emit("GO")).executions
    await hark.probe.called.wait()
    await waiting(hark, execution)
    await hark.engine.cancel(DEFAULT_TENANT, execution)
    for child in await children(hark):
        assert (await hark.ended(child["id"]))["status"] == "cancelled"
    assert len(await children(hark)) == 2


async def test_what_another_instance_runs_is_cancelled_with_its_caller(database_url: str) -> None:
    async with running_engine(database_url, max_running=1) as one, running_engine(database_url) as two:
        await one.apply(CHILD)
        await one.apply(
            flow(
                "  - {id: p, parallel: {a: [{id: h, action: probe, with: {hold: true}}], b: [CALL]}}".replace(
                    "CALL", "{id: c, call: child, with: {n: 1}}"
                )
            )
        )
        (execution,) = (await one.emit("GO")).executions
        await one.probe.called.wait()
        await two.until(lambda: two.probe.called.is_set() or len(one.probe.calls) == 2)
        await one.engine.cancel(DEFAULT_TENANT, execution)
        (child,) = await children(one)
        assert (await two.ended(child["id"]))["status"] == "cancelled"
        assert two.probe.calls, "one had no place for it"


# ---------------------------------------------------------------------- distribute

HOLD = "{id: p, action: probe, with: {hold: true}}"
EACH = """  - {id: base, set: {n: 10}}
  - id: outer
    for_each: [1, 2]
    as: row
    do:
      - {id: own, set: {m: "${{ row }}"}}
      - id: each
        for_each: [1, 2, 3]
        distribute: true
        parallel: 2
        do:
          - {id: p, action: probe, with: {say: "${{ item + steps.base.output.n * steps.own.output.m + vars.n }}"}}
          - {id: last, set: {v: "${{ [steps.p.output, index, row] }}"}}"""


async def test_parts_see_what_the_whole_sees_and_give_what_it_would(hark: EngineUnderTest) -> None:
    for distribute in ("true", "false"):
        await hark.apply(flow(EACH.replace("distribute: true", f"distribute: {distribute}")))
        done = await hark.run("GO")
        assert done["status"] == "completed", done["error"]
        assert done["steps"]["outer"]["output"] == [
            [{"v": [item + 10 * row + 10, item - 1, row]} for item in (1, 2, 3)] for row in (1, 2)
        ]
    parts = await children(hark)
    assert {row["parent_path"] for row in parts} == {f"outer[{row}].each[{n}]" for row in (0, 1) for n in (0, 1, 2)}


async def test_two_instances_share_the_items(database_url: str) -> None:
    probe = Probe()
    async with (
        running_engine(database_url, probe=probe, max_running=3) as one,
        running_engine(database_url, probe=(other := Probe()), max_running=3) as two,
    ):
        await one.apply(
            flow("""  - id: each
    for_each: lists.range(6)
    distribute: true
    parallel: 6
    do: [{id: p, action: probe, with: {say: "${{ item }}", hold: true}}]""")
        )
        (execution,) = (await one.emit("GO")).executions
        await one.until(lambda: len(probe.calls) + len(other.calls) == 6)
        assert len(probe.calls) == len(other.calls) == 3
        probe.release.set()
        other.release.set()
        done = await two.ended(execution)
        assert done["steps"]["each"]["output"] == list(range(6))
        listed = await one.engine.database.fetch(
            "find_executions_of_event", DEFAULT_TENANT, done["event_id"], UUID(int=0), UUID(int=(1 << 128) - 1)
        )
        assert [row["id"] for row in listed] == [execution]


async def test_only_so_many_parts_are_open_at_once(hark: EngineUnderTest) -> None:
    await hark.apply(flow(f"  - {{id: e, for_each: [1, 2, 3], distribute: true, parallel: 2, do: [{HOLD}]}}"))
    (execution,) = (await hark.emit("GO")).executions
    await hark.until(lambda: len(hark.probe.calls) == 2)
    await waiting(hark, execution)
    assert len(await children(hark)) == 2
    hark.probe.release.set()
    assert (await hark.ended(execution))["status"] == "completed"
    assert len(await children(hark)) == 3


async def test_a_part_that_fails_fails_the_whole_where_it_would_have_failed(hark: EngineUnderTest) -> None:
    await hark.apply(
        flow("""  - id: e
    for_each: [1, 2, 3]
    distribute: true
    do: [{id: p, if: item == 2, action: probe, with: {fail: broken, times: 1}}, {id: s, set: {a: "${{ item }}"}}]
on_error: [{id: handled, set: {b: 1}}]""")
    )
    (execution,) = (await hark.emit("GO")).executions
    done = await hark.ended(execution)
    assert (done["status"], done["error"]["class"], done["error"]["step"]) == ("failed", "probed", "e[1].p")
    assert len(await children(hark)) == 2
    assert list(done["steps"]) == ["e", "e[0]", "e[1]", "handled"]
    following = await hark.engine.retry(DEFAULT_TENANT, execution)
    await hark.ended(following)
    made = await children(hark)
    assert [row["parent_path"] for row in made if row["parent_id"] == following] == ["e[1]"]


@pytest.mark.parametrize("distribute", ["true", "false"])
async def test_a_failure_counts_when_all_that_had_begun_has_ended(hark: EngineUnderTest, distribute: str) -> None:
    """It used to end the loop at once when the others were only waiting, and left them waiting for ever."""
    await hark.apply(
        flow(
            """  - id: e
    for_each: [1, 2, 3]
    distribute: DISTRIBUTE
    parallel: 2
    continue_on_error: true
    do:
      - {id: w, if: item == 1, wait: 1500ms}
      - {id: p, if: item != 1, action: probe, with: {fail: broken}}
      - {id: s, set: {a: "${{ item }}"}}""".replace("DISTRIBUTE", distribute)
        )
    )
    done = await hark.run("GO")
    assert (done["status"], done["steps"]["e"]["error"]["step"]) == ("completed", "e[1].p")
    first = done["steps"]["e[0]" if distribute == "true" else "e[0].s"]
    assert (first["status"], first["output"]) == ("completed", {"a": 1})
    assert not any(path.startswith("e[2]") for path in done["steps"]), "no further one begins"


async def test_a_failure_in_a_graph_counts_when_what_waits_has_ended(hark: EngineUnderTest) -> None:
    await hark.apply(
        flow("""  - {id: w, needs: [], wait: 1500ms}
  - {id: p, needs: [], action: probe, with: {fail: broken}}
  - {id: s, needs: [w], set: {a: 1}}""")
    )
    done = await hark.run("GO")
    assert (done["status"], done["error"]["step"]) == ("failed", "p")
    assert {path: step["status"] for path, step in done["steps"].items()} == {"w": "completed", "p": "failed"}


async def test_a_stop_does_not_wait_for_what_waits(hark: EngineUnderTest) -> None:
    await hark.apply("id: child\nname: C\nsteps: [{id: w, wait: 1h}]")
    branches = "{a: [{id: w, wait_for: {event: A}}], b: [{id: c, call: child}], d: [{id: s, wait: 1200ms}, STOP]}"
    await hark.apply(flow(f"  - {{id: p, parallel: {branches}}}".replace("STOP", "{id: e, stop: completed}")))
    done = await hark.run("GO")
    assert done["status"] == "completed"
    assert [done["steps"][path]["status"] for path in ("w", "c")] == ["cancelled", "cancelled"]
    assert await hark.database.pool.fetchval("SELECT count(*) FROM hark.event_waits") == 0
    assert [row["status"] for row in await children(hark)] == ["cancelled"]


async def test_a_stop_in_a_part_stops_the_whole(hark: EngineUnderTest) -> None:
    await hark.apply(
        flow("""  - {id: e, for_each: [1, 2], distribute: true, do: [{id: s, stop: completed, output: "${{ item }}"}]}
  - {id: never, action: probe}""")
    )
    done = await hark.run("GO")
    assert (done["status"], done["output"]) == ("completed", 1)
    assert not hark.probe.calls


async def test_distributed_branches_race(hark: EngineUnderTest) -> None:
    await hark.apply(
        flow("""  - id: r
    race: true
    distribute: true
    parallel: {slow: [{id: a, action: probe, with: {hold: true}}], quick: [{id: b, wait: 200ms}]}
  - {id: both, distribute: true, parallel: {x: [{id: c, set: {v: 1}}], y: [{id: d, set: {v: 2}}]}}""")
    )
    done = await hark.run("GO")
    assert done["steps"]["r"]["output"] == {"winner": "quick"}
    assert done["steps"]["both"]["output"] == {"x": {"v": 1}, "y": {"v": 2}}
    slow = next(row for row in await children(hark) if row["parent_path"] == "r[slow]")
    assert (await hark.ended(slow["id"]))["status"] == "cancelled"


async def test_a_crash_of_the_whole_makes_no_part_twice(hark: EngineUnderTest) -> None:
    await hark.apply(flow(f"  - {{id: e, for_each: [1, 2], distribute: true, parallel: 2, do: [{HOLD}]}}"))
    (execution,) = (await hark.emit("GO")).executions
    await hark.until(lambda: len(hark.probe.calls) == 2)
    await hark.database.pool.execute("DELETE FROM hark.workflow_steps WHERE path LIKE 'e[%'")
    await again(hark)
    await hark.until(lambda: len(hark.probe.calls) == 4)
    hark.probe.release.set()
    assert (await hark.ended(execution))["status"] == "completed"
    assert len(await children(hark)) == 2


# ---------------------------------------------------------------------- the rest of the language


async def test_an_item_that_fails_and_goes_on_gives_null(hark: EngineUnderTest) -> None:
    fail = """'${{ item == 2 ? dyn("no") : dyn(null) }}'"""
    step = f"{{id: p, action: probe, continue_on_error: true, with: {{say: '${{{{ item }}}}', fail: {fail}}}}}"
    for how in ("parallel: 1", "parallel: 3", "parallel: 3, distribute: true"):
        await hark.apply(flow(f"  - {{id: e, for_each: [1, 2, 3], {how}, do: [{step}]}}"))
        done = await hark.run("GO")
        assert (done["status"], done["steps"]["e"]["output"]) == ("completed", [1, None, 3]), how


# ---------------------------------------------------------------------- what random workflows have found


async def test_a_stop_that_was_skipped_does_not_stop_what_is_taken_up_again(hark: EngineUnderTest) -> None:
    """The walk over the record took a skipped `stop` for one that was reached, and broke on its missing output."""
    await hark.apply(
        flow("""  - {id: early, if: event.data.n == 1, stop: failed}
  - {id: absent, if: event.data.absent, stop: failed}
  - {id: asked, wait_for: {event: GO_ON}}
  - {id: after, action: probe}""")
    )
    receipt = await hark.emit("GO", {"n": 2})
    await waiting(hark, receipt.executions[0])
    await hark.emit("GO_ON")
    done = await hark.ended(receipt.executions[0])
    assert (done["status"], [call[0] for call in hark.probe.calls]) == ("completed", ["after"])
    assert [done["steps"][path]["status"] for path in ("early", "absent")] == ["skipped", "skipped"]


@pytest.mark.parametrize(
    "step, kind",
    [
        ("for_each: event.data.n, do: [{id: a, set: {x: 1}}]", "no_list"),
        ("for_each: [1, 2], max_items: 1, do: [{id: a, set: {x: 1}}]", "too_many_items"),
        ("while: 'true', max_iterations: 2, do: [{id: a, set: {x: 1}}]", "too_many_iterations"),
    ],
)
async def test_a_loop_that_cannot_go_on_says_why_in_its_class(hark: EngineUnderTest, step: str, kind: str) -> None:
    await hark.apply(flow(f"  - {{id: loop, {step}}}"))
    done = await hark.run("GO", {"n": 2})
    assert (done["status"], done["error"]["class"], done["error"]["step"]) == ("failed", kind, "loop")


@pytest.mark.parametrize("ending", ["timeout", "cancelled"])
async def test_nothing_stays_open_in_an_execution_that_was_ended_while_it_waited(
    hark: EngineUnderTest, ending: str
) -> None:
    await hark.apply(flow("  - {id: each, for_each: [1], do: [{id: long, wait: 1h}]}", timeout="1h"))
    receipt = await hark.emit("GO")
    await waiting(hark, receipt.executions[0])
    if ending == "cancelled":
        await hark.engine.cancel(DEFAULT_TENANT, receipt.executions[0])
    else:
        await hark.database.pool.execute("UPDATE hark.workflow_executions SET deadline_at = now(), due_at = now()")
        hark.engine.claimer.work_arrived()
    done = await hark.ended(receipt.executions[0])
    assert done["status"] == ending
    assert {path: step["status"] for path, step in done["steps"].items()} == {
        "each": "cancelled",
        "each[0].long": "cancelled",
    }
    assert all(step["completed_at"] for step in done["steps"].values())


async def test_a_call_is_repeated_although_something_in_it_did_not_fit(hark: EngineUnderTest) -> None:
    """It failed as `inputs_invalid`, which no attempt of a step's own can help; that of a call is another execution."""
    typed = '{id: t, action: probe, with: {say: "${{ 3 + 4 }}"}, inputs: {say: {type: integer, maximum: 5}}}'
    await hark.apply(f"id: child\nname: C\nsteps: [{typed}]")
    await hark.apply(flow("  - {id: c, call: child, retry: {retries: 2, delay: 1ms}}"))
    done = await hark.run("GO")
    assert (done["error"]["class"], done["error"]["attempt"], len(await children(hark))) == ("inputs_invalid", 3, 3)


async def test_a_failure_in_a_part_reads_as_if_it_had_happened_in_the_whole(hark: EngineUnderTest) -> None:
    """Its attempts were lost, and the part's own execution stood in its details."""
    failing = "{id: p, action: probe, with: {fail: no}, retry: {retries: 2, delay: 1ms}}"
    await hark.apply(flow(f"  - {{id: e, for_each: [1], distribute: true, do: [{failing}]}}"))
    done = await hark.run("GO")
    expected = {"class": "probed", "message": "no", "step": "e[0].p", "attempt": 3}
    assert (done["error"], done["steps"]["e"]["error"]) == (expected, expected)


STOPPED = """  - id: t
    try:
      - id: c
        if: "true"
        then: [{id: s, stop: failed, reason: enough}]
      - {id: never, action: probe}
    finally: [{id: last, wait_for: {event: GO_ON}}]
  - {id: later, action: probe}"""


async def test_a_stop_in_something_that_is_on_record_still_stops_after_a_wait_in_finally(hark: EngineUnderTest) -> None:
    """What held the stop was on record as completed, and the walk after the wait went on behind it."""
    await hark.apply(flow(STOPPED))
    receipt = await hark.emit("GO")
    await waiting(hark, receipt.executions[0])
    await hark.emit("GO_ON")
    done = await hark.ended(receipt.executions[0])
    assert (done["status"], done["error"]["class"], done["error"]["message"]) == ("failed", "stopped", "enough")
    assert hark.probe.calls == []


@pytest.mark.parametrize("holding", ["if: 'true', then: [STOP]", "for_each: [1, 2], do: [STOP], distribute: true"])
async def test_a_branch_that_has_stopped_goes_no_further_when_another_is_taken_up_again(
    hark: EngineUnderTest, holding: str
) -> None:
    stops = holding.replace("STOP", "{id: s, stop: completed, output: 7}")
    works = "{id: w, action: probe, with: {hold: true}}"
    branches = f"{{a: [{{id: h, {stops}}}, {{id: never, action: probe}}], b: [{works}]}}"
    await hark.apply(flow(f"  - {{id: p, parallel: {branches}}}\n  - {{id: later, action: probe}}"))
    receipt = await hark.emit("GO")

    await hark.probe.called.wait()

    async def stopped() -> bool:
        for run in hark.engine.executor._runs.values():
            run.publish()  # nothing with an effect follows that would wait for it
        return "h" in (steps := (await hark.execution(receipt.executions[0]))["steps"]) and bool(
            steps["h"]["status"] == "completed"
        )

    await hark.until(stopped)
    await again(hark)
    hark.probe.release.set()
    done = await hark.ended(receipt.executions[0])
    assert (done["status"], done["output"], {call[0] for call in hark.probe.calls}) == ("completed", 7, {"w"})


@pytest.mark.parametrize("last", ["set: {a: 1}", "wait_for: {event: GO_ON}"])
async def test_a_stop_in_finally_counts_before_the_one_that_it_follows_also_after_a_wait(
    hark: EngineUnderTest, last: str
) -> None:
    """From the record the earlier of the two was taken, so a wait or a crash changed the result."""
    await hark.apply(
        flow(f"""  - id: outer
    try:
      - id: t
        try: [{{id: s1, stop: failed, reason: one}}]
        finally: [{{id: s2, stop: completed, output: 2}}]
    finally: [{{id: last, {last}}}]""")
    )
    receipt = await hark.emit("GO")
    if "wait" in last:
        await waiting(hark, receipt.executions[0])
        await hark.emit("GO_ON")
    done = await hark.ended(receipt.executions[0])
    assert (done["status"], done["output"]) == ("completed", 2)
    assert done["steps"]["t"]["input"] == done["steps"]["outer"]["input"] == {"stopped_by": "s2"}
