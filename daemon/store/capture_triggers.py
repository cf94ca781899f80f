"""The triggers on the users' tables: what is there, and how it becomes what the plans say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import orjson
import structlog

from hark.daemon.store.capture_site import HOME_SCHEMA, CaptureSite, sql_in
from hark.daemon.store.database import Connection, sql
from hark.daemon.store.outages import IN_THE_WAY
from hark.daemon.store.row_outbox import subscriptions_of
from hark.triggers.capture_plan import CapturePlan, Column, Placement, Relation, Table
from hark.triggers.row_columns import Lost
from hark.triggers.row_port import Installed, Part
from hark.triggers.table_name import TableName

log = structlog.get_logger(__name__)

_OFF = "off"
"""Mode of a trigger that was to be dropped by somebody who is not its table's owner: it never fires."""
_LATER = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)

MOST_WARNINGS = 100
"""So many columns that workflows miss are put on record for a table."""

TriggerKey = tuple[int, str]


@dataclass(frozen=True, slots=True)
class Found:
    """A trigger of ours in the database."""

    relation: int
    label: str
    name: str
    enabled: bool
    arguments: tuple[str, ...]

    @property
    def off(self) -> bool:
        """Whether it is only there because it could not be dropped."""
        return self.arguments[1:2] == (_OFF,)


@dataclass(frozen=True, slots=True)
class _Place:
    placement: Placement
    arguments: tuple[str, ...]


@dataclass(slots=True)
class _Work:
    """What has to be done to one table, in one transaction."""

    table: str
    place: list[_Place] = field(default_factory=list)
    remove: list[Found] = field(default_factory=list)


async def describe_tables(
    connection: Connection, names: Collection[TableName], schema: str = HOME_SCHEMA
) -> dict[TableName, Table]:
    """Look at tables; those that do not exist are left out. `schema` is that of row capture in their database."""
    ordered = sorted(names)
    rows = await connection.fetch(
        sql("describe_tables"), [name.schema for name in ordered], [name.name for name in ordered]
    )
    tables = (_table(row, schema) for row in rows)
    return {table.name: table for table in tables}


def _table(row: asyncpg.Record, schema: str) -> Table:
    return Table(
        name=TableName(row["schema_name"], row["table_name"]),
        relation=Relation(row["oid"], row["label"], row["kind"]),
        columns=tuple(Column(*column) for column in orjson.loads(row["columns"])),
        descendants=tuple(Relation(*part) for part in orjson.loads(row["descendants"])),
        parent=row["parent"],
        persistence=row["persistence"],
        may_trigger=row["may_trigger"],
        capture_schema=schema,
        encoding=row["encoding"],
    )


async def find_triggers(
    connection: Connection, relations: Collection[int] | None = None, schema: str = HOME_SCHEMA
) -> list[Found]:
    """List the triggers of ours on some tables, or all of them."""
    text = sql_in(schema, "list_capture_triggers")
    rows = await connection.fetch(text, None if relations is None else sorted(relations))
    return [
        Found(row["relation"], row["label"], row["name"], row["enabled"], tuple(row["arguments"] or ())) for row in rows
    ]


async def install(
    site: CaptureSite,
    plans: Sequence[CapturePlan],
    generation: int,
    *,
    patience_s: float,
    part: Part | None = None,
    leads: bool = True,
) -> Installed:
    """Make the database capture exactly what the plans say, of a part of the tables or of all; touch what differs.

    Who does not lead, for another version of Hark does, leaves its triggers as they are; where none are it makes some.

    Each table is a transaction of its own that waits `patience_s` for locks, for writers queue up behind what waits.
    Does nothing when the active workflows have changed since `generation`, for then the plans are old, nor where others
    have taken over.
    """
    try:
        async with _turn(site, generation, patience_s) as connection:
            if connection is None:
                return Installed(current=False)
            watches = await _save_watches(site, connection, plans, part)
            found = await find_triggers(connection, None if part is None else part.relations, site.schema)
            if part is None:
                await connection.execute(site.sql("sweep_key_sets"))
    except _LATER:
        return Installed(current=False)
    installed = Installed(problems=_problems(site, plans, watches, found))
    for work in _differences(site, plans, watches, found, leads=leads):
        await _carry_out(site, work, generation, patience_s, installed)
        if not installed.current:
            return installed
    await _note_problems(site, plans, watches, installed)
    return installed


@asynccontextmanager
async def _turn(site: CaptureSite, generation: int, patience_s: float) -> AsyncIterator[Connection | None]:
    """Open a transaction in which no other instance changes triggers; None when the plans are not current."""
    async with site.database.transaction() as connection:
        await connection.execute(sql("begin_capture_change"), f"{round(patience_s * 1000)}ms")
        yield connection if await site.is_current(connection, generation) else None


async def _save_watches(
    site: CaptureSite, connection: Connection, plans: Sequence[CapturePlan], part: Part | None
) -> dict[TableName, int]:
    """Note who is interested in what, before the triggers fire; return the ids of the watches."""
    names = None if part is None else ([name.schema for name in part.tables], [name.name for name in part.tables])
    rows = await connection.fetch(site.sql("load_watches"), *(names or (None, None)))
    known = {TableName(row["schema_name"], row["table_name"]): row for row in rows}
    ids = {name: row["id"] for name, row in known.items()}
    changed = [wish for plan in plans if (wish := _wish(plan, known.get(plan.table))) is not None]
    if changed:
        for row in await connection.fetch(site.sql("save_watches"), *zip(*changed, strict=True)):
            ids[TableName(row["schema_name"], row["table_name"])] = row["id"]
    wanted = {plan.table for plan in plans}
    ended = [row["id"] for name, row in known.items() if row["active"] and name not in wanted]
    if ended:
        await connection.execute(site.sql("end_watches"), ended)
    return {name: ids[name] for name in wanted}


