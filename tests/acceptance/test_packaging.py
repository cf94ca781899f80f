"""Packaging: from the tree and by way of an sdist, the wheel is the same, whole, and gives a working `hark`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLOORS = ("actions", "daemon", "migrations", "triggers", "workflows")
_DATA = (".sql", ".json", ".yaml", ".html", ".js", ".css", ".svg")


def _run(*command: str | Path, cwd: Path, **environment: str) -> str:
    result = subprocess.run(
        command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, check=False, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def _build(kind: str, source: Path, target: Path) -> Path:
    """Build without the network: the build back-end is in the environment already."""
    _run(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", target, source, cwd=source)
    (made,) = target.iterdir()
    return made


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the tree, so that nothing is built into it."""
    tree = tmp_path_factory.mktemp("source") / "hark"
    ignored = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
    )
    shutil.copytree(ROOT, tree, symlinks=True, ignore=ignored)
    return tree


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from the tree."""
    return _build("wheel", tree, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def wheel_by_sdist(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the sdist, and the wheel from nothing else."""
    sdist = _build("sdist", tree, tmp_path_factory.mktemp("sdist"))
    unpacked = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(unpacked, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (source,) = unpacked.iterdir()
    return _build("wheel", source, tmp_path_factory.mktemp("second"))


def _names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def _expected() -> set[str]:
    """List what stands in the tree and belongs into the package."""
    found = {path.name for path in (ROOT / "src" / "hark").iterdir() if path.is_file() and path.suffix != ".pyc"}
    for floor in FLOORS:
        found |= {str(path.relative_to(ROOT)) for path in (ROOT / floor).rglob("*") if path.suffix in (".py", *_DATA)}
    return {f"hark/{name}" for name in found}


def test_the_wheel_holds_what_the_tree_holds(wheel: Path) -> None:
    assert _names(wheel) == _expected()
    assert {"hark/schema.sql", "hark/py.typed", "hark/daemon/store/queries/claim_executions.sql"} <= _names(wheel)


def test_by_way_of_an_sdist_it_is_the_same_wheel(wheel: Path, wheel_by_sdist: Path) -> None:
    assert _names(wheel_by_sdist) == _names(wheel)


def test_the_wheel_carries_its_licence_and_what_it_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
        assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"


def test_what_is_installed_from_it_works(wheel_by_sdist: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    _run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", site, wheel_by_sdist, cwd=tmp_path)
    script = (
        "import hark, importlib.resources as r; print(hark.__file__, len((r.files(hark) / 'schema.sql').read_text()))"
    )
    file, size = _run(sys.executable, "-c", script, cwd=tmp_path, PYTHONPATH=str(site)).split()
    assert Path(file).is_relative_to(site)
    assert int(size) == len((ROOT / "schema.sql").read_text())
    assert "hark" in _run(site / "bin" / "hark", "--version", cwd=tmp_path, PYTHONPATH=str(site))
