"""Which charsets of Python are those of documents: what strangers name is checked here before it decodes anything."""

from __future__ import annotations

import codecs

_NOT_FOR_DOCUMENTS = frozenset({"idna", "punycode", "raw-unicode-escape", "undefined", "unicode-escape", "utf-7"})
"""What Python decodes and no sender means: some take quadratic time, some make half surrogate pairs of plain ASCII."""


def checked_charset(label: str) -> str:
    """Return Python's name of a charset. Raises ValueError for one that is unknown, or that no document is in."""
    try:
        "".encode(label)  # unlike a look-up, this refuses what is no text encoding, such as hex
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        name = "undefined"
    if name in _NOT_FOR_DOCUMENTS:
        raise ValueError(f"unknown charset {label!r}")
    return name
