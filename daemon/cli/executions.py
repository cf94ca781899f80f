"""Commands that look at what happened: executions, logs, events."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from hark.daemon.cli.connection import Json, Url, ask
from hark.daemon.cli.ids import event_id, execution_id
from hark.daemon.cli.output import (
    ago,
    compact,
    console,
    duration,
    fields,
    hint,
    is_terminal,
    print_json,
    say,
    short_id,
    state,
    table,
    utc,
    visible,
    while_read,
)
from hark.workflows.counting import counted

if TYPE_CHECKING:
    from hark.client import HarkClient
    from hark.daemon.api.models.answer import Page
    from hark.daemon.api.models.events import EventDetail, EventSummary
    from hark.daemon.api.models.executions import ExecutionDetail, ExecutionSummary, LogLine

Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")]
Since = Annotated[str | None, typer.Option(help="From this time on: 2026-01-31T09:00:00Z, or 1h for an hour ago.")]
Until = Annotated[str | None, typer.Option(help="Before this time.")]
Cursor = Annotated[str | None, typer.Option(help="next_cursor of the page before.")]
Workflow = Annotated[str | None, typer.Option(help="Only of this workflow.")]


def executions(
    workflow: Workflow = None,
    status: Annotated[str | None, typer.Option(help="One or several, written failed,timeout.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    parts: Annotated[bool, typer.Option("--parts", help="Show the parts of distributed steps too.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List executions, newest first."""

    async def get(client: HarkClient) -> Page[ExecutionSummary]:
        return await client.executions(
            workflow=workflow, status=status, since=since, until=until, limit=limit, cursor=cursor, parts=parts or None
        )

    page = ask(url, get)
    if as_json:
        print_json(page)
        return
    show_executions(page.items)
    if page.next_cursor:
        hint(f"older ones: --cursor {page.next_cursor}")


def show_executions(items: Sequence[ExecutionSummary]) -> None:
    """Print a table of executions."""
    table(
        ["execution", "workflow", "status", "trigger", "created", ">took", "step or error"],
        [
            [
                short_id(one.id), _what(one), state(one.status), one.trigger_type, ago(one.created_at),
                duration(one.duration_ms), _where(one),
            ]
            for one in items
        ],
        empty="no executions",
    )  # fmt: skip


def _what(one: ExecutionSummary) -> str:
    return one.workflow if one.part is None else f"{one.workflow} {one.part}"


def _where(one: ExecutionSummary) -> Text | None:
    if one.error_message:
        return Text(compact(one.error_message, 60), style="red" if one.status != "cancelled" else "")
    if one.status == "pending" and one.pending_reason:
        return Text(one.pending_reason)
    return None if one.status in ("completed", "skipped") else Text(one.current_step or "")


