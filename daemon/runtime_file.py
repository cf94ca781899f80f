"""The file in the data directory that says where the running daemon is reached: written by it, read by the CLI."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from hark.daemon.data_dir import write_private

NAME = "daemon.json"


@dataclass(frozen=True, slots=True)
class Running:
    """What the file says."""

    url: str
    pid: int

    @property
    def lives(self) -> bool:
        """Whether there is a process of that number; another program may have it by now."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


class RuntimeFile:
    """The daemon's side: write it when HTTP is served, remove it at the end."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / NAME

    def write(self, url: str) -> None:
        """Say where this process is reached."""
        write_private(self._path, json.dumps({"url": url, "pid": os.getpid()}) + "\n")

    def remove(self) -> None:
        """Remove the file, unless another process has written it since."""
        found = read_running(self._path.parent)
        if found is not None and found.pid == os.getpid():
            self._path.unlink(missing_ok=True)


def read_running(data_dir: Path) -> Running | None:
    """Return what the file of a data directory says; None when there is none that can be read."""
    try:
        content = json.loads((data_dir / NAME).read_text(encoding="utf-8"))
        return Running(str(content["url"]), int(content["pid"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
