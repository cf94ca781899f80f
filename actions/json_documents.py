"""Reading JSON that came from outside and is to be stored as jsonb."""

from __future__ import annotations

import re
from typing import Any

import orjson

_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")


def load_document(document: bytes) -> Any:
    """Read a JSON document. Raises ValueError for one that is none, and for a NUL character, which jsonb cannot hold.

    Whoever catches that keeps the document as text, in which the escape is harmless.
    """
    if _NUL.search(document):
        raise ValueError("the document holds a NUL character")
    return orjson.loads(document)
