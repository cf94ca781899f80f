"""Forms: the flat form, the graph form and other names become the native definition that a person would write."""

# ruff: noqa: E501 - tables of cases are read row by row

from __future__ import annotations

import json
from typing import Any

import pytest
from support.language import CATALOGUE, load_one

from hark.workflows.errors import DefinitionError, Place
from hark.workflows.expressions import compile_expression
from hark.workflows.forms.rewrite import Watch, slug
from hark.workflows.hashing import content_hash
from hark.workflows.loading import Loaded, load_all, load_value
from hark.workflows.scopes import STEP

SEND = {
    "type": "SEND_EMAIL",
    "config": {"to": "a@example.org", "subject": "Hi", "body": "x", "replyTo": "b@example.org"},
}

SENT = {"to": "a@example.org", "subject": "Hi", "body": "x", "reply_to": "b@example.org"}


def flat(**fields: Any) -> dict[str, Any]:
    return {
        "name": "Welcome",
        "is_active": True,
        "is_template": False,
        "trigger_type": "CLIENT_CREATED",
        "trigger_config": {},
        "conditions": [],
        "actions": [SEND],
        "version": 3,
        "created_by": "7a3c",
        "created_at": "2024-01-01T00:00:00Z",
        "updated_at": None,
        **fields,
    }


def load(value: dict[str, Any]) -> Loaded:
    return load_value(value, CATALOGUE)


# ---- the flat form


def test_a_flat_row_becomes_an_event_trigger_and_named_steps() -> None:
    loaded = load(flat(description="Greet", actions=[SEND, {"type": "DELAY", "config": {"duration": 5000}}, SEND]))
    assert loaded.raw == {
        "id": "welcome",
        "name": "Welcome",
        "description": "Greet",
        "metadata": {"version": 3},
        "triggers": [{"id": "event", "type": "event", "event": "CLIENT_CREATED"}],
        "conditions": [],
        "steps": [
            {"id": "send_email", "action": "SEND_EMAIL", "with": SENT},
            {"id": "delay", "action": "DELAY", "with": {"duration": 5000}},
            {"id": "send_email_2", "action": "SEND_EMAIL", "with": SENT},
        ],
    }
    assert loaded.workflow.steps[0].model_dump()["action"] == "send_email"


def test_what_no_definition_can_hold_stands_beside_it() -> None:
    imported = load(flat(is_active=False, is_template="true")).imported
    assert (imported.form, imported.active, imported.template) == ("flat", False, True)
    assert (imported.version, imported.created_by) == ("3", "7a3c")
    assert imported.watch == Watch("CLIENT_CREATED", "client", ("insert",))
    assert load(flat(trigger_type="CLIENT_STATUS_CHANGED")).imported.watch == Watch(
        "CLIENT_STATUS_CHANGED", "client", ("update",), ("status",)
    )
    assert load(flat(trigger_type="SOMETHING")).imported.watch is None


def test_json_as_strings_is_the_same_definition() -> None:
    row = flat(trigger_config={"table": "public.clients"}, conditions=[{"field": "status", "operator": "is_set"}])
    strings = {key: json.dumps(row[key]) for key in ("trigger_config", "conditions", "actions")}
    assert content_hash(load({**row, **strings}).workflow) == content_hash(load(row).workflow)


def test_a_table_makes_a_row_trigger_that_publishes_the_event_too() -> None:
    loaded = load(
        flat(
            trigger_type="CLIENT_STATUS_CHANGED",
            trigger_config={"table": "public.clients", "from": "lead", "to": "customer"},
            conditions=[{"field": "client.country", "operator": "in", "value": ["DE", "AT"]}],
        )
    )
    assert loaded.raw["triggers"] == [
        {
            "id": "row",
            "type": "row",
            "table": "public.clients",
            "as": "CLIENT_STATUS_CHANGED",
            "operations": ["update"],
            "columns": ["status"],
            "from": "lead",
            "to": "customer",
            "subject": {"kind": "client", "id": "${{ new.id }}"},
        }
    ]
    assert loaded.raw["conditions"] == ['new.country in ["DE", "AT"]']
    assert loaded.imported.watch is None


def test_a_trigger_type_that_is_a_kind_makes_that_trigger() -> None:
    loaded = load(flat(trigger_type="SCHEDULE", trigger_config={"cron": "0 9 * * *", "timezone": "Europe/Berlin"}))
    assert loaded.raw["triggers"] == [
        {"id": "cron", "type": "cron", "schedule": "0 9 * * *", "timezone": "Europe/Berlin"}
    ]


