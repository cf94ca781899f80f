"""The outline of a definition: every step, the blocks they stand in, and which of them have ended before which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hark.workflows.shape import blocks
from hark.workflows.source import Path
from hark.workflows.steps import verb_of

_LOOPS = frozenset({"for_each", "while"})
_AFTER_SELF = frozenset({"on_error"})
"""Blocks that run after the step that holds them has failed."""


@dataclass(slots=True, eq=False)
class Step:
    """A step as it is written, and where."""

    id: str
    verb: str
    raw: Mapping[str, Any]
    path: Path
    block: Block
    index: int


@dataclass(eq=False)
class Block:
    """Steps that run one after the other, or as a graph when one of them has `needs`."""

    path: Path
    owner: Step | None
    """The step that holds the block; None at the top."""
    key: str
    """`steps`, `then`, `do`, `catch` … of its owner; a branch has `parallel`, a case `cases`."""
    part: str | int | None = None
    steps: list[Step] = field(default_factory=list)

    @property
    def is_graph(self) -> bool:
        """One `needs` makes the block a graph."""
        return any(step.raw.get("needs") is not None for step in self.steps)

    @property
    def is_loop(self) -> bool:
        """Its steps run once per turn, each with a path of its own."""
        return self.key == "do" and self.owner is not None and self.owner.verb in _LOOPS

    @cached_property
    def needs(self) -> dict[str, tuple[str, ...]]:
        """What each step waits for. In a graph a step without `needs` follows the one written before it."""
        found: dict[str, tuple[str, ...]] = {}
        before: tuple[str, ...] = ()
        for step in self.steps:
            own = step.raw.get("needs")
            found[step.id] = tuple(name for name in own if isinstance(name, str)) if isinstance(own, list) else before
            before = (step.id,)
        return found

    @cached_property
    def above(self) -> dict[str, frozenset[str]]:
        """All steps that have ended when a step starts, by `needs` of `needs`."""
        found: dict[str, frozenset[str]] = {}
        for step in self.steps:
            self._collect(step.id, found)
        return found

    def _collect(self, start: str, found: dict[str, frozenset[str]]) -> None:
        """Walk without recursion: a chain may be as long as the file; circles end where they close."""
        seen: set[str] = set()
        rest = list(self.needs.get(start, ()))
        while rest:
            name = rest.pop()
            if name in seen:
                continue
            seen.add(name)
            if name in found:
                seen |= found[name]
            else:
                rest.extend(self.needs.get(name, ()))
        found[start] = frozenset(seen)


class Outline:
    """All steps of a definition. Of several with one id the first counts; `duplicates` are the others."""

    def __init__(self, definition: Mapping[str, Any]) -> None:
        self.by_id: dict[str, Step] = {}
        self.duplicates: list[tuple[Step, Step]] = []
        self.blocks: list[Block] = []
        self.main = self._block(definition.get("steps"), ("steps",), None, "steps")
        self.on_error = self._block(definition.get("on_error"), ("on_error",), None, "on_error")

    def _block(self, raw: Any, path: Path, owner: Step | None, key: str, part: str | int | None = None) -> Block:
        block = Block(path, owner, key, part)
        self.blocks.append(block)
        for index, member in enumerate(raw if isinstance(raw, list) else ()):
            if isinstance(member, Mapping):
                self._step(member, (*path, index), block, index)
        return block

    def _step(self, raw: Mapping[str, Any], path: Path, block: Block, index: int) -> None:
        name = raw.get("id")
        step = Step(name if isinstance(name, str) else "", verb_of(dict(raw)) or "", raw, path, block, index)
        block.steps.append(step)
        if step.id in self.by_id:
            self.duplicates.append((step, self.by_id[step.id]))
        elif step.id:
            self.by_id[step.id] = step
        for inner, steps in blocks(raw):
            self._block(steps, (*path, *inner), step, str(inner[0]), inner[1] if len(inner) > 1 else None)

    def __iter__(self) -> Iterator[Step]:
        for block in self.blocks:
            yield from block.steps

    def unseen(self, target: Step, viewer: Step | None) -> str | None:
        """Say why `viewer` cannot read the result of `target`; None when it can.

        Without a viewer, the reader is what comes after all steps: the workflow's `output`.
        """
        meeting = self._meet(target, viewer)
        if isinstance(meeting, str):
            return meeting
        loop = _loop_between(target, meeting)
        if loop is not None:
            return f"it runs in the loop `{loop.id}`, once per turn; read steps.{loop.id}.output there"
        return None

    def may_precede(self, target: Step, viewer: Step | None) -> bool:
        """Tell whether `target` may have run before `viewer`, in an earlier turn of a loop around both too."""
        if viewer is None or not isinstance(self._meet(target, viewer), str):
            return True
        inside = {id(step) for step, _ in _chain(viewer)}
        return any(step.verb in _LOOPS and id(step) in inside for step, _ in _chain(target))

    def _meet(self, target: Step, viewer: Step | None) -> Block | str | None:
        """Return the block below which `target` has ended when `viewer` starts, or why it has not."""
        if viewer is None:
            return None if target.block.key != "on_error" else "on_error has not run then"
        if target is viewer:
            return "a step cannot read its own result"
        above = {id(block): step for step, block in _chain(viewer)}
        for step, block in _chain(target):
            if id(block) in above:
                return _within(block, step, above[id(block)], target, viewer)
        return None if _root(viewer).key == "on_error" else "it runs only when the workflow has failed"


def _chain(step: Step) -> Iterator[tuple[Step, Block]]:
    """Yield a step and its block, then the step that holds that block and its block, up to the top."""
    current: Step | None = step
    while current is not None:
        yield current, current.block
        current = current.block.owner


def _root(step: Step) -> Block:
    block = step.block
    while block.owner is not None:
        block = block.owner.block
    return block


def _loop_between(target: Step, meeting: Block | None) -> Step | None:
    """Return the outermost loop around `target` below the block where target and viewer meet."""
    found = None
    for _, block in _chain(target):
        if block is meeting:
            break
        if block.is_loop:
            found = block.owner
    return found


def _within(block: Block, first: Step, second: Step, target: Step, viewer: Step) -> Block | str:
    """Compare two steps of one block: `first` is or holds the target, `second` is or holds the viewer."""
    if first is second:
        return _same_step(first, target, viewer, block)
    if block.is_graph:
        if first.id in block.above.get(second.id, frozenset()):
            return block
        return f"`{second.id}` does not wait for it; write needs: [{first.id}]"
    if first.index < second.index:
        return block
    return "it comes later"


def _same_step(holder: Step, target: Step, viewer: Step, block: Block) -> Block | str:
    """Compare two steps inside one step: in different blocks of it, or one of them the step itself."""
    seen_from = _entry(viewer, holder)
    if target is holder:
        if seen_from is not None and seen_from.key in _AFTER_SELF:
            return block
        return "it has not ended while the steps inside it run"
    stands_in = _entry(target, holder)
    if seen_from is None or stands_in is None:
        return "it runs inside this step"
    if seen_from.key in {"catch", "finally", "on_error"} and stands_in.key in {"try", "catch", *_INNER}:
        return block
    if holder.verb == "parallel":
        return "it runs in another branch, side by side with this one"
    return "it runs in another branch, instead of this one"


_INNER = frozenset({"then", "else", "do", "cases", "default", "parallel", "finally"})


def _entry(step: Step, holder: Step) -> Block | None:
    """Return the block of `holder` in which `step` stands, at whatever depth; None for the holder itself."""
    for inner, block in _chain(step):
        if block.owner is holder:
            return block
        if inner is holder:
            return None
    return None
