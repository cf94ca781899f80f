"""Numbers of things, as people read them."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """Write a number with what is counted: 1 file, 2 files; `many` where it is not `one` with an s."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
