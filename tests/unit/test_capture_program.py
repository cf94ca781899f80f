"""Which program captures rows: told apart by all that decides about it, wherever that lies."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import pytest

from hark.daemon.store import capture_program

UNLIKE = [
    "hark.workflows/cel/paths.py",
    "hark.workflows/pushdown.py",
    "hark.triggers/capture_plan.py",
    "hark.daemon.store/queries/place_capture_trigger.sql",
]


@pytest.mark.parametrize("changed", UNLIKE)
def test_programs_that_differ_in_what_decides_about_triggers_are_different_ones(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Conditions are translated with what lies in folders of its own; such versions took each other for the same."""
    for package in capture_program._MADE_BY:
        shutil.copytree(str(resources.files(package)), tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(capture_program, "resources", SimpleNamespace(files=tmp_path.joinpath))
    made = capture_program.program.__wrapped__
    before = made()
    assert made() == before
    with (tmp_path / changed).open("a") as file:
        file.write("\n")
    assert made() != before
