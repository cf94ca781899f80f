"""Random workflows leave on record what a reference interpreter says, also when their instance is lost midway."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.engine import EngineUnderTest, Probe, ProbeConfig, running_engine
from support.random_workflows import flows
from support.reference import Failure, Flow, Stop, Trace

from hark.daemon.store.database import Database
from hark.workflows.catalogue import ActionContext
from hark.workflows.states import EXECUTION, STEP

EXAMPLES = settings(
    max_examples=60,
    # The engine is shared by all examples; shrinking a whole workflow takes minutes, which only a person waits for.
    suppress_health_check=list(HealthCheck),
    phases=[phase for phase in Phase if phase is not Phase.shrink or "CI" not in os.environ],
)


class FragileProbe(Probe):
    """Takes away the instance's licence at some of its calls, as another instance does that holds it for dead."""

    def __init__(self) -> None:
        super().__init__()
        self.database: Database | None = None
        self.breaks_at: frozenset[int] = frozenset()

    async def run(self, config: ProbeConfig, context: ActionContext) -> Any:
        """Note the call; lose the licence when it is one of those."""
        number = len(self.calls) + 1
        if number in self.breaks_at and self.database is not None:
            # Each once: branches side by side have the same number until one of them has been noted.
            self.breaks_at -= {number}
            await self.database.pool.execute("DELETE FROM hark.instances")
        return await super().run(config, context)


_WATCHED = {"workflow_executions": EXECUTION, "workflow_steps": STEP}


@asynccontextmanager
async def watched_statuses(database: Database) -> AsyncIterator[None]:
    """Compare every change of a status that the database sees with the state tables."""
    await database.pool.execute(_WATCHING)
    for table in _WATCHED:
        await database.pool.execute(
            f"CREATE TRIGGER watched AFTER UPDATE OF status ON hark.{table} FOR EACH ROW "
            "WHEN (old.status <> new.status) EXECUTE FUNCTION public.note_change()"
        )
    yield
    changes = await database.pool.fetch("SELECT relation, was, became FROM public.changes")
    assert {relation for relation, _, _ in changes} == _WATCHED.keys()
    assert [tuple(row) for row in changes if row["became"] not in _WATCHED[row["relation"]][row["was"]]] == []


_WATCHING = """
CREATE TABLE public.changes (relation text, was text, became text, PRIMARY KEY (relation, was, became));
CREATE FUNCTION public.note_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO public.changes SELECT regexp_replace(TG_TABLE_NAME, '_(oldest|\\d+w\\d+)$', ''), old.status, new.status
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
"""


@pytest.fixture
async def hark(database_url: str) -> AsyncIterator[EngineUnderTest]:
    """Run one engine for all examples of a test."""
    probe = FragileProbe()
    async with running_engine(database_url, probe=probe) as engine:
        probe.database = engine.database
        async with watched_statuses(engine.database):
            yield engine


def expected_status(end: Failure | Stop | None) -> str:
    """Return the status of an execution that ends so."""
    return "failed" if isinstance(end, Failure) else end.status if isinstance(end, Stop) else "completed"


def left(execution: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Return what is on record of steps; turns of loops have records of the engine's own."""
    return {
        path: (step["status"], step["output"]) for path, step in execution["steps"].items() if not path.endswith("]")
    }


def fits(found: tuple[str, Any], status: str, output: Any) -> bool:
    """Compare a step on record with the reference; `...` is an output that only the engine can know."""
    if found[0] != status:
        return False
    if isinstance(output, dict) and "caught" in output:
        return (found[1]["caught"] is not None) == output["caught"]
    return True if output is ... or status == "skipped" else bool(known(found[1]) == known(output))


def known(output: Any) -> Any:
    """Take out of an output what only the engine can know."""
    if isinstance(output, list):
        return [known(one) for one in output]
    if isinstance(output, dict):
        if output.keys() & {"event_id", "waited_until"}:
            return ...
        if "caught" in output:
            return {"caught": output["caught"] not in (None, False)}
        return {name: known(value) for name, value in output.items()}
    return output


def check(execution: dict[str, Any], end: Failure | Stop | None, trace: Trace) -> None:
    """Compare an execution with what the reference interpreter says of it."""
    assert execution["status"] == expected_status(end)
    if isinstance(end, Failure):
        assert (execution["error"]["class"], execution["error"]["message"]) == (end.kind, end.message)
    if isinstance(end, Stop) and end.status != "failed":
        assert execution["output"] == end.output
    found = left(execution)
    assert found.keys() == trace.records.keys()
    wrong = {
        path: (found[path], record)
        for path, record in trace.records.items()
        if not fits(found[path], record.status, record.output)
    }
    assert not wrong


_names = count(1)


async def run(hark: EngineUnderTest, flow: Flow, inputs: dict[str, Any]) -> dict[str, Any]:
    """Apply a workflow under a name of its own and run it to its end."""
    name = f"FLOW{next(_names)}"
    hark.probe.calls.clear()
    await hark.apply(orjson.dumps(flow.written(name)).decode())
    return await hark.run(name, inputs)


def attempts(hark: EngineUnderTest) -> Counter[str]:
    """Count the attempts of each step that has an effect."""
    return Counter(path for path, _, _ in hark.probe.calls)


@EXAMPLES
@given(flow=flows(), n=st.integers(-2, 6))
async def test_a_workflow_does_what_the_reference_interpreter_says(hark: EngineUnderTest, flow: Flow, n: int) -> None:
    end, trace = flow.run({"n": n})
    check(await run(hark, flow, {"n": n}), end, trace)
    assert attempts(hark) == trace.attempts


@EXAMPLES
@given(flow=flows(), n=st.integers(-2, 6), breaks_at=st.frozensets(st.integers(1, 12), min_size=1, max_size=4))
async def test_a_workflow_whose_instance_is_fenced_midway_comes_to_the_same(
    hark: EngineUnderTest, flow: Flow, n: int, breaks_at: frozenset[int]
) -> None:
    assert isinstance(hark.probe, FragileProbe)
    hark.probe.breaks_at = breaks_at
    end, trace = flow.run({"n": n})
    check(await run(hark, flow, {"n": n}), end, trace)
    made = attempts(hark)
    assert made.keys() == trace.attempts.keys()
    assert all(made[path] >= wanted for path, wanted in trace.attempts.items())
    keys = {(path, key) for path, _, key in hark.probe.calls}
    assert len(keys) == len(made), "all attempts of a step share one idempotency key"
