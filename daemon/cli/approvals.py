"""Commands for what waits for people: list it, approve, reject."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from hark.daemon.cli.connection import Json, Url, ask
from hark.daemon.cli.executions import Cursor, Limit, Workflow
from hark.daemon.cli.handing_over import json_value
from hark.daemon.cli.ids import execution_id
from hark.daemon.cli.output import ago, compact, hint, print_json, say, short_id, table, visible
from hark.daemon.cli.starting import Id

if TYPE_CHECKING:
    from hark.client import HarkClient
    from hark.daemon.api.models.answer import Page
    from hark.daemon.api.models.approvals import Answered, ApprovalRow

_Step = Annotated[str | None, typer.Option("--step", help="Path of the step; needed only if several wait.")]
_Form = Annotated[str | None, typer.Option("--form", help="What the form asks for: JSON object, @FILE, or @-.")]
_Comment = Annotated[str, typer.Option("--comment", help="Why, for the record.")]
_By = Annotated[str | None, typer.Option("--by", help="Who answers, for the record; else the name of the key.")]


def approvals(
    links: Annotated[bool, typer.Option("--links", help="Show the addresses for answering in a browser.")] = False,
    workflow: Workflow = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List what waits for an answer of people, the latest first."""

    async def get(client: HarkClient) -> Page[ApprovalRow]:
        return await client.approvals(workflow=workflow, limit=limit, cursor=cursor, links=links or None)

    page = ask(url, get)
    if as_json:
        print_json(page)
        return
    table(
        ["execution", "workflow", "step", "message", "since", "until", "who may"],
        [
            [
                short_id(one.execution_id), one.workflow, one.step, compact(one.message, 60), ago(one.since),
                ago(one.until), ", ".join(one.approvers) or "anybody",
            ]
            for one in page.items
        ],
        empty="nothing waits for an answer",
    )  # fmt: skip
    if links:
        _show_links(page.items)
    if page.next_cursor:
        hint(f"older ones: --cursor {page.next_cursor}")


def _show_links(items: list[ApprovalRow]) -> None:
    for one in items:
        say(visible(f"{short_id(one.execution_id)} {one.step}: {one.url or 'made with another link_key'}"))


def approve(
    execution: Id,
    step: _Step = None,
    form: _Form = None,
    comment: _Comment = "",
    by: _By = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Approve what an execution waits for."""
    _answer(execution, url, as_json=as_json, approved=True, step=step, form=_read(form), comment=comment, by=by)


def reject(
    execution: Id,
    step: _Step = None,
    form: _Form = None,
    comment: _Comment = "",
    by: _By = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Reject what an execution waits for: the step that asked fails."""
    _answer(execution, url, as_json=as_json, approved=False, step=step, form=_read(form), comment=comment, by=by)


def _read(form: str | None) -> dict[str, Any]:
    value = json_value(form, "--form")
    if value is not None and not isinstance(value, dict):
        raise typer.BadParameter('it is a JSON object, such as \'{"reason": "late"}\'', param_hint="--form")
    return value or {}


def _answer(execution: str, url: str | None, *, as_json: bool, **answer: Any) -> None:
    async def put(client: HarkClient) -> Answered:
        return await client.answer(await execution_id(client, execution), **answer)

    done = ask(url, put)
    if as_json:
        print_json(done)
    else:
        say(visible(f"{done.step} of {done.execution_id}: {done.answer} by {done.by}"))