def execution(
    execution: Annotated[str, typer.Argument(help="Its id, the end of it, or `last`.")] = "last",
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show one execution: its steps as a tree, with inputs, outputs, errors and logs."""

    async def get(client: HarkClient) -> ExecutionDetail:
        return await client.execution(await execution_id(client, execution))

    found = ask(url, get)
    if as_json:
        print_json(found)
        return
    from hark.daemon.cli.tree import show_execution

    show_execution(found)


def logs(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until interrupted.")] = False,
    workflow: Workflow = None,
    execution: Annotated[str | None, typer.Option(help="Only of this execution.")] = None,
    level: Annotated[str | None, typer.Option(help="debug, info, warning, error or critical: this and graver.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show what workflows wrote, oldest first; with -f as it comes, one JSON object per line with --json."""

    async def get(client: HarkClient) -> None:
        one = None if execution is None else str(await execution_id(client, execution))
        filters = {"workflow": workflow, "execution": one, "level": level}
        page = await client.logs(**filters, since=since, until=until, limit=limit)
        if as_json and not follow:
            print_json(page)
            return
        for line in reversed(page.items):
            show_line(line, as_json=as_json)
        if follow:
            await _follow(client, filters, {line.id for line in page.items}, as_json=as_json)

    with suppress(KeyboardInterrupt):
        ask(url, lambda client: while_read(get(client)))


async def _follow(client: HarkClient, filters: dict[str, Any], shown: set[Any], *, as_json: bool) -> None:
    from hark.daemon.api.models.executions import LogLine

    hint("following; Ctrl-C ends it")
    with suppress(asyncio.CancelledError):
        async for kind, row in client.follow(["logs"], **filters):
            line = LogLine.model_validate(row)
            if kind == "log" and line.id not in shown:
                show_line(line, as_json=as_json)


def show_line(line: LogLine, *, as_json: bool = False) -> None:
    """Print one line of the logs."""
    if as_json:
        console().file.write(line.model_dump_json(exclude_unset=True) + "\n")
        console().file.flush()
        return
    clock = f"{line.at.astimezone():%H:%M:%S}" if is_terminal() else utc(line.at)
    level = state(line.level).append(" " * (8 - len(line.level)))
    where = visible(f"{line.workflow}/{line.path or '-'}")
    text = Text.assemble((clock, "dim"), " ", level, " ", (where, "blue"), "  ", visible(line.message))
    if line.data is not None:
        text.append(f"  {compact(line.data, 200)}", "dim")
    console().print(text)
    console().file.flush()


def events(
    type: Annotated[str | None, typer.Option(help="Only of this type.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only by this trigger kind: row, webhook, cron …")] = None,
    matched: Annotated[bool | None, typer.Option("--matched/--unmatched", help="Whether it started anything.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List events, newest first, whether they started anything or not."""

    async def get(client: HarkClient) -> Page[EventSummary]:
        return await client.events(
            type=type, kind=kind, matched=matched, since=since, until=until, limit=limit, cursor=cursor
        )

    page = ask(url, get)
    if as_json:
        print_json(page)
        return
    table(
        ["event", "type", "kind", "source", "subject", "stored", "started"],
        [
            [
                short_id(one.id), one.type, one.kind, compact(one.source, 40),
                f"{one.subject.kind}/{one.subject.id}" if one.subject else None, ago(one.created_at),
                "yes" if one.matched else "no",
            ]
            for one in page.items
        ],
        empty="no events",
    )  # fmt: skip
    if page.next_cursor:
        hint(f"older ones: --cursor {page.next_cursor}")


def event(
    event: Annotated[str, typer.Argument(help="Its id, the end of it, or `last`.")] = "last",
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show one event: its data, what it started, and why it did not start the rest."""

    async def get(client: HarkClient) -> EventDetail:
        return await client.event(await event_id(client, event))

    found = ask(url, get)
    if as_json:
        print_json(found)
        return
    fields(
        {
            "event": str(found.id),
            "type": found.type,
            "kind": found.kind,
            "source": found.source,
            "route": found.route,
            "subject": f"{found.subject.kind}/{found.subject.id}" if found.subject else None,
            "key": found.dedupe_key,
            "occurred": ago(found.occurred_at),
            "stored": ago(found.created_at),
        }
    )
    say()
    _show_data(found.data)
    if found.executions:
        say()
        show_executions(found.executions)
    if found.decisions:
        say()
        table(
            ["did not start", "trigger", "because", "detail"],
            [[one.workflow, one.trigger_id, one.reason, one.detail] for one in found.decisions],
        )
    if found.passed_over:
        hint(f"{counted(found.passed_over, 'more trigger')} did not start a workflow: `hark why {short_id(found.id)}`")
    elif not found.executions and not found.decisions:
        hint("no workflow listens to it")


def _show_data(data: Any) -> None:
    import json

    text = json.dumps(data, indent=2, ensure_ascii=False)
    if is_terminal():
        from rich.json import JSON

        say(JSON(text))
    else:
        say(text)
