"""`hark dry-run`: what a new or changed workflow would have started, without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hark.daemon.cli.connection import Json, Url, ask
from hark.daemon.cli.output import ago, compact, fields, hint, print_json, say, short_id, table
from hark.daemon.cli.sources import STDIN, SUFFIXES, read_files

if TYPE_CHECKING:
    from hark.client import HarkClient
    from hark.daemon.api.models.rehearsals import DryRun, Rehearsal


def dry_run(
    what: Annotated[
        list[str], typer.Argument(metavar="WORKFLOW|FILE...", help="A stored workflow, or files; `-`: stdin.")
    ],
    since: Annotated[str, typer.Option(help="From this time on, such as 7d for a week ago.")] = "7d",
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Of a stored workflow: which version.")] = None,
    limit: Annotated[int, typer.Option(min=0, max=200, help="How many starts are shown.")] = 10,
    most: Annotated[
        int, typer.Option("--most-events", min=0, max=1_000_000, help="How many events are tried.")
    ] = 100_000,
    rows: Annotated[int, typer.Option("--most-rows", min=0, max=1_000_000, help="How many rows; 0: none.")] = 10_000,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Tell what workflows would have started on stored events and on rows that are there; nothing is run."""
    asked: dict[str, Any] = {
        "since": since, "until": until, "limit": limit, "most_events": most, "most_rows": rows,
    }  # fmt: skip
    texts = read_files(what) if all(map(_is_file, what)) else {}
    if not texts and len(what) != 1:
        raise typer.BadParameter("name one stored workflow, or files")

    async def get(client: HarkClient) -> DryRun:
        if texts:
            return await client.dry_run(files=texts, **asked)
        return await client.dry_run(what[0], version=version, **asked)

    found = ask(url, get)
    if as_json:
        print_json(found)
        return
    for one in found.items:
        _show(one)


def _is_file(name: str) -> bool:
    return name == STDIN or Path(name).suffix in SUFFIXES or Path(name).is_dir()


def _show(one: Rehearsal) -> None:
    events = one.events
    found = {"workflow": one.workflow, "version": str(one.version or "of the file"), "since": ago(one.since)}
    said = f"{events.would_start} of {events.scanned} would start it"
    if events.started_then or events.newly:
        said += f" ({events.started_then} did; {events.newly} newly, {events.no_longer} no longer)"
    fields({**found, "events": said})
    if not events.complete:
        say(f"  tried only back to {ago(events.reached)}: there are more than --most-events, or 20 s were over")
    for row in one.rows:
        more = "" if row.complete else f"; {row.problem or 'not all rows were tried: a larger --most-rows'}"
        where = f"{row.table} in {row.connection}" if row.connection else row.table
        say(f"rows of {where}: {row.would_start} of {row.scanned} would start it if they were inserted{more}")
    for due in one.schedules:
        more = f", the last at {ago(due.last)}" if due.last else ""
        say(f"schedule {due.trigger_id}: {due.would_start} of {due.due} due times would start it{more}")
    for broken in one.broken:
        say(f"broken: {broken}")
    if one.limited:
        hint("its limits were not asked: they may refuse, delay or join some of these")
    _show_tables(one)
    say()


def _show_tables(one: Rehearsal) -> None:
    if one.samples:
        say()
        table(
            ["event", "type", "stored", "trigger", "inputs"],
            [
                [
                    short_id(start.event_id) if start.event_id else "row", start.type, ago(start.at), start.trigger_id,
                    compact(start.inputs, 80),
                ]
                for start in one.samples
            ],
        )  # fmt: skip
    if one.refusals:
        say()
        table(
            [">count", "trigger", "would not start it", "because", "for example"],
            [
                [
                    str(why.count),
                    why.trigger_id,
                    why.reason,
                    why.detail,
                    compact(why.values, 80) if why.values else None,
                ]
                for why in one.refusals[:10]
            ],
        )


def _example(values: dict[str, Any]) -> str | None:
    return ", ".join(f"{path} is {compact(value, 60)}" for path, value in values.items()) or None
