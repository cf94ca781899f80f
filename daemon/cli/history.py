"""Commands for the end of history: what goes, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from hark.daemon.cli.connection import Json, Url, ask
from hark.daemon.cli.output import hint, print_json, say, table
from hark.workflows.counting import counted

if TYPE_CHECKING:
    from hark.daemon.api.models.history import PruneAnswer, PruneShare

_WHY = {
    "open": "has not ended",
    "needed": "something open needs it",
    "restored": "restored from the archive",
    "recent": "too recent",
    "failed": "failed, which stays longer",
    "week": "goes with its week, which is not over",
}


def prune(
    workflow: Annotated[str | None, typer.Option(help="Only what the policy of this workflow lets go.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go, and why not.")] = False,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Let history go that is past its retention, now. The daemon does so by itself every ten minutes."""
    answer = ask(url, lambda client: client.prune(workflow=workflow, dry_run=dry_run))
    if as_json:
        print_json(answer)
    elif dry_run:
        _foresee(answer)
    else:
        say(
            f"gone: {counted(answer.executions, 'execution')} and {counted(answer.unmatched_events, 'unmatched event')}"
        )
        say(f"dropped whole: {counted(answer.weeks_dropped, 'week')}")


def _foresee(answer: PruneAnswer) -> None:
    table(
        ["partition", "workflow", ">executions", ">events", ">bytes", "becomes"],
        [
            [one.partition, one.workflow, f"{one.executions:,}", f"{one.events:,}", size(one.bytes), _prospect(one)]
            for one in answer.shares
        ],
        empty="there are no executions",
    )
    say(
        f"{counted(answer.executions, 'execution')} ({size(answer.bytes or 0)}) and "
        f"{counted(answer.unmatched_events, 'unmatched event')} would go, {counted(answer.weeks_dropped, 'week')} whole"
    )
    hint("without --dry-run they go now; else within ten minutes")


def _prospect(share: PruneShare) -> str:
    if share.stays_as is None:
        return f"goes ({share.policy})"
    return f"stays: {_WHY.get(share.stays_as, share.stays_as)}"


def size(number: int) -> str:
    """Write a number of bytes for people."""
    value = float(number)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