ROW = {
    "new": {"status": "lead", "amount": 7, "tags": ["vip"], "name": "Ann Lee", "gone": None},
    "old": {"status": "new"},
}
CONDITIONS = [
    ({"field": "status", "operator": "equals", "value": "lead"}, True),
    ({"field": "client.status", "operator": "not_equals", "value": "lead"}, False),
    ({"field": "status", "operator": "notEquals", "value": "x"}, True),
    ({"field": "amount", "operator": "greater_than", "value": 5}, True),
    ({"field": "amount", "operator": "<=", "value": 6.5}, False),
    ({"field": "amount", "operator": "between", "value": [1, 7]}, True),
    ({"field": "status", "operator": "in", "value": "lead, customer"}, True),
    ({"field": "status", "operator": "not_in", "value": ["lead"]}, False),
    ({"field": "tags", "operator": "contains", "value": "vip"}, True),
    ({"field": "name", "operator": "contains", "value": "Lee"}, True),
    ({"field": "name", "operator": "not_contains", "value": "Lee"}, False),
    ({"field": "name", "operator": "starts_with", "value": 'A"'}, False),
    ({"field": "name", "operator": "ends_with", "value": "Lee"}, True),
    ({"field": "name", "operator": "matches", "value": "^A.n"}, True),
    ({"field": "nothing", "operator": "exists"}, False),
    ({"field": "gone", "operator": "is_null"}, True),
    ({"field": "gone", "operator": "is_empty"}, True),
    ({"field": "tags", "operator": "not_empty"}, True),
    ({"field": "old.status", "operator": "equals", "value": "new"}, True),
    ({"field": "tags[0]", "operator": "equals", "value": "vip"}, True),
    ({"all": [{"field": "amount", "operator": ">", "value": 1}, {"field": "status", "value": "x"}]}, False),
    ({"any": [{"field": "amount", "operator": ">", "value": 1}, {"field": "status", "value": "x"}]}, True),
    ({"operator": "OR", "conditions": [{"field": "amount", "value": 1}, {"field": "status", "value": "lead"}]}, True),
    ("event.data.new.amount == 7", True),
    ({"expression": "${{ event.data.new.amount == 7 }}"}, True),
]


@pytest.mark.parametrize("condition, expected", CONDITIONS)
def test_conditions_of_field_operator_and_value_become_expressions_that_hold_alike(
    condition: Any, expected: bool
) -> None:
    """For an event without a table the data is a row that changed, or the fields that a program has published."""
    (source,) = load(flat(conditions=[condition])).raw["conditions"]
    assert compile_expression(source, STEP).holds({"event": {"data": ROW}}) is expected
    if "new.amount" not in source and isinstance(condition, dict) and "old" not in str(condition):
        plain = compile_expression(source, STEP)
        assert plain.holds({"event": {"data": ROW["new"]}}) is expected


def test_an_unknown_operator_is_refused_where_it_stands() -> None:
    text = '{"name": "X", "trigger_type": "A_CREATED", "actions": [],\n "conditions": [{"field": "a", "operator": "equls", "value": 1}]}'
    with pytest.raises(DefinitionError) as caught:
        load_one(text)
    (problem,) = caught.value.problems
    assert (problem.place, problem.message) == (Place(2, 44), "unknown operator 'equls'")
    assert "equals" in problem.hint


def test_problems_of_the_flat_form_point_into_its_source() -> None:
    text = '{"name": "X", "trigger_type": "CLIENT_CREATED",\n "actions": [{"type": "SEND_MAIL", "config": {}},\n  {"type": "LOG_EVENT", "config": {"mesage": 1}}]}'
    with pytest.raises(DefinitionError) as caught:
        load_one(text)
    assert [(problem.place, problem.path) for problem in caught.value.problems] == [
        (Place(2, 23), ("actions", 0, "type")),
        (Place(3, 35), ("actions", 1, "config")),
        (Place(3, 36), ("actions", 1, "config", "mesage")),
    ]


def test_branches_and_loops_of_the_flat_form() -> None:
    log = {"type": "LOG_EVENT", "config": {"message": "x"}}
    branch = {"condition": {"field": "inputs.vip", "operator": "is_true"}, "ifTrue": [log], "ifFalse": log}
    loop = {"items": "${{ event.data.items }}", "itemVariable": "line", "actions": [log], "maxIterations": 5}
    raw = load(flat(actions=[{"type": "CONDITIONAL_BRANCH", "config": branch}, {"type": "LOOP", "config": loop}])).raw
    assert raw["steps"] == [
        {
            "id": "conditional_branch",
            "if": "inputs.vip == true",
            "then": [{"id": "log_event", "action": "LOG_EVENT", "with": {"message": "x"}}],
            "else": [{"id": "log_event_2", "action": "LOG_EVENT", "with": {"message": "x"}}],
        },
        {
            "id": "loop",
            "for_each": "event.data.items",
            "as": "line",
            "max_items": 5,
            "do": [{"id": "log_event_3", "action": "LOG_EVENT", "with": {"message": "x"}}],
        },
    ]


