"""What every action in the catalogue must be and say."""

from __future__ import annotations

import inspect
import re
from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from hark.actions.builtin import builtin_actions
from hark.workflows.catalogue import Action, ActionSpec, Catalogue, Effect
from hark.workflows.steps import ActionStep, SetStep

ACTIONS = builtin_actions()
CATEGORIES = {"social", "notification", "ai", "data", "control"}
PERMISSION = re.compile(r"[a-z_]+\.[a-z_]+")
JSON_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}


@pytest.fixture(params=ACTIONS, ids=lambda action: action.spec.type)
def action(request: pytest.FixtureRequest) -> Action[Any]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def spec(action: Action[Any]) -> ActionSpec:
    return action.spec


def test_all_the_first_actions_are_there() -> None:
    expected = ["log_event", "set", "delay", "http_request", "trigger_webhook", "update_database", "send_email"]
    assert [action.spec.type for action in ACTIONS] == expected


def test_the_type_is_found_in_every_spelling(spec: ActionSpec) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", spec.type)
    catalogue = Catalogue(ACTIONS)
    camel = re.sub(r"_([a-z])", lambda match: match[1].upper(), spec.type)
    for spelling in (spec.type, spec.type.upper(), camel):
        found = catalogue.action(spelling)
        assert found is not None
        assert found.spec is spec


def test_it_says_what_it_is(spec: ActionSpec) -> None:
    assert spec.name[0].isupper()
    assert len(spec.description) > 20
    assert spec.description.endswith(".")
    assert spec.category in CATEGORIES
    assert spec.practice
    assert all(sentence.endswith(".") for sentence in (*spec.practice, *spec.security))


def test_what_reaches_outside_names_a_permission_and_its_dangers(spec: ActionSpec) -> None:
    assert all(PERMISSION.fullmatch(name) for name in spec.permissions)
    if spec.effect is not Effect.PURE:
        assert spec.permissions
        assert spec.security


def filled(value: Any) -> Any:
    """Put a plausible text where an expression stands."""
    if isinstance(value, str):
        return re.sub(r"\$\{\{.*?\}\}", "ada@example.org", value)
    if isinstance(value, dict):
        return {name: filled(item) for name, item in value.items()}
    return [filled(item) for item in value] if isinstance(value, list) else value


def test_the_example_is_a_step_whose_config_is_right(spec: ActionSpec) -> None:
    if spec.type == "set":
        spec.config.model_validate(SetStep.model_validate(spec.example).set)
        return
    step = ActionStep.model_validate(spec.example)
    assert step.action == spec.type
    spec.config.model_validate(filled(step.with_))


def test_the_config_refuses_fields_that_it_does_not_know(spec: ActionSpec) -> None:
    if spec.type == "set":
        return
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        spec.config.model_validate({"no_such_field": 1})


def models(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [model for model in (schema, *schema.get("$defs", {}).values()) if "properties" in model]


def test_the_config_schema_describes_itself(spec: ActionSpec) -> None:
    schema = spec.config.model_json_schema(by_alias=True)
    assert schema["description"]
    for model in models(schema):
        assert model["additionalProperties"] is False
        assert all(re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", name) for name in model["properties"])
    for name, field in schema.get("properties", {}).items():
        assert field.get("description"), name


def test_literal_fields_exist(spec: ActionSpec) -> None:
    assert spec.literal <= set(spec.config.model_fields)


def test_the_document_is_json(spec: ActionSpec) -> None:
    document = spec.document()
    assert orjson.loads(orjson.dumps(document)) == document
    keys = ["type", "name", "description", "category", "config_schema", "output_schema", "example"]
    assert list(document) == [*keys, "permissions", "effect"]


def test_the_output_schema_is_an_object_of_known_types(spec: ActionSpec) -> None:
    schema = spec.output_schema
    assert schema["type"] == "object"
    properties = schema.get("properties", {})
    assert set(schema.get("required", ())) <= set(properties)
    assert all(field.get("type", "string") in JSON_TYPES for field in properties.values())


def test_the_effect_of_an_example_is_the_specs(action: Action[Any]) -> None:
    assert action.effect(action.spec.example.get("with", {})) is action.spec.effect


def test_it_runs_as_a_coroutine_and_keeps_no_state(action: Action[Any]) -> None:
    assert inspect.iscoroutinefunction(action.run)
    assert not vars(action)
