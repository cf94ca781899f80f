"""The command that erases what is about somebody, and shows what was erased."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from hark.daemon.cli.connection import Json, Url, ask, target_of
from hark.daemon.cli.executions import Cursor, Limit
from hark.daemon.cli.output import ago, hint, is_terminal, print_json, say, table
from hark.workflows.counting import counted

if TYPE_CHECKING:
    from hark.daemon.api.models.subjects import ErasureRow, SubjectErased


def erase(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="As in `subject`: client, agent …", show_default=False)],
    id_: Annotated[str, typer.Argument(metavar="ID", help="Whose data goes.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Cancel the executions that are open.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Erase everything about a subject: its executions and events, in the history and in the archive."""
    if not dry_run and not yes and is_terminal() and sys.stdin.isatty():
        typer.confirm(f"Erase everything about {kind} {id_} at {target_of(url).url}?", abort=True)
    answer = ask(url, lambda client: client.erase(kind, id_, dry_run=dry_run, force=force))
    if as_json:
        print_json(answer)
    else:
        _tell(answer)


def _tell(answer: SubjectErased) -> None:
    said = "would go" if answer.dry_run else "gone"
    within = f"{counted(answer.steps, 'step')}, {counted(answer.logs, 'log line')}"
    say(f"{counted(answer.executions, 'execution')} ({within}) and {counted(answer.events, 'event')} {said}")
    if answer.archived or answer.files:
        say(f"{counted(answer.archived, 'execution')} from the archive {said}; {_written(answer)}")
    if answer.emptied:
        stay = counted(answer.emptied, "event stays", "events stay")
        say(f"{stay} that others' executions need, without what was said there")
    for one in answer.open:
        say(f"open: {one.id} of {one.workflow} ({one.status})")
    if answer.open:
        hint("they have to end first; --force cancels them")
    if answer.id is not None:
        hint(f"on record as erasure {answer.id}")


def _written(answer: SubjectErased) -> str:
    would = "would be " if answer.dry_run else ""
    return f"{counted(answer.files, 'file')} {would}written anew"


def erasures(
    of: Annotated[str | None, typer.Option(metavar="KIND/ID", help="Only those of this subject.")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """List what was erased, the latest first. Whose it was is not on record; --of compares with a digest."""
    page = ask(url, lambda client: client.erasures(limit=limit, cursor=cursor, of=of))
    if as_json:
        print_json(page)
        return
    columns = ["erasure", "ended", "kind", "by", ">executions", ">events", ">archived"]
    table(columns, [_row(one) for one in page.items], empty="nothing was erased")
    if page.next_cursor:
        hint(f"older ones: --cursor {page.next_cursor}")


def _row(one: ErasureRow) -> list[str]:
    numbers = f"{one.executions:,}", f"{one.events:,}", f"{one.archived:,}"
    return [str(one.id), str(ago(one.ended_at)), one.kind, one.requested_by, *numbers]
