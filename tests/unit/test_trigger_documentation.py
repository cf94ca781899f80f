"""`docs/triggers.md` keeps up with the catalogue."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from hark.triggers.builtin import builtin_triggers
from hark.triggers.webhook_auth_config import Auth
from hark.workflows.catalogue import Catalogue, TriggerKind
from hark.workflows.loading import load_all

DOCUMENT = (Path(__file__).parents[2] / "docs" / "triggers.md").read_text(encoding="utf-8")
KINDS = builtin_triggers()


def chapter(kind: str) -> str:
    """Return what stands under a kind's heading."""
    return re.split(r"^## ", DOCUMENT.split(f"\n## {kind}\n")[1], flags=re.MULTILINE)[0]


def table(text: str, heading: str) -> set[str]:
    """Return the words in code of the first column of the table with a heading."""
    rows = re.search(rf"^\| {heading} \|.*\n\|.*\n((?:\|.*\n)*)", text, re.MULTILINE)
    return set(re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in rows[1].splitlines()))) if rows else set()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.spec.kind)
def test_a_chapter_names_the_fields_of_its_kind(kind: TriggerKind[Any]) -> None:
    fields = {field.alias or name for name, field in kind.spec.config.model_fields.items()}
    assert table(chapter(kind.spec.kind), "Field") == fields


def test_every_kind_of_auth_has_a_row() -> None:
    known = TypeAdapter(Auth).json_schema()["discriminator"]["mapping"]
    assert table(chapter("webhook"), "`type`") == set(known)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.spec.kind)
def test_the_example_is_a_trigger_without_a_fault(kind: TriggerKind[Any]) -> None:
    yaml = re.search(r"```yaml\n(.*?)```", chapter(kind.spec.kind), re.DOTALL)
    assert yaml
    triggers = re.sub("^", "  ", yaml[1], flags=re.MULTILINE)
    text = f"id: w\nname: W\ntriggers:\n{triggers}\nsteps: [{{id: a, set: {{x: 1}}}}]"
    assert [loaded.workflow.triggers[0].type for loaded in load_all(text, Catalogue([], KINDS))] == [kind.spec.kind]
