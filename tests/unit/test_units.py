"""The units for systemd, judged by systemd's own tools."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "systemd"
_ANALYZE = shutil.which("systemd-analyze")
_needs_systemd = pytest.mark.skipif(_ANALYZE is None, reason="systemd-analyze is not installed here")


def _analyze(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    assert _ANALYZE is not None
    return subprocess.run([_ANALYZE, *arguments], capture_output=True, check=False, text=True)


@_needs_systemd
def test_the_service_is_hardened() -> None:
    result = _analyze("security", "--offline=true", "--no-pager", UNITS / "hark.service")
    found = re.search(r"Overall exposure level for hark\.service: ([\d.]+)", result.stdout)
    assert found, result.stderr
    assert float(found[1]) <= 1.5


@_needs_systemd
@pytest.mark.parametrize("unit", ["hark.service", "hark.socket"])
def test_the_units_are_sound(unit: str, tmp_path: Path) -> None:
    for file in UNITS.iterdir():
        text = file.read_text().replace("/opt/hark/bin/hark", sys.executable)
        (tmp_path / file.name).write_text(text)
    result = _analyze("verify", "--man=no", tmp_path / unit)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_watchdog_a_drain_and_credentials_are_set_up() -> None:
    unit = configparser.RawConfigParser(strict=False, delimiters="=")
    unit.read(UNITS / "hark.service")
    service = unit["Service"]
    assert service["Type"] == "notify"
    assert service["KillMode"] == "mixed"
    assert float(service["WatchdogSec"]) > 0
    assert "LoadCredential" in service
    assert service["StateDirectory"] == "hark"
