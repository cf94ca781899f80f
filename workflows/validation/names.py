"""Names in expressions: whether what they read can be there at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

from hark.workflows.catalogue import suggestion
from hark.workflows.cel.paths import Parts
from hark.workflows.scopes import ERROR_FIELDS, EVENT_FIELDS, EXECUTION_FIELDS, STEP_FIELDS
from hark.workflows.validation.outline import Outline, Step

Wrong = tuple[str, str, int]
"""A message, a hint, and how many parts of the path are right up to and with what is wrong."""

_SECRET = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Known:
    """What is known about a whole definition."""

    outline: Outline
    inputs: Mapping[str, Any]
    """Those declared; empty when none are, and then any name may be handed over."""
    variables: Mapping[str, tuple[Step, ...]]
    """Which steps define a variable; empty when none does, and then they come from outside."""
    outputs: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """The fields of a step's output, where all of them are known."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The names that expressions see at one place."""

    known: Known
    roots: frozenset[str]
    viewer: Step | None = None
    """The step that reads; None after all steps have ended."""
    data: frozenset[str] | None = None
    """The fields of `event.data`; None where they are the sender's own."""

    def plus(self, *names: str) -> Scope:
        """Return this scope with more roots."""
        return replace(self, roots=self.roots | frozenset(names))

    def seen_by(self, step: Step) -> Scope:
        """Return this scope at another step."""
        return replace(self, viewer=step)

    def wrong(self, parts: Parts, *, guarded: bool) -> Wrong | None:
        """Say what is impossible about a path; None when it may be there."""
        check = _CHECKS.get(str(parts[0]))
        if check is None or len(parts) < 2 or not isinstance(parts[1], str):
            return None
        return check(_Ask(self, str(parts[0]), parts[1], parts, guarded))


@dataclass(frozen=True, slots=True)
class _Ask:
    """What an expression reads: `root.name`, and the whole path."""

    scope: Scope
    root: str
    name: str
    parts: Parts
    guarded: bool


def _steps(ask: _Ask) -> Wrong | None:
    outline = ask.scope.known.outline
    step = outline.by_id.get(ask.name)
    if step is None:
        return f"there is no step `{ask.name}`", suggestion(ask.name, outline.by_id), 2
    reason = outline.unseen(step, ask.scope.viewer)
    if reason is not None:
        return f"steps.{ask.name} cannot be read here: {reason}", _instead(ask.scope), 2
    field = ask.parts[2] if len(ask.parts) > 2 else None
    if isinstance(field, str) and field not in STEP_FIELDS:
        near = get_close_matches(field, STEP_FIELDS, n=1)
        hint = f"did you mean {near[0] if near else f'output.{field}'}?"
        return f"a step has no `{field}`", hint, 3
    fields = ask.scope.known.outputs.get(ask.name)
    inner = ask.parts[3] if field == "output" and len(ask.parts) > 3 else None
    if fields is not None and isinstance(inner, str) and inner not in fields and not ask.guarded:
        return f"the output of `{ask.name}` has no `{inner}`", suggestion(inner, fields), 4
    return None


def _instead(scope: Scope) -> str:
    if scope.viewer is None:
        return ""
    outline = scope.known.outline
    seen = [name for name, step in outline.by_id.items() if outline.unseen(step, scope.viewer) is None]
    return f"what can be read here: {', '.join(seen[-8:])}" if seen else "no step has ended before this one"


def _inputs(ask: _Ask) -> Wrong | None:
    declared = ask.scope.known.inputs
    if not declared or ask.name in declared:
        return None
    return f"the input `{ask.name}` is not declared", suggestion(ask.name, declared), 2


def _event(ask: _Ask) -> Wrong | None:
    data = ask.scope.data
    if ask.name not in EVENT_FIELDS:
        nearer = f"write event.data.{ask.name}" if data is not None and ask.name in data else ""
        return f"an event has no `{ask.name}`", nearer or suggestion(ask.name, EVENT_FIELDS), 2
    inner = ask.parts[2] if ask.name == "data" and len(ask.parts) > 2 else None
    if data is not None and isinstance(inner, str) and inner not in data and not ask.guarded:
        return f"the event's data has no `{inner}`", suggestion(inner, data), 3
    return None


_AT_START = "what is handed over at the start is read as vars.?{0}.orValue(…)"


def _variables(ask: _Ask) -> Wrong | None:
    known = ask.scope.known
    if not known.variables or ask.guarded:
        return None
    definers = known.variables.get(ask.name)
    if definers is None:
        return f"no step sets `{ask.name}`", suggestion(ask.name, known.variables) or _AT_START.format(ask.name), 2
    if any(known.outline.may_precede(step, ask.scope.viewer) for step in definers):
        return None
    where = " and ".join(f"`{step.id}`" for step in definers)
    hint = f"set it in an earlier step; {_AT_START.format(ask.name)}"
    return f"`{ask.name}` has no value here: {where} sets it, but not before", hint, 2


def _execution(ask: _Ask) -> Wrong | None:
    name = ask.parts[2] if ask.name == "approval_url" and len(ask.parts) > 2 else None
    if not isinstance(name, str):
        return _fields(ask)
    asking = [step.id for step in ask.scope.known.outline.by_id.values() if step.verb == "approve"]
    return None if name in asking else (f"there is no approve step `{name}`", suggestion(name, asking), 3)


_FIELDS = {"execution": ("an execution", EXECUTION_FIELDS), "error": ("an error", ERROR_FIELDS)}


def _fields(ask: _Ask) -> Wrong | None:
    what, fields = _FIELDS[ask.root]
    return None if ask.name in fields else (f"{what} has no `{ask.name}`", suggestion(ask.name, fields), 2)


def _secrets(ask: _Ask) -> Wrong | None:
    if _SECRET.fullmatch(ask.name):
        return None
    return f"{ask.name!r} is no name of a secret", "letters, digits and _, as in secrets.api_key", 2


_CHECKS: dict[str, Callable[[_Ask], Wrong | None]] = {
    "steps": _steps,
    "inputs": _inputs,
    "event": _event,
    "vars": _variables,
    "execution": _execution,
    "error": _fields,
    "secrets": _secrets,
}
