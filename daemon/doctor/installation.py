"""What is on this machine: the environment, the data directory, and the room that is left."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from hark.daemon.configuration import unknown_variables
from hark.daemon.doctor.report import Finding, error, warning
from hark.daemon.secrets import load_connections
from hark.daemon.settings import PREFIX, Settings
from hark.daemon.store.key_file import ADMIN_KEY_FILE
from hark.workflows.errors import ConfigurationError

_MIB = 1024**2
_FULL = 256 * _MIB
_SCARCE = 2048 * _MIB
_SCARCE_SHARE = 0.05


def look_at_variables(_settings: Settings) -> Iterator[Finding]:
    """Find variables under our prefix that mean nothing, and those of other databases that the daemon refuses."""
    known = [PREFIX + name.upper() for name in Settings.model_fields]
    for name in unknown_variables():
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {near[0]}?" if near else "remove it; `hark settings` lists what there is"
        yield warning(f"{name} is set and means nothing to Hark", advice, variable=name)
    try:
        load_connections()
    except ConfigurationError as fault:
        yield error(str(fault), "put it right: the daemon does not start with it")


def look_at_data_dir(settings: Settings) -> Iterator[Finding]:
    """Find who else may write in the data directory or read the private files in it."""
    place = settings.data_dir
    if not os.path.lexists(place):
        return
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        yield error(
            f"the data directory {place} belongs to another user, or is no directory",
            "run as its owner, or choose another with HARK_DATA_DIR",
        )
        return
    if place.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield error(f"others may write in the data directory {place}", f"chmod go-w {place}", mode=_mode(place.stat()))
    for name in (ADMIN_KEY_FILE, "postgres/password"):
        yield from _look_at_private(place / name)


def _look_at_private(file: Path) -> Iterator[Finding]:
    try:
        status = file.stat()
    except FileNotFoundError:
        return
    except PermissionError:
        yield error(f"{file} cannot be seen by this user", "run as the user that the daemon runs as")
        return
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield error(
            f"{file} may be read by others than its owner",
            f"chmod 600 {file}; whoever could read it may know it by now, so replace what is in it",
            mode=_mode(status),
        )


def _mode(status: os.stat_result) -> str:
    return f"{stat.S_IMODE(status.st_mode):04o}"


def look_at_disk(settings: Settings) -> Iterator[Finding]:
    """Find out whether the file systems of the data directory and of the embedded server have room."""
    seen = set()
    for place in (settings.data_dir, settings.data_dir / "postgres"):
        there = _existing(place.resolve())
        device = there.stat().st_dev
        if device not in seen:
            seen.add(device)
            yield from judge_space(there, os.statvfs(there))


def _existing(place: Path) -> Path:
    """Return the place, or what is above it and exists."""
    return next(path for path in (place, *place.parents) if os.path.lexists(path))


def judge_space(place: Path, space: os.statvfs_result) -> Iterator[Finding]:
    """Say what the figures of a file system mean."""
    free, total = space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize
    text = f"{free // _MIB:,} MiB of {total // _MIB:,} MiB are free at {place}"
    advice = "free some space: a database that cannot write stops"
    if free < _FULL:
        yield error(f"the disk is full: {text}", advice, free_bytes=free, total_bytes=total)
    elif free < _SCARCE or free < total * _SCARCE_SHARE:
        yield warning(f"the disk is nearly full: {text}", advice, free_bytes=free, total_bytes=total)
    if space.f_files and space.f_favail < 10_000:  # some file systems count no files, and say 0
        yield warning(f"no more than {space.f_favail:,} files can be made at {place}", "remove files that nobody needs")
