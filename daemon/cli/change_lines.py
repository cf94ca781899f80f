"""A captured row change on one line, as wide as the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from hark.daemon.cli.output import compact, console, is_terminal, short_id, utc, visible
from hark.triggers.row_changes import changed_columns
from hark.workflows.counting import counted

if TYPE_CHECKING:
    from hark.daemon.api.models.watches import CapturedChange

_LONGEST_VALUE = 40
_STYLES = {"insert": "green", "update": "yellow", "delete": "red", "truncate": "red"}
_NARROWEST = {"row": 20, "outcome": 24, "origin": 0}
"""How far the parts of a line are cut where it is too long; what is cut first stands last."""


def show_change(one: CapturedChange, key: Sequence[str]) -> None:
    """Print a change; a pipe gets the whole of it, and is not asked how wide it is."""
    line = change_line(one, key)
    if is_terminal():
        console().print(line, soft_wrap=True)
    else:
        console().file.write(f"{line}\n")


def change_line(one: CapturedChange, key: Sequence[str]) -> Text:
    """Write a change: time, operation, row, what it started or why nothing, who and why, transaction."""
    data = one.data
    clock = f"{one.at.astimezone():%H:%M:%S}" if is_terminal() else utc(one.at)
    operation = str(data.get("operation", "?"))
    head = Text.assemble((clock, "dim"), " ", (operation.ljust(8), _STYLES.get(operation, "")))
    parts = {"row": _row(one, key), "outcome": _outcome(one), "origin": _origin(data)}
    tail = Text(f"tx {data['transaction_id']}" if data.get("transaction_id") is not None else "", style="dim")
    if is_terminal():
        _fit(parts, console().width - head.cell_len - tail.cell_len - 2)
    return Text("  ").join(part for part in (head, *parts.values(), tail) if part.cell_len)


def _fit(parts: dict[str, Text], room: int) -> None:
    """Shorten the parts until they find room beside each other, each with its distance to the one before."""
    for name in reversed(_NARROWEST):
        over = sum(part.cell_len + 2 for part in parts.values() if part.cell_len) - room
        if over > 0 and parts[name].cell_len:
            narrow = max(_NARROWEST[name], parts[name].cell_len - over)
            parts[name].truncate(max(narrow, 1), overflow="ellipsis")
            if narrow <= len("by …"):
                parts[name] = Text()


def _row(one: CapturedChange, key: Sequence[str]) -> Text:
    data = one.data
    if "count" in data:
        return Text(counted(data["count"], "row"))
    text = Text("  ").join(map(Text, _values(data.get("old"), data.get("new"), key)))
    if one.cut:
        text.append("too large for a line", "dim")
    if data.get("partition"):
        text.append(f"partition {visible(data['partition'])}")
    if data.get("error"):
        text.append(f"  {visible(data['error'])}", "red")
    return text


def _values(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, key: Sequence[str]) -> Iterable[str]:
    """Write the key, and what changed; of a row that came or went, what it holds."""
    row = new if new is not None else old or {}
    named = [name for name in key if name in row]
    for name in named:
        yield f"{visible(name)}={_short(row[name])}"
    if old is None or new is None:
        yield from (
            f"{visible(name)}={_short(row[name])}" for name in row if name not in named and row[name] is not None
        )
        return
    changed = [
        f"{visible(name)}: {_short(old.get(name))} → {_short(new.get(name))}" for name in changed_columns(old, new)
    ]
    yield from sorted(changed, key=len)  # a status says more than a note, and is there when the line is cut
    if not changed:
        yield "nothing changed"


def _short(value: Any) -> str:
    return '""' if value == "" else compact(value, _LONGEST_VALUE)


def _outcome(one: CapturedChange) -> Text:
    joined = [
        f"{refused.workflow} {short_id(refused.detail)}" for refused in one.refused if refused.reason == "batched"
    ]
    started = [f"{start.workflow} {short_id(start.execution_id)}" for start in one.started]
    text = Text()
    for verb, names, style in (("started", started, "green"), ("joined", joined, "cyan")):
        if names:
            text.append(f"{' ' if text else ''}{verb} ", style).append(visible(", ".join(names)))
    return text if text.cell_len else Text(f"started nothing: {_why_nothing(one)}", style="dim")


def _why_nothing(one: CapturedChange) -> str:
    near_first = sorted(one.refused, key=lambda refused: refused.reason == "not_concerned")
    reasons = [f"{refused.workflow} {refused.reason} ({refused.detail})" for refused in near_first]
    if one.passed_over:
        reasons.append(f"{counted(one.passed_over, 'trigger')} did not ask for it")
    return visible("; ".join(reasons)) or "no workflow listened"


def _origin(data: Mapping[str, Any]) -> Text:
    words = [f"by {data['actor']}" if data.get("actor") else "", f"({data['reason']})" if data.get("reason") else ""]
    return Text(visible(" ".join(word for word in words if word)), style="magenta")
