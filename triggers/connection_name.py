"""Which database a trigger listens to: the home database, or that of a named connection."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator

from hark.workflows.catalogue import ActiveTrigger, Health
from hark.workflows.home_database import is_home

_NAME = re.compile(r"[a-z0-9_]+")


def read_connection(text: str) -> str:
    """Read the name of a connection; `home` is the home database. Raises ValueError."""
    if is_home(text):
        return ""
    name = text.lower()
    if not _NAME.fullmatch(name):
        raise ValueError(
            "write the name alone, such as crm: the database itself is set by HARK_CONNECTION_CRM=postgresql://…"
        )
    return name


ConnectionName = Annotated[str, AfterValidator(read_connection)]
"""Empty for the home database."""


def where(connection: str) -> dict[str, str]:
    """Name the database, in events and in the log; the home database goes without saying."""
    return {"connection": connection} if connection else {}


def by_connection(triggers: Iterable[ActiveTrigger]) -> defaultdict[str, list[ActiveTrigger]]:
    """Sort triggers by the database that they listen to."""
    found: defaultdict[str, list[ActiveTrigger]] = defaultdict(list)
    for trigger in triggers:
        found[trigger.config.connection].append(trigger)
    return found


def health_of_all(home: Health, elsewhere: Mapping[str, Health], unset: Iterable[str]) -> Health:
    """Put together how it stands in all databases; connections that are not set are not heard, and keep nobody."""
    gone = {
        name: Health(
            attached=False, detail=f"there is no connection {name}: set HARK_CONNECTION_{name.upper()}", needed=False
        )
        for name in unset
    }
    return replace(home, elsewhere={**elsewhere, **gone})


def addressed(kind: str, connection: str, rest: str) -> str:
    """Write what is heard in a database as one text, in which no two databases are mixed up."""
    return f"{kind}@{connection}:{rest}" if connection else f"{kind}:{rest}"
