"""Checks of `row` triggers against the database, before they are published."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hark.daemon.store.capture_site import HOME_SCHEMA
from hark.daemon.store.capture_triggers import describe_tables
from hark.daemon.store.database import Connection, sql
from hark.triggers.capture_plan import Table
from hark.triggers.row_columns import columns_used
from hark.triggers.table_name import TableName, quoted
from hark.workflows.catalogue import ActiveTrigger, suggestion
from hark.workflows.errors import Problem


async def check_home_tables(connection: Connection, triggers: Sequence[ActiveTrigger]) -> list[Problem]:
    """Find what is wrong with the `row` triggers that watch the home database."""
    here = [trigger for trigger in triggers if trigger.kind == "row" and not trigger.config.connection]
    return await check_tables(connection, here)


async def check_tables(
    connection: Connection, triggers: Sequence[ActiveTrigger], schema: str = HOME_SCHEMA
) -> list[Problem]:
    """Find what is wrong with `row` triggers: tables, columns, rights. Paths start with (workflow, trigger id).

    All of them watch the database of the connection, in which the schema of row capture is called `schema`.
    """
    rows = [trigger for trigger in triggers if trigger.kind == "row"]
    if not rows:
        return []
    tables = await describe_tables(connection, {trigger.config.table_name for trigger in rows}, schema)
    known: list[TableName] | None = None
    problems: list[Problem] = []
    for trigger in rows:
        table = tables.get(trigger.config.table_name)
        if table is None:
            known = await _all_tables(connection) if known is None else known
            problems.append(_unknown_table(trigger, known))
        else:
            problems.extend(_problems(trigger, table))
    return problems


async def _all_tables(connection: Connection) -> list[TableName]:
    """List what could have been meant; a schema without tables is there with an empty name."""
    rows = await connection.fetch(sql("find_schema_names"))
    return [TableName(row["schema_name"], row["table_name"] or "") for row in rows]


def _at(trigger: ActiveTrigger, *path: str | int) -> tuple[str | int, ...]:
    return (trigger.workflow, trigger.id, *path)


def _unknown_table(trigger: ActiveTrigger, known: Sequence[TableName]) -> Problem:
    name: TableName = trigger.config.table_name
    schemas = {each.schema for each in known}
    if name.schema not in schemas:
        return Problem(
            f"there is no schema {quoted(name.schema)}", _at(trigger, "table"), suggestion(name.schema, schemas)
        )
    tables = {each.name: each for each in known if each.name}
    elsewhere = sorted(str(each) for each in known if each.name.lower() == name.name.lower())
    if elsewhere:
        hint = f"did you mean {' or '.join(elsewhere[:3])}?"
    else:
        hint = suggestion(name.name, [quoted(each.name) for each in tables.values() if each.schema == name.schema])
    return Problem(f"there is no table {name}", _at(trigger, "table"), hint)


def _problems(trigger: ActiveTrigger, table: Table) -> Iterator[Problem]:
    refusal = table.refusal
    if refusal is not None:
        message, _, hint = refusal.partition(": ")
        yield Problem(message, _at(trigger, "table"), hint)
        return
    if not table.may_trigger:
        yield Problem(
            f"Hark's database user may not create triggers on {table.name}",
            _at(trigger, "table"),
            f"as its owner: GRANT TRIGGER ON {table.name} TO the user",
        )
    columns = {column.name: column for column in table.columns}
    for path, name in columns_used(trigger):
        if name not in columns:
            yield Problem(f"{table.name} has no column {name!r}", _at(trigger, *path), suggestion(name, columns))
        elif columns[name].virtual:
            yield Problem(
                f"column {name!r} of {table.name} is computed when it is read: no trigger sees its value",
                _at(trigger, *path),
                "make it STORED, or use the columns that it is computed from",
            )
