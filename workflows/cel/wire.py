"""A reader for the protobuf wire format: just enough to take a serialised CEL tree apart.

A message becomes a dict from field number to the list of its values, in order: int for varints, bytes for the others
(fixed-width ones included). Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import struct

Message = dict[int, list[int | bytes]]

_FIXED_WIDTHS = {1: 8, 5: 4}


def read_message(data: bytes) -> Message:
    """Split a message into its fields. Raises ValueError when the bytes are not a message."""
    fields: Message = {}
    position, end = 0, len(data)
    while position < end:
        tag, position = _varint(data, position)
        value: int | bytes
        if tag & 7 == 0:
            value, position = _varint(data, position)
        else:
            width, position = _width(data, position, tag & 7)
            value, position = data[position : position + width], position + width
        if tag >> 3 in fields:
            fields[tag >> 3].append(value)
        else:
            fields[tag >> 3] = [value]
    return fields


def _width(data: bytes, position: int, wire_type: int) -> tuple[int, int]:
    if wire_type == 2:
        return _varint(data, position)
    if wire_type not in _FIXED_WIDTHS:
        raise ValueError(f"unknown wire type {wire_type}")
    return _FIXED_WIDTHS[wire_type], position


def _varint(data: bytes, position: int) -> tuple[int, int]:
    if position < len(data) and data[position] < 0x80:  # nearly all of them
        return data[position], position + 1
    number = shift = 0
    while position < len(data):
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
        shift += 7
    raise ValueError("the message ends in the middle of a number")


def integer(message: Message, field: int) -> int:
    """Return a varint field, 0 when absent."""
    value = message.get(field, [0])[-1]
    return value if isinstance(value, int) else 0


def signed(message: Message, field: int) -> int:
    """Return an int64 field, 0 when absent."""
    value = integer(message, field)
    return value - (1 << 64) if value >> 63 else value


def raw(message: Message, field: int) -> bytes:
    """Return a length-delimited field, empty when absent."""
    value = message.get(field, [b""])[-1]
    return value if isinstance(value, bytes) else b""


def text(message: Message, field: int) -> str:
    """Return a string field, empty when absent."""
    return raw(message, field).decode()


def double(message: Message, field: int) -> float:
    """Return a double field, 0.0 when absent."""
    value = raw(message, field)
    return float(struct.unpack("<d", value)[0]) if value else 0.0


def messages(message: Message, field: int) -> list[Message]:
    """Return the values of a repeated message field."""
    return [read_message(value) for value in message.get(field, []) if isinstance(value, bytes)]


def packed(message: Message, field: int) -> list[int]:
    """Return a repeated varint field, packed or not."""
    numbers: list[int] = []
    for value in message.get(field, []):
        if isinstance(value, int):
            numbers.append(value)
            continue
        position = 0
        while position < len(value):
            number, position = _varint(value, position)
            numbers.append(number)
    return numbers
