"""`hark watch`: the tables whose row changes are captured, and what is captured of one of them, as it comes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from hark.daemon.cli.connection import Json, Url, ask
from hark.daemon.cli.output import (
    complain,
    console,
    fail,
    fields,
    hint,
    print_json,
    say,
    state,
    table,
    visible,
    while_read,
)
from hark.workflows.counting import counted

if TYPE_CHECKING:
    from hark.client import HarkClient
    from hark.daemon.api.models.watches import WatchRow
    from hark.triggers.table_name import TableName

_HOW = """\
triggers:
  - {{type: row, table: {table}, operations: [insert, update, delete]}}"""


def watch(
    name: Annotated[str | None, typer.Argument(metavar="TABLE", help="Follow what is captured of it.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Begin then: 2026-01-31T09:00:00Z, or 10m for ten minutes ago.")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Go on with what comes, until interrupted.")
    ] = True,
    connection: Annotated[
        str, typer.Option(metavar="NAME", help="The other database in which the table is, by its connection.")
    ] = "",
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List the tables whose row changes are captured; of one TABLE, follow what is captured as it comes.

    A line per change: operation, key and what changed, what it started or why nothing, who and why, transaction. With
    --json one JSON object per line. Exit status 1 when not all is captured, or no workflow watches the table.
    """
    if since is not None and (name is None or not follow):
        raise typer.BadParameter("name a table, and follow it", param_hint="--since")
    wanted = None if name is None else (_connection(connection), _table_name(name))
    if wanted is None:
        _list(url, as_json=as_json)
    elif follow:
        with suppress(KeyboardInterrupt):
            ask(url, lambda client: while_read(_follow(client, wanted, since, as_json=as_json)))
    else:
        _show_one(wanted, url, as_json=as_json)


def _list(url: str | None, *, as_json: bool) -> None:
    page = ask(url, lambda client: client.watches())
    if as_json:
        print_json(page)
    else:
        table(
            ["table", "capture", "operations", "workflows", ">backlog", "detail"],
            [
                [
                    _named(one), state("attached" if one.attached else "missing"), ", ".join(one.operations),
                    ", ".join(one.workflows), str(one.backlog), _detail(one),
                ]
                for one in page.items
            ],
            empty="no active workflow watches a table",
        )  # fmt: skip
    _end_with(page.items)


def _show_one(wanted: tuple[str, TableName], url: str | None, *, as_json: bool) -> None:
    one = ask(url, lambda client: _watched(client, wanted))
    if as_json:
        print_json(one)
    else:
        _show_state(one)
    _end_with([one])


def _end_with(rows: list[WatchRow]) -> None:
    if not all(one.attached for one in rows):
        hint("the daemon puts missing triggers back by itself; `hark doctor` says what keeps it from it")
        raise typer.Exit(1)


async def _watched(client: HarkClient, wanted: tuple[str, TableName]) -> WatchRow:
    """Return the state of a table; ends the command when no workflow watches it."""
    connection, name = wanted
    page = await client.watches()
    for one in page.items:
        if (one.connection, one.table) == (connection, str(name)):
            return one
    end = fail(f"no active workflow watches {name}{f' in {connection}' if connection else ''}; one that does has")
    table = f"{name}, connection: {connection}" if connection else str(name)
    complain("\n".join(f"  {line}" for line in _HOW.format(table=table).splitlines()))
    if page.items:
        complain(f"watched are {', '.join(map(_named, page.items[:10]))}{' …' if page.items[10:] else ''}")
    raise end


async def _follow(client: HarkClient, wanted: tuple[str, TableName], since: str | None, *, as_json: bool) -> None:
    from hark.daemon.api.models.watches import WatchRow
    from hark.daemon.cli.change_lines import show_change

    shown: WatchRow | None = None
    await _watched(client, wanted)
    async for one in client.follow_changes(str(wanted[1]), since, connection=wanted[0] or None):
        if isinstance(one, WatchRow):
            if not as_json:
                _show_news(one, shown)
            shown = one
        elif as_json:
            console().file.write(one.model_dump_json() + "\n")
        else:
            show_change(one, shown.key if shown else [])
        console().file.flush()


def _show_news(one: WatchRow, before: WatchRow | None) -> None:
    """Say how the capture is; the first time whole, later what is new about it."""
    if before is None:
        _show_state(one)
        hint("following; Ctrl-C ends it, and `hark why EVENT` says all about one")
    elif not one.workflows:
        say(Text("no workflow watches it any more: nothing is captured", style="yellow"))
    else:
        word = state("attached" if one.attached else "missing")
        detail = f": {_detail(one)}" if _detail(one) else f" for {', '.join(one.workflows)}"
        say(Text.assemble(("capture ", "dim"), word, visible(detail)))


def _show_state(one: WatchRow) -> None:
    fields({
        "table": _named(one),
        "capture": state("attached" if one.attached else "missing"),
        "detail": _detail(one),
        "operations": ", ".join(one.operations),
        "filtered": f"{', '.join(one.filtered)}: what can start no workflow is not captured" if one.filtered else "",
        "workflows": ", ".join(one.workflows),
        "backlog": counted(one.backlog, "change") if one.backlog else "",
    })  # fmt: skip


def _connection(text: str) -> str:
    from hark.workflows.connections import read_connection

    try:
        return read_connection(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--connection") from None


def _table_name(text: str) -> TableName:
    from hark.triggers.table_name import TableName

    try:
        return TableName.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="TABLE") from None


def _named(one: WatchRow) -> str:
    return f"{one.table} on {one.connection}" if one.connection else one.table


def _detail(one: WatchRow) -> str:
    parked = f"{counted(one.parked, 'change')} could not be made into events" if one.parked else ""
    return "; ".join(part for part in (one.detail, parked, *one.warnings) if part)
