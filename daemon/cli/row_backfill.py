"""Running rows that are there through a trigger: part by part, with a bar on a terminal and lines elsewhere."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer

from hark.daemon.cli.connection import ask
from hark.daemon.cli.output import complain, complaints, hint, print_json, say
from hark.workflows.counting import counted

if TYPE_CHECKING:
    from rich.progress import Progress

    from hark.client import HarkClient
    from hark.daemon.api.models.backfill import RowBackfillAnswer

_PART = 1000
_LINE_EVERY = 10_000
"""Where there is no terminal, a line tells of so many rows."""


@dataclass(slots=True)
class Sum:
    """What became of all parts so far."""

    scanned: int = 0
    done: int = 0
    already: int = 0
    left_out: int = 0
    unconcerned: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    last: RowBackfillAnswer | None = None

    def add(self, answer: RowBackfillAnswer) -> None:
        """Add a part."""
        self.scanned += answer.scanned
        self.done += answer.done
        self.already += answer.already
        self.left_out += answer.left_out
        self.unconcerned.update(answer.unconcerned)
        self.refused += answer.refused
        self.last = answer


class _Meter:
    """Shows on stderr how far it has come: results alone go to stdout."""

    def __init__(self, progress: Progress | None, resumed: bool) -> None:
        self._progress = progress
        self._task = None if progress is None else progress.add_task("rows", total=None)
        self._resumed = resumed
        self._told = 0

    def show(self, total: Sum) -> None:
        """Show where it stands."""
        if total.last is None:
            return
        waits = f", waits: {counted(total.last.pending, 'execution')} in the queue" if total.last.pending else ""
        text = f"{counted(total.scanned, 'row')}, {total.done} run{waits}"
        if self._progress is not None and self._task is not None:
            # After a resumption nobody knows how many lie ahead.
            about = None if self._resumed else max(total.last.estimate, total.scanned)
            self._progress.update(self._task, description=text, completed=total.scanned, total=about)
        elif total.scanned - self._told >= _LINE_EVERY or waits:
            self._told = total.scanned
            complain(f"{text}; of about {total.last.estimate}, at {json.dumps(total.last.position)}")


@contextmanager
def _metered(*, resumed: bool) -> Iterator[_Meter]:
    if not complaints().is_terminal:
        yield _Meter(None, resumed)
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=complaints(), transient=True) as progress:
        yield _Meter(progress, resumed)


def run(url: str | None, workflow: str, how: dict[str, Any], limit: int | None, *, as_json: bool) -> None:
    """Run all parts, one after the other; whatever ends it, tell where it has come to."""
    total = Sum()

    async def parts(client: HarkClient) -> None:
        given = {name: value for name, value in how.items() if value is not None}
        with _metered(resumed="after" in given) as meter:
            while limit is None or total.scanned < limit:
                most = _PART if limit is None else min(_PART, limit - total.scanned)
                answer = await client.backfill_rows(workflow, **given, limit=most)
                total.add(answer)
                meter.show(total)
                if not answer.more:
                    return
                if answer.position is not None:
                    given["after"] = answer.position

    try:
        ask(url, parts)
    except (KeyboardInterrupt, typer.Exit):
        if total.last is not None and total.last.position is not None:
            complain(f"stopped; the same command goes on, sooner with --after {_position(total)}")
        raise
    _tell(total, as_json=as_json)
    if total.refused:
        raise typer.Exit(1)


def _position(total: Sum) -> str:
    return shlex.quote(json.dumps(total.last.position if total.last else None, ensure_ascii=False))


def _tell(total: Sum, *, as_json: bool) -> None:
    last = total.last
    if last is None:
        return
    if as_json:
        print_json({
            "trigger_id": last.trigger_id, "table": last.table, "scanned": total.scanned, "done": total.done,
            "already": total.already, "left_out": total.left_out, "unconcerned": total.unconcerned,
            "refused": total.refused, "position": last.position, "more": last.more, "dry_run": last.dry_run,
        })  # fmt: skip
        return
    told = f"{total.done} would run" if last.dry_run else f"{total.done} run, {len(total.refused)} refused"
    left = f", {total.left_out} left out" if total.left_out else ""
    say(f"{counted(total.scanned, 'row')} of {last.table}: {told}, {total.already} had run already{left}")
    for reason, count in total.unconcerned.most_common():
        say(f"  {count} start nothing: {reason}")
    for reason in dict.fromkeys(total.refused):
        complain(f"  refused: {reason}")
    if last.more:
        hint(f"there are more: go on with --after {_position(total)}")
