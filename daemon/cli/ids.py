"""Ids as people type them: whole, the end of one, or `last`.

Ids begin with the time, so their beginnings are alike; it is their ends that tell them apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from hark.workflows.errors import HarkError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hark.client import HarkClient

LAST = "last"
_SEARCHED = 1000
_SHORTEST = 4


async def execution_id(client: HarkClient, text: str) -> UUID:
    """Find the execution that is meant: among the latest thousand, unless the whole id is given."""
    if (whole := _whole(text)) is not None:
        return whole
    page = await client.executions(limit=1 if text == LAST else _SEARCHED)
    return _only(text, page.items, "execution")


async def event_id(client: HarkClient, text: str) -> UUID:
    """Find the event that is meant, likewise."""
    if (whole := _whole(text)) is not None:
        return whole
    page = await client.events(limit=1 if text == LAST else _SEARCHED)
    return _only(text, page.items, "event")


def _whole(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _only(text: str, items: Sequence[Any], what: str) -> UUID:
    if text == LAST and items:
        found: UUID = items[0].id
        return found
    if text != LAST and len(text) < _SHORTEST:
        raise HarkError(f"{text!r} is too short for the end of an id: write at least {_SHORTEST} characters, or `last`")
    ends = [item.id for item in items if str(item.id).endswith(text.lower())]
    if not ends:
        raise HarkError(f"none of the latest {what}s has an id that ends in {text!r}; write the whole id")
    if len(ends) > 1:
        raise HarkError(f"several {what}s end in {text!r}: {', '.join(map(str, ends))}")
    return UUID(str(ends[0]))
