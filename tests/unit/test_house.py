"""The house: every module has one name, and the tools see every folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("actions", "daemon", "triggers", "workflows")

_IMPORT_ALL = """
import importlib, pkgutil, sys
import hark
for module in pkgutil.walk_packages(hark.__path__, "hark."):
    importlib.import_module(module.name)
print(" ".join(sorted(sys.modules)))
"""


def test_no_module_is_loaded_under_a_second_name() -> None:
    """Beside `hark.daemon`, a bare `import daemon` from the root would load it twice, or another package's."""
    result = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALL], cwd=ROOT, capture_output=True, check=False, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    modules = set(result.stdout.split())
    assert {f"hark.{floor}" for floor in FLOORS} <= modules
    assert not modules & {*FLOORS, "migrations"}


@pytest.mark.parametrize("name", [*FLOORS, "migrations", "schema.sql"])
def test_the_spine_links_to_the_top(name: str) -> None:
    link = ROOT / "src" / "hark" / name
    assert link.readlink() == Path("../..") / name
    assert link.exists()


def test_the_type_checker_sees_every_file_of_every_floor() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "-p", "hark", "-v"], cwd=ROOT, capture_output=True, check=False, text=True
    )
    seen = result.stderr
    files = [path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")]
    missed = [str(path.relative_to(ROOT)) for path in files if f"src/hark/{path.relative_to(ROOT)}" not in seen]
    assert files
    assert not missed
