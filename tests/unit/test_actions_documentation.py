"""The documentation of actions is made from the catalogue, and current."""

from __future__ import annotations

from pathlib import Path

from ruamel.yaml import YAML

from hark.actions.builtin import builtin_actions
from hark.actions.documentation import render_catalogue
from hark.workflows.catalogue import Catalogue

FILE = Path(__file__).parents[2] / "docs" / "actions.md"


def test_the_file_is_current() -> None:
    rendered = render_catalogue(Catalogue(builtin_actions()))
    assert FILE.read_text(encoding="utf-8") == rendered, "run: python -m hark.actions.documentation > docs/actions.md"


def test_the_examples_can_be_copied_into_a_workflow() -> None:
    blocks = FILE.read_text(encoding="utf-8").split("```")[1::2]
    steps = [YAML(typ="safe").load(block.removeprefix("yaml\n"))[0] for block in blocks]
    assert steps == [dict(action.spec.example) for action in builtin_actions()]


def test_every_field_and_every_word_of_advice_is_there() -> None:
    rendered = render_catalogue(Catalogue(builtin_actions()))
    for action in builtin_actions():
        names = action.spec.config.model_json_schema(by_alias=True).get("properties", {})
        assert all(f"| `{name}` |" in rendered for name in names)
        assert all(f"- {sentence}\n" in rendered for sentence in (*action.spec.practice, *action.spec.security))
