"""What commands print: tables and colours on a terminal, aligned plain text when piped, JSON when asked for."""

from __future__ import annotations

import asyncio
import json
import re
import select
import sys
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from typing import Any, TextIO

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

STYLES = {
    "completed": "green", "active": "green", "attached": "green", "ok": "green", "created": "green",
    "running": "cyan", "updated": "cyan", "info": "cyan", "retrying": "yellow",
    "waiting": "yellow", "pending": "yellow", "paused": "yellow", "warning": "yellow", "draft": "yellow",
    "archived": "dim", "skipped": "dim", "unchanged": "dim", "debug": "dim",
    "failed": "bold red", "timeout": "bold red", "error": "bold red", "critical": "bold red", "missing": "bold red",
    "cancelled": "magenta",
}  # fmt: skip
"""How words that tell a state look."""


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "    "}


@cache
def console() -> Console:
    """Return the console of stdout. Piped, it writes text as it is: no colours, no line broken, nothing cut off."""
    return _console(sys.stdout)


@cache
def complaints() -> Console:
    """Return the console of stderr."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    terminal = stream.isatty()
    return Console(file=stream, highlight=False, soft_wrap=not terminal, width=None if terminal else 10_000)


def is_terminal() -> bool:
    """Tell whether somebody looks at stdout."""
    return console().is_terminal


def visible(text: str) -> str:
    """Write control characters so that they can be seen: text from outside steers no terminal and fakes no line."""
    return _CONTROL.sub(lambda found: _NAMED.get(found[0]) or f"\\x{ord(found[0]):02x}", text)


def say(text: RenderableType = "") -> None:
    """Print for people; markup in strings is not interpreted."""
    console().print(Text(text) if isinstance(text, str) else text)


def hint(text: str) -> None:
    """Print what to do next, on terminals only: a pipe gets results and nothing else."""
    if is_terminal():
        console().print(Text(text, style="dim"))


def complain(text: RenderableType) -> None:
    """Print to stderr."""
    complaints().print(Text(text) if isinstance(text, str) else text)


def fail(text: str) -> typer.Exit:
    """Print an error to stderr; raise what this returns."""
    complain(Text.assemble(("error: ", "bold red"), text))
    return typer.Exit(1)


def print_json(value: Any) -> None:
    """Print JSON: models as the API sent them."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=_jsonable) + "\n")


def _jsonable(value: Any) -> Any:
    if hasattr(value, "model_dump"):  # a model; importing pydantic to ask takes longer than `--version` should
        return value.model_dump(mode="json", by_alias=True, exclude_unset=True)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def state(word: str) -> Text:
    """Return a word in the colour of what it tells."""
    return Text(word, style=STYLES.get(word, ""))


def table(columns: Sequence[str], rows: Sequence[Sequence[RenderableType | None]], *, empty: str = "") -> None:
    """Print rows under headings; `>` before a heading aligns its column to the right.

    `empty` is told, on terminals only, when there is nothing to show.
    """
    if not rows:
        hint(empty)
        return
    if is_terminal():
        console().print(_rich_table(columns, rows))
    else:
        _plain_table(columns, rows)


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[RenderableType | None]]) -> Table:
    drawn = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 2, 0, 0))
    for name in columns:
        drawn.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(visible(cell)) if isinstance(cell, str) else cell or "" for cell in row))
    return drawn


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[RenderableType | None]]) -> None:
    texts = [[name.removeprefix(">").upper() for name in columns]]
    texts += [[_one_line(str(cell)) if cell is not None else "-" for cell in row] for row in rows]
    widths = [max(len(text[index]) for text in texts) for index in range(len(columns))]
    for text in texts:
        cells = [
            cell.rjust(width) if name.startswith(">") else cell.ljust(width)
            for cell, width, name in zip(text, widths, columns, strict=True)
        ]
        sys.stdout.write("  ".join(cells).rstrip() + "\n")


def _one_line(text: str) -> str:
    return visible(text) or "-"


def fields(pairs: Mapping[str, RenderableType | None]) -> None:
    """Print names and values under each other; those without a value are left out."""
    shown = {name: value for name, value in pairs.items() if value not in (None, "")}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        shown_value = value if isinstance(value, Text) else visible(str(value))
        console().print(Text.assemble((f"{name.ljust(width)}  ", "dim"), shown_value))


def utc(moment: datetime) -> str:
    """Write a moment as programs read it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def while_read(telling: Coroutine[Any, Any, None]) -> None:
    """Tell what comes while somebody reads stdout; who has closed a pipe is noticed even if nothing comes."""
    teller = asyncio.ensure_future(telling)
    try:
        while not (await asyncio.wait({teller}, timeout=1.0))[0]:
            if _is_closed(sys.stdout):
                return
        await teller
    finally:
        teller.cancel()
        with suppress(asyncio.CancelledError, BrokenPipeError):
            await teller


def _is_closed(stream: TextIO) -> bool:
    poller = select.poll()
    poller.register(stream, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poller.poll(0))


def ago(moment: datetime | None) -> str | None:
    """Return how long ago, or in how long, on a terminal; the moment itself when piped."""
    if moment is None:
        return None
    if not is_terminal():
        return utc(moment)
    seconds = (datetime.now(UTC) - moment).total_seconds()
    text = duration(abs(seconds) * 1000, coarse=True)
    return "now" if abs(seconds) < 1 else f"{text} ago" if seconds > 0 else f"in {text}"


_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000))


def duration(milliseconds: float | None, *, coarse: bool = False) -> str | None:
    """Write a duration: `12 ms`, `3.4 s`, `2 min 5 s`; coarse ones have one unit."""
    if milliseconds is None:
        return None
    if milliseconds < 1000:
        return f"{milliseconds:.3g} ms"
    if milliseconds < 60_000 and not coarse:
        return f"{milliseconds / 1000:.1f} s"
    for index, (unit, size) in enumerate(_UNITS):
        if milliseconds >= size:
            count, rest = divmod(int(milliseconds), size)
            if coarse or index + 1 == len(_UNITS) or not rest // _UNITS[index + 1][1]:
                return f"{count} {unit}"
            lower, smaller = _UNITS[index + 1]
            return f"{count} {unit} {rest // smaller} {lower}"
    raise AssertionError(milliseconds)  # seconds were the last unit


def short_id(identifier: object) -> str:
    """Return an id as tables show it: whole, but on a terminal its last eight characters, which commands accept."""
    return str(identifier)[-8:] if is_terminal() else str(identifier)


def compact(value: Any, limit: int = 100) -> str:
    """Write a JSON value on one line; on a terminal a long one is shortened."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_jsonable)
    text = _one_line(text)
    return f"{text[: limit - 1]}…" if is_terminal() and len(text) > limit else text
