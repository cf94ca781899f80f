"""Commands for the archive: what lies there, reading it, and putting it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from hark.daemon.cli.connection import Json, Url, ask
from hark.daemon.cli.executions import Cursor, Limit
from hark.daemon.cli.history import size
from hark.daemon.cli.output import ago, hint, print_json, say, table

if TYPE_CHECKING:
    from hark.client import HarkClient
    from hark.daemon.api.models.history import ArchiveRow

app = typer.Typer(name="archive", help="Executions that were archived before they were dropped.", no_args_is_help=True)

_Execution = Annotated[str, typer.Argument(metavar="EXECUTION", help="Its id.", show_default=False)]
_Archive = Annotated[str, typer.Argument(metavar="ARCHIVE", help="Its id, from `hark archive list`.")]


@app.command("list")
def list_(limit: Limit = 20, cursor: Cursor = None, url: Url = None, as_json: Json = False) -> None:
    """List the files of the archive, the latest first."""
    page = ask(url, lambda client: client.archives(limit=limit, cursor=cursor))
    if as_json:
        print_json(page)
        return
    columns = ["archive", "sealed", "week", ">executions", ">events", ">bytes", "file"]
    table(columns, [_row(one) for one in page.items], empty="the archive is empty")
    if page.next_cursor:
        hint(f"older ones: --cursor {page.next_cursor}")


def _row(one: ArchiveRow) -> list[str]:
    numbers = f"{one.executions:,}", f"{one.events:,}", size(one.bytes)
    return [str(one.id), str(ago(one.sealed_at)), one.week or "", *numbers, f"{one.location}/{one.name}"]


@app.command()
def show(execution: _Execution, url: Url = None) -> None:
    """Read one execution back from the archive, as JSON: the rows of the tables, as they were."""
    print_json(ask(url, lambda client: client.archived_execution(execution)))


@app.command()
def export(
    archive: _Archive,
    output: Annotated[typer.FileBinaryWrite, typer.Option("--output", "-o", help="A file; else stdout.")] = "-",  # type: ignore[assignment]
    url: Url = None,
) -> None:
    """Write a file of the archive as JSON Lines, an execution in each."""
    ask(url, lambda client: _copy(client, archive, output))


async def _copy(client: HarkClient, archive: str, output: BinaryIO) -> None:
    async for piece in client.export_archive(archive):
        output.write(piece)


@app.command()
def restore(
    archive: Annotated[str | None, typer.Argument(metavar="[ARCHIVE]", help="All of this file.")] = None,
    execution: Annotated[str | None, typer.Option(help="Only this execution, from whatever file holds it.")] = None,
    keep: Annotated[str, typer.Option(help="For how long no policy lets them go.")] = "30d",
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Put executions back into the history. What is there already stays as it is."""
    if (archive is None) == (execution is None):
        raise typer.BadParameter("name a file of the archive, or an --execution")
    what = archive or execution or ""
    answer = ask(url, lambda client: client.restore(what, execution=execution is not None, keep=keep))
    if as_json:
        print_json(answer)
    else:
        say(f"{answer.restored} restored, {answer.there} were there already")
        if answer.no_workflow:
            say(f"{answer.no_workflow} not, because their workflow was deleted")
