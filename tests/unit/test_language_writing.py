"""Writing: what is written reads back as what it was, and the content hash knows what matters."""

# ruff: noqa: E501 - tables of cases are read row by row

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from support.language import CATALOGUE, load_one

from hark.workflows.definition import Workflow
from hark.workflows.hashing import content_hash
from hark.workflows.loading import load_all
from hark.workflows.normalise import normalise
from hark.workflows.reading import read_source
from hark.workflows.writing import dump_yaml, to_json, to_yaml

NASTY = [
    "on", "yes", "No", "1.0", "1e3", "0o17", "null", "~", "", " ", "a ", " a", "\n", "a\n", "a\n\nb", "a \nb", "\ta\nb",
    "${{ x }}", "a: b", "a #b", "- a", "? a", "[a]", "{a}", "*a", "&a", "!a", "|", ">", "%a", "@a", "`a", "'a'", '"a"',
    "2024-01-01", "12:30:00", "=", "<<", "...", "---", "😀", "ä\u2028b", "\x85", "\x07", "\x7f", "\ufeffa", "a\r\nb", "\\n",
    "x" * 300, "a, b", "1_000", ".5", ".inf", ".nan", "0x1F", "SELECT *\n  FROM t\nWHERE x = 'y'\n", "line\n  more\n\n",
]  # fmt: skip
TEXT = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
SOME_TEXT = TEXT.filter(bool)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | TEXT
    | st.floats(allow_nan=False, allow_infinity=False)
)
FLAT = SCALAR | st.lists(SCALAR, max_size=3) | st.dictionaries(TEXT, SCALAR, max_size=2)
JSON = FLAT | st.lists(FLAT, max_size=2) | st.dictionaries(TEXT, FLAT, max_size=2)
CEL = st.sampled_from(["inputs.x == 1", 'vars.a != "on"', "size(steps.a.output) > 0", "a\n&& b"])
NAME = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
DURATION = st.sampled_from(["50ms", "10s", "1h30m", "7d", "PT10M", 1500, "0s"]) | st.just("${{ inputs.wait }}")
LITERAL_DURATION = st.sampled_from(["50ms", "10s", "1h30m", "7d", "PT10M", 1500])
PROPERTY = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from(["string", ["string", "null"]]), "required": st.booleans(), "default": JSON,
                  "description": TEXT, "maxLength": st.integers(0, 9), "enum": st.lists(JSON, max_size=2)}
)  # fmt: skip
PROPERTIES = st.dictionaries(NAME, PROPERTY, max_size=2)


def some(required: dict[str, Any], optional: dict[str, Any] | None = None) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional or {})


RETRY = some({}, {"retries": st.integers(0, 5), "delay": LITERAL_DURATION, "backoff": st.just("linear"), "when": CEL})
COMMON: dict[str, Any] = {
    "name": TEXT, "description": TEXT, "needs": st.lists(NAME, max_size=2), "timeout": DURATION, "retry": RETRY,
    "continue_on_error": st.booleans(), "inputs": PROPERTIES, "outputs": PROPERTIES,
}  # fmt: skip


def step(verb: dict[str, Any], optional: dict[str, Any] | None = None, guard: bool = True) -> st.SearchStrategy[Any]:
    return some({"id": NAME, **verb}, {**COMMON, **({"if": CEL} if guard else {}), **(optional or {})})


LEAVES = st.one_of(
    step(
        {"action": st.sampled_from(["log_event", "SEND_EMAIL", "my.plugin"])},
        {"with": st.dictionaries(TEXT, JSON, max_size=3)},
    ),
    step({"wait": DURATION}),
    step({"wait": some({"until": SOME_TEXT}, {"at_most": LITERAL_DURATION})}),
    step({"wait_for": some({"event": TEXT}, {"when": CEL, "lookback": LITERAL_DURATION, "timeout": DURATION})}),
    step({"approve": some({}, {"message": TEXT, "approvers": st.lists(TEXT, max_size=2), "form": PROPERTIES})}),
    step({"call": TEXT}, {"with": st.dictionaries(TEXT, JSON, max_size=2), "detach": st.booleans()}),
    step({"set": st.dictionaries(NAME, JSON, max_size=3)}),
    step({"remember": st.dictionaries(SOME_TEXT.map(lambda text: text[:200]), JSON, max_size=3)}),
    step({"emit": some({"type": TEXT}, {"data": JSON, "subject": JSON, "key": TEXT})}),
    step({"stop": st.sampled_from(["completed", "failed", "skipped"])}, {"reason": TEXT, "output": JSON}),
)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    block = st.lists(inner, max_size=2)
    return st.one_of(
        step({"if": CEL, "then": block}, {"else": block, "on_error": block}, guard=False),
        step({"switch": CEL, "cases": st.lists(some({"value": JSON, "do": block}) | some({"when": CEL, "do": block}), max_size=2)}, {"default": block}),
        step({"for_each": CEL | st.lists(JSON, max_size=2), "do": block}, {"as": NAME, "parallel": st.integers(1, 5), "max_items": st.integers(1, 9)}),
        step({"while": CEL, "do": block}, {"max_iterations": st.integers(1, 9)}),
        step({"parallel": st.dictionaries(NAME, block, max_size=2)}, {"race": st.booleans()}),
        step({"try": block, "catch": st.lists(inner, min_size=1, max_size=2)}, {"finally": block}),
    )  # fmt: skip


