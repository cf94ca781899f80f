"""One execution, drawn: what it is, its steps as a tree, its error, its logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text
from rich.tree import Tree

from hark.daemon.api.models.executions import ExecutionDetail, HeldBack, StepExecution
from hark.daemon.cli.output import STYLES, ago, compact, duration, fields, hint, say, short_id, state, utc, visible
from hark.workflows.turns import FOLD, Turns

_SIGNS = {
    "completed": "✔", "failed": "✘", "running": "▶", "waiting": "⏸", "retrying": "↻", "skipped": "–",
    "cancelled": "■", "pending": "·",
}  # fmt: skip


def _hold(hold: HeldBack) -> str:
    """Say in words which limit holds an execution back."""
    if hold.place is not None:
        lane = f"{hold.limit} at a time" + (f" of {visible(hold.key)}" if hold.key else "")
        behind = ", ".join(short_id(one) for one in hold.behind)
        return f"queued behind {behind or 'nobody'}: number {hold.place} in the queue, {lane}"
    full = f" {hold.collected} of {hold.size}" if hold.collected is not None else ""
    return f"{hold.reason}{full}" + (f" until {utc(hold.until)}" if hold.until else "")


def show_execution(found: ExecutionDetail) -> None:
    """Print an execution for people."""
    say(Text.assemble((found.workflow_name, "bold"), f"  version {found.version}  ", state(found.status)))
    fields(
        {
            "execution": str(found.id),
            "workflow": found.workflow,
            "mode": None if found.mode == "production" else found.mode,
            "trigger": f"{found.trigger_type}{f' ({found.trigger_id})' if found.trigger_id else ''}",
            "event": str(found.event_id),
            "subject": f"{found.subject.kind}/{found.subject.id}" if found.subject else None,
            "repeats": str(found.origin_id) if found.origin_id else None,
            "repeated by": ", ".join(map(str, found.repeated_by)) or None,
            "created": ago(found.created_at),
            "started": ago(found.started_at),
            "ended": ago(found.completed_at),
            "took": duration(found.duration_ms),
            "waits for": _hold(found.held_back) if found.held_back else found.pending_reason,
            "goes on": ago(found.due_at),
            "inputs": compact(found.inputs, 300) if found.inputs else None,
            "remembers": compact(found.context, 300) if found.context else None,
            "output": compact(found.output, 300) if found.output is not None else None,
        }
    )
    if found.error:
        say(Text(f"error  {found.error.get('class', '')}: {found.error.get('message', '')}", style=STYLES["error"]))
    if found.steps:
        say()
        say(step_tree(found.steps))
    if found.logs:
        from hark.daemon.cli.executions import show_line

        say()
        for line in found.logs:
            show_line(line)
    for step in found.steps:
        if step.verb == "approve" and step.status == "waiting":
            hint(f"waits for an answer: hark approve {found.id} --step '{step.path}', or hark reject")
    if found.truncated:
        hint("there is more than is shown here: /api/executions/ID/steps, timeline, logs")


def step_tree(steps: Sequence[StepExecution]) -> Tree:
    """Return the steps as a tree: what is inside of a branch or a loop stands under it."""
    root = Tree(Text("steps", style="bold"), guide_style="dim")
    branches: dict[str, Tree] = {}
    for step in steps:
        parent = branches.get(step.container or "", root)
        if step.verb == FOLD:
            parent.add(_folded(step))
            continue
        branch = branches[step.path] = parent.add(_label(step))
        for name, value in (("in", step.input), ("out", None if step.output == step.input else step.output)):
            if value not in (None, {}):
                branch.add(Text.assemble((f"{name:<4}", "dim"), compact(value, 160)))
        if step.error and step.error.get("step", step.path) == step.path:
            branch.add(Text(_error(step.error), style=STYLES["error"]))
    return root


def _folded(step: StepExecution) -> Text:
    """Say which turns of a loop are folded away."""
    found: dict[str, Any] = step.output
    turns = str(Turns(found["turns"]))
    counts = f"{found['completed']:,} completed" + (f", {found['failed']:,} failed" if found["failed"] else "")
    return Text.assemble("… ", (f"turns {turns} folded: {counts}", "dim"))


def _label(step: StepExecution) -> Text:
    style = STYLES.get(step.status, "")
    label = Text.assemble((_SIGNS.get(step.status, "?"), style), " ", (step.path, "bold"), " ")
    label.append(step.action_type or ("if" if step.verb == "then" else step.verb), "cyan")
    if step.status not in ("completed", "pending"):
        label.append(f" {step.status}", style)
    if step.attempt > 1:
        label.append(f" attempt {step.attempt}", "yellow")
    if step.duration_ms is not None:
        label.append(f" {duration(step.duration_ms)}", "dim")
    if step.due_at is not None and step.completed_at is None:
        label.append(f" goes on {ago(step.due_at)}", "yellow")
    return label


def _error(error: dict[str, Any]) -> str:
    text = f"{error.get('class', 'error')}: {error.get('message', '')}"
    details = error.get("details")
    return f"{text}  {compact(details, 200)}" if details else text
