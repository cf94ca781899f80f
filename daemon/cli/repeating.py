"""Commands for executions that are there: cancelling them and running them again, one by its id or many by a filter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from hark.daemon.cli.connection import Json, Url, ask
from hark.daemon.cli.handing_over import Secret, json_value, secrets_of
from hark.daemon.cli.ids import execution_id
from hark.daemon.cli.output import ago, hint, print_json, say, short_id, state, table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hark.client import HarkClient
    from hark.daemon.api.models.bulk import BulkAnswer, BulkItem

_Id = Annotated[
    str | None, typer.Argument(metavar="[EXECUTION]", help="Its id, the end of it, or `last`.", show_default=False)
]
_MANY = "Many at once"
_Workflow = Annotated[str | None, typer.Option(help="All of this workflow.", rich_help_panel=_MANY)]
_Status = Annotated[
    list[str] | None, typer.Option(help="Only with this status; may be repeated.", rich_help_panel=_MANY)
]
_Since = Annotated[
    str | None, typer.Option(help="From this time on: 2026-01-31T09:00:00Z, or 2h.", rich_help_panel=_MANY)
]
_Until = Annotated[str | None, typer.Option(help="Before this time.", rich_help_panel=_MANY)]
_ErrorClass = Annotated[str | None, typer.Option(help="Only with an error of this class.", rich_help_panel=_MANY)]
_Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.", rich_help_panel=_MANY)]
_Spread = Annotated[str | None, typer.Option(help="Spread the starts over this time: 10m.", rich_help_panel=_MANY)]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show which ones it would be.", rich_help_panel=_MANY)]


def cancel(
    execution: _Id = None,
    reason: Annotated[str, typer.Option(help="Why; goes on record.")] = "",
    workflow: _Workflow = None,
    status: _Status = None,
    since: _Since = None,
    until: _Until = None,
    error_class: _ErrorClass = None,
    limit: _Limit = 100,
    dry_run: _DryRun = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Cancel an execution, or all that a filter fits."""
    chosen = _chosen(execution, workflow, status, since, until, error_class)
    if execution is None:
        _many(url, as_json, lambda client: client.cancel_many(**chosen, limit=limit, dry_run=dry_run, reason=reason))
        return
    changed = ask(url, lambda client: _with_id(client, execution, lambda one: client.cancel(one, reason)))
    if as_json:
        print_json(changed)
    elif changed.status == "running":
        say(f"{changed.execution_id} is being cancelled")
    else:
        say(Text.assemble(f"{changed.execution_id} is ", state(changed.status)))


def retry(
    execution: _Id = None,
    from_start: Annotated[bool, typer.Option("--from-start", help="Run all steps again.")] = False,
    secret: Secret = None,
    workflow: _Workflow = None,
    status: _Status = None,
    since: _Since = None,
    until: _Until = None,
    error_class: _ErrorClass = None,
    limit: _Limit = 100,
    spread: _Spread = None,
    dry_run: _DryRun = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Run an ended execution again, from the step that failed unless told otherwise; or all that a filter fits."""
    chosen = _chosen(execution, workflow, status, since, until, error_class)
    if execution is None:
        _refuse_secrets(secret)
        how = {**chosen, "limit": limit, "dry_run": dry_run, "from_start": from_start, **_spread(spread)}
        _many(url, as_json, lambda client: client.retry_many(**how))
        return
    secrets = secrets_of(secret)
    made = ask(
        url,
        lambda client: _with_id(
            client, execution, lambda one: client.retry(one, from_start=from_start, secrets=secrets)
        ),
    )
    _show_made(made, as_json)


def replay(
    execution: _Id = None,
    from_step: Annotated[
        str | None, typer.Option("--from", help="The first step that runs anew: its path, such as each[3].mail.")
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Another version of the workflow.")] = None,
    input: Annotated[str | None, typer.Option("--input", "-i", help="Other inputs: JSON object, @FILE, @-.")] = None,
    secret: Secret = None,
    workflow: _Workflow = None,
    status: _Status = None,
    since: _Since = None,
    until: _Until = None,
    error_class: _ErrorClass = None,
    limit: _Limit = 100,
    spread: _Spread = None,
    dry_run: _DryRun = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Run an ended execution again, whole or from one of its steps, with another version or input; or many."""
    chosen = _chosen(execution, workflow, status, since, until, error_class)
    inputs = json_value(input, "--input")
    if inputs is not None and not isinstance(inputs, dict):
        raise typer.BadParameter("inputs are an object", param_hint="--input")
    if execution is None:
        _refuse_secrets(secret)
        if inputs is not None:
            raise typer.BadParameter("many cannot be given one input; name an execution", param_hint="--input")
        how = {**chosen, "limit": limit, "dry_run": dry_run, **_spread(spread)}
        _many(url, as_json, lambda client: client.replay_many(**how, from_step=from_step, version=version))
        return
    how = {"from_step": from_step, "version": version, "input": inputs, "secrets": secrets_of(secret)}
    made = ask(url, lambda client: _with_id(client, execution, lambda one: client.replay(one, **how)))
    _show_made(made, as_json)


def _refuse_secrets(secret: list[str] | None) -> None:
    if secret:
        raise typer.BadParameter("many cannot be given one secret; name an execution", param_hint="--secret")


async def _with_id(client: HarkClient, text: str, put: Callable[[Any], Awaitable[Any]]) -> Any:
    return await put(await execution_id(client, text))


def _spread(spread: str | None) -> dict[str, str]:
    return {} if spread is None else {"spread": spread}


def _chosen(
    execution: str | None,
    workflow: str | None,
    status: list[str] | None,
    since: str | None,
    until: str | None,
    error_class: str | None,
) -> dict[str, Any]:
    """Return the filter. Raises BadParameter unless there is either an execution or a filter."""
    given = {"workflow": workflow, "status": status, "since": since, "until": until, "error_class": error_class}
    chosen = {name: value for name, value in given.items() if value}
    if execution is not None and chosen:
        raise typer.BadParameter("give the id of one execution, or a filter for many, not both")
    if execution is None and not chosen:
        raise typer.BadParameter("give the id of an execution, or a filter such as --workflow NAME --since 2h")
    return chosen


def _show_made(made: Any, as_json: bool) -> None:
    if as_json:
        print_json(made)
    else:
        say(f"started {made.execution_id}")


def _many(url: str | None, as_json: bool, put: Callable[[HarkClient], Awaitable[BulkAnswer]]) -> None:
    """Do it with many, and show what became of each. Exit status 1 when something was refused."""
    answer: BulkAnswer = ask(url, put)
    if as_json:
        print_json(answer)
    else:
        rows = [[short_id(one.execution_id), one.workflow, _became(one), ago(one.due_at)] for one in answer.items]
        table(["execution", "workflow", "becomes", "starts"], rows, empty="no execution fits")
        say(f"{answer.matched} would be" if answer.dry_run else f"{answer.done} done, {answer.refused} refused")
        if answer.more:
            hint("there are more: the same command goes on with them")
    if answer.refused:
        raise typer.Exit(1)


def _became(one: BulkItem) -> str:
    return one.refused or one.status or str(one.new_id or "")