STEPS = st.lists(LEAVES | nested(LEAVES | nested(LEAVES)), max_size=2)
TRIGGERS = st.lists(
    some({"type": st.sampled_from(["row", "my_kind"])},
         {"id": NAME, "as": TEXT, "when": CEL, "inputs": st.dictionaries(TEXT, JSON, max_size=2) | TEXT, "path": JSON,
          "subject": some({"kind": TEXT, "id": JSON}), "enabled": st.booleans()}),
    max_size=2,
)  # fmt: skip
EXPECTED = some(
    {}, {"status": st.sampled_from(["completed", "failed"]), "output": JSON, "error": TEXT, "vars": st.dictionaries(NAME, JSON, max_size=2),
         "steps": st.dictionaries(NAME, st.just("skipped") | some({}, {"input": JSON, "output": JSON}), max_size=2),
         "emitted": st.lists(some({"type": TEXT}, {"data": JSON}), max_size=2)},
)  # fmt: skip
BEGIN = (
    some({"input": st.dictionaries(NAME, JSON, max_size=2)})
    | some({"event": some({}, {"trigger": NAME, "data": JSON, "subject": some({"kind": TEXT, "id": TEXT})})})
    | some({"events": st.lists(some({"type": TEXT}, {"expect": EXPECTED}), min_size=1, max_size=2)})
)
ABOUT = some(
    {"name": SOME_TEXT.map(lambda text: text[:200])},
    {"mocks": st.dictionaries(NAME, JSON, max_size=2), "failures": st.dictionaries(NAME, TEXT, max_size=1),
     "variables": st.dictionaries(NAME, JSON, max_size=2), "secrets": st.dictionaries(NAME, TEXT, max_size=1)},
)  # fmt: skip
CASE = st.builds(lambda about, begin: {**about, **begin}, ABOUT, BEGIN)
WORKFLOWS = some(
    {"id": st.just("flow"), "name": SOME_TEXT.map(lambda text: text[:200])},
    {"description": TEXT, "category": TEXT, "tags": st.lists(SOME_TEXT.map(lambda text: text[:100]), max_size=3),
     "inputs": PROPERTIES, "triggers": TRIGGERS, "conditions": st.lists(CEL, max_size=2),
     "overlap": st.sampled_from(["allow", "skip"]), "max_running": st.integers(1, 5),
     "concurrency": some({}, {"key": CEL, "limit": st.integers(1, 3)}),
     "idempotency": some({"key": CEL}, {"ttl": LITERAL_DURATION}),
     "throttle": some({"limit": st.integers(1, 3), "per": LITERAL_DURATION}),
     "debounce": some({"period": LITERAL_DURATION}), "batch": some({"max_size": st.integers(1, 3), "timeout": LITERAL_DURATION}),
     "retention": some({}, {"for": st.just("36h"), "failed": st.just("7d"), "count": st.integers(1, 3)}),
     "priority": st.integers(-5, 5), "timeout": LITERAL_DURATION, "steps": STEPS, "on_error": STEPS, "output": JSON,
     "tests": st.lists(CASE, max_size=1), "metadata": st.dictionaries(TEXT, JSON, max_size=2)},
)  # fmt: skip


