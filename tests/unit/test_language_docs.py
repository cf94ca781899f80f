"""The written specification: every example in it is valid, and its tables name what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hark.actions.builtin import builtin_actions
from hark.triggers.builtin import builtin_triggers
from hark.workflows import scopes
from hark.workflows.catalogue import Catalogue
from hark.workflows.definition import Trigger, Workflow
from hark.workflows.loading import load_all
from hark.workflows.shape import keys
from hark.workflows.steps import VERBS, BaseStep, Retry

TEXT = (Path(__file__).parents[2] / "docs" / "language.md").read_text(encoding="utf-8")
CATALOGUE = Catalogue(builtin_actions(), builtin_triggers())
BLOCKS = [
    (TEXT.count("\n", 0, match.start()) + 1, match[1], match[2])
    for match in re.finditer(r"^```(yaml|json)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
]
WHOLE = [block for block in BLOCKS if re.match(r"(id|schema):|\{", block[2])]
STEPS = [block for block in BLOCKS if block[2].startswith("- ")]


def line_of(block: tuple[int, str, str]) -> str:
    return f"line {block[0]}"


def test_every_example_is_looked_at() -> None:
    comments = [block for block in BLOCKS if block[2].startswith("#")]
    assert len(WHOLE) + len(STEPS) + len(comments) == len(BLOCKS)
    assert (len(WHOLE), len(STEPS)) >= (4, 17)


@pytest.mark.parametrize("block", WHOLE, ids=line_of)
def test_whole_workflows_are_valid(block: tuple[int, str, str]) -> None:
    (loaded,) = load_all(block[2], CATALOGUE)
    assert loaded.warnings == ()


@pytest.mark.parametrize("block", STEPS, ids=line_of)
def test_steps_are_valid(block: tuple[int, str, str]) -> None:
    (loaded,) = load_all(f"id: a\nname: A\nsteps:\n{block[2]}", CATALOGUE)
    assert loaded.warnings == ()


def test_every_verb_has_an_example() -> None:
    shown = {verb for _, _, text in STEPS for verb in VERBS if re.search(rf"\b{verb}:", text)}
    assert shown == set(VERBS)


@pytest.mark.parametrize("model", [Workflow, BaseStep, Trigger, Retry])
def test_every_field_is_in_a_table(model: Any) -> None:
    named = set(re.findall(r"`([a-z_]+)`", " ".join(re.findall(r"^\| (.*?) \|", TEXT, re.MULTILINE))))
    assert set(keys(model)) - {"type", "if"} <= named


@pytest.mark.parametrize("fields", [scopes.EVENT_FIELDS, scopes.EXECUTION_FIELDS, scopes.ERROR_FIELDS])
def test_the_fields_of_names_are_those_that_are_checked(fields: tuple[str, ...]) -> None:
    assert f"`{', '.join(fields)}`" in TEXT
