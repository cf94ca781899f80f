"""Programs: a version's definition, compiled once into what the interpreter walks over."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import BaseModel

from hark.daemon.engine.inputs import InputRules
from hark.workflows import scopes
from hark.workflows.catalogue import Action, Catalogue, Effect
from hark.workflows.definition import Body
from hark.workflows.expressions import Expression, compile_expression
from hark.workflows.steps import (
    ActionStep,
    ApproveStep,
    BaseStep,
    CallStep,
    EmitStep,
    FieldSpec,
    ForEachStep,
    IfStep,
    ParallelStep,
    RememberStep,
    Retry,
    SetStep,
    StopStep,
    SwitchStep,
    TryStep,
    WaitForStep,
    WaitStep,
    WaitUntil,
    WhileStep,
    verb_of,
)
from hark.workflows.templates import Template, compile_template

_LOCALS = frozenset({"error", "item", "index", "old", "new"})
_LINKS = ((), ("approval_url",), (...,))
_DEFAULT_RETRY = Retry(retries=0)


@dataclass(slots=True, eq=False)
class Node:
    """A step as the interpreter meets it; `work` is what its verb needs."""

    id: str
    verb: str
    guard: Expression | None
    retry: Retry
    retry_when: Expression | None
    timeout: timedelta | Template | None
    continue_on_error: bool
    on_error: Block | None
    needs: tuple[str, ...] | None
    work: Any
    inputs: InputRules | None = None
    """What it declares of its `with`."""
    outputs: InputRules | None = None
    reads_context: bool = False
    """Its own expressions name `context`, those of the steps inside of it left aside."""


@dataclass(slots=True, eq=False)
class Block:
    """Steps that run in order, or as a graph when any of them has `needs`."""

    nodes: tuple[Node, ...]
    is_graph: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """An approve step as it is seen from the execution, or the iteration, that it stands in."""

    step: str
    via: tuple[tuple[str, str], ...] = ()
    """The distributed branches around it, outermost first: step and name. Each is an execution of its own, a part."""


@dataclass(slots=True, eq=False)
class ActionWork:
    """An action with its config: built once when it is literal, else rendered for every attempt."""

    action: Action[Any]
    template: Template
    ready: BaseModel | None
    effect: Effect
    at_most_once: bool
    ready_text: str | None = None
    """A literal config as it goes on record, encoded once."""


@dataclass(slots=True, eq=False)
class IfWork:
    """A condition and its two branches."""

    condition: Expression
    then: Block
    otherwise: Block


@dataclass(slots=True, eq=False)
class CaseWork:
    """One case of a switch."""

    value: Any
    when: Expression | None
    do: Block


@dataclass(slots=True, eq=False)
class SwitchWork:
    """A value and the cases that it may fit."""

    value: Expression
    cases: tuple[CaseWork, ...]
    default: Block


@dataclass(slots=True, eq=False)
class ForEachWork:
    """A list and what is done for each item."""

    items: Expression | Template
    name: str
    do: Block
    parallel: int
    max_items: int
    distribute: bool
    asks: tuple[Ask, ...] = ()
    """The approve steps of one iteration."""


@dataclass(slots=True, eq=False)
class WhileWork:
    """A condition and what is done while it holds."""

    condition: Expression
    do: Block
    max_iterations: int
    asks: tuple[Ask, ...] = ()
    """The approve steps of one iteration."""


@dataclass(slots=True, eq=False)
class ParallelWork:
    """Named branches."""

    branches: tuple[tuple[str, Block], ...]
    race: bool
    distribute: bool


@dataclass(slots=True, eq=False)
class WaitWork:
    """A duration, or a moment."""

    duration: timedelta | Template | None
    until: Template
    at_most: timedelta | None


@dataclass(slots=True, eq=False)
class WaitForWork:
    """The event that is waited for, and for how long."""

    event: Template
    when: Expression | None
    lookback: timedelta | None
    timeout: timedelta | Template | None


@dataclass(slots=True, eq=False)
class CallWork:
    """The workflow that is called, and with what."""

    target: Template
    inputs: Template
    secrets: Template
    detach: bool


@dataclass(slots=True, eq=False)
class StopWork:
    """How the execution ends."""

    status: str
    reason: Template
    output: Template


@dataclass(slots=True, eq=False)
class EmitWork:
    """The event to publish."""

    type: Template
    data: Template
    subject: Template
    key: Template


@dataclass(slots=True, eq=False)
class RememberWork:
    """What is written to the context, by key."""

    values: Template


@dataclass(slots=True, eq=False)
class ApproveWork:
    """What people are asked, who may answer, what they fill in, and for how long it waits."""

    message: Template
    approvers: Template
    form: Mapping[str, Mapping[str, Any]]
    timeout: timedelta | Template | None


@dataclass(slots=True, eq=False)
class TryWork:
    """A body, and what follows its failure and its end."""

    body: Block
    catch: Block | None
    finally_: Block | None


CONTAINERS = (IfWork, SwitchWork, ForEachWork, WhileWork, ParallelWork, TryWork)
"""What holds other steps; any step may have handlers beside it."""


@dataclass(slots=True, eq=False)
class Program:
    """What a version runs, whatever it is called and whatever starts it."""

    block: Block
    on_error: Block | None
    output: Template | None
    timeout: timedelta | None
    roots: frozenset[str]
    """The names that its expressions read."""
    output_reads_context: bool = False
    reads_links: bool = False
    """An expression reads `execution.approval_url`."""
    asks: tuple[Ask, ...] = ()
    """The approve steps outside of loops."""
    kept_turns: int | None = None
    """How many turns of a loop stay on record; None: as the settings say."""

    def node(self, step_id: str) -> Node:
        """Return a step, wherever it stands. Raises LookupError."""
        blocks = [self.block] if self.on_error is None else [self.block, self.on_error]
        for node in (node for block in blocks for node in _nodes(block)):
            if node.id == step_id:
                return node
        raise LookupError(f"there is no step {step_id!r}")


def blocks_in(node: Node) -> Iterator[Block]:
    """Yield the blocks that a step holds."""
    if node.on_error is not None:
        yield node.on_error
    match node.work:
        case IfWork(then=then, otherwise=otherwise):
            yield from (then, otherwise)
        case SwitchWork(cases=cases, default=default):
            yield from (*(case.do for case in cases), default)
        case ForEachWork(do=do) | WhileWork(do=do):
            yield do
        case ParallelWork(branches=branches):
            yield from (do for _, do in branches)
        case TryWork(body=body, catch=catch, finally_=last):
            yield from (block for block in (body, catch, last) if block is not None)


def _nodes(block: Block) -> Iterator[Node]:
    for node in block.nodes:
        yield node
        for inner in blocks_in(node):
            yield from _nodes(inner)


class Compiler:
    """Compiles definitions against a catalogue. Definitions were validated before; what fails here is a defect."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._names: frozenset[str] = scopes.STEP | _LOCALS
        self._roots: set[str] = set()
        self._own: set[str] = set()
        """Names that the step being compiled reads itself."""
        self._asked: list[Ask] = []
        """The approve steps of the iteration being compiled."""
        self._reads_links = False
        self._verbs = {
            ActionStep: self._action,
            IfStep: self._if,
            SwitchStep: self._switch,
            ForEachStep: self._for_each,
            WhileStep: self._while,
            ParallelStep: self._parallel,
            WaitStep: self._wait,
            WaitForStep: self._wait_for,
            CallStep: self._call,
            SetStep: self._set,
            RememberStep: self._remember,
            ApproveStep: self._approve,
            StopStep: self._stop,
            EmitStep: self._emit,
            TryStep: self._try,
        }

    def compile(self, body: Body) -> Program:
        """Compile what a definition runs."""
        self._names = scopes.STEP | scopes.BATCH | _LOCALS | frozenset(_loop_names(body.steps))
        self._roots = set()
        self._asked, self._reads_links = [], False
        output = self._template(body.output) if body.output is not None else None
        return Program(
            block=self._block(body.steps),
            on_error=self._block(body.on_error) if body.on_error else None,
            output=output,
            timeout=body.timeout,
            roots=frozenset(self._roots),
            output_reads_context=output is not None and any("context" in each.roots for each in output.expressions),
            reads_links=self._reads_links,
            asks=tuple(self._asked),
            kept_turns=None if body.retention is None else body.retention.turns,
        )

    def _block(self, steps: Iterable[BaseStep]) -> Block:
        nodes = tuple(self._node(step) for step in steps)
        return Block(nodes, any(node.needs is not None for node in nodes))

    def _node(self, step: BaseStep) -> Node:
        build: Any = self._verbs[type(step)]
        retry = step.retry or _DEFAULT_RETRY
        guard = step.if_ if not isinstance(step, IfStep) else None
        around, self._own = self._own, set()
        node = Node(
            id=step.id,
            verb="if" if isinstance(step, IfStep) else verb_of(step) or "",
            guard=self._expression(guard) if guard is not None else None,
            retry=retry,
            retry_when=self._expression(retry.when) if retry.when is not None else None,
            timeout=self._duration(step.timeout),
            continue_on_error=step.continue_on_error,
            on_error=self._block(step.on_error) if step.on_error else None,
            needs=tuple(step.needs) if step.needs is not None else None,
            work=build(step),
            inputs=_rules(step.inputs),
            outputs=_rules(step.outputs),
        )
        node.reads_context = "context" in self._own
        self._own = around
        return node

    def _action(self, step: ActionStep) -> ActionWork:
        action = self._catalogue.action(step.action)
        if action is None:
            raise LookupError(f"there is no action {step.action!r} here")
        template = self._template(step.with_)
        return ActionWork(
            action=action,
            template=template,
            # What it declares is filled in and checked when it runs, so there is nothing to build beforehand.
            ready=action.spec.config.model_validate(template.render({}))
            if template.is_literal and not step.inputs
            else None,
            effect=action.effect(step.with_),
            at_most_once=step.effect == "at_most_once",
        )

    def _if(self, step: IfStep) -> IfWork:
        return IfWork(self._expression(step.if_), self._block(step.then), self._block(step.else_))

    def _switch(self, step: SwitchStep) -> SwitchWork:
        cases = tuple(
            CaseWork(case.value, self._expression(case.when) if case.when else None, self._block(case.do))
            for case in step.cases
        )
        return SwitchWork(self._expression(step.switch), cases, self._block(step.default))

    def _for_each(self, step: ForEachStep) -> ForEachWork:
        items = step.for_each
        source = self._expression(items) if isinstance(items, str) else self._template(items)
        body, asks = self._iteration(step.do)
        return ForEachWork(source, step.as_, body, step.parallel, step.max_items, step.distribute, asks)

    def _while(self, step: WhileStep) -> WhileWork:
        body, asks = self._iteration(step.do)
        return WhileWork(self._expression(step.while_), body, step.max_iterations, asks)

    def _iteration(self, steps: Iterable[BaseStep]) -> tuple[Block, tuple[Ask, ...]]:
        """Compile what a loop repeats; returns its approve steps too, whose paths differ in every iteration."""
        around, self._asked = self._asked, []
        block, asks = self._block(steps), tuple(self._asked)
        self._asked = around
        return block, asks

    def _parallel(self, step: ParallelStep) -> ParallelWork:
        branches = tuple((name, self._branch(step, name, do)) for name, do in step.parallel.items())
        return ParallelWork(branches, step.race, step.distribute)

    def _branch(self, step: ParallelStep, name: str, steps: Iterable[BaseStep]) -> Block:
        around, self._asked = self._asked, []
        block = self._block(steps)
        via = ((step.id, name),) if step.distribute else ()
        self._asked = [*around, *(Ask(ask.step, via + ask.via) for ask in self._asked)]
        return block

    def _wait(self, step: WaitStep) -> WaitWork:
        if isinstance(step.wait, WaitUntil):
            return WaitWork(None, self._template(step.wait.until), step.wait.at_most)
        return WaitWork(self._duration(step.wait), self._template(None), None)

    def _wait_for(self, step: WaitForStep) -> WaitForWork:
        spec = step.wait_for
        when = None if spec.when is None else self._expression(spec.when)
        return WaitForWork(self._template(spec.event), when, spec.lookback, self._duration(spec.timeout))

    def _call(self, step: CallStep) -> CallWork:
        return CallWork(
            self._template(step.call), self._template(step.with_), self._template(step.secrets), step.detach
        )

    def _set(self, step: SetStep) -> Template:
        return self._template(step.set)

    def _remember(self, step: RememberStep) -> RememberWork:
        return RememberWork(self._template(step.remember))

    def _stop(self, step: StopStep) -> StopWork:
        return StopWork(step.stop, self._template(step.reason), self._template(step.output))

    def _emit(self, step: EmitStep) -> EmitWork:
        emit = step.emit
        return EmitWork(*(self._template(part) for part in (emit.type, emit.data, emit.subject, emit.key)))

    def _approve(self, step: ApproveStep) -> ApproveWork:
        self._asked.append(Ask(step.id))
        spec = step.approve
        form = {name: field.model_dump(exclude_unset=True) for name, field in spec.form.items()}
        timeout = self._duration(spec.timeout)
        return ApproveWork(self._template(spec.message), self._template(spec.approvers), form, timeout)

    def _try(self, step: TryStep) -> TryWork:
        catch = self._block(step.catch) if step.catch else None
        return TryWork(self._block(step.try_), catch, self._block(step.finally_) if step.finally_ else None)

    def _expression(self, source: str) -> Expression:
        expression = compile_expression(source, self._names)
        self._note(expression)
        return expression

    def _template(self, value: Any) -> Template:
        template = compile_template(value, self._names)
        for expression in template.expressions:
            self._note(expression)
        return template

    def _note(self, expression: Expression) -> None:
        self._roots |= expression.roots
        self._own |= expression.roots
        # Whoever reads `execution` as a whole, or by a name known only then, may read the links in it.
        self._reads_links |= any(path[:1] == ("execution",) and path[1:2] in _LINKS for path in expression.paths)

    def _duration(self, value: timedelta | str | None) -> timedelta | Template | None:
        return self._template(value) if isinstance(value, str) else value


def _rules(declared: Mapping[str, FieldSpec] | None) -> InputRules | None:
    if not declared:
        return None
    return InputRules({name: spec.model_dump(exclude_unset=True) for name, spec in declared.items()})


def _loop_names(steps: Iterable[Any]) -> Iterable[str]:
    """Yield the names that loops give to their items, wherever they stand."""
    for step in steps:
        if isinstance(step, ForEachStep):
            yield step.as_
        for part in _blocks_of(step):
            yield from _loop_names(part)


def _blocks_of(step: Any) -> Iterable[Iterable[Any]]:
    for name in type(step).model_fields:
        value = getattr(step, name)
        if isinstance(value, list) and value and isinstance(value[0], BaseModel):
            yield value
        elif isinstance(value, Mapping):
            yield from (part for part in value.values() if isinstance(part, list))