# Shrinking a whole workflow takes minutes; the example that failed says enough.
THOROUGH = settings(
    max_examples=50,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@st.composite
def workflows(draw: st.DrawFn) -> dict[str, Any]:
    """Hide the strategy's own, very long, representation."""
    raw: dict[str, Any] = draw(WORKFLOWS)
    return raw


def read(text: str, kind: str) -> Any:
    (document,) = read_source(text, format=kind)  # type: ignore[arg-type]
    return document.value


@THOROUGH
@given(workflows())
def test_what_is_written_reads_back_unchanged(raw: dict[str, Any]) -> None:
    workflow = Workflow.model_validate(raw)
    for text, kind in ((to_yaml(workflow), "yaml"), (to_json(workflow), "json")):
        value = read(text, kind)
        again = Workflow.model_validate(value)
        assert again == workflow
        assert content_hash(again) == content_hash(workflow)
        assert to_yaml(again) == to_yaml(workflow)


@THOROUGH
@given(workflows())
def test_normalising_changes_nothing_that_is_native(raw: dict[str, Any]) -> None:
    once = normalise(raw).value
    assert normalise(once).value == once
    given_ids = [{"id": trigger["id"], **trigger} for trigger in once.get("triggers", [])]
    assert Workflow.model_validate(once) == Workflow.model_validate(
        {**raw, **({"triggers": given_ids} if given_ids else {})}
    )


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_any_value_is_written_as_yaml_that_reads_back(value: Any) -> None:
    assert json.dumps(read(dump_yaml(value) if value else "{}", "yaml"), sort_keys=True) == json.dumps(
        value, sort_keys=True
    )


@pytest.mark.parametrize("text", NASTY)
def test_nasty_strings_stay_strings(text: str) -> None:
    assert read(dump_yaml({"a": text, "b": [text], text: 1}), "yaml") == {"a": text, "b": [text], text: 1}


FLOW = """
id: flow
name: Flow
steps:
  - {id: a, action: log_event, with: {message: x, data: {b: 1, c: 2}}, retry: {delay: 60s}}
  - {id: b, wait: 90s}
"""


@pytest.mark.parametrize(
    "text",
    [
        ("# a comment\nname:   Flow\nid: 'flow'\nsteps:\n- id: a\n  action: LOG_EVENT\n  with:\n    data: {c: 2, b: 1}\n    message: x\n"
        "  retry:\n    delay: 1m\n    retries: 3\n  continue_on_error: false\n- {id: b, wait: PT90S}\noverlap: allow\nschema: hark/v1\npriority: 0\ntags: []\n"),
        '{"name": "Flow", "id": "flow", "steps": [{"wait": 90000, "id": "b"}]}'.replace(
            '[{"wait"',
            '[{"id": "a", "action": "log_event", "with": {"message": "x", "data": {"b": 1, "c": 2}}, "retry": {"delay": "1m"}}, {"wait"',
        ),
    ],
)  # fmt: skip
def test_the_hash_does_not_care_how_it_is_written(text: str) -> None:
    assert content_hash(load_one(text, "").workflow) == content_hash(load_one(FLOW).workflow)


@pytest.mark.parametrize(
    "old, new",
    [
        ("wait: 90s", "wait: 91s"),
        ("id: b,", "id: c,"),
        ("message: x", "message: X"),
        ("data: {b: 1,", "data: {b: true,"),
        ("name: Flow", "name: Flow\ndescription: x"),
    ],
)
def test_the_hash_cares_about_what_is_meant(old: str, new: str) -> None:
    assert content_hash(load_one(FLOW.replace(old, new)).workflow) != content_hash(load_one(FLOW).workflow)


def test_a_case_of_null_and_a_default_of_null_are_not_lost() -> None:
    text = "id: a\nname: A\ninputs: {x: {default: null}}\nsteps: [{id: s, switch: inputs.x, cases: [{value: null, do: []}]}]"
    workflow = load_one(text).workflow
    assert load_one(to_yaml(workflow)).workflow == workflow
    assert content_hash(workflow) != content_hash(load_one(text.replace("{default: null}", "{}")).workflow)


def test_yaml_is_written_for_people() -> None:
    (loaded,) = load_all(
        FLOW.replace("message: x", 'message: "one\\ntwo\\n"') + "tags: [a, b]\non_error: []\n", CATALOGUE
    )
    assert (
        to_yaml(loaded.workflow)
        == """\
schema: hark/v1
id: flow
name: Flow
tags: [a, b]
steps:
  - id: a
    action: log_event
    with:
      message: |
        one
        two
      data:
        b: 1
        c: 2
    retry:
      delay: 1m
  - id: b
    wait: 1m30s
on_error: []
"""
    )
