"""Triggers by the database that they listen to: the home database, or that of a named connection."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from hark.workflows.catalogue import ActiveTrigger, Health
from hark.workflows.connections import unknown, variable


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
        name: Health(attached=False, detail=f"{unknown(name)}: set {variable(name)}", needed=False) for name in unset
    }
    return replace(home, elsewhere={**elsewhere, **gone})


def addressed(kind: str, connection: str, rest: str) -> str:
    """Write what is heard in a database as one text, in which no two databases are mixed up."""
    return f"{kind}@{connection}:{rest}" if connection else f"{kind}:{rest}"
