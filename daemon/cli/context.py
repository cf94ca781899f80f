"""`hark context`: what an execution remembers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hark.daemon.cli.connection import Json, Url, ask
from hark.daemon.cli.handing_over import json_value
from hark.daemon.cli.ids import execution_id
from hark.daemon.cli.output import ago, compact, print_json, say, table
from hark.daemon.cli.starting import Id
from hark.workflows.errors import HarkError

if TYPE_CHECKING:
    from hark.client import HarkClient
    from hark.daemon.api.models.answer import Deleted, Page
    from hark.daemon.api.models.executions import ContextEntry


def context(
    execution: Id,
    key: Annotated[str | None, typer.Argument(help="Show or change this key.", show_default=False)] = None,
    value: Annotated[
        str | None, typer.Argument(help="JSON, @FILE, or @- for stdin; what is no JSON is text.", show_default=False)
    ] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Forget the key.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Show what an execution remembers; with KEY and VALUE change it, while the execution has not ended."""
    if delete:
        _delete(execution, key, value, url, as_json=as_json)
    elif key is None or value is None:
        _show(execution, key, url, as_json=as_json)
    else:
        _set(execution, key, _value(value), url, as_json=as_json)


def _value(text: str) -> Any:
    """Read a value as people type it: what is no JSON is text."""
    try:
        return json_value(text, "VALUE")
    except typer.BadParameter:
        if text.startswith("@"):
            raise
        return text


def _show(execution: str, key: str | None, url: str | None, *, as_json: bool) -> None:
    async def get(client: HarkClient) -> Page[ContextEntry]:
        return await client.context(await execution_id(client, execution))

    page = ask(url, get)
    if key is None and as_json:
        print_json(page)
    elif key is None:
        table(
            ["key", "value", "changed", "by"],
            [[one.key, compact(one.value, 100), ago(one.updated_at), one.updated_by] for one in page.items],
            empty="it remembers nothing",
        )
    else:
        _show_one(next((one for one in page.items if one.key == key), None), key, as_json=as_json)


def _show_one(entry: ContextEntry | None, key: str, *, as_json: bool) -> None:
    if entry is None:
        raise HarkError(f"the execution remembers nothing under {key!r}")
    if as_json:
        print_json(entry)
    else:
        say(json.dumps(entry.value, indent=2, ensure_ascii=False))


def _set(execution: str, key: str, value: Any, url: str | None, *, as_json: bool) -> None:
    async def put(client: HarkClient) -> ContextEntry:
        return await client.remember(await execution_id(client, execution), key, value)

    entry = ask(url, put)
    if as_json:
        print_json(entry)
    else:
        say(f"{entry.key} = {compact(entry.value, 100)}")


def _delete(execution: str, key: str | None, value: str | None, url: str | None, *, as_json: bool) -> None:
    if key is None or value is not None:
        raise typer.BadParameter("takes a KEY and no VALUE", param_hint="--delete")

    async def forget(client: HarkClient) -> Deleted:
        return await client.forget(await execution_id(client, execution), key)

    gone = ask(url, forget)
    if as_json:
        print_json(gone)
    else:
        say(f"{key} is forgotten")
