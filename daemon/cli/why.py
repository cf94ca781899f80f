"""`hark why`: what an event started, and what kept the other workflows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from hark.daemon.cli.connection import Json, Url, ask
from hark.daemon.cli.ids import event_id
from hark.daemon.cli.output import ago, compact, fields, hint, print_json, say, short_id, table
from hark.workflows.counting import counted

if TYPE_CHECKING:
    from hark.client import HarkClient
    from hark.daemon.api.models.decisions import EventDecisions, Judged, WorkflowDecisions


def why(
    event: Annotated[str | None, typer.Argument(help="The id of an event, the end of it, or `last`.")] = None,
    workflow: Annotated[str | None, typer.Option(help="What became of it with this workflow.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Without an event: from this time on, such as 1h for an hour ago.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 20,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Tell why an event started what it did, and why not the rest; or, with --workflow alone, of its last events."""
    if event is None and workflow is not None:
        _show_workflow(workflow, since, limit, url, as_json=as_json)
        return

    async def get(client: HarkClient) -> EventDecisions:
        return await client.decisions(await event_id(client, event or "last"), workflow=workflow, limit=limit)

    found = ask(url, get)
    if as_json:
        print_json(found)
        return
    fields({"event": str(found.event_id), "type": found.type, "route": found.route, "stored": ago(found.at)})
    say()
    table(
        ["workflow", "trigger", "outcome", "because"],
        [[one.workflow, one.trigger_id, _outcome(one), _because(one)] for one in found.items],
        empty="no workflow listens to it, and none did then",
    )
    for warning in found.warnings:
        say(Text(f"warning: {warning}", style="yellow"))
    if not found.complete:
        hint("not all workflows were asked, too many have changed since; of one of them: --workflow")
    if found.considered > len(found.items):
        counts = ", ".join(f"{count} {reason}" for reason, count in found.reasons.items())
        hint(f"{counted(found.considered, 'trigger was', 'triggers were')} considered: {counts}; more of them: --limit")


def _show_workflow(workflow: str, since: str | None, limit: int, url: str | None, *, as_json: bool) -> None:
    async def get(client: HarkClient) -> WorkflowDecisions:
        return await client.decisions_of(workflow, since=since, limit=limit)

    found = ask(url, get)
    if as_json:
        print_json(found)
        return
    fields({"workflow": found.workflow, "state": found.state})
    for trigger in found.triggers:
        condition = f", when {trigger.when}" if trigger.when else ""
        say(f"  {trigger.id} ({trigger.kind}) listens to {', '.join(trigger.routes)}{condition}")
    for broken in found.broken:
        say(f"  broken: {broken}")
    for warning in found.warnings:
        say(Text(f"  warning: {warning}", style="yellow"))
    say()
    table(
        ["event", "type", "stored", "trigger", "outcome", "because"],
        [
            [short_id(one.event_id), one.type, ago(one.at), one.trigger_id, _outcome(one), _because(one)]
            for one in found.items
        ],
        empty="nothing that it listens to has come; row changes that cannot start it are counted, not stored",
    )
    if found.next_cursor:
        hint("older ones: a larger --limit")


def _outcome(one: Judged) -> Text:
    style = {"started": "green", "joined": "cyan"}.get(one.outcome, "")
    return Text(one.reason if one.outcome == "refused" and one.reason else one.outcome, style=style)


def _because(one: Judged) -> str:
    if one.execution_id is not None:
        return f"execution {one.execution_id}{f' {one.status}' if one.status else ''}"
    seen = ", ".join(f"{path} is {compact(value, 60)}" for path, value in one.values.items())
    return f"{one.detail or ''}{f' ({seen})' if seen else ''}"
