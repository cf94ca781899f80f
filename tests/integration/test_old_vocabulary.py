"""Definitions in the words of older systems, run to their end: what ran is what their authors meant."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.engine import EngineUnderTest, event, running_engine

from hark.workflows.ids import DEFAULT_TENANT
from hark.workflows.loading import load_value


@pytest.fixture
async def hark(database_url: str) -> AsyncIterator[EngineUnderTest]:
    """Run an engine for the test."""
    async with running_engine(database_url) as engine:
        yield engine


async def said(hark: EngineUnderTest, definition: dict[str, Any], data: Any) -> list[str]:
    """Apply a definition, let an event or a start run it to its end, and return what it logged."""
    loaded = load_value(definition, hark.engine.catalogue)
    await hark.engine.publisher.apply(DEFAULT_TENANT, [loaded])
    if loaded.workflow.triggers and loaded.workflow.triggers[0].type == "event":
        kind = loaded.workflow.triggers[0].model_extra["event"]
        receipt = await hark.engine.emit(event(kind, data))
    else:
        receipt = await hark.engine.start_workflow(DEFAULT_TENANT, loaded.workflow.id, inputs=data)
    assert len(receipt.executions) == 1
    done = await hark.ended(receipt.executions[0])
    assert done["status"] == "completed", done["error"]
    return [line["message"] for line in done["logs"]]


def log(message: str) -> dict[str, Any]:
    """Return an action that logs."""
    return {"type": "LOG_EVENT", "config": {"message": message}}


def flat(*actions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a definition in the flat form."""
    return {
        "name": "Flat", "is_active": True, "is_template": False, "trigger_type": "CLIENT_CREATED",
        "trigger_config": {}, "conditions": [], "actions": list(actions), "version": 1, **fields,
    }  # fmt: skip


BRANCHES = [
    {"condition": {"field": "country", "operator": "equals", "value": "DE"}, "then": [log("yes")], "else": [log("no")]},
    {"condition": "event.data.country == 'DE'", "ifTrue": [log("yes")], "ifFalse": [log("no")]},
    {"field": "country", "operator": "equals", "value": "DE", "true_branch": log("yes"), "false_branch": log("no")},
    {"condition": "${{ event.data.country == 'DE' }}", "IF_TRUE": [log("yes")], "IF_FALSE": [log("no")]},
    {
        "condition": {"field": "country", "operator": "in", "value": ["DE"]},
        "branches": [{"type": "IF_TRUE", "actions": [log("yes")]}, {"type": "IF_FALSE", "actions": [log("no")]}],
    },
    {
        "condition": {"field": "country", "operator": "equals", "value": "DE"},
        "branches": [{"type": "IF_TRUE", "actions": [log("yes")]}, {"type": "DEFAULT", "actions": [log("no")]}],
    },
    {
        "value": "event.data.country",
        "cases": [{"value": "DE", "steps": [log("yes")]}, {"value": "AT", "steps": [log("maybe")]}],
        "default": [log("no")],
    },
    {
        "value": "event.data.country",
        "branches": [
            {"type": "SWITCH_CASE", "value": "AT", "steps": [log("maybe")]},
            {"type": "SWITCH_CASE", "value": "DE", "steps": [log("yes")]},
            {"type": "DEFAULT", "steps": [log("no")]},
        ],
    },
]


async def test_conditional_branch_takes_the_branch_that_its_words_mean(hark: EngineUnderTest) -> None:
    for config in BRANCHES:
        definition = flat(log("before"), {"type": "CONDITIONAL_BRANCH", "config": config}, log("after"))
        assert await said(hark, definition, {"country": "DE"}) == ["before", "yes", "after"], config
        assert await said(hark, definition, {"country": "FR"}) == ["before", "no", "after"], config


LOOPS = [
    ({"items": "${{ event.data.lines }}", "itemVariable": "line", "actions": [log("${{ line }}")]}, ["a", "b"]),
    ({"items": ["x", "y"], "actions": [log("${{ item }}")]}, ["x", "y"]),
    ({"collection": "event.data.lines", "as": "one", "steps": [log("${{ one }} ${{ index }}")]}, ["a 0", "b 1"]),
    ({"times": 3, "actions": [log("${{ index }}")]}, ["0", "1", "2"]),
    ({"count": 2, "body": log("again")}, ["again", "again"]),
    ({"condition": "index < 2", "maxIterations": 9, "steps": [log("turn ${{ index }}")]}, ["turn 0", "turn 1"]),
    (
        {
            "items": ["a", "b"],
            "actions": [{
                "type": "CONDITIONAL_BRANCH",
                "config": {"condition": "item == 'a'", "then": [log("first")], "else": [log("other")]},
            }],
        },
        ["first", "other"],
    ),
]  # fmt: skip


async def test_loop_runs_its_body_as_often_as_it_says(hark: EngineUnderTest) -> None:
    for config, expected in LOOPS:
        definition = flat({"type": "LOOP", "config": config}, log("after"))
        assert await said(hark, definition, {"lines": ["a", "b"]}) == [*expected, "after"], config


DELAYS = ({"duration": 50}, {"duration": "50"}, {"duration": "50ms"}, {"duration": "PT0.05S"})


async def test_delay_waits_for_what_it_says(hark: EngineUnderTest) -> None:
    for config in DELAYS:
        assert 0.05 <= await took(hark, config) < 1, config
    assert await took(hark, {"until": "2020-01-01T00:00:00Z"}) < 0.05