def _wish(plan: CapturePlan, row: asyncpg.Record | None) -> tuple[str, str, str, str] | None:
    """Return a watch as it is to be put on record; None when it is."""
    subscriptions, unseen = subscriptions_of(plan.interests), list(plan.unseen)
    known = row is not None and row["active"] and (orjson.loads(row["subscriptions"]), row["unseen"])
    if known == (subscriptions, unseen):
        return None
    return plan.table.schema, plan.table.name, orjson.dumps(subscriptions).decode(), orjson.dumps(unseen).decode()


def _wanted(
    site: CaptureSite, plans: Iterable[CapturePlan], watches: Mapping[TableName, int]
) -> dict[TriggerKey, tuple[str, _Place]]:
    wanted = {}
    for plan in plans:
        for placement in plan.placements:
            arguments = (str(watches[plan.table]), placement.mode, placement.fingerprint())
            wanted[placement.relation.oid, site.named(placement.name)] = (str(plan.table), _Place(placement, arguments))
    return wanted


def _differences(
    site: CaptureSite,
    plans: Sequence[CapturePlan],
    watches: Mapping[TableName, int],
    found: Iterable[Found],
    *,
    leads: bool,
) -> list[_Work]:
    wanted = _wanted(site, plans, watches)
    there = {(trigger.relation, trigger.name): trigger for trigger in found}
    others = set() if leads else {trigger.relation for trigger in there.values() if not trigger.off}
    owners = {placement.relation.oid: str(plan.table) for plan in plans for placement in plan.placements}
    works: dict[str, _Work] = {}
    for key, (table, place) in wanted.items():
        trigger = there.get(key)
        if key[0] not in others and (trigger is None or trigger.arguments != place.arguments):
            works.setdefault(table, _Work(table)).place.append(place)
    for key, trigger in there.items():
        if leads and key not in wanted and not trigger.off:
            table = owners.get(trigger.relation, trigger.label)
            works.setdefault(table, _Work(table)).remove.append(trigger)
    return list(works.values())


async def _carry_out(site: CaptureSite, work: _Work, generation: int, patience_s: float, installed: Installed) -> None:
    try:
        async with _turn(site, generation, patience_s) as connection:
            if connection is None:
                installed.current = False
                return
            for place in work.place:
                await _put(site, connection, place)
            for trigger in work.remove:
                await connection.execute(site.sql("remove_capture_trigger"), trigger.relation, trigger.name)
    except _LATER:
        installed.busy.add(work.table)
    except asyncpg.PostgresError as error:
        installed.problems[work.table] = f"{work.table} is not captured: {error}"
    else:
        installed.placed += [
            f"{site.named(place.placement.name)} on {place.placement.relation.label}" for place in work.place
        ]
        installed.removed += [f"{trigger.name} on {trigger.label}" for trigger in work.remove]


async def _put(site: CaptureSite, connection: Connection, place: _Place) -> None:
    placement = place.placement
    await connection.execute(
        site.sql("place_capture_trigger"),
        placement.relation.oid,
        site.named(placement.name),
        placement.operation.upper(),
        placement.level,
        placement.condition,
        list(place.arguments),
        [one.function for one in placement.sets],
        [one.content for one in placement.sets],
        placement.function,
    )


def _problems(
    site: CaptureSite, plans: Sequence[CapturePlan], watches: Mapping[TableName, int], found: Iterable[Found]
) -> dict[str, str]:
    problems = {str(plan.table): f"{plan.table} is not captured: {plan.problem}" for plan in plans if plan.problem}
    disabled: dict[str, list[str]] = defaultdict(list)
    wanted = _wanted(site, plans, watches)
    for trigger in found:
        if not trigger.enabled and (trigger.relation, trigger.name) in wanted:
            disabled[wanted[trigger.relation, trigger.name][0]].append(trigger.name)
    for table, names in disabled.items():
        problems[table] = f"{table} is not captured: somebody has disabled {', '.join(sorted(names))}"
    return problems


async def _note_problems(
    site: CaptureSite, plans: Sequence[CapturePlan], watches: Mapping[TableName, int], installed: Installed
) -> None:
    """Put what is wrong on record, for those who ask the database and not this process."""
    if not plans:
        return
    waiting = "locked by another transaction"
    noted = [
        installed.problems.get(str(plan.table)) or (waiting if str(plan.table) in installed.busy else None)
        for plan in plans
    ]
    warnings = [_encoded(plan.warnings) for plan in plans]
    watched = [watches[plan.table] for plan in plans]
    with site.database.translated(*IN_THE_WAY):
        async with site.database.transaction() as connection:
            await connection.execute(site.sql("note_watch_problems"), watched, noted, warnings)


def _encoded(warnings: Sequence[Lost]) -> str:
    told = [{"tenant": str(one.tenant_id), "workflow": str(one.workflow_id), "text": one.text} for one in warnings]
    return orjson.dumps(told[:MOST_WARNINGS]).decode()
