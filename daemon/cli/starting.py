"""Commands that make something happen: events and starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from hark.daemon.cli.connection import Json, Url, ask
from hark.daemon.cli.handing_over import Secret, json_value, secrets_of, variables_of
from hark.daemon.cli.output import compact, duration, fields, hint, print_json, say, short_id, state, visible

if TYPE_CHECKING:
    from hark.client import HarkClient
    from hark.daemon.api.models.events import Received
    from hark.daemon.api.models.starting import StartedExecution

Id = Annotated[str, typer.Argument(metavar="EXECUTION", help="Its id, the end of it, or `last`.", show_default=False)]
_FAILED = ("failed", "timeout", "cancelled")


def emit(
    type: Annotated[str, typer.Argument(metavar="TYPE", help="Such as CLIENT_CREATED.", show_default=False)],
    data: Annotated[str | None, typer.Option(help="JSON, @FILE, or @- for stdin.")] = None,
    key: Annotated[str | None, typer.Option(help="The same key from the same source is the same event.")] = None,
    subject: Annotated[str | None, typer.Option(help="What it is about: kind/id.")] = None,
    source: Annotated[str, typer.Option(help="Where it comes from.")] = "cli",
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Publish an event."""
    value = json_value(data, "--data")

    async def put(client: HarkClient) -> Received:
        return await client.emit(type, value, source=source, subject=subject, key=key)

    received = ask(url, put)
    if as_json:
        print_json(received)
        return
    say(f"event {received.event_id}{' (was there before)' if received.duplicate else ''}")
    for one in received.executions:
        say(f"started {one}")
    if not received.executions:
        hint(f"nothing was started; `hark event {short_id(received.event_id)}` tells why")


def start(
    name: Annotated[str, typer.Argument(metavar="WORKFLOW", help="Slug or id.", show_default=False)],
    input: Annotated[str | None, typer.Option("--input", "-i", help="JSON object, @FILE, or @- for stdin.")] = None,
    wait: Annotated[int, typer.Option(min=0, max=300, help="Seconds to wait for its end.")] = 0,
    mode: Annotated[str, typer.Option(help="production, test or dry_run.")] = "production",
    key: Annotated[str | None, typer.Option(help="The same key starts it once.")] = None,
    secret: Secret = None,
    variable: Annotated[
        list[str] | None, typer.Option(help="NAME=JSON: what vars.NAME is at first; may be repeated.")
    ] = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Start a workflow by hand. Exit status 1 if it fails while waited for."""
    inputs = json_value(input, "--input")
    if inputs is not None and not isinstance(inputs, dict):
        raise typer.BadParameter('inputs are an object: {"email": "ada@example.org"}', param_hint="--input")
    if mode not in ("production", "test", "dry_run"):
        raise typer.BadParameter("write production, test or dry_run", param_hint="--mode")

    variables, secrets = variables_of(variable), secrets_of(secret)

    async def put(client: HarkClient) -> StartedExecution:
        return await client.start(name, inputs, wait_s=wait, mode=mode, key=key, variables=variables, secrets=secrets)

    started = ask(url, put)
    if as_json:
        print_json(started)
    else:
        _show_started(started)
    if started.status in _FAILED:
        raise typer.Exit(1)


def _show_started(started: StartedExecution) -> None:
    fields(
        {
            "execution": str(started.execution_id or ""),
            "status": state(started.status) if started.status else None,
            "duration": duration(started.execution_time_ms),
            "output": None if started.output is None else compact(started.output, 1000),
            "error": Text(compact(started.error["message"], 1000), style="red") if started.error else None,
        }
    )
    if started.refused:
        say(f"nothing was started: {started.refused.reason}: {visible(started.refused.detail or '')}")
    if started.duplicate:
        hint("it was started before, with the same key")
    elif started.execution_id and started.status in ("pending", "running", "waiting"):
        hint(f"`hark execution {short_id(started.execution_id)}` shows how it goes")
