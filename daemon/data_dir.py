"""The data directory: made private, and the private files in it."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from hark.workflows.errors import ConfigurationError

SHORTEST_KEY = 32
"""Characters that a key needs at least."""


def make_data_dir(path: Path) -> Path:
    """Make the data directory unless it is there, and return it as an absolute path.

    A directory that exists keeps its mode. A new one is 0700, for root 0711: the embedded server's own account must be
    able to pass through, and everything inside has a mode of its own. Raises ConfigurationError.
    """
    path = path.absolute()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_directory(path)
    except OSError as error:
        raise ConfigurationError(
            f"data_dir: {path} cannot be made ({error.strerror}); choose another with HARK_DATA_DIR",
        ) from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"data_dir: {path} belongs to another user; run as that user or choose another with HARK_DATA_DIR",
        )
    return path


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    if os.geteuid() == 0:
        path.chmod(0o711)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, durably and all at once: a reader sees the old text or the new."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
    sync_directory(path.parent)


def kept_key(path: Path, *, consequence: str) -> str:
    """Read the key in a file, made by the first who needs it; of two at once, one makes it and both read that one.

    `consequence` says what a new key in its place would mean. Raises ConfigurationError for a file that holds no key.
    """
    if not path.exists():
        _make_key(path)
    key = path.read_text(encoding="utf-8").strip()
    if len(key) < SHORTEST_KEY:
        raise ConfigurationError(f"{path} holds no key; delete it, and a new one is made: {consequence}")
    return key


def _make_key(path: Path) -> None:
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secrets.token_urlsafe(32) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(scratch, path)
    except FileExistsError:
        pass
    finally:
        scratch.unlink()
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make what was renamed or created in a directory survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
