"""The file with the admin key in the data directory; read without any database."""

from __future__ import annotations

from pathlib import Path

ADMIN_KEY_FILE = "admin.key"


def read_key(path: Path) -> str | None:
    """Return the key in a file; None when there is no such file or it may not be read."""
    try:
        return path.read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
