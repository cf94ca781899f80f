"""Files of an archive: lines of JSON, compressed with zstd, checked by SHA-256 after they were written."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import zstandard

from hark.daemon.archive.place import ArchiveError, Place

LONGEST_LINE = 1 << 30


class Row(Protocol):
    """One execution as the database exports it."""

    def __getitem__(self, name: str, /) -> Any: ...


@dataclass(slots=True)
class Contents:
    """What is in a file."""

    first_id: UUID | None = None
    last_id: UUID | None = None
    executions: int = 0
    steps: int = 0
    events: int = 0
    logs: int = 0
    size: int = 0
    """In bytes."""
    sha256: bytes = b""
    keys: set[int] = field(default_factory=set)


class FileWriter:
    """Writes one file into a place. Use `add` for batches in the order of ids, then `finish`; or `abandon`."""

    def __init__(self, place: Place, name: str) -> None:
        self._place = place
        self._name = name
        self._path = place.scratch()
        self._file = self._path.open("wb")
        self._packer = zstandard.ZstdCompressor(level=6).compressobj()
        self._digest = hashlib.sha256()
        self.contents = Contents()

    async def add(self, rows: Sequence[Row]) -> None:
        """Add executions."""
        text = b"".join(str(row["line"]).encode() + b"\n" for row in rows)
        try:
            await asyncio.to_thread(self._write, text)
        except OSError as error:
            raise ArchiveError(f"archive: {error}") from error
        for row in rows:
            self._count(row)

    def _count(self, row: Row) -> None:
        found, execution_id = self.contents, UUID(str(row["id"]))
        found.first_id = execution_id if found.first_id is None else min(found.first_id, execution_id)
        found.last_id = execution_id if found.last_id is None else max(found.last_id, execution_id)
        found.executions += 1
        found.steps += row["steps"]
        found.events += row["events"]
        found.logs += row["logs"]
        found.keys.update(row["keys"])

    def _write(self, text: bytes | None) -> None:
        packed = self._packer.flush() if text is None else self._packer.compress(text)
        self._digest.update(packed)
        self.contents.size += len(packed)
        self._file.write(packed)

    async def finish(self) -> Contents:
        """Put the file into its place, and read it back: it is there as it was written. Raises ArchiveError."""
        try:
            await asyncio.to_thread(self._write, None)
            self._file.close()
        except OSError as error:
            raise ArchiveError(f"archive: {error}") from error
        self.contents.sha256 = self._digest.digest()
        await self._place.put(self._name, self._path)
        await check_file(self._place, self._name, self.contents.sha256)
        return self.contents

    def abandon(self) -> None:
        """Leave nothing of it on this machine; what may be in the place is for the caller to remove."""
        self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


async def check_file(place: Place, name: str, sha256: bytes) -> None:
    """Compare a file with its checksum. Raises ArchiveError."""
    digest = hashlib.sha256()
    async for chunk in place.read(name):
        digest.update(chunk)
    if digest.digest() != sha256:
        raise ArchiveError(f"archive: {name} is not what was written: its SHA-256 is {digest.hexdigest()}")


async def read_lines(place: Place, name: str) -> AsyncIterator[bytes]:
    """Give the lines of a file, without their ends. Raises ArchiveError for one that is damaged or cut off."""
    unpacker = zstandard.ZstdDecompressor().decompressobj()
    rest = b""
    try:
        async for chunk in place.read(name):
            *lines, rest = (rest + unpacker.decompress(chunk)).split(b"\n")
            for line in lines:
                yield line
            if len(rest) > LONGEST_LINE:
                raise ArchiveError(f"archive: {name} has a line of more than {LONGEST_LINE} bytes")
    except zstandard.ZstdError as error:
        raise ArchiveError(f"archive: {name} is damaged: {error}") from error
    if rest or not unpacker.eof:
        raise ArchiveError(f"archive: {name} is cut off")
