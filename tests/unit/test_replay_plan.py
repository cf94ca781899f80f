"""What stays on record when an execution is run again from a step, in every kind of block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hark.workflows.errors import UnprocessableError
from hark.workflows.replay_plan import Recorded, plan_replay


def step(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "action": "probe", **fields}


TRY = {
    "steps": [
        {"id": "t", "try": [step("b")], "catch": [step("c")], "finally": [step("f")], "on_error": [step("h")]},
        step("z"),
    ],
    "on_error": [step("last")],
}
GRAPH = {
    "steps": [
        step("a", needs=[]),
        step("b", needs=["a"]),
        step("c", needs=["b"]),
        step("d", needs=["a"]),
        step("e", needs=["d", "c"]),
    ]
}
LOOPS = {
    "steps": [
        {"id": "w", "while": "true", "do": [{"id": "p", "for_each": "x", "parallel": 3, "do": [step("x")]}, step("y")]},
        {"id": "r", "parallel": {"one": [step("o")], "two": [step("u")]}, "race": True},
    ]
}
TRY_RECORD = "b:failed c:completed f:failed t/try:failed h:completed z:completed last:completed"
GRAPH_RECORD = "a:completed d:failed b:completed c:completed e:completed"
LOOPS_RECORD = (
    "w[0]/iteration:completed w[0].p[0].x:completed w[0].p/for_each:completed w[0].y:completed "
    "w[1]/iteration:completed w[1].p[0].x:completed w[1].p[1].x:failed w[1].p[2].x:completed "
    "w[1].p/for_each:failed w/while:failed o:completed u:cancelled r/parallel:completed"
)
BEFORE_RACE = "w[0] w[0].p[0].x w[0].p w[0].y w[1] w[1].p[0].x w[1].p[1].x w[1].p[2].x w[1].p w"
NOWHERE = ["w[0].q", "w[7].y", "w.y", "x", "w[0].p[0].x[0]", "w[0]..y", "..", "p[0].w[0].x"]


def recorded(text: str) -> list[Recorded]:
    found = []
    for part in text.split():
        name, status = part.split(":")
        path, _, verb = name.partition("/")
        found.append(Recorded(path, verb or "action", status))
    return found


@pytest.mark.parametrize(
    "definition, record, from_step, kept, reopened",
    [
        (TRY, TRY_RECORD, "b", "", "t"),
        (TRY, TRY_RECORD, "c", "b", "t"),
        (TRY, TRY_RECORD, "f", "b c", "t"),
        (TRY, TRY_RECORD, "t", "", ""),
        (TRY, TRY_RECORD, "h", "b c f t", ""),
        (TRY, TRY_RECORD, "z", "b c f t h", ""),
        (TRY, TRY_RECORD, "last", "b c f t h z", ""),
        (GRAPH, GRAPH_RECORD, "b", "a", ""),
        (GRAPH, GRAPH_RECORD, "d", "a b c", ""),
        (GRAPH, GRAPH_RECORD, "e", "a b c", ""),
        (LOOPS, LOOPS_RECORD, "w[0].y", "w[0] w[0].p[0].x w[0].p", "w"),
        (LOOPS, LOOPS_RECORD, "w[1].p[0].x", "w[0] w[0].p[0].x w[0].p w[0].y w[1] w[1].p[2].x", "w[1].p w"),
        (LOOPS, LOOPS_RECORD, "w[1]", "w[0] w[0].p[0].x w[0].p w[0].y", "w"),
        (LOOPS, LOOPS_RECORD, "o", BEFORE_RACE, "r"),
    ],
)  # fmt: skip
def test_what_stays(definition: Mapping[str, Any], record: str, from_step: str, kept: str, reopened: str) -> None:
    plan = plan_replay(definition, recorded(record), from_step)
    assert sorted(plan.kept) == sorted(kept.split())
    assert plan.reopened == reopened.split()


@pytest.mark.parametrize(
    "from_step", ["w[0].q", "w[7].y", "w.y", "x", "w[0].p[0].x[0]", "w[0]..y", "..", "p[0].w[0].x"]
)
def test_a_path_to_nowhere_is_refused(from_step: str) -> None:
    with pytest.raises(UnprocessableError, match="has reached"):
        plan_replay(LOOPS, recorded(LOOPS_RECORD), from_step)
