"""What became of slots and rows that were made up for."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from hark.daemon.api.models.answer import Answer


class BackfillItem(Answer):
    """What became of one slot of a backfill."""

    trigger_id: str
    slot: datetime
    event_id: UUID | None = None
    executions: list[UUID]
    """Empty in a dry run, and when the workflow's conditions or limits refused it: the event says why."""
    due_at: datetime | None = None
    """When its executions may start, if not at once."""
    refused: str | None = None
    """Why the slot was not stored; the same request tries again."""


class BackfillAnswer(Answer):
    """What became of the slots of a time."""

    matched: int
    """Slots that have not fired, as far as they are among the items."""
    done: int
    refused: int
    already: int
    """Slots of that time that had fired before."""
    unrecorded: int
    """Slots that were left out: history does not reach so far back, they may have fired."""
    unrecorded_before: datetime | None = None
    """How far history reaches back; absent when it holds all of this workflow."""
    more: bool
    """There are more slots: send it again."""
    dry_run: bool
    items: list[BackfillItem]


class RowBackfillAnswer(Answer):
    """What became of a part of the rows of a table."""

    trigger_id: str
    table: str
    estimate: int
    """About how many rows the table has, by the statistics of PostgreSQL."""
    scanned: int
    """Rows that were looked at."""
    done: int
    """Of these, those that were run; in a dry run, those that would be."""
    already: int
    """Those that had been run before under the same name."""
    left_out: int
    """Those for which `where` does not hold."""
    unconcerned: dict[str, int]
    """How many start nothing, by the reason."""
    refused: list[str]
    """Why rows could not be stored, each; they come again when the backfill begins anew."""
    pending: int
    """So many executions of the workflow wait for their turn that no more were started; else 0."""
    position: list[str] | None = None
    """The key of the last row that is done with: `after` of the next request."""
    more: bool
    """There may be more rows: send it again with `after`."""
    dry_run: bool
