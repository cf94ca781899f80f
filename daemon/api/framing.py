"""How much of a request has to be there before it is worth reading: seen from its bytes, without a parser."""

from __future__ import annotations

import re

MOST_AT_ONCE = 64 * 1024
"""Bytes of a request that is waited for until it is whole, and of what may follow before it is answered."""

_END = b"\r\n\r\n"
_UNKNOWN = -1
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,9})[ \t]*\r\n", re.IGNORECASE)
_BY_ITSELF = re.compile(rb"\r\n(?:transfer-encoding|expect)[ \t]*:", re.IGNORECASE)
"""Bodies without a length, and those that are sent when the sender is told to."""


def bytes_needed(data: bytes | bytearray) -> int | None:
    """Return how many bytes there have to be in all; None while the head of the request is not whole.

    What is not waited for (a large body, one in chunks) needs no more than there is: whoever reads it knows what to do.
    """
    needed = _length_of(data)
    if needed is None:
        return len(data) if len(data) > MOST_AT_ONCE else None
    return len(data) if needed == _UNKNOWN or needed > MOST_AT_ONCE else needed


def is_whole(data: bytes) -> bool:
    """Tell whether this is one request to its end, so that nothing of it is still on its way."""
    return _length_of(data) == len(data)


def is_no_request(data: bytes | bytearray) -> bool:
    """Tell whether a head that is not whole begins with no method, or has a line that ends as none does.

    Its end would never be seen, and its sender would wait for as long as a head may take, and then for nothing.
    """
    return not data[:1].isalpha() or data.count(b"\n") != data.count(b"\r\n")


def is_below(data: bytes | bytearray, prefix: bytes) -> bool:
    """Tell whether a request is to a path with this prefix, whatever its method."""
    return data.find(b" " + prefix, 0, 8 + len(prefix)) > 0


def _length_of(data: bytes | bytearray) -> int | None:
    """Return how long a request is, None while its head is not whole."""
    end = data.find(_END)
    if end < 0:
        return None
    if _BY_ITSELF.search(data, 0, end + 2):
        return _UNKNOWN
    length = _LENGTH.search(data, 0, end + 2)
    return end + len(_END) + (int(length[1]) if length else 0)
