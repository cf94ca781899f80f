"""What matching costs with many active workflows on one event type, of which one matches; by hand, without a server.

`python -m benchmarks.matching` takes some 15 s: the registry takes in workflows from rows as the database would give
them; then events are matched, and one workflow is published anew, with the longest stop of the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast
from uuid import UUID

import orjson

from hark.actions.builtin import builtin_actions
from hark.daemon.engine.matcher import Matcher
from hark.daemon.engine.registry import Registry
from hark.daemon.store.database import Database
from hark.triggers.builtin import builtin_triggers
from hark.triggers.event import published
from hark.workflows.catalogue import Catalogue
from hark.workflows.ids import DEFAULT_TENANT, EventId

COUNTS = (10, 1_000, 10_000)
ROUNDS = 2_000
SINCE = datetime(2026, 1, 1, tzinfo=UTC)
PLAIN = 'event.data.customer == "c{n}" && event.data.amount > 100'
NESTED = 'event.data.customer in ["c{n}", "d{n}"] && event.data.tags.exists(t, t == "paid")'


class Rows:
    """The database as the registry sees it: `count` workflows, and which of them changed in which generation."""

    def __init__(self, count: int, when: str) -> None:
        self.generation = 1
        self.when = when
        self.versions = dict.fromkeys(range(1, count + 1), (1, 1))

    def publish(self, number: int) -> None:
        """Publish another version of one."""
        self.generation += 1
        self.versions[number] = (self.versions[number][0] + 1, self.generation)

    async def fetchval(self, _query: str) -> int:
        """Answer get_generation."""
        return self.generation

    async def fetch(self, query: str, *args: Any) -> list[dict[str, Any]]:
        """Answer list_changed_workflows and load_workflow_heads."""
        if query == "list_changed_workflows":
            return [self._row(number) for number, (_, changed) in self.versions.items() if changed > args[0]]
        return [self._head(one.int, version) for one, version in zip(args[1], args[2], strict=True)]

    def _row(self, number: int) -> dict[str, Any]:
        return {
            "tenant_id": DEFAULT_TENANT,
            "id": UUID(int=number),
            "slug": f"w{number}",
            "version": self.versions[number][0],
            "active_since": SINCE,
            "is_active": True,
            "generation": self.generation,
            "removed_in": 0,
        }

    def _head(self, number: int, version: int) -> dict[str, Any]:
        trigger = {"id": "t", "type": "event", "event": "ORDER_PAID", "when": self.when.format(n=number)}
        head = orjson.dumps({"id": f"w{number}", "triggers": [trigger]}).decode()
        key = {"tenant_id": DEFAULT_TENANT, "workflow_id": UUID(int=number)}
        return {**key, "version": version, "created_at": SINCE, "head": head}


class Stops:
    """The longest time for which the event loop did nothing else."""

    def __init__(self) -> None:
        self.longest_ms = 0.0

    async def _tick(self) -> None:
        while True:
            since = time.perf_counter()
            await asyncio.sleep(0)
            self.longest_ms = max(self.longest_ms, (time.perf_counter() - since) * 1e3)

    @contextlib.asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        """Measure until the block ends."""
        self.longest_ms = 0.0
        task = asyncio.create_task(self._tick())
        await asyncio.sleep(0)
        try:
            yield
        finally:
            await asyncio.sleep(0)
            task.cancel()


def memory_mib() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def measure(count: int, when: str) -> str:
    """Take in `count` workflows, match events, publish one of them; return a line of figures."""
    rows, stops, before = Rows(count, when), Stops(), memory_mib()
    catalogue = Catalogue(builtin_actions(), builtin_triggers())
    registry = Registry(cast("Database", rows), catalogue, handed={"secrets": {}}, on_change=lambda: None)
    since = time.perf_counter()
    await registry.refresh()
    start = f"{time.perf_counter() - since:6.2f} s {memory_mib() - before:6.1f} MiB"
    per_event_us = match_many(registry, count)
    rows.publish(count // 2)
    since = time.perf_counter()
    async with stops.measured():
        await registry.refresh()
    publish = f"{(time.perf_counter() - since) * 1e3:6.2f} ms {stops.longest_ms:5.1f} ms"
    return f"{count:7,} | {start} | {per_event_us:7.1f} µs {1e6 / per_event_us:9,.0f}/s | {publish}"


def match_many(registry: Registry, count: int) -> float:
    """Match events that concern one workflow each; return the microseconds for one."""
    matcher = Matcher(registry, handed={"config": {}})
    data = [{"customer": f"c{n % 50 * count // 50 + 1}", "amount": 200, "tags": ["paid"]} for n in range(ROUNDS)]
    events = [published(DEFAULT_TENANT, "ORDER_PAID", one, source="benchmark") for one in data]
    since = time.perf_counter()
    for event in events:
        match = matcher.match(event, EventId(UUID(int=1)), SINCE)
        assert len(match.starts) == 1, match
    return (time.perf_counter() - since) / ROUNDS * 1e6


async def main() -> None:
    """Print the figures for conditions that are read directly, and for such as need the whole reader."""
    for name, when in (("plain", PLAIN), ("nested", NESTED)):
        print(f"\n{name}: {when}")
        print("workflows | start-up, memory | per event | publishing one, longest stop")
        for count in COUNTS:
            print(await measure(count, when))


if __name__ == "__main__":
    asyncio.run(main())