def test_filters_in_the_trigger_config_become_its_condition() -> None:
    loaded = load(flat(trigger_type="CLIENT_STATUS_CHANGED", trigger_config={"to": "customer", "region": "EU"}))
    when = compile_expression(loaded.raw["triggers"][0]["when"], STEP)
    assert when.holds({"event": {"data": {"status": "customer", "region": "EU"}}})
    assert when.holds({"event": {"data": {"new": {"status": "customer", "region": "EU"}}}})
    assert not when.holds({"event": {"data": {"status": "lead", "region": "EU"}}})
    (warning,) = loaded.warnings
    assert "`region` in trigger_config is read as the condition" in warning.message


def test_actions_run_in_their_own_order() -> None:
    actions = [{"type": "LOG_EVENT", "order": 2, "config": {"message": "b"}}, {**SEND, "order": 1}]
    assert [step["id"] for step in load(flat(actions=actions)).raw["steps"]] == ["send_email", "log_event"]


# ---- the graph form

GRAPH = """
workflowId: Lead Flow
name: Lead flow
version: 1.2.0
nodes:
  - {id: node-1, type: webhook-trigger, config: {path: leads}}
  - {id: node-2, type: LOG_EVENT, name: First, config: {message: hi}}
  - {id: node-3, type: CONDITION, config: {field: country, operator: equals, value: DE}}
  - {id: node-4, type: LOG_EVENT, config: {message: german}}
  - {id: node-5, type: LOG_EVENT, config: {message: other}}
  - {id: node-6, type: LOG_EVENT, config: {message: after}}
edges:
  - {source: node-1, target: node-2}
  - {source: node-2, target: node-3, condition: inputs.size > 3}
  - {source: node-3, target: node-4, condition: IF_TRUE}
  - {source: node-3, target: node-5, condition: IF_FALSE}
  - {source: node-4, target: node-6}
  - {source: node-5, target: node-6}
"""


def test_a_graph_becomes_steps_with_needs_and_guards() -> None:
    loaded = load_one(GRAPH)
    assert loaded.raw["id"] == "lead-flow"
    assert loaded.raw["triggers"] == [{"path": "leads", "id": "node_1", "type": "webhook"}]
    steps = {step["id"]: step for step in loaded.raw["steps"]}
    assert {name: (step["needs"], step.get("if")) for name, step in steps.items()} == {
        "node_2": ([], None),
        "node_3": (["node_2"], "inputs.size > 3"),
        "node_4": (["node_3"], "steps.node_3.output.case == 0"),
        "node_5": (["node_3"], "steps.node_3.output.case == null"),
        "node_6": (
            ["node_4", "node_5"],
            '(steps.node_4.status == "completed") || (steps.node_5.status == "completed")',
        ),
    }
    assert steps["node_3"]["cases"] == [{"when": 'inputs.country == "DE"', "do": []}]
    assert loaded.imported.version == "1.2.0"


def test_a_switch_node_follows_the_edge_of_its_case() -> None:
    text = """
workflowId: s
name: S
nodes:
  - {id: size, type: SWITCH, config: {field: size}}
  - {id: big, type: LOG_EVENT, config: {message: x}}
  - {id: small, type: LOG_EVENT, config: {message: x}}
  - {id: rest, type: LOG_EVENT, config: {message: x}}
edges:
  - {source: size, target: big, condition: {type: SWITCH_CASE, value: big}}
  - {source: size, target: small, condition: "SWITCH_CASE:small"}
  - {source: size, target: rest, condition: DEFAULT}
"""
    steps = {step["id"]: step for step in load_one(text).raw["steps"]}
    assert steps["size"]["switch"] == "inputs.size"
    assert [case["value"] for case in steps["size"]["cases"]] == ["big", "small"]
    assert [steps[name]["if"].rpartition(" ")[2] for name in ("big", "small", "rest")] == ["0", "1", "null"]


def test_an_empty_graph_is_a_draft_without_steps() -> None:
    loaded = load({"workflowId": "e", "name": "E", "version": "1.0", "nodes": [], "edges": []})
    assert loaded.workflow.steps == []


