"""Steps: what each verb holds, checked with the names that can be seen where it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from hark.workflows.catalogue import Catalogue, suggestion
from hark.workflows.definition import SLUG
from hark.workflows.scopes import ROOTS
from hark.workflows.source import Path
from hark.workflows.steps import VERBS
from hark.workflows.validation.actions import check_action
from hark.workflows.validation.declared import check_declared
from hark.workflows.validation.expressions import (
    check_condition,
    check_expression,
    check_list,
    check_template,
    is_template,
)
from hark.workflows.validation.findings import Findings
from hark.workflows.validation.names import Scope
from hark.workflows.validation.outline import Block, Step
from hark.workflows.validation.properties import check_properties

_BLOCK_NAMES = {"catch": ("error",), "on_error": ("error",)}


_NOT_REPEATED = frozenset(VERBS) - {"action", "call"}
_INSTANT = frozenset({"set", "remember", "emit", "stop", "wait"})
_IDLE_HINTS = {
    "retry": "write it at the actions inside, or handle the failure with on_error",
    "timeout": "take it out; actions, calls, waits for something, and steps that hold others can have one",
}


class StepChecker:
    """Checks all steps of one definition; collects into `findings`."""

    def __init__(self, catalogue: Catalogue, findings: Findings, blocks: Iterable[Block]) -> None:
        self._catalogue = catalogue
        self._findings = findings
        self._inside: dict[int, list[Block]] = {}
        for block in blocks:
            if block.owner is not None:
                self._inside.setdefault(id(block.owner), []).append(block)

    def check(self, block: Block, scope: Scope) -> None:
        """Check a block and all that is inside it."""
        scope = scope.plus(*_BLOCK_NAMES.get(block.key, ()))
        for step in block.steps:
            self._step(step, scope.seen_by(step))
        _check_after_stop(block, self._findings)

    def _step(self, step: Step, scope: Scope) -> None:
        raw, path = step.raw, step.path
        if "if" in raw:
            check_condition(raw["if"], (*path, "if"), scope, self._findings)
        self._template(step, scope, "timeout")
        retry = raw.get("retry")
        if isinstance(retry, Mapping) and "when" in retry:
            check_condition(retry["when"], (*path, "retry", "when"), scope.plus("error"), self._findings)
        _warn_of_idle(step, self._findings)
        check_declared(step, self._findings)
        check = _VERBS.get(step.verb)
        if check is not None:
            check(self, step, scope)
        inner = scope.plus(*_loop_names(step))
        for block in self._inside.get(id(step), ()):
            self.check(block, inner if block.key == "do" else scope)

    def _template(self, step: Step, scope: Scope, *keys: str) -> None:
        value: Any = step.raw
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            check_template(value, (*step.path, *keys), scope, self._findings)

    def action(self, step: Step, scope: Scope) -> None:
        check_action(step, self._catalogue, self._findings)
        self._template(step, scope, "with")

    def switch(self, step: Step, scope: Scope) -> None:
        check_expression(step.raw.get("switch"), (*step.path, "switch"), scope, self._findings)
        cases = step.raw.get("cases")
        values: list[Any] = []
        for index, case in enumerate(cases if isinstance(cases, list) else ()):
            if not isinstance(case, Mapping):
                continue
            path = (*step.path, "cases", index)
            if "when" in case:
                check_condition(case["when"], (*path, "when"), scope, self._findings)
            elif case.get("value") in values:
                self._findings.warn((*path, "value"), "an earlier case has this value already", "it is never taken")
            else:
                values.append(case.get("value"))

    def for_each(self, step: Step, scope: Scope) -> None:
        path = (*step.path, "for_each")
        if isinstance(step.raw["for_each"], str):
            check_list(step.raw["for_each"], path, scope, self._findings)
        else:
            check_template(step.raw["for_each"], path, scope, self._findings)
        name = step.raw.get("as")
        if isinstance(name, str) and name in ROOTS - {"item"}:
            self._findings.error((*step.path, "as"), f"`{name}` is the name of something else", "choose another name")

    def loop(self, step: Step, scope: Scope) -> None:
        check_condition(step.raw.get("while"), (*step.path, "while"), scope.plus("index"), self._findings)

    def parallel(self, step: Step, scope: Scope) -> None:
        branches = step.raw.get("parallel")
        if isinstance(branches, Mapping) and not branches:
            self._findings.error((*step.path, "parallel"), "there are no branches", "write parallel: {name: [steps]}")

    def wait(self, step: Step, scope: Scope) -> None:
        self._template(step, scope, "wait")
        wait = step.raw.get("wait")
        moment = wait.get("until") if isinstance(wait, Mapping) else None
        if isinstance(moment, str) and not is_template(moment):
            _check_moment(moment, (*step.path, "wait", "until"), self._findings)

    def wait_for(self, step: Step, scope: Scope) -> None:
        self._template(step, scope, "wait_for", "timeout")
        self._template(step, scope, "wait_for", "event")
        spec = step.raw.get("wait_for")
        if isinstance(spec, Mapping) and "when" in spec:
            # Here `event` is the one that is waited for, and its data is its sender's own.
            check_condition(spec["when"], (*step.path, "wait_for", "when"), replace(scope, data=None), self._findings)

    def approve(self, step: Step, scope: Scope) -> None:
        for key in ("message", "approvers", "timeout"):
            self._template(step, scope, "approve", key)
        spec = step.raw.get("approve")
        if isinstance(spec, Mapping):
            check_properties(spec.get("form"), (*step.path, "approve", "form"), self._findings)

    def call(self, step: Step, scope: Scope) -> None:
        self._template(step, scope, "call")
        self._template(step, scope, "with")
        self._template(step, scope, "secrets")
        handed = step.raw.get("secrets")
        for name, value in handed.items() if isinstance(handed, Mapping) else ():
            if isinstance(value, str) and not is_template(value):
                hint = f"keep it as a secret: ${{{{ secrets.{name} }}}}"
                self._findings.warn((*step.path, "secrets", name), "a secret is written into the definition", hint)
        name = step.raw.get("call")
        if isinstance(name, str) and not is_template(name) and not re.fullmatch(SLUG, name):
            self._findings.error(
                (*step.path, "call"), f"'{name}' is not the id of a workflow", "write call: other-workflow"
            )

    def assign(self, step: Step, scope: Scope) -> None:
        self._template(step, scope, step.verb)
        if step.raw.get(step.verb) == {}:
            self._findings.warn((*step.path, step.verb), "it sets nothing")

    def emit(self, step: Step, scope: Scope) -> None:
        self._template(step, scope, "emit")

    def stop(self, step: Step, scope: Scope) -> None:
        self._template(step, scope, "reason")
        self._template(step, scope, "output")


_VERBS: dict[str, Callable[[StepChecker, Step, Scope], None]] = {
    "action": StepChecker.action,
    "switch": StepChecker.switch,
    "for_each": StepChecker.for_each,
    "while": StepChecker.loop,
    "parallel": StepChecker.parallel,
    "wait": StepChecker.wait,
    "wait_for": StepChecker.wait_for,
    "approve": StepChecker.approve,
    "call": StepChecker.call,
    "set": StepChecker.assign,
    "remember": StepChecker.assign,
    "emit": StepChecker.emit,
    "stop": StepChecker.stop,
}


def _loop_names(step: Step) -> tuple[str, ...]:
    if step.verb == "while":
        return ("index",)
    if step.verb != "for_each":
        return ()
    name = step.raw.get("as", "item")
    return (name, "index") if isinstance(name, str) else ("index",)


def _check_moment(text: str, path: Path, findings: Findings) -> None:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        what = f"'{text}' is not a moment" if moment is None else f"'{text}' has no time zone"
        findings.error(path, what, "write ISO 8601 with a zone, such as 2030-01-31T09:00:00+01:00")


def _warn_of_idle(step: Step, findings: Findings) -> None:
    """Warn of what has no effect on a step of this verb."""
    for key, verbs in (("retry", _NOT_REPEATED), ("timeout", _INSTANT)):
        if step.raw.get(key) is not None and step.verb in verbs:
            findings.warn((*step.path, key), f"`{key}` has no effect on `{step.verb}`", _IDLE_HINTS[key], key=True)


def _check_after_stop(block: Block, findings: Findings) -> None:
    """Warn of steps that stand behind an unconditional `stop`."""
    if block.is_graph:
        return
    for step, following in zip(block.steps, block.steps[1:], strict=False):
        if step.verb == "stop" and "if" not in step.raw:
            findings.warn(
                following.path, f"it never runs: `{step.id}` stops before it", "move it up, or guard the stop"
            )
            return


def check_ids(duplicates: Iterable[tuple[Step, Step]], findings: Findings) -> None:
    """Refuse an id that another step has; ids are unique in the whole workflow."""
    for step, first in duplicates:
        if step.id:
            hint = f"{_spoken(first.path)} has it already; ids are unique in the whole workflow"
            findings.error((*step.path, "id"), f"two steps have the id `{step.id}`", hint)


def _spoken(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def check_needs(block: Block, everywhere: Mapping[str, Step], findings: Findings) -> None:
    """Check that `needs` names other steps of the same block, and that no step waits for itself in the end."""
    here = {step.id: step for step in block.steps}
    for step in block.steps:
        needs = step.raw.get("needs")
        for index, name in enumerate(needs if isinstance(needs, list) else ()):
            path = (*step.path, "needs", index)
            if name == step.id:
                findings.error(path, f"`{name}` needs itself", "take it out")
            elif isinstance(name, str) and name not in here:
                _unknown_need(name, path, step, here, everywhere, findings)
    if block.is_graph:
        _check_cycles(block, here, findings)


def _unknown_need(
    name: str, path: Path, step: Step, here: Mapping[str, Step], everywhere: Mapping[str, Step], findings: Findings
) -> None:
    if name in everywhere:
        hint = "`needs` names steps of the same block; a step inside another one has ended when that one has"
        findings.error(path, f"the step `{name}` stands in another block", hint)
    else:
        near = get_close_matches(name, [other for other in here if other != step.id], n=1)
        hint = f"did you mean {near[0]}?" if near else suggestion(name, [other for other in here if other != step.id])
        findings.error(path, f"there is no step `{name}`", hint)


def _check_cycles(block: Block, here: Mapping[str, Step], findings: Findings) -> None:
    told: set[str] = set()
    for step in block.steps:
        if step.id in told or step.id not in block.above.get(step.id, frozenset()):
            continue
        circle = _circle(step.id, block)
        told |= set(circle)
        if len(circle) == 1:
            continue  # it needs itself, which is told already
        implied = [name for name in circle if here[name].raw.get("needs") is None]
        hint = f"`{implied[0]}` has no needs and so follows the step above it; write needs: []" if implied else ""
        shown = " → ".join([*circle, circle[0]])
        at = (*step.path, "needs") if "needs" in step.raw else step.path
        findings.error(at, f"the steps wait for each other: {shown}", hint or "take one of these needs away")


def _circle(start: str, block: Block) -> list[str]:
    """Return the shortest circle of `needs` through a step that is on one."""
    before: dict[str, str] = {}
    rest = [start]
    while rest:
        following: list[str] = []
        for name in rest:
            for need in block.needs.get(name, ()):
                if need == start:
                    return _trace(name, start, before)
                if need not in before and need in block.needs:
                    before[need] = name
                    following.append(need)
        rest = following
    return [start]


def _trace(name: str, start: str, before: Mapping[str, str]) -> list[str]:
    path = [name]
    while path[-1] != start:
        path.append(before[path[-1]])
    return path[::-1]
