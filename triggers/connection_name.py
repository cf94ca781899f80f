"""Which database a trigger listens to: the home database, or that of a named connection."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

_NAME = re.compile(r"[a-z0-9_]+")
_HOME = frozenset({"", "home"})


def _name(text: str) -> str:
    name = text.lower()
    if name in _HOME:
        return ""
    if not _NAME.fullmatch(name):
        raise ValueError(
            "write the name alone, such as crm: the database itself is set by HARK_CONNECTION_CRM=postgresql://…"
        )
    return name


ConnectionName = Annotated[str, AfterValidator(_name)]
"""Empty for the home database."""


def addressed(kind: str, connection: str, rest: str) -> str:
    """Write what is heard in a database as one text, in which no two databases are mixed up."""
    return f"{kind}@{connection}:{rest}" if connection else f"{kind}:{rest}"
