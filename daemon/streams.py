"""Streams that nobody reads any more."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TextIO


def discard(stream: TextIO) -> None:
    """Let what is written to a stream from now on, and what is left in its buffer, go nowhere.

    What is left would be written once more when the process ends, and make its exit status 120.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
