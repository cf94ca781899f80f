"""The interpreter: walks over a program, skips what is on record, and runs the rest.

Resuming is the same walk as running: a step that is on record as ended answers from the record. Every decision that
could come out differently a second time (a branch taken, the items of a loop) is on record before what follows from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import orjson

from hark.daemon.engine.abandoning import abandon_blocks, abandon_within
from hark.daemon.engine.action_step import run_action
from hark.daemon.engine.approve import run_approve
from hark.daemon.engine.call import run_call
from hark.daemon.engine.event_waits import run_wait_for
from hark.daemon.engine.graph import run_graph
from hark.daemon.engine.outcome import Failed, Outcome, Stopped, Suspended, failure
from hark.daemon.engine.parts import last_output, part_block, run_as_part
from hark.daemon.engine.pauses import run_wait, seconds_of
from hark.daemon.engine.program import (
    ActionWork,
    ApproveWork,
    Block,
    CallWork,
    EmitWork,
    ForEachWork,
    IfWork,
    Node,
    ParallelWork,
    RememberWork,
    StopWork,
    SwitchWork,
    TryWork,
    WaitForWork,
    WaitWork,
    WhileWork,
)
from hark.daemon.engine.records import StepRecord, step_view
from hark.daemon.engine.run import Frame, Run
from hark.daemon.engine.side_by_side import run_bounded, run_race
from hark.daemon.engine.step_record import begin_step, end_step, holds
from hark.daemon.engine.stopping import stop_on_record
from hark.daemon.engine.typed_steps import checked_output
from hark.workflows.catalogue import NewEvent
from hark.workflows.counting import counted
from hark.workflows.errors import (
    ActionError,
    ExpressionError,
    FencedError,
    HarkError,
    MissingFieldError,
    UnavailableError,
)
from hark.workflows.expressions import Expression
from hark.workflows.states import ENDED_STEP
from hark.workflows.templates import Template

MOST_NOTED = 500
"""Steps without an effect ride along with the next flush; a loop over very many has one now and then."""

Runner = Callable[[Run, Node, Any, str, Frame], Awaitable[Outcome]]


async def run_program(run: Run) -> Outcome:
    """Run an execution from where its record ends; on failure run the workflow's `on_error` too."""
    outcome = await run_block(run, run.program.block, run.root)
    if isinstance(outcome, Failed) and run.program.on_error is not None:
        handled = await run_block(run, run.program.on_error, run.root.with_names(error=outcome.view()))
        if isinstance(handled, Stopped | Suspended):
            return handled
    return outcome


async def run_part(run: Run, part: Mapping[str, Any]) -> Outcome:
    """Run one item or branch of a distributed step, as an execution of its own."""
    return await run_block(run, part_block(run, part), run.root)


async def run_block(run: Run, block: Block, frame: Frame) -> Outcome:
    """Run the steps of a block, in order or as a graph."""
    if block.is_graph:
        return await run_graph(run, block, frame, run_step)
    for node in block.nodes:
        outcome = await run_step(run, node, frame)
        if outcome is not None:
            return outcome
    return None


async def run_step(run: Run, node: Node, frame: Frame) -> Outcome:
    """Run one step unless it is on record as ended; handle its failure as the step says."""
    path = frame.path(node)
    known = run.known.get(path)
    if known is not None and known.status in ENDED_STEP:
        outcome = _replayed(run, known, frame, node)
    else:
        if node.reads_context:
            await run.refresh_context(frame.scope)
        if run.noted >= MOST_NOTED:
            await run.settle()
        frame.scope["now"] = run.now()
        # Once a step is on record as begun its `if` has held.
        guard = node.guard if known is None else None
        outcome = _GO_ON if guard is None else _guarded(run, node, guard, path, frame)
        if outcome is _GO_ON:
            outcome = await _RUNNERS[type(node.work)](run, node, known, path, frame)
    if isinstance(outcome, Failed):
        return await _handled(run, node, outcome, frame)
    return outcome


_GO_ON: Any = object()


def _guarded(run: Run, node: Node, guard: Expression, path: str, frame: Frame) -> Any:
    """Check a step's `if`; what is skipped, or fails in it, ends here."""
    try:
        if guard.holds(frame.scope):
            return _GO_ON
        reason = None
    except MissingFieldError as error:
        reason = f"{error.path} is missing"
    except ExpressionError as error:
        return end_step(run, node, path, frame, failure(error, path))
    moment = run.now()
    output = None if reason is None else orjson.dumps({"skipped": reason}).decode()
    record = StepRecord(path, run.next_seq(), node.verb, "skipped", output=output, completed_at=moment)
    run.record(record)
    frame.steps[node.id] = {"output": None, "status": "skipped", "error": None}
    return None


