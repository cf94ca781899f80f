"""What statements touch: their plans, made while the tables were empty or with statistics, run on full ones."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from hark.daemon.store.database import Database, sql
from support.history_tables import HISTORY

_EXPLAIN = re.compile(r"^EXPLAIN \(.*\)$", re.MULTILINE)
_PARTITION = re.compile(rf"({'|'.join(HISTORY)})_(oldest|\d{{4}}w\d\d)")

FEW = 500
"""So many rows of a partition may be read in no order: it is small, or any of them would do."""


@dataclass(slots=True)
class Touched:
    """What one run of a statement touched."""

    buffers: int
    """Pages looked at, in the cache or not, in tables, indexes and temporary files."""
    rows: int
    """Rows that its nodes handed on or threw away."""
    whole: list[str] = field(default_factory=list)
    """Partitions with something in them that were read from one end to the other."""
    text: str = ""


class Prepared:
    """A connection on which statements stand prepared by name, each run in a transaction that is rolled back."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    @classmethod
    async def open(cls, url: str, settings: Mapping[str, str], names: Sequence[str]) -> Prepared:
        """Connect as the engine does, with some settings more, and prepare statements; the caller closes it.

        What stands behind the name of a statement tells one use of it from another.
        """
        connection = await Database(url).open("plans", settings)
        for name in names:
            text = _EXPLAIN.sub("", sql(name.partition(" ")[0]))
            await connection.execute(f'PREPARE "{name}" AS {text}')
        return cls(connection)

    async def plan(self, name: str) -> None:
        """Run a statement for nothing, so that it is planned, with what its functions run, and the plans are kept."""
        count = await self.connection.fetchval(
            "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = $1", name
        )
        with suppress(asyncpg.IntegrityConstraintViolationError):  # nothing is no row; by then it is planned
            await self.run(name, [None] * count)

    async def run(self, name: str, arguments: Sequence[str | None]) -> Touched:
        """Run a statement, roll back what it did, and say what it touched; twice, for planning touches pages too."""
        values = ", ".join("NULL" if one is None else _quoted(one) for one in arguments)
        given = f"({values})" if values else ""
        call = f'EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE "{name}" {given}'
        await self._rolled_back(call)
        return touched(await self._rolled_back(call))

    async def _rolled_back(self, call: str) -> Mapping[str, Any]:
        transaction = self.connection.transaction()
        await transaction.start()
        try:
            (found,) = json.loads(await self.connection.fetchval(call))
        finally:
            await transaction.rollback()
        return found

    async def close(self) -> None:
        """Disconnect."""
        await self.connection.close()


def touched(found: Mapping[str, Any]) -> Touched:
    """Read what EXPLAIN says."""
    top = found["Plan"]
    nodes = list(_nodes(top))
    kinds = [f"{kind} {place} Blocks" for kind in ("Shared", "Local", "Temp") for place in ("Hit", "Read")]
    buffers = sum(top.get(kind, 0) for kind in kinds)
    whole = [
        node["Relation Name"]
        for node in nodes
        if node["Node Type"] == "Seq Scan" and _PARTITION.fullmatch(node["Relation Name"]) and _rows(node) > FEW
    ]
    return Touched(buffers, sum(map(_rows, nodes)), whole, json.dumps(top, indent=1))


def _nodes(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for below in node.get("Plans", ()):
        yield from _nodes(below)


def _rows(node: Mapping[str, Any]) -> int:
    """Return how many rows a node looked at; 0 when it was never run."""
    removed = sum(count for name, count in node.items() if name.startswith("Rows Removed"))
    return round((node["Actual Rows"] + removed) * node["Actual Loops"])


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
