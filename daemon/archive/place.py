"""Places for files: a directory. A file is there whole and durably, or not at all."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from hark.workflows.errors import RequestError

CHUNK = 1 << 16


class ArchiveError(RequestError):
    """The archive cannot be written or read."""

    status, title = 502, "Archive not available"


class Place(Protocol):
    """Holds files by name; names have slashes in them, as paths have."""

    async def put(self, name: str, file: Path) -> None:
        """Take a file over, which is gone then; returns when it would survive a crash. Raises ArchiveError."""
        ...

    def read(self, name: str) -> AsyncIterator[bytes]:
        """Give a file's bytes. Raises ArchiveError."""
        ...

    async def remove(self, name: str) -> None:
        """Remove a file; one that is not there is no error. Raises ArchiveError."""
        ...

    def scratch(self) -> Path:
        """Make an empty private file that `put` can take. Raises ArchiveError."""
        ...


class Directory:
    """A directory, made when the first file comes; nobody else may look into it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def scratch(self) -> Path:
        """Make the file on the same file system, so that it can be moved to its place in one go."""
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, path = tempfile.mkstemp(prefix=".", suffix=".part", dir=self._root)
            os.close(handle)
        except OSError as error:
            raise ArchiveError(f"archive {self._root}: {error}") from error
        return Path(path)

    async def put(self, name: str, file: Path) -> None:
        """Write out, move, and write out the directories that the name stands in."""
        try:
            await asyncio.to_thread(self._put, self._root / name, file)
        except OSError as error:
            raise ArchiveError(f"archive {self._root}: {error}") from error

    def _put(self, target: Path, file: Path) -> None:
        _sync(file)
        missing = [parent for parent in target.parents if parent.is_relative_to(self._root)]
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.replace(target)
        for parent in missing:
            _sync(parent)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Read in pieces, in a thread."""
        try:
            with (self._root / name).open("rb") as file:
                while chunk := await asyncio.to_thread(file.read, CHUNK):
                    yield chunk
        except OSError as error:
            raise ArchiveError(f"archive {self._root}: {error}") from error

    async def remove(self, name: str) -> None:
        """Remove the file, and write out that it is gone."""
        try:
            await asyncio.to_thread(self._remove, self._root / name)
        except OSError as error:
            raise ArchiveError(f"archive {self._root}: {error}") from error

    def _remove(self, target: Path) -> None:
        if not self._root.is_dir():
            # An unmounted disk is no empty one: what lies on it would be forgotten.
            raise FileNotFoundError(f"there is no directory {self._root}")
        if target.exists():
            target.unlink()
            _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_place(location: str) -> Place:
    """Return the place that a location names: a directory, or `s3://bucket/prefix`. Raises ArchiveError."""
    if location.startswith("s3://"):
        from hark.daemon.archive.s3 import Bucket  # noqa: PLC0415 - half a second, which only its users pay

        return Bucket(location)
    return Directory(Path(location))