def _replayed(run: Run, known: StepRecord, frame: Frame, node: Node) -> Outcome:
    view = step_view(known)
    frame.steps[node.id] = view
    if known.status in {"failed", "cancelled"}:
        return Failed.from_view(view["error"] or {"class": "cancelled", "message": "cancelled", "step": known.path})
    return stop_on_record(run, node, known) if known.status == "completed" else None


async def _handled(run: Run, node: Node, failed: Failed, frame: Frame) -> Outcome:
    """Give a failed step to its own `on_error`, or go on if it says so."""
    if node.on_error is not None:
        # What its handlers could not handle is the failure that counts.
        return await run_block(run, node.on_error, frame.with_names(error=failed.view()))
    return None if node.continue_on_error else failed


Body = Callable[[Any], Awaitable[tuple[Outcome, Any]]]


async def _container(
    run: Run, node: Node, known: StepRecord | None, path: str, frame: Frame, decide: Callable[[], Any], body: Body
) -> Outcome:
    """Run a step that holds other steps: decide once, run the body within the step's timeout, record how it ended."""
    try:
        begun = begin_step(run, node, known, path, decide)
    except HarkError as error:
        return end_step(run, node, path, frame, failure(error, path))
    decision = None if begun.input is None else orjson.loads(begun.input)
    try:
        if isinstance(node.work, TryWork):
            outcome, output = await body(decision)  # its timeout is that of what it tries
        else:
            outcome, output = await _within_timeout(run, node, frame, begun, lambda: body(decision))
    except (FencedError, UnavailableError):
        raise
    except (HarkError, TimeoutError) as error:
        await abandon_within(run, node, frame)
        return end_step(run, node, path, frame, failure(error, path), begun=begun)
    if isinstance(outcome, Suspended):
        return outcome
    failed = outcome if isinstance(outcome, Failed) else None
    stopped = outcome if isinstance(outcome, Stopped) else None
    ended = end_step(run, node, path, frame, failed, output=output, begun=begun, stopped=stopped)
    return outcome if outcome is not None else ended


def _refused(kind: str, message: str) -> ActionError:
    """Say that a loop was given what it cannot work with; another attempt would be given the same."""
    return ActionError(message, error_class=kind, retryable=False)


async def _within_timeout(
    run: Run, node: Node, frame: Frame, begun: StepRecord, body: Callable[[], Awaitable[tuple[Outcome, Any]]]
) -> tuple[Outcome, Any]:
    """Bound a container by its timeout, counted from when it first began, also over waits and restarts."""
    seconds = None if node.timeout is None else seconds_of(node.timeout, frame)
    if seconds is None or begun.started_at is None:
        return await body()
    left = seconds - (run.now() - begun.started_at).total_seconds()
    if left <= 0:
        # A timer would not fire: a walk over what is on record never lets go of the loop.
        raise TimeoutError
    async with asyncio.timeout(left):
        outcome, output = await body()
    if isinstance(outcome, Suspended):
        from_start = datetime.fromtimestamp(begun.started_at.timestamp() + seconds, begun.started_at.tzinfo)
        outcome = outcome.by(from_start)
    return outcome, output


