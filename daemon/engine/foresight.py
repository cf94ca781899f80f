"""What retention would let go now, and why the rest stays: for people who ask before."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from hark.daemon.engine.retention import Policy
from hark.daemon.store.database import Database, Record


@dataclass(frozen=True, slots=True)
class Share:
    """Executions of one workflow in one partition, all with the same prospect."""

    partition: str
    workflow: str
    executions: int
    events: int
    bytes: int
    """Of the partition, by the number of executions: an estimate."""
    policy: str | None
    """Why they go: `for`, `failed` or `count`; None when they stay."""
    stays_as: str | None
    """Why they stay: `open`, `needed`, `restored`, `recent`, `failed` (kept longer), `week` (goes with its week)."""


@dataclass(slots=True)
class Foresight:
    """Everything that was foreseen for one tenant."""

    shares: list[Share] = field(default_factory=list)
    weeks: list[str] = field(default_factory=list)
    """Partitions that go whole, for all tenants."""
    unmatched_events: int = 0


async def foresee(database: Database, policy: Policy, tenant_id: UUID, workflow_id: UUID | None) -> Foresight:
    """Look at the history of a tenant, a partition at a time; changes nothing.

    With a workflow, at what a prune of this one would do: no week goes whole.
    """
    walks = [
        walk
        for walk in await database.fetch("list_walks", policy.usual, policy.failed, False)
        if walk["tenant_id"] == tenant_id and workflow_id in (None, walk["workflow_id"])
    ]
    found = Foresight()
    for week in await database.fetch("list_weeks", policy.usual, policy.failed):
        whole = week["whole"] and workflow_id is None
        if whole:
            found.weeks.append(week["name"])
        rows = await database.fetch(
            "foresee_week", tenant_id, policy.usual, policy.failed, week["first"], week["until"], whole,
            [walk["workflow_id"] for walk in walks], [walk["until"] for walk in walks],
            [walk["whatever_age"] for walk in walks], workflow_id,
        )  # fmt: skip
        found.shares += _shares(week, rows)
    if workflow_id is None:
        found.unmatched_events = await database.fetchval("count_unmatched", tenant_id, policy.unmatched)
    return found


def _shares(week: Record, rows: list[Record]) -> list[Share]:
    total = sum(row["executions"] for row in rows)
    return [
        Share(
            week["name"], row["workflow"], row["executions"], row["events"],
            week["bytes"] * row["executions"] // total, row["policy"], row["stays_as"],
        )
        for row in rows
    ]  # fmt: skip


def summary(found: Foresight) -> dict[str, Any]:
    """Return what goes and what stays, added up."""
    goes = [share for share in found.shares if share.stays_as is None]
    return {
        "executions": sum(share.executions for share in goes),
        "events": sum(share.events for share in goes),
        "bytes": sum(share.bytes for share in goes),
        "unmatched_events": found.unmatched_events,
        "weeks_dropped": len(found.weeks),
    }
