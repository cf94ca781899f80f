"""What stays on record when an execution is run again from a step, in every kind of block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from hark.workflows.errors import UnprocessableError
from hark.workflows.replay_plan import Recorded, check_version, plan_replay
from hark.workflows.turns import Turns


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


FOLDED = {
    "steps": [
        {"id": "w", "while": "true", "do": [step("x"), {"id": "i", "for_each": "x", "do": [step("v")]}]},
        {"id": "p", "for_each": "x", "parallel": 3, "do": [step("y")]},
        step("z"),
    ]
}
FOLDS = [
    Recorded("w[0-9]", "fold", "completed", Turns([(0, 3), (5, 9)])),
    *recorded("w[4]/iteration:completed w[4].x:failed w[4].i/for_each:completed w[10]/iteration:completed"),
    *recorded("w[10].x:completed"),
    Recorded("w[10].i[0-7]", "fold", "completed", Turns([(0, 7)])),
    *recorded("w[10].i[8].v:completed w[10].i/for_each:completed w/while:completed"),
    Recorded("p[0-4]", "fold", "completed", Turns([(0, 1), (3, 4)])),
    *recorded("p[2].y:failed p[5].y:completed p/for_each:failed z:completed"),
]
BEFORE_P = "w[0-9] w[4] w[4].x w[4].i w[10] w[10].x w[10].i[0-7] w[10].i[8].v w[10].i w"


@pytest.mark.parametrize(
    "from_step, kept, reopened",
    [
        ("z", f"{BEFORE_P} p[0-4] p[2].y p[5].y p", ""),
        ("p[2].y", f"{BEFORE_P} p[0-4] p[5].y", "p"),
        ("p", BEFORE_P, ""),
        ("w[10].i[8].v", "w[0-9] w[4] w[4].x w[4].i w[10] w[10].x w[10].i[0-7]", "w[10].i w"),
        ("w[10].i", "w[0-9] w[4] w[4].x w[4].i w[10] w[10].x", "w"),
        ("w[10].x", "w[0-9] w[4] w[4].x w[4].i w[10]", "w"),
        ("w", "", ""),
    ],
)
def test_folded_turns_stay_or_go_together(from_step: str, kept: str, reopened: str) -> None:
    plan = plan_replay(FOLDED, FOLDS, from_step)
    assert (plan.kept, plan.reopened) == (kept.split(), reopened.split())
    assert plan.keeps("w[7].x") == ("w[0-9]" in kept.split())
    check_version(plan, FOLDED, FOLDED, from_step)


@pytest.mark.parametrize(
    "from_step, said",
    [
        ("w[3].x", "turns 0-3, 5-9 of 'w' are folded away"),
        ("w[7]", "replay from a turn after 9, or from 'w'"),
        ("w[4].x", "turns 0-3, 5-9 of 'w' are folded away"),
        ("w[10].i[2].v", r"turns 0-7 of 'w\[10\].i' are folded away"),
        ("p[3].y", "turns 0-1, 3-4 of 'p' are folded away"),
        ("w[11].x", "'w\\[11\\].x' is no step that this execution has reached"),
    ],
)
def test_what_is_folded_away_is_not_gone_on_from(from_step: str, said: str) -> None:
    with pytest.raises(UnprocessableError, match=said):
        plan_replay(FOLDED, FOLDS, from_step)
