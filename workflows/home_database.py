"""How steps, triggers and variables name the database that Hark itself lives in."""

from __future__ import annotations

_NAMES = frozenset({"", "home"})


def is_home(connection: str | None) -> bool:
    """Tell whether a `connection` as it was written, or left out, is the home database."""
    return connection is None or connection.lower() in _NAMES
