"""Rows that are there are run through a trigger on request: each once, whoever asks how often.

A request takes one part of the table, in the order of its key, and says where the next one begins. It has no memory but
the keys of the events that it stores: what dies half-way is asked for again, from where it came to or from the start.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hark.daemon.engine.backfill import active_head
from hark.daemon.engine.ingest import Ingest
from hark.daemon.engine.judging import judge, staged
from hark.daemon.engine.registry import Registry, Subscription
from hark.daemon.engine.remotes import Remotes
from hark.daemon.engine.slices import in_slices
from hark.daemon.store.backfill import SlotRecord
from hark.daemon.store.database import Database
from hark.daemon.store.existing_rows import ExistingRow, KeyedTable, Position, describe, read_part
from hark.triggers.row_changes import Interest, backfilled, events_of
from hark.triggers.row_config import RowConfig
from hark.workflows.catalogue import NewEvent
from hark.workflows.errors import ConflictError, ExpressionError, UnprocessableError
from hark.workflows.expressions import Expression, compile_expression
from hark.workflows.ids import EventId, TenantId, WorkflowId, new_id

MOST_PENDING = 1000
"""While so many executions of the workflow wait for their turn, no more are started."""
PART = 100
PATIENCE_S = 10.0
"""After so long a request is answered, with what it has done until then."""
_LOOK_S = 0.2
_MOST_REASONS = 20
ROOTS = frozenset({"new"})


@dataclass(frozen=True, slots=True)
class WantedRows:
    """Which rows are to be run, and how."""

    trigger: str | None = None
    name: str = "rows"
    """Of the backfill: under another name everything is run again."""
    after: Position | None = None
    """The key behind which it goes on."""
    limit: int = 1000
    """How many rows are looked at, at the most."""
    rate: float | None = None
    """Starts in a second, at the most."""
    where: str | None = None
    """CEL on `new`: only these rows."""
    dry_run: bool = False


@dataclass(slots=True)
class RanRows:
    """What became of a part of a table."""

    trigger_id: str
    table: str
    estimate: int
    """About how many rows the table has."""
    position: Position | None
    """The key of the last row that is done with."""
    scanned: int = 0
    done: int = 0
    already: int = 0
    left_out: int = 0
    """Rows that do not match `where`."""
    unconcerned: Counter[str] = field(default_factory=Counter)
    """Rows that start nothing, by the reason."""
    refused: list[str] = field(default_factory=list)
    """Why rows could not be stored."""
    pending: int = 0
    """Executions that wait for their turn, when these are waited for."""
    more: bool = True

    def note_unconcerned(self, reason: str, detail: str | None) -> bool:
        """Count a row that starts nothing; of many different reasons only the kind is kept. Returns False."""
        whole = f"{reason}: {detail}" if detail else reason
        self.unconcerned[whole if whole in self.unconcerned or len(self.unconcerned) < _MOST_REASONS else reason] += 1
        return False


class RowBackfill:
    """Runs rows that are there."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        ingest: Ingest,
        remotes: Remotes,
        *,
        handed: Mapping[str, Any],
        now: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._record = SlotRecord(database)
        self._registry = registry
        self._ingest = ingest
        self._remotes = remotes
        self._handed = handed
        self._now = now

    async def run(self, tenant_id: TenantId, slug: str, wanted: WantedRows) -> RanRows:
        """Run the rows after a position, until the limit or the time is used up.

        Raises NotFoundError, ConflictError when the workflow's triggers are off, UnprocessableError for what cannot be
        meant, UnavailableError: then the rows of the last part are offered again by the next request.
        """
        head = await active_head(self._record, tenant_id, slug)
        await self._registry.refresh()
        subscription = self._subscription(tenant_id, WorkflowId(head.id), slug, wanted.trigger)
        where = None if wanted.where is None else _compiled(wanted.where)
        connection = subscription.active.config.connection
        if connection:
            async with self._remotes.looking(connection, captures=True):
                pass  # what writes rows as JSON there is part of row capture
        table = await describe(self._remotes.site(connection), subscription.active.config.table_name)
        ran = RanRows(subscription.active.id, str(table.name), table.estimate, wanted.after)
        deadline = time.monotonic() + PATIENCE_S
        while ran.more and ran.scanned < wanted.limit and time.monotonic() < deadline:
            if not wanted.dry_run and not await self._has_room(subscription, ran, deadline):
                break
            await self._part(subscription, table, where, wanted, ran)
        return ran

    def _subscription(
        self, tenant_id: TenantId, workflow_id: WorkflowId, slug: str, trigger: str | None
    ) -> Subscription:
        picture = self._registry.version_of(tenant_id, workflow_id)
        found = [one for one in picture.subscriptions if _is_fit(one)] if picture else []
        names = ", ".join(one.active.id for one in found)
        if not found:
            raise UnprocessableError(
                f"workflow {slug!r} has no trigger that rows can be run through: one of type row, with `per: row`, and "
                "with insert among its `operations`, for that is what a row that is there is offered as"
            )
        chosen = [one for one in found if trigger in {None, one.active.id}]
        if not chosen:
            raise UnprocessableError(f"trigger: workflow {slug!r} has no such trigger for rows; one of: {names}")
        if len(chosen) > 1:
            raise UnprocessableError(f"trigger: workflow {slug!r} has several for rows, name one of: {names}")
        return chosen[0]

    async def _has_room(self, subscription: Subscription, ran: RanRows, deadline: float) -> bool:
        """Wait while many executions of the workflow wait; false when that takes too long."""
        workflow = subscription.workflow
        while True:
            ran.pending = await self._database.fetchval(
                "count_pending_of_workflow", workflow.tenant_id, workflow.id, MOST_PENDING
            )
            if ran.pending < MOST_PENDING:
                ran.pending = 0
                return True
            if time.monotonic() + _LOOK_S > deadline:
                return False
            await asyncio.sleep(_LOOK_S)

    async def _part(
        self, subscription: Subscription, table: KeyedTable, where: Expression | None, wanted: WantedRows, ran: RanRows
    ) -> None:
        began, now = time.monotonic(), self._now()
        interest = Interest(subscription.workflow.tenant_id, "row", ("insert",))
        most = min(_part_of(wanted), wanted.limit - ran.scanned)
        site = self._remotes.site(subscription.active.config.connection)
        rows, ran.more = await read_part(site, table, ran.position, most, interest, now)
        offered = [_event(subscription, wanted, row, now) for row in rows]
        known = await self._known(offered)
        fresh = [event for event in offered if event.dedupe_key not in known]
        ran.already += len(offered) - len(fresh)
        events = [event async for event in in_slices(fresh) if self._concerns(subscription, event, where, ran, now)]
        started = await self._store(events, wanted, ran)
        # Only now: had it raised, these rows would come again.
        ran.scanned += len(rows)
        ran.position = rows[-1].position if rows else ran.position
        if wanted.rate is not None:
            await asyncio.sleep(max(began + started / wanted.rate - time.monotonic(), 0))

    async def _known(self, events: Sequence[NewEvent]) -> set[str]:
        """Return the keys of those that have been stored: they are not judged again."""
        keys = [(event.tenant_id, event.source, event.dedupe_key) for event in events]
        found = await self._database.fetch("find_event_keys", *zip(*keys, strict=True)) if keys else []
        return {row["key"] for row in found}

    def _concerns(
        self, subscription: Subscription, event: NewEvent, where: Expression | None, ran: RanRows, now: datetime
    ) -> bool:
        """Tell whether a row starts an execution; what does not leaves no trace but a number."""
        try:
            if where is not None and not where.holds({"new": event.data["new"]}):
                ran.left_out += 1
                return False
        except ExpressionError as error:
            return ran.note_unconcerned("where", str(error))
        verdict = judge(subscription, staged(event, EventId(new_id(now)), now), self._handed)
        return verdict.start is not None or ran.note_unconcerned(verdict.reason or "", verdict.detail)

    async def _store(self, events: Sequence[NewEvent], wanted: WantedRows, ran: RanRows) -> int:
        """Store the events; return how many were new."""
        if wanted.dry_run:
            ran.done += len(events)
            return 0
        outcomes = await asyncio.gather(*(self._ingest.take(event) for event in events), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, (ConflictError, UnprocessableError)):
                ran.refused.append(str(outcome))
            elif isinstance(outcome, BaseException):
                raise outcome
        new = sum(not isinstance(one, BaseException) and not one.duplicate for one in outcomes)
        ran.done += new
        ran.already += sum(not isinstance(one, BaseException) and one.duplicate for one in outcomes)
        return new


def _is_fit(subscription: Subscription) -> bool:
    config = subscription.active.config
    return isinstance(config, RowConfig) and config.takes_existing


def _compiled(where: str) -> Expression:
    try:
        return compile_expression(where, ROOTS)
    except ExpressionError as error:
        raise UnprocessableError(f"where: {error}") from error


def _part_of(wanted: WantedRows) -> int:
    """Return how many rows are run at once: with a low rate, no more than come in a second."""
    return PART if wanted.rate is None else max(1, min(PART, int(wanted.rate)))


def _event(subscription: Subscription, wanted: WantedRows, row: ExistingRow, now: datetime) -> NewEvent:
    (event,) = events_of(row.change, subscription.active.config.connection)
    workflow = subscription.workflow
    event = backfilled(event, workflow.id, subscription.active.id, wanted.name, row.identity)
    # As with slots: what `overlap` would skip or restart queues.
    event.not_before = now
    return event