@pytest.mark.parametrize(
    "edge, message",
    [
        ("{source: node-1, target: nowhere}", "an edge names 'nowhere', but no node has this id"),
        ("{target: node-2}", "an edge without `source`"),
        (
            "{source: node-6, target: node-2}",
            "the steps wait for each other: node_2 → node_6 → node_4 → node_3 → node_2",
        ),
    ],
)
def test_edges_that_lead_nowhere_or_in_a_circle_are_refused(edge: str, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        load_one(GRAPH + f"  - {edge}\n")
    assert message in [problem.message for problem in caught.value.problems]


def test_problems_of_the_graph_form_point_at_its_nodes() -> None:
    with pytest.raises(DefinitionError) as caught:
        load_one(GRAPH.replace("type: LOG_EVENT, name: First", "type: LOG_EVNT, name: First"))
    (problem,) = caught.value.problems
    assert (problem.place, problem.message) == (Place(7, 24), "unknown action `LOG_EVNT`")


# ---- other names


def test_other_names_become_the_native_ones() -> None:
    other = load_one("""
workflowId: names
name: Names
onError: [{id: oe, action: LOG_EVENT, with: {message: x}}]
rateLimit: {limit: 5, per: 60s}
retention: 30d
triggers:
  - {type: SCHEDULE, config: {cronExpression: "0 9 * * *"}}
  - {type: cron, schedule: "@daily"}
steps:
  - {id: t, type: TRIGGER, triggerType: MANUAL}
  - {id: a, type: ACTION, actionType: SEND_EMAIL, config: {to: a@b.c, subject: x, body: y, replyTo: q@x.y}, dependsOn: []}
  - id: b
    type: CONDITION
    condition: inputs.x == 1
    branches: [{type: IF_TRUE, steps: [{id: b1, action: LOG_EVENT, with: {message: x}}]}, {type: IF_FALSE, steps: []}]
  - id: c
    type: CONDITION
    value: inputs.y
    branches:
      - {type: SWITCH_CASE, value: 1, steps: [{id: c1, action: set, with: {a: 1}}]}
      - {type: DEFAULT, steps: [{id: c2, action: DELAY, with: {duration: 500}}]}
  - {id: d, action: LOOP, with: {condition: "vars.a < 3", maxIterations: 5, steps: [{id: d1, set: {a: "${{ vars.a + 1 }}"}}]}}
  - {id: e, if: "${{ inputs.z }}", forEach: "${{ inputs.list }}", do: [{id: e1, action: log_event, with: {message: x}}], retry: 3}
""")
    native = load_one("""
id: names
name: Names
on_error: [{id: oe, action: log_event, with: {message: x}}]
rate_limit: {limit: 5, per: 1m}
retention: {for: 30d}
triggers:
  - {type: cron, schedule: "0 9 * * *"}
  - {id: cron_2, type: cron, schedule: "@daily"}
  - {id: t, type: manual}
steps:
  - {id: a, needs: [], action: send_email, with: {to: a@b.c, subject: x, body: y, reply_to: q@x.y}}
  - {id: b, if: inputs.x == 1, then: [{id: b1, action: log_event, with: {message: x}}]}
  - id: c
    switch: inputs.y
    cases: [{value: 1, do: [{id: c1, set: {a: 1}}]}]
    default: [{id: c2, action: delay, with: {duration: 500}}]
  - {id: d, while: vars.a < 3, max_iterations: 5, do: [{id: d1, set: {a: "${{ vars.a + 1 }}"}}]}
  - {id: e, if: inputs.z, for_each: inputs.list, do: [{id: e1, action: log_event, with: {message: x}}], retry: {retries: 3}}
""")
    assert content_hash(other.workflow) == content_hash(native.workflow)


def test_a_definition_inside_of_the_row_that_carries_it() -> None:
    native = {"steps": [{"id": "a", "wait": "1m"}]}
    for definition in (native, json.dumps(native)):
        loaded = load({"workflow_id": "x", "name": "X", "version": "2", "tags": ["a"], "definition": definition})
        assert (loaded.workflow.id, loaded.workflow.tags, loaded.imported.version) == ("x", ["a"], "2")


@pytest.mark.parametrize(
    "name, expected",
    [
        ("Welcome a lead!", "welcome-a-lead"),
        ("Größe & Maß", "grosse-mass"),
        ("already-a_slug", "already-a_slug"),
        ("日本", "workflow-"),
        ("x" * 300, "x" * 100),
    ],
)
def test_slugs_are_made_from_names(name: str, expected: str) -> None:
    assert slug(name).startswith(expected)
    assert load_value({"id": slug(name), "name": "X", "steps": []}, CATALOGUE).workflow.id == slug(name)


def test_native_steps_are_left_as_they_are() -> None:
    text = "id: a\nname: A\nsteps: [{id: a, set: {type: x, config: y, forEach: z}}]"
    (loaded,) = load_all(text, CATALOGUE)
    assert loaded.raw["steps"] == [{"id": "a", "set": {"type": "x", "config": "y", "forEach": "z"}}]
