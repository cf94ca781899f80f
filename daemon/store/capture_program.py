"""Which program this is, as far as row capture goes: what tells it from other versions that run beside it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from hashlib import blake2b
from importlib import resources
from importlib.resources.abc import Traversable

from hark.daemon.store.database import Database
from hark.daemon.store.schema import schema_text

_MADE_BY = ("hark.daemon.store", "hark.triggers", "hark.workflows")
"""Where it is decided which triggers a table has, and with what conditions."""


@cache
def program() -> str:
    """Return a digest of what decides how rows are captured; takes some ms the first time.

    Of the sources, for a number that somebody has to raise would be forgotten: conditions come from as far as the
    typing of expressions.
    """
    digest = blake2b(schema_text().encode(), digest_size=8)
    for package in _MADE_BY:
        for file in _sources(resources.files(package)):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _sources(folder: Traversable) -> Iterator[Traversable]:
    """Find code and statements, in one order everywhere: what is typed lies two folders down."""
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _sources(entry)
        elif entry.name.endswith((".py", ".sql")):
            yield entry


async def leads_capture(home: Database) -> bool:
    """Tell whether this program decides about functions and triggers that another version of Hark has made otherwise.

    During a rolling upgrade each would else replace those of the other every few seconds, and hold up the writers.
    """
    return bool(await home.fetchval("leads_capture", program()))
