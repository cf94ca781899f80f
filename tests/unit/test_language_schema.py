"""The published JSON Schema: current, valid, and of one mind with the validation about what is written natively.

Run this file to write the schema anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from hark.actions.builtin import builtin_actions
from hark.triggers.builtin import builtin_triggers
from hark.workflows.catalogue import Catalogue
from hark.workflows.json_schema import workflow_schema, write_schema
from hark.workflows.loading import load_all
from hark.workflows.reading import read_source
from hark.workflows.writing import to_json

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "docs" / "workflow.schema.json"
CATALOGUE = Catalogue(builtin_actions(), builtin_triggers())
EXAMPLES = sorted((ROOT / "examples").glob("**/*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Any:
    return jsonschema_rs.Draft202012Validator(workflow_schema(CATALOGUE))


def faults(validator: Any, definition: Any) -> list[str]:
    return [f"{list(fault.instance_path)}: {fault.message}" for fault in validator.iter_errors(definition)]


def test_the_published_schema_is_current() -> None:
    hint = f"run {Path(__file__).relative_to(ROOT)} with Python to write it anew"
    assert PUBLISHED.read_text(encoding="utf-8") == write_schema(CATALOGUE), hint


def test_it_is_a_valid_schema() -> None:
    jsonschema_rs.meta.validate(workflow_schema(CATALOGUE))


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_it_accepts_the_examples_as_written_and_as_exported(validator: Any, path: Path) -> None:
    text = path.read_bytes()
    for document in read_source(text, file=path.name):
        assert faults(validator, document.value) == []
    for loaded in load_all(text, CATALOGUE, file=path.name):
        assert faults(validator, json.loads(to_json(loaded.workflow))) == []


@pytest.mark.parametrize("spec", [action.spec for action in CATALOGUE.actions.values()], ids=lambda spec: spec.type)
def test_it_accepts_the_example_of_every_action(validator: Any, spec: Any) -> None:
    assert faults(validator, {"id": "x", "name": "X", "steps": [dict(spec.example)]}) == []


@pytest.mark.parametrize("spec", [kind.spec for kind in CATALOGUE.triggers.values()], ids=lambda spec: spec.kind)
def test_it_accepts_the_example_of_every_trigger_kind(validator: Any, spec: Any) -> None:
    assert faults(validator, {"id": "x", "name": "X", "triggers": [dict(spec.example)], "steps": []}) == []


@pytest.mark.parametrize(
    "fragment",
    [
        {"stepps": []},
        {"id": "Not A Slug"},
        {"schema": "hark/v2"},
        {"overlap": "sometimes"},
        {"retention": {"days": 30}},
        {"steps": [{"id": "a", "waitt": "10m"}]},
        {"steps": [{"wait": "10m"}]},
        {"steps": [{"id": "a", "wait": "10m", "stop": "failed"}]},
        {"steps": [{"id": "a", "action": "send_mail"}]},
        {"steps": [{"id": "a", "action": "log_event"}]},
        {"steps": [{"id": "a", "action": "LOG_EVENT", "with": {"mesage": "x"}}]},
        {"steps": [{"id": "a", "action": "log_event", "with": {"message": "x", "level": "wrong"}}]},
        {"steps": [{"id": "a", "if": "x", "then": [{"id": "b", "call": 5}]}]},
        {"steps": [{"id": "a", "for_each": "x", "do": [{"id": "b"}]}]},
        {"triggers": [{"type": "cronn"}]},
        {"triggers": [{"type": "cron"}]},
        {"triggers": [{"type": "row", "tabel": "x"}]},
        {"triggers": [{"type": "webhook", "path": "x", "auth": {"type": "nonsense"}}]},
    ],
    ids=str,
)
def test_it_finds_what_the_validation_finds(validator: Any, fragment: dict[str, Any]) -> None:
    assert faults(validator, {"id": "x", "name": "X", **fragment}) != []


@pytest.mark.parametrize(
    "fragment",
    [
        {"steps": [{"id": "a", "wait": "${{ inputs.pause }}", "timeout": "${{ inputs.n }}"}]},
        {"steps": [{"id": "a", "for_each": [1, "${{ inputs.x }}"], "parallel": 3, "do": []}]},
        {"steps": [{"id": "a", "parallel": {"x": [], "y": [{"id": "b", "wait": 500}]}, "race": True}]},
        {
            "steps": [
                {"id": "a", "action": "http_request", "with": {"url": "${{ inputs.u }}", "headers": "${{ vars.h }}"}}
            ]
        },
        {"steps": [{"id": "a", "action": "acme.do_it", "with": {"anything": 1}}]},
        {"triggers": [{"type": "schedule", "schedule": "@daily"}]},
        {"retention": "30d"},
        {"retention": {"for": "30d", "count": 5}},
        {"triggers": [{"type": "webhook", "path": "x", "auth": {"type": "github", "secret": "${{ secrets.x }}"}}]},
    ],
    ids=str,
)
def test_it_accepts_templates_and_other_spellings(validator: Any, fragment: dict[str, Any]) -> None:
    assert faults(validator, {"id": "x", "name": "X", **fragment}) == []


if __name__ == "__main__":
    PUBLISHED.write_text(write_schema(CATALOGUE), encoding="utf-8")
