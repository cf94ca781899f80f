"""Commands for webhooks: their addresses, what came and what was refused, trying one out, delivering an event again."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from hark.daemon.cli.connection import Json, Url, ask
from hark.daemon.cli.executions import Cursor, Limit
from hark.daemon.cli.output import ago, complain, hint, print_json, say, short_id, state, table

if TYPE_CHECKING:
    from hark.client import HarkClient
    from hark.daemon.api.models.hooks import ArrivalRow, DeliveryRow, HookRefusalRow, HookRow, HookTest

app = typer.Typer(name="hooks", help="Webhooks: their addresses, what came, and what was refused.")

_Path = Annotated[str, typer.Argument(metavar="PATH", help="As the trigger writes it, such as leads/{id}.")]
_LOOK_S = 1.0


@app.callback(invoke_without_command=True)
def hooks(context: typer.Context, url: Url = None, as_json: Json = False) -> None:
    """List the addresses on which active workflows take webhooks, with their last deliveries and refusals."""
    if context.invoked_subcommand is not None:
        return
    page = ask(url, lambda client: client.hooks())
    if as_json:
        print_json(page)
        return
    table(
        ["address", "methods", "auth", "workflow", "last delivery", "outcome", ">refused", "last refusal"],
        [
            [one.url, ", ".join(one.methods), one.auth, one.workflow, ago(one.last_delivery_at), _outcome(one),
             str(one.refused), one.last_refusal]
            for one in page.items
        ],
        empty="no active workflow has a webhook",
    )  # fmt: skip


def _outcome(one: HookRow) -> Text | None:
    if one.last_outcome is not None:
        return state(one.last_outcome)
    return None if one.last_delivery_at is None else Text("started nothing", style="dim")


@app.command()
def deliveries(path: _Path, limit: Limit = 20, cursor: Cursor = None, url: Url = None, as_json: Json = False) -> None:
    """List what came to a path, the latest first, with what it started; and what was refused there."""

    async def get(client: HarkClient) -> tuple[list[DeliveryRow], str | None, list[HookRefusalRow]]:
        page = await client.deliveries(path, limit=limit, cursor=cursor)
        return page.items, page.next_cursor, (await client.hook_refusals(path)).items

    found, following, refused = ask(url, get)
    if as_json:
        print_json({"items": found, "next_cursor": following, "refusals": refused})
        return
    table(
        ["event", "came", "delivery id", "started"],
        [[str(one.id), ago(one.created_at), one.dedupe_key, _started(one)] for one in found],
        empty="nothing came to this path",
    )
    if following:
        hint(f"older ones: --cursor {following}")
    if refused:
        say()
        _show_refusals(refused)


def _started(one: DeliveryRow) -> Text:
    parts = [Text.assemble(f"{run.workflow} {short_id(run.id)} ", state(run.status)) for run in one.executions]
    return Text(", ").join(parts) if parts else Text("nothing; `hark event` says why", style="dim")


@app.command()
def refused(
    path: Annotated[str | None, typer.Argument(metavar="[PATH]", help="Only this path.")] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List what was refused within the last day, also on paths where no workflow listens."""
    page = ask(url, lambda client: client.hook_refusals(path))
    if as_json:
        print_json(page)
        return
    _show_refusals(page.items)


def _show_refusals(rows: list[HookRefusalRow]) -> None:
    table(
        ["path", "status", ">refused", "last", "from", "method", "why"],
        [
            [one.path, str(one.status), f"{one.count:,}", ago(one.last_at), one.client, one.method, one.detail]
            for one in rows
        ],
        empty="nothing was refused",
    )


@app.command()
def redeliver(
    event: Annotated[str, typer.Argument(metavar="EVENT", help="Its id, from `hark hooks deliveries`.")],
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Offer a stored event to the workflows that are active now, as a new event with the same content."""
    answer = ask(url, lambda client: client.redeliver(event))
    if as_json:
        print_json(answer)
        return
    say(f"event {answer.event_id} started {len(answer.executions)}")
    for execution in answer.executions:
        say(f"  {execution}")


@app.command("test")
def try_out(
    path: _Path,
    duration: Annotated[str, typer.Option("--for", help="How long, at most 1h.")] = "10m",
    most: Annotated[int | None, typer.Option("--count", min=1, help="End after so many requests.")] = None,
    url: Url = None,
) -> None:
    """Open a path for a while and show what arrives there and what it would start; nothing runs. Prints JSON."""
    ask(url, lambda client: _follow(client, path, duration, most))


async def _follow(client: HarkClient, path: str, duration: str, most: int | None) -> None:
    opened = await client.test_hook(path, duration)
    complain(f"send to {opened.url} until {opened.expires_at:%H:%M:%S} UTC; Ctrl-C ends the show")
    last: ArrivalRow | None = None
    shown = 0
    while _is_open(opened) and (most is None or shown < most):
        for one in (await client.arrivals(opened.path, last.id if last else None)).items:
            print_json(one)
            last, shown = one, shown + 1
        await asyncio.sleep(_LOOK_S)


def _is_open(opened: HookTest) -> bool:
    return datetime.now(UTC) < opened.expires_at
