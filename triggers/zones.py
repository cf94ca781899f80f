"""Time zones by their IANA names, and their rules read anew when the system has new ones."""

from __future__ import annotations

import zoneinfo
from functools import lru_cache
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import structlog

from hark.workflows.catalogue import suggestion

log = structlog.get_logger(__name__)

_Print = tuple[int, int, int]
"""What changes when a file is replaced: its number, size and time."""
_loaded: dict[str, tuple[ZoneInfo, _Print | None]] = {}


def zone(name: str) -> ZoneInfo:
    """Return an IANA time zone. Raises ValueError with a suggestion."""
    known = _loaded.get(name)
    if known is None:
        if name not in _names():
            folded = {known.lower(): known for known in _names()}
            near = folded.get(name.strip().lower().replace(" ", "_"))
            hint = f"did you mean {near}?" if near else suggestion(name, _names())
            raise ValueError(f"unknown time zone {name!r}: {hint}")
        # First the print, then the rules: replaced in between, they are read once more.
        printed = _print_of(name)
        known = _loaded[name] = (ZoneInfo(name), printed)
    return known[0]


def reload_changed() -> None:
    """Read the rules of those zones anew whose files were replaced; who holds such a ZoneInfo keeps the old rules.

    Costs a look at one file per zone that is in use.
    """
    for name, (_, printed) in list(_loaded.items()):
        found = _print_of(name)
        if found not in {printed, None}:
            ZoneInfo.clear_cache(only_keys=[name])
            _loaded[name] = (ZoneInfo(name), found)
            log.info("zones.rules_changed", zone=name)


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones()) - {"localtime", "Factory"}


def _print_of(name: str) -> _Print | None:
    """Look at the file that holds a zone's rules; None when it is not there (it is being replaced, say)."""
    try:
        found = _path_of(name).stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _path_of(name: str) -> Path:
    """Return where Python finds a zone's rules: in the system's folders, else in the package tzdata."""
    for folder in map(Path, zoneinfo.TZPATH):
        if (path := folder / name).is_file():
            return path
    return Path(str(resources.files("tzdata"))) / "zoneinfo" / name
