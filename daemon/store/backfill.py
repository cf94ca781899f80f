"""What is on record about the slots of a cron trigger."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hark.daemon.store.database import Database
from hark.triggers.cron_plan import route_of, source_of
from hark.workflows.catalogue import ActiveTrigger
from hark.workflows.ids import TenantId, floor_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Head:
    """A workflow that slots are to be made up for; the retention is None where the settings decide."""

    id: UUID
    slug: str
    status: str
    paused_at: datetime | None
    created_at: datetime
    retention: timedelta | None
    failed_retention: timedelta | None
    kept_count: int | None
    refuses: bool
    """Whether a slot may have started nothing, by a condition of any version."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which slots are to be made up for, and how."""

    since: datetime
    until: datetime
    """The slots from `since` on, before `until`."""
    trigger: str | None = None
    """Only of this trigger."""
    limit: int = 1000
    spread: timedelta = timedelta(0)
    """The starts come evenly over this time."""
    dry_run: bool = False
    unrecorded: bool = False
    """Also slots that may have run so long ago that nothing is on record about them."""


@dataclass(slots=True)
class Made:
    """What became of one slot."""

    trigger_id: str
    slot: datetime
    event_id: UUID | None = None
    executions: tuple[UUID, ...] = ()
    due_at: datetime | None = None
    refused: str | None = None


@dataclass(slots=True)
class Filled:
    """What became of a time; `more`: there are more slots, ask again."""

    items: list[Made] = field(default_factory=list)
    already: int = 0
    """Slots that have fired."""
    unrecorded: int = 0
    """Slots that were left out because nobody knows whether they have fired."""
    unrecorded_before: datetime | None = None
    more: bool = False


class SlotRecord:
    """Looks up what has fired."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self, tenant_id: TenantId, slug: str) -> Head | None:
        """Return a workflow by its slug."""
        row = await self._database.fetchrow("get_backfill_head", tenant_id, slug)
        return None if row is None else Head(**dict(row))

    async def fired(self, trigger: ActiveTrigger, wanted: Wanted) -> set[str]:
        """Return the keys of a trigger's slots that have fired; none of them was stored before it was due."""
        # An hour earlier: clocks may have been set back between a slot and its event.
        first = max(wanted.since - timedelta(hours=1), _EPOCH)
        route = route_of(trigger.workflow_id, trigger.id)
        between = (wanted.since, wanted.until)
        rows = await self._database.fetch(
            "find_fired_slots", trigger.tenant_id, route, source_of(trigger), floor_of(first), *between,
            *map(_text, between),
        )  # fmt: skip
        return {row["slot"] for row in rows}


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()[:19]
