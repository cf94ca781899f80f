"""What all answers have in common.

They may gain fields; whoever reads them keeps what it does not know.
"""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from hark.workflows.documented import Documented

ItemT = TypeVar("ItemT")


class Answer(Documented, BaseModel):
    """Base of what the API answers."""

    # Built at its first use: most processes need few of them.
    model_config = ConfigDict(extra="allow", defer_build=True)


class Page(Answer, Generic[ItemT]):
    """One page of a list; `next_cursor` leads to the next one and is null on the last."""

    items: list[ItemT]
    next_cursor: str | None = None


class Deleted(Answer):
    """Something is gone, with its history."""

    success: bool = True
