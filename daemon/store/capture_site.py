"""Where row capture works: the home database, or another one in which it has a schema of its own."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache

from hark.daemon.store.database import Connection, Database, sql

HOME_SCHEMA = "hark"
_QUALIFIED = re.compile(r"\bhark\.(?!(?:actor|reason|depth|execution_id)\b)(?=[a-z_%])")
"""What is of the schema. Not so the settings by which writers say who they are: these are the same everywhere."""


def in_schema(text: str, schema: str) -> str:
    """Rewrite SQL that is about schema `hark` for another schema.

    Its names differ in everything that the two share in one database: the triggers on the tables, the channel, and the
    settings in which capture keeps what it knows of a transaction. So a database can be the home of one Hark and be
    watched by others.
    """
    if schema == HOME_SCHEMA:
        return text
    text = _QUALIFIED.sub(f"{schema}.", text)
    text = text.replace("'hark'", f"'{schema}'").replace("hark_rows", f"{schema}_rows")
    text = text.replace("hark_capture_", f"{schema}_")
    return text.replace(r"hark\_capture\_", schema.replace("_", r"\_") + r"\_")


@cache
def sql_in(schema: str, name: str) -> str:
    """Return the text of `queries/<name>.sql` for a schema."""
    return in_schema(sql(name), schema)


@dataclass(frozen=True, slots=True)
class CaptureSite:
    """A database with the tables of row capture in it, and their schema there."""

    database: Database
    schema: str = HOME_SCHEMA
    still_ours: Callable[[Connection, int], Awaitable[bool]] | None = None
    """What `is_current` asks instead, where this is not the home database."""

    def sql(self, name: str) -> str:
        """Return the text of `queries/<name>.sql` for here."""
        return sql_in(self.schema, name)

    def named(self, trigger: str) -> str:
        """Return what a trigger is called here, given as it is called on the home database."""
        return in_schema(trigger, self.schema)

    async def is_current(self, connection: Connection, generation: int) -> bool:
        """Tell whether plans made for a generation of active workflows may be carried out here.

        Asked on a connection to here that holds the lock under which triggers are changed.
        """
        if self.still_ours is not None:
            return await self.still_ours(connection, generation)
        return bool(await connection.fetchval(sql("get_generation")) == generation)