async def took(hark: EngineUnderTest, config: dict[str, Any]) -> float:
    """Run a DELAY and return how long its step took, in seconds."""
    assert await said(hark, flat({"type": "DELAY", "config": config}, log("after")), {}) == ["after"]
    row = await hark.database.pool.fetchrow(
        "SELECT completed_at - started_at AS took FROM hark.workflow_steps WHERE path = 'delay' "
        "ORDER BY execution_id DESC LIMIT 1"
    )
    seconds: float = row["took"].total_seconds()
    return seconds


async def test_a_flat_row_with_json_in_strings_runs_alike(hark: EngineUnderTest) -> None:
    row = flat(
        {"type": "CONDITIONAL_BRANCH", "config": json.dumps(BRANCHES[0])}, log("${{ event.data.country }}"),
        conditions=[{"field": "country", "operator": "is_set"}],
    )  # fmt: skip
    row |= {key: json.dumps(row[key]) for key in ("trigger_config", "conditions", "actions")}
    assert await said(hark, row, {"country": "DE"}) == ["yes", "DE"]


TYPED = {
    "workflowId": "typed",
    "name": "Typed steps",
    "steps": [
        {"id": "t", "type": "TRIGGER", "triggerType": "MANUAL"},
        {"id": "first", "type": "ACTION", "actionType": "LOG_EVENT", "config": {"message": "first"}},
        {
            "id": "check", "type": "CONDITION", "condition": "inputs.n > 1",
            "branches": [
                {"type": "IF_TRUE", "steps": [
                    {"id": "many", "type": "ACTION", "actionType": "LOG_EVENT", "config": {"message": "many"}},
                    {
                        "id": "inner", "type": "CONDITION", "value": "inputs.n",
                        "branches": [
                            {"type": "SWITCH_CASE", "value": 2, "steps": [{"id": "two", **log("two")}]},
                            {"type": "SWITCH_CASE", "value": 3, "steps": [{"id": "three", **log("three")}]},
                            {"type": "DEFAULT", "steps": [{"id": "more", **log("more")}]},
                        ],
                    },
                ]},
                {"type": "IF_FALSE", "steps": [{"id": "few", **log("few")}]},
            ],
        },
        {"id": "last", "type": "ACTION", "actionType": "LOG_EVENT", "config": {"message": "last"}},
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    "n, inside", [(1, ["few"]), (2, ["many", "two"]), (3, ["many", "three"]), (9, ["many", "more"])]
)
async def test_typed_steps_with_nested_branches(hark: EngineUnderTest, n: int, inside: list[str]) -> None:
    assert await said(hark, TYPED, {"n": n}) == ["first", *inside, "last"]


def node(name: str, kind: str = "LOG_EVENT", **config: Any) -> dict[str, Any]:
    """Return a node of a graph; one that logs says its own name."""
    return {"id": name, "type": kind, "config": config or {"message": name}}


def edge(source: str, target: str, **fields: Any) -> dict[str, Any]:
    """Return an edge of a graph."""
    return {"source": source, "target": target, **fields}


GRAPH = {
    "workflowId": "graph",
    "name": "Graph",
    "version": "1.0.0",
    "nodes": [
        node("start", "manual", x=1) | {"config": {}}, node("a"),
        node("check", "CONDITION", field="country", operator="equals", value="DE"),
        node("german"), node("other"), node("size", "SWITCH", field="size"),
        node("big"), node("small"), node("rest"), node("end"),
    ],
    "edges": [
        edge("start", "a"), edge("a", "check"),
        edge("check", "german", condition="IF_TRUE"), edge("check", "other", sourceHandle="false"),
        edge("german", "size"), edge("other", "size"),
        edge("size", "big", condition={"type": "SWITCH_CASE", "value": "big"}),
        edge("size", "small", condition="SWITCH_CASE:small"), edge("size", "rest", condition="DEFAULT"),
        edge("big", "end"), edge("small", "end"), edge("rest", "end"),
    ],
}  # fmt: skip


async def test_a_graph_follows_the_edges_of_what_was_taken(hark: EngineUnderTest) -> None:
    for country, size, expected in (
        ("DE", "big", ["a", "german", "big", "end"]),
        ("FR", "small", ["a", "other", "small", "end"]),
        ("FR", "odd", ["a", "other", "rest", "end"]),
    ):
        assert await said(hark, GRAPH, {"country": country, "size": size}) == expected


async def test_control_nodes_in_a_graph(hark: EngineUnderTest) -> None:
    graph = {
        "workflowId": "control", "name": "Control", "version": "1",
        "nodes": [
            node("pause", "DELAY", duration=10),
            node("each", "LOOP", items=["x", "y"], actions=[log("${{ item }}")]),
            node("pick", "CONDITIONAL_BRANCH", condition="inputs.ok", then=[log("good")], otherwise=1) | {
                "config": {"condition": "inputs.ok", "then": [log("good")], "else": [log("bad")]}
            },
        ],
        "edges": [edge("pause", "each"), edge("each", "pick")],
    }  # fmt: skip
    assert await said(hark, graph, {"ok": True}) == ["x", "y", "good"]
    assert await said(hark, graph, {"ok": False}) == ["x", "y", "bad"]
