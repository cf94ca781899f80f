"""Turning a tree into closures: `compile_program` gives a function from a frame (the scope) to a normalised value.

The library's own evaluator is not used, because (measured with 0.1.3): it loses a reference to None for every null
that it returns, so a process of many evaluations dies of "deallocating None"; `map` over 10,000 elements takes 2.6 s
and 1.6 GB; every value is converted on every evaluation (19 µs for a condition that takes 1 µs here, 4.6 ms for 3,000
values); an absent field has no path, also inside `has()`; text is cut at NUL. Its parser and type checker are.

Differences from CEL's standard, all on the lenient side: `has(a.b.c)` is false also when `b` is absent or null, and
so is `a.?b`; `orValue` may follow a plain path, `event.data.name.orValue("")`; an int and a double may be added,
subtracted, multiplied and divided (see `numbers`); `timestamp` and `duration` read more (see `moments`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hark.workflows.cel import collections, formatting, loops, moments, numbers, operators, text
from hark.workflows.cel.access import at, field, has, optional_reader, path_name
from hark.workflows.cel.budget import BUDGET, Budget
from hark.workflows.cel.calls import call, membership, relation, spelling
from hark.workflows.cel.lookup import MISSING, Frame, Run, find, reader
from hark.workflows.cel.paths import Read, path_of
from hark.workflows.cel.registry import FUNCTIONS
from hark.workflows.cel.tree import Call, Comprehension, Const, Ident, ListNode, MapNode, Node, Select, children
from hark.workflows.cel.values import TypeName, comparison, equal
from hark.workflows.errors import ExpressionError

LIBRARIES = (collections, formatting, moments, numbers, text)
"""The modules that fill the table of functions when they are imported."""

_MACROS = frozenset(
    {
        *("all", "exists", "existsOne", "exists_one", "filter", "map", "sortBy"),
        *("transformList", "transformMap", "transformMapEntry"),
        *("has", "or", "orValue", "optFlatMap", "optMap", "cel.bind", "math.greatest", "math.least"),
    }
)
FUNCTION_NAMES = _MACROS | {name for name in FUNCTIONS if "_" not in name and "@" not in name}
"""Every function and macro that an expression may call, as it is written; operators are not among them."""

_FREE_CALLS = 16
_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "_==_": equal,
    "_!=_": lambda a, b: not equal(a, b),
    **{f"_{symbol}_": comparison(symbol) for symbol in ("<", "<=", ">", ">=")},
}
_SHORT = frozenset({*_RELATIONS, "_&&_", "_||_", "!_", "@in", "_[_]", "_?._", "_[?_]"})
"""Calls of which even hundreds are no work."""


def compile_program(node: Node, roots: frozenset[str], used: Iterable[str]) -> Run:
    """Compile a tree; `roots` are the names of the scope, `used` those that it reads. Raises ExpressionError.

    The result takes the scope and gives a normalised value. It may run in several threads at once.
    """
    metered = _is_metered(node)
    run = _Compiler(roots, metered=metered).compile(node, {})
    return _with_budget(run, tuple(used)) if metered else run


def _with_budget(run: Run, used: tuple[str, ...]) -> Run:
    """Give each evaluation a frame of its own: the roots that it reads, room for its variables, and its budget."""

    def start(scope: Frame) -> Any:
        frame = {name: scope[name] for name in used if name in scope}
        frame[BUDGET] = Budget()
        return run(frame)

    return start


def _is_metered(node: Node) -> bool:
    """Tell whether the work is more than a few passes over the data: it loops, or calls many functions."""
    calls, stack = 0, [node]
    while stack:
        node = stack.pop()
        if isinstance(node, Comprehension):
            return True
        calls += isinstance(node, Call) and node.function not in _SHORT
        stack += children(node)
    return calls > _FREE_CALLS


Locals = Mapping[str, str]
"""The variables in reach: from their name to their key in the frame."""


class _Compiler:
    """Compiles the nodes of one expression; `local` are the variables of macros that are in reach."""

    def __init__(self, roots: frozenset[str], *, metered: bool) -> None:
        self._roots = roots
        self._metered = metered
        self._loops = 0

    def compile(self, node: Node, local: Locals) -> Run:
        read = self._path(node, local)
        if read is not None:
            parts: Any = read.parts
            return optional_reader(parts) if read.guarded else reader(parts)
        compile_kind: Callable[[Any, Locals], Run] = self._KINDS[type(node)].__get__(self)
        return compile_kind(node, local)

    def _path(self, node: Node, local: Locals) -> Read | None:
        return path_of(node, self._roots - local.keys())

    def _all(self, nodes: Iterable[Node], local: Locals) -> list[Run]:
        return [self.compile(node, local) for node in nodes]

    def _const(self, node: Const, _local: Locals) -> Run:
        value = node.value
        return lambda _frame: value

    def _ident(self, node: Ident, local: Locals) -> Run:
        """Compile a variable of a macro, or the name of a type: the names of the scope are paths."""
        if node.name in local:
            key = local[node.name]
            return lambda frame: frame[key]
        value = TypeName(node.name)
        return lambda _frame: value

    def _select(self, node: Select, local: Locals) -> Run:
        read = self._path(node.operand, local)
        if node.test and read is not None:
            parts: Any = (*read.parts, node.field)
            return lambda frame: find(frame, parts) is not MISSING
        operand = self.compile(node.operand, local)
        return has(operand, node.field) if node.test else field(operand, node.field, path_name(node.operand))

    def _call(self, node: Call, local: Locals) -> Run:
        if node.function in self._SPECIAL:
            special: Callable[[Call, Locals], Run] = self._SPECIAL[node.function].__get__(self)
            return special(node, local)
        args = node.args if node.target is None else (node.target, *node.args)
        runs = self._all(args, local)
        if node.function in _RELATIONS:
            return relation(_RELATIONS[node.function], *runs, metered=self._metered)
        overloads = FUNCTIONS.get(node.function)
        if overloads is None:
            raise ExpressionError(f"{spelling(node.function)} is not available", offset=node.offset)
        return call(node.function, overloads, runs, metered=self._metered)

    def _equal(self, node: Call, local: Locals) -> Run:
        operand, literal = reversed(node.args) if isinstance(node.args[0], Const) else node.args
        if isinstance(literal, Const) and (literal.value is None or isinstance(literal.value, str)):
            run = self.compile(operand, local)
            return operators.equals_literal(run, literal.value, negated=node.function == "_!=_")
        return relation(_RELATIONS[node.function], *self._all(node.args, local), metered=self._metered)

    def _and(self, node: Call, local: Locals) -> Run:
        return operators.logic(*self._all(node.args, local), decisive=False)

    def _or(self, node: Call, local: Locals) -> Run:
        return operators.logic(*self._all(node.args, local), decisive=True)

    def _not(self, node: Call, local: Locals) -> Run:
        return operators.negation(*self._all(node.args, local))

    def _conditional(self, node: Call, local: Locals) -> Run:
        return operators.conditional(*self._all(node.args, local))

    def _index(self, node: Call, local: Locals) -> Run:
        operand, index = self._all(node.args, local)
        return at(operand, index, path_name(node.args[0]), optional=node.function != "_[_]")

    def _or_value(self, node: Call, local: Locals) -> Run:
        return operators.or_value(self._optional(node.target, local), *self._all(node.args, local))

    def _or_optional(self, node: Call, local: Locals) -> Run:
        return operators.or_optional(self._optional(node.target, local), *self._all(node.args, local))

    def _optional(self, node: Node | None, local: Locals) -> Run:
        """Compile what must be an optional; a plain path becomes one."""
        if node is None:
            raise ExpressionError("or and orValue follow an optional")
        read = self._path(node, local)
        if read is not None:
            parts: Any = read.parts
            return optional_reader(parts)
        return operators.must_be_optional(self.compile(node, local))

    def _add(self, node: Call, local: Locals) -> Run:
        """Append in place where a macro builds its list: the copy that `+` makes would be quadratic."""
        left, right = node.args
        if isinstance(left, Ident) and isinstance(right, ListNode):
            key = local.get(left.name, "")
            if key.endswith(loops.LIST):
                return loops.appending(key, self._all(right.elements, local))
        return call("_+_", FUNCTIONS["_+_"], self._all(node.args, local), metered=self._metered)

    def _in(self, node: Call, local: Locals) -> Run:
        return membership(*self._all(node.args, local), metered=self._metered)

    def _insert(self, node: Call, local: Locals) -> Run:
        return loops.inserting(*self._all(node.args, local))

    def _list(self, node: ListNode, local: Locals) -> Run:
        return operators.list_literal(self._all(node.elements, local), node.optional)

    def _map(self, node: MapNode, local: Locals) -> Run:
        if node.message:
            raise ExpressionError(f"messages such as {node.message} are not available", offset=node.offset)
        return operators.map_literal(
            [(self.compile(key, local), self.compile(value, local), optional) for key, value, optional in node.entries],
        )

    def _comprehension(self, node: Comprehension, local: Locals) -> Run:
        self._loops += 1
        key = f"@{self._loops}"
        if isinstance(node.initial, ListNode):
            key += loops.LIST
        built = {**local, node.accumulator: key}
        if isinstance(node.range, ListNode) and not node.range.elements:
            return loops.binding(key, self.compile(node.initial, local), self.compile(node.result, built))
        loop = loops.Loop(key, two=bool(node.variable2), items=self.compile(node.range, local))
        bound = {**local, node.variable: loop.first, **({node.variable2: loop.second} if node.variable2 else {})}
        predicate = _predicate(node)
        if predicate is not None:
            return loop.quantify(self.compile(predicate, bound), decisive=not _starts_true(node))
        body = self.compile(node.step, {**bound, node.accumulator: key})
        return loop.fold(self.compile(node.initial, local), body, self.compile(node.result, built))

    _KINDS: Mapping[type, Any] = {
        Const: _const,
        Ident: _ident,
        Select: _select,
        Call: _call,
        ListNode: _list,
        MapNode: _map,
        Comprehension: _comprehension,
    }
    _SPECIAL: Mapping[str, Any] = {
        "_&&_": _and,
        "_||_": _or,
        "!_": _not,
        "_?_:_": _conditional,
        "_==_": _equal,
        "_!=_": _equal,
        "_+_": _add,
        "@in": _in,
        "_[_]": _index,
        "_[?_]": _index,
        "_?._": _index,
        "orValue": _or_value,
        "or": _or_optional,
        "cel.@mapInsert": _insert,
    }


def _starts_true(node: Comprehension) -> bool:
    return isinstance(node.initial, Const) and node.initial.value is True


def _predicate(node: Comprehension) -> Node | None:
    """Return the condition of `all` or `exists`, None for another macro."""
    match node:
        case Comprehension(
            accumulator=accumulator,
            initial=Const(value=bool()),
            step=Call(function="_&&_" | "_||_", args=(Ident(name=name), predicate)),
        ) if name == accumulator:
            return predicate
        case _:
            return None