async def _run_if(run: Run, node: Node, known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    work: IfWork = node.work

    def decide() -> Any:
        return {"branch": "then" if holds(work.condition, frame) else "else"}

    async def body(decision: Any) -> tuple[Outcome, Any]:
        block = work.then if decision["branch"] == "then" else work.otherwise
        return await run_block(run, block, frame), decision

    return await _container(run, node, known, path, frame, decide, body)


async def _run_switch(run: Run, node: Node, known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    work: SwitchWork = node.work

    def decide() -> Any:
        value = work.value.evaluate(frame.scope)
        for number, case in enumerate(work.cases):
            if case.when is not None:
                if holds(case.when, frame):
                    return {"case": number}
            elif case.value == value or (isinstance(case.value, list) and value in case.value):
                return {"case": number}
        return {"case": None}

    async def body(decision: Any) -> tuple[Outcome, Any]:
        taken = decision["case"]
        return await run_block(run, work.default if taken is None else work.cases[taken].do, frame), decision

    return await _container(run, node, known, path, frame, decide, body)


async def _run_for_each(run: Run, node: Node, known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    work: ForEachWork = node.work

    def decide() -> Any:
        source = work.items
        items = source.render(frame.scope) if isinstance(source, Template) else source.evaluate(frame.scope)
        if isinstance(items, dict):
            items = [{"key": key, "value": value} for key, value in items.items()]
        if not isinstance(items, list):
            raise _refused("no_list", f"for_each needs a list, not {type(items).__name__}")
        if len(items) > work.max_items:
            message = f"for_each got {counted(len(items), 'item')}, more than its max_items of {work.max_items}"
            raise _refused("too_many_items", message)
        return {"items": run.masked(items, what="the list")}

    async def body(decision: Any) -> tuple[Outcome, Any]:
        items: list[Any] = decision["items"]
        loop = run.folding.loop(path, frame.prefix)
        outputs = loop.outputs(len(items))

        async def iterate(index: int) -> Outcome:
            with loop.turn(index) as turn:
                outcome, outputs[index] = await do(index)
                if outcome is None:
                    loop.done(turn)
                return outcome

        async def do(index: int) -> tuple[Outcome, Any]:
            prefix = f"{path}[{index}]."
            names = {work.name: items[index], "index": index}
            if work.distribute:
                return await run_as_part(run, node, frame, str(index), names)
            names.update(run.names_in(frame, prefix, work.asks))
            inner = frame.inner(prefix, run.known_steps(prefix), **names)
            outcome = await run_block(run, work.do, inner)
            return outcome, last_output(work.do, inner)

        ahead = [*loop.ahead(len(items))]
        return await run_bounded(run.parking, iterate, ahead, work.parallel, run.begun_turns(path)), outputs

    return await _container(run, node, known, path, frame, decide, body)


async def _run_while(run: Run, node: Node, known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    work: WhileWork = node.work

    async def body(_: Any) -> tuple[Outcome, Any]:
        loop = run.folding.loop(path, frame.prefix)
        for index in loop.ahead(work.max_iterations + 1):
            begun = f"{path}[{index}]"
            prefix = f"{begun}."
            inner = frame.inner(prefix, run.known_steps(prefix), index=index, **run.names_in(frame, prefix, work.asks))
            if begun not in run.known:
                if node.reads_context:
                    await run.refresh_context(inner.scope)
                inner.scope["now"] = run.now()
                if not holds(work.condition, inner):
                    return None, {"iterations": index}
                if index == work.max_iterations:
                    break
                # The turn itself is on record: its condition may read what its own steps change.
                moment = run.now()
                run.record(StepRecord(begun, run.next_seq(), "iteration", "completed", completed_at=moment))
            with loop.turn(index) as turn:
                outcome = await run_block(run, work.do, inner)
                if outcome is not None:
                    return outcome, {"iterations": index}
                loop.done(turn)
        message = f"`while` still holds after its max_iterations of {work.max_iterations}"
        raise _refused("too_many_iterations", message)

    return await _container(run, node, known, path, frame, lambda: None, body)


async def _run_parallel(run: Run, node: Node, known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    work: ParallelWork = node.work

    async def body(_: Any) -> tuple[Outcome, Any]:
        outputs: dict[str, Any] = {}

        async def branch(index: int) -> Outcome:
            name, do = work.branches[index]
            if work.distribute:
                outcome, outputs[name] = await run_as_part(run, node, frame, name, {})
                return outcome
            outcome = await run_block(run, do, frame)
            outputs[name] = last_output(do, frame)
            return outcome

        names = [name for name, _ in work.branches]
        if not work.race:
            outcome = await run_bounded(run.parking, branch, range(len(names)), len(names), range(len(names)))
            return outcome, {name: outputs.get(name) for name, do in work.branches if do.nodes}
        outcome, winner = await run_race(run.parking, branch, names)
        if winner is None:
            return outcome, None
        lost = [(name, do) for name, do in work.branches if name != winner]
        await abandon_blocks(run, frame, [do for _, do in lost], [f"{path}[{name}]" for name, _ in lost])
        return outcome, {"winner": winner}

    return await _container(run, node, known, path, frame, lambda: None, body)


async def _run_try(run: Run, node: Node, known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    work: TryWork = node.work

    async def body(_: Any) -> tuple[Outcome, Any]:
        outcome = await _tried(run, node, path, frame)
        shown = None
        if isinstance(outcome, Failed) and work.catch is not None:
            caught = outcome.view()
            shown = run.masked_in(caught, "message", "details")
            outcome = await run_block(run, work.catch, frame.with_names(error=caught))
        if isinstance(outcome, Suspended) or work.finally_ is None:
            return outcome, {"caught": shown}
        last = await run_block(run, work.finally_, frame)
        return last if last is not None else outcome, {"caught": shown}

    return await _container(run, node, known, path, frame, lambda: None, body)


async def _tried(run: Run, node: Node, path: str, frame: Frame) -> Outcome:
    """Run what a `try` tries, within its timeout."""
    work: TryWork = node.work
    begun = run.known.get(path) or run.open[path]

    async def body() -> tuple[Outcome, Any]:
        return await run_block(run, work.body, frame), None

    try:
        return (await _within_timeout(run, node, frame, begun, body))[0]
    except TimeoutError as error:
        await abandon_blocks(run, frame, [work.body])
        return failure(error, path)


# ---------------------------------------------------------------------- plain verbs


async def _run_set(run: Run, node: Node, _known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    try:
        values = run.masked(node.work.render(frame.scope))
    except HarkError as error:
        return end_step(run, node, path, frame, failure(error, path))
    failed = end_step(run, node, path, frame, output=values)
    if failed is None:
        run.set_vars(frame.prefix, frame.steps[node.id]["output"])
    return failed


async def _run_remember(run: Run, node: Node, _known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    work: RememberWork = node.work
    try:
        values = checked_output(node.outputs, work.values.render(frame.scope))
        encoded = {key: run.encoded_memory(key, value) for key, value in values.items()}
    except HarkError as error:
        return end_step(run, node, path, frame, failure(error, path))
    failed = end_step(run, node, path, frame, output=run.masked(values))
    if failed is None:
        run.remember(path, encoded)
    return failed


async def _run_stop(run: Run, node: Node, _known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    work: StopWork = node.work
    try:
        reason, output = (run.masked(each.render(frame.scope)) for each in (work.reason, work.output))
    except HarkError as error:
        return end_step(run, node, path, frame, failure(error, path))
    stopped = Stopped(work.status, reason, output, path)
    return end_step(run, node, path, frame, output=stopped.view()) or stopped


async def _run_emit(run: Run, node: Node, known: StepRecord | None, path: str, frame: Frame) -> Outcome:
    work: EmitWork = node.work
    begun = begin_step(run, node, known, path)
    try:
        kind = str(run.bare(work.type.render(frame.scope), "`type`"))
        event = NewEvent(
            tenant_id=run.tenant_id,
            kind="event",
            type=kind,
            source=f"workflow:{run.slug}",
            route=f"event:{kind}",
            data=run.masked(work.data.render(frame.scope), what="the event's data"),
            subject=_subject(run.bare(work.subject.render(frame.scope), "`subject`")),
            **_identity(run, path, run.bare(work.key.render(frame.scope), "`key`")),
            depth=run.depth + 1,
            caused_by=run.id,
        )
        await run.settle()
        receipt = await run.services.emit(run, event)
    except FencedError:
        raise
    except HarkError as error:
        return end_step(run, node, path, frame, failure(error, path), begun=begun)
    if run.mode != "production":
        run.note("event.not_stored", path, {"mode": run.mode, "type": kind})
    output = {"event_id": str(receipt.event_id)}
    return end_step(run, node, path, frame, output=output, begun=begun)


def _identity(run: Run, path: str, key: Any) -> dict[str, Any]:
    """Return what makes a repetition after a crash the same event: the author's key, or this very step.

    The step alone is identity enough: what it says may read the time, and so differ in the repetition.
    """
    if key:
        return {"dedupe_key": str(key)}
    own = f"{run.id}/{path}"
    return {"dedupe_key": own, "fingerprint": own.encode()}


def _subject(value: Any) -> tuple[str, str] | None:
    if not isinstance(value, dict) or value.get("id") in (None, ""):
        return None
    return str(value.get("kind", "")), str(value["id"])


_RUNNERS: dict[type, Runner] = {
    ActionWork: run_action,
    IfWork: _run_if,
    SwitchWork: _run_switch,
    ForEachWork: _run_for_each,
    WhileWork: _run_while,
    ParallelWork: _run_parallel,
    TryWork: _run_try,
    WaitWork: run_wait,
    WaitForWork: run_wait_for,
    CallWork: run_call,
    Template: _run_set,
    RememberWork: _run_remember,
    ApproveWork: run_approve,
    StopWork: _run_stop,
    EmitWork: _run_emit,
}
