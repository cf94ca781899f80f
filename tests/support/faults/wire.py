"""As much of PostgreSQL's protocol as it takes to tell what a client asks for, and when it has been answered.

Chapter 54.7 of PostgreSQL's documentation, "Message Formats", describes the bytes.
"""

from __future__ import annotations

import struct
from asyncio import StreamReader
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

SSL_REQUEST = 80877103
GSS_REQUEST = 80877104
CANCEL_REQUEST = 80877102
_PAUSES = b"SQH"
"""Sync, Query and Flush: after these a client waits for the server."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its type (empty for the first of a connection) and all its bytes."""

    kind: bytes
    raw: bytes

    @property
    def body(self) -> bytes:
        """The bytes behind type and length."""
        return self.raw[len(self.kind) + 4 :]


@dataclass(slots=True)
class Unit:
    """What a client sends before it waits for an answer: the finest moment at which something can go wrong."""

    raw: bytes = b""
    query: str = ""
    """The statement's name (of its file, or COMMIT, BEGIN …); empty when nothing is executed."""
    parameters: list[bytes | None] = field(default_factory=list)

    @property
    def ends_in_ready(self) -> bool:
        """Whether the server's answer ends with ReadyForQuery."""
        return self.raw[-5:-4] == b"S" or self.raw[:1] == b"Q"

    def has_rows(self, number: int) -> bool:
        """Tell whether parameter $number, an array in binary (dimensions, flags, type, length …), has any elements."""
        value = self.parameters[number - 1]
        return value is not None and len(value) >= 16 and struct.unpack_from("!i", value, 12)[0] > 0

    def mentions(self, number: int, text: str) -> bool:
        """Tell whether parameter $number contains a text."""
        return text.encode() in (self.parameters[number - 1] or b"")


async def read_first(reader: StreamReader) -> Message:
    """Read a connection's first message, which has no type."""
    length = await reader.readexactly(4)
    return Message(b"", length + await reader.readexactly(struct.unpack("!i", length)[0] - 4))


async def read_message(reader: StreamReader) -> Message:
    """Read the next message; raises IncompleteReadError at the end."""
    head = await reader.readexactly(5)
    return Message(head[:1], head + await reader.readexactly(struct.unpack_from("!i", head, 1)[0] - 4))


def code_of(first: Message) -> int:
    """Return what a first message is: a protocol version, or one of the requests above."""
    code: int = struct.unpack_from("!i", first.body)[0]
    return code


def startup_parameters(first: Message) -> dict[str, str]:
    """Return the parameters of a StartupMessage."""
    words = first.body[4:].split(b"\0")
    return {words[n].decode(): words[n + 1].decode() for n in range(0, len(words) - 2, 2) if words[n]}


class Statements:
    """The statements of one connection, by the names under which the client prepared them."""

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}

    async def read_unit(self, reader: StreamReader) -> Unit:
        """Read what a client sends before it waits."""
        unit = Unit()
        while True:
            message = await read_message(reader)
            unit.raw += message.raw
            self._note(message, unit)
            if message.kind in _PAUSES or message.kind in b"pX":
                return unit

    def _note(self, message: Message, unit: Unit) -> None:
        if message.kind == b"P":
            name, text, _ = message.body.split(b"\0", 2)
            self._names[name] = name_of(text.decode())
        elif message.kind == b"B":
            _, name, rest = message.body.split(b"\0", 2)
            unit.query, unit.parameters = self._names.get(name, ""), _parameters(rest)
        elif message.kind == b"Q":
            unit.query = name_of(message.body.rstrip(b"\0").decode())


def _parameters(rest: bytes) -> list[bytes | None]:
    (formats,) = struct.unpack_from("!h", rest)
    at = 2 + 2 * formats
    (count,) = struct.unpack_from("!h", rest, at)
    at += 2
    found: list[bytes | None] = []
    for _ in range(count):
        (length,) = struct.unpack_from("!i", rest, at)
        at += 4
        found.append(None if length < 0 else rest[at : at + length])
        at += max(length, 0)
    return found


def name_of(text: str) -> str:
    """Name a statement: by the file whose purpose its first line is, else by its first word."""
    first, _, _ = text.partition("\n")
    return _purposes().get(first) or first.rstrip(";").partition(" ")[0]


@cache
def _purposes() -> Mapping[str, str]:
    """Return which file begins with which line; that line is a comment, and reaches the server with the statement."""
    folder = resources.files("hark.daemon.store") / "queries"
    files = [file for file in folder.iterdir() if file.name.endswith(".sql")]
    found = {file.read_text(encoding="utf-8").partition("\n")[0]: file.name.removesuffix(".sql") for file in files}
    assert len(found) == len(files), "two statements have the same purpose"
    return found
