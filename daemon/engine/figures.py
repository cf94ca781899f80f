"""Figures with a label, for /metrics: what is measured per listener, source or channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric without its prefix; a name in `_total` is a counter. Labels hold no name of anybody's."""

    name: str
    meaning: str
    label: str
    values: Mapping[str, float]
