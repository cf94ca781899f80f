"""Ends of executions that other workflows follow: noted by the database, made into events here.

The transaction that ends an execution notes it (`execution_ends`), if a published workflow starts after it. Taking the
note out, storing the event with what it starts, and counting it towards a trigger that waits for several, are one
transaction too: whoever dies in it has done nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import structlog

from hark.daemon.engine.background import Background, woken
from hark.daemon.engine.ingest import Ingest, taking
from hark.daemon.engine.matcher import event_view
from hark.daemon.engine.registry import Registry, Subscription
from hark.daemon.engine.strandings import Takings
from hark.daemon.store.database import ENGINE_PLANNER, Connection, Database, Record, sql
from hark.daemon.store.lane import Lane
from hark.triggers.workflow import WorkflowConfig, refusal_of, route_of, route_of_all
from hark.workflows.catalogue import NewEvent
from hark.workflows.errors import ExpressionError, FencedError, UnavailableError
from hark.workflows.expressions import compile_expression
from hark.workflows.ids import EventId, TenantId

log = structlog.get_logger(__name__)

MOST_ENDS = 100
MOST_BYTES = 4 * 1024 * 1024
MOST_REASON = 1000
POLL_S = 5.0
"""A NOTIFY may be lost; the table is the truth."""
_EVENT = frozenset({"event"})
KEY_FAILURES = (ExpressionError, TypeError, ValueError)
"""What the key of an end may raise: also for values that are no JSON, or text that is no UTF-8."""


@dataclass(frozen=True, slots=True)
class _Awaited:
    """An end that a trigger with `all` counts."""

    subscription: Subscription
    key: bytes
    end: Record
    event: NewEvent

    @property
    def order(self) -> tuple[str, str, bytes, datetime]:
        """In this order the rows are locked, on all instances, and ends of one key come as they happened."""
        active = self.subscription.active
        return str(active.workflow_id), active.id, self.key, self.end["completed_at"]


class Ends:
    """Turns noted ends into events, on every instance; whoever has locked a note first makes it."""

    def __init__(self, database: Database, ingest: Ingest, registry: Registry, takings: Takings) -> None:
        self._ingest = ingest
        self._registry = registry
        self._takings = takings
        self._lane = Lane(database, "ends", ENGINE_PLANNER)
        self._wanted = asyncio.Event()
        self._task = Background("ends", self._run)
        self._singly = 0
        self.unannounced = 0
        """How many looks found what no wake-up had told of."""

    def start(self) -> None:
        """Start to look."""
        self._task.start()

    async def stop(self) -> None:
        """Stop looking; idempotent."""
        await self._task.stop()
        await self._lane.stop()

    @property
    def backend_pid(self) -> int | None:
        """The server process behind the connection."""
        return self._lane.backend_pid

    def wake(self) -> None:
        """Look now."""
        self._wanted.set()

    async def _run(self) -> None:
        polled = False
        while True:
            self._wanted.clear()
            try:
                while await self.drain():
                    self.unannounced += polled
                    polled = False
            except (UnavailableError, FencedError) as error:
                log.warning("ends.postponed", error=str(error))
            except Exception:
                log.exception("ends.broken")
            polled = not await woken(self._wanted, POLL_S)

    async def drain(self) -> int:
        """Make the oldest ends into events; returns how many notes were done with."""
        if self._singly:
            self._singly -= 1
            return await self._drain_one()
        try:
            return await self._drain(MOST_ENDS, [])
        except (UnavailableError, FencedError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it concerns one of them
            log.warning("ends.batch_split", error=str(error))
            self._singly = MOST_ENDS
            return await self.drain()

    async def _drain_one(self) -> int:
        taken: list[int] = []
        try:
            return await self._drain(1, taken)
        except (UnavailableError, FencedError):
            raise
        except Exception as error:
            if not taken:
                raise
            log.exception("ends.parked")
            reason = str(error)
        async with self._lane.connection() as connection:
            # Exactly that one. It is not locked any more: another instance may have it, and parks it itself.
            await connection.fetchval(sql("park_end"), taken[0], reason[:MOST_REASON])
        return 1

    async def _drain(self, limit: int, numbers: list[int]) -> int:
        """Make so many ends into events; `numbers` gets theirs, also when that fails."""
        with self._takings.under_way():
            async with self._lane.connection() as connection, taking(connection) as taken:
                ends = await connection.fetch(sql("take_ends"), limit, MOST_BYTES)
                numbers += [end["id"] for end in ends]
                events = await self._events(connection, ends) if ends else []
                if events:
                    taken.append(await self._ingest.take_within(connection, events))
        return len(ends)

    # ------------------------------------------------------------------ what they become

    async def _events(self, connection: Connection, ends: Sequence[Record]) -> list[NewEvent]:
        # Read after the ends: whoever published a follower before one of them ended is in this generation.
        if await connection.fetchval(sql("get_generation")) != self._registry.generation:
            await self._registry.refresh()
        events: list[NewEvent] = []
        awaited: list[_Awaited] = []
        for end in ends:
            if end["workflow"] is None:
                continue  # deleted meanwhile, with all its history
            event = _event(end)
            if end["for_trigger"] is None and self._registry.find(event.tenant_id, event.route) is not None:
                events.append(event)
            awaited += self._awaited(end, event)
        count = _join if len(ends) > 1 else self._join_alone
        for one in sorted(awaited, key=lambda one: one.order):
            joined = await count(connection, one)
            if joined is not None:
                events.append(joined)
        return events

    async def _join_alone(self, connection: Connection, one: _Awaited) -> NewEvent | None:
        """Count an end; if that fails it concerns this trigger, and the others hear of the end."""
        try:
            async with connection.transaction():
                joined = await _join(connection, one)
                if joined is not None:
                    self._ingest.arrival(joined)  # raises what storing it would
                return joined
        except (UnavailableError, FencedError):
            raise
        except Exception as error:
            active, end = one.subscription.active, one.end
            log.exception("ends.join_parked", workflow=active.workflow, trigger=active.id)
            await connection.execute(
                sql("park_join"), active.tenant_id, end["execution_id"], active.workflow_id, active.id,
                str(error)[:MOST_REASON],
            )  # fmt: skip
            return None

    def _awaited(self, end: Record, event: NewEvent) -> Iterator[_Awaited]:
        """Yield for which triggers that wait for several workflows an end counts."""
        for subscription in self._registry.followers(event.tenant_id, end["workflow"]):
            active = subscription.active
            config: WorkflowConfig = active.config
            if config.all_ is None or refusal_of(config, event.data) is not None:
                continue
            if end["for_trigger"] is not None and (active.workflow_id, active.id) != (
                end["for_workflow"],
                end["for_trigger"],
            ):
                continue
            try:
                key = key_of(config, event_view(event, EventId(end["execution_id"]), end["completed_at"]))
            except KEY_FAILURES as error:
                log.warning(
                    "ends.key_failed", workflow=active.workflow, trigger=active.id, error=str(error),
                    execution=str(end["execution_id"]),
                )  # fmt: skip
                continue
            yield _Awaited(subscription, hashlib.sha256(key).digest(), end, event)


def _event(end: Record) -> NewEvent:
    subject = (end["subject_kind"], end["subject_id"]) if end["subject_kind"] else None
    data = {"workflow": end["workflow"], **_said(end["execution_id"], end)}
    return NewEvent(
        tenant_id=TenantId(end["tenant_id"]),
        kind="workflow",
        type=f"workflow.{end['status']}",
        source=route_of(end["workflow"]),
        route=route_of(end["workflow"]),
        data=data,
        subject=subject,
        occurred_at=end["completed_at"],
        depth=end["depth"] + 1,
        caused_by=end["execution_id"],
    )


def _said(execution_id: Any, row: Record) -> dict[str, Any]:
    """Return what an event says of an execution that has ended."""
    read = {name: None if row[name] is None else orjson.loads(row[name]) for name in ("output", "inputs", "error")}
    return {"execution_id": str(execution_id), "status": row["status"], **read}


def key_of(config: WorkflowConfig, view: Mapping[str, Any]) -> bytes:
    """Return the key of an end, given as expressions see its event. Raises KEY_FAILURES."""
    if config.key is None:
        return b""
    value = compile_expression(config.key, _EVENT).evaluate({"event": view})
    return value.encode() if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


async def _join(connection: Connection, one: _Awaited) -> NewEvent | None:
    """Count an end; returns the event of all of them when it was the last."""
    active, end = one.subscription.active, one.end
    config: WorkflowConfig = active.config
    places = await connection.fetch(
        sql("join_end"), active.tenant_id, active.workflow_id, active.id, one.key, config.followed, end["workflow"],
        end["execution_id"], end["completed_at"], config.within,
    )  # fmt: skip
    if not places:
        return None
    followed = {place["followed"]: place["execution_id"] for place in places}
    ids = list(followed.values())
    rows = await connection.fetch(sql("load_ends"), [active.tenant_id] * len(ids), ids)
    said = {row["id"]: _said(row["id"], row) for row in rows}
    gone = {"status": None, "output": None, "inputs": None, "error": None}
    ends = {
        slug: said.get(execution_id, {"execution_id": str(execution_id), **gone})
        for slug, execution_id in sorted(followed.items())
    }
    route = route_of_all(active.workflow_id, active.id)
    return NewEvent(
        tenant_id=active.tenant_id,
        kind="workflow",
        type="workflow.all",
        source=route,
        route=route,
        data={**one.event.data, "ends": ends},
        subject=_subject_of(rows),
        occurred_at=one.event.occurred_at,
        depth=one.event.depth,
        caused_by=one.event.caused_by,
        also_caused_by=[other for other in ids if other != one.event.caused_by],
    )


def _subject_of(ends: Sequence[Record]) -> tuple[str, str] | None:
    """Return what several ends are about, unless they are about different things."""
    subjects = {(end["subject_kind"], end["subject_id"]) for end in ends if end["subject_kind"]}
    return subjects.pop() if len(subjects) == 1 else None
