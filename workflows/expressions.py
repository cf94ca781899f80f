"""Expressions: CEL, compiled once, evaluated over a scope of plain Python values.

An expression sees the names of its scope (`ROOTS`, each only where it exists) and these functions:

- operators: `== != < <= > >= && || ! ?: + - * / % in [ ] .`, and optional ones: `?.name [?index] {?key: …} [?item]`
- presence: `has(a.b)`, `a.?b.orValue(x)`, `or hasValue value optMap optFlatMap optional.of/none/ofNonZeroValue`
- types: `type dyn int uint double string bytes bool timestamp duration`
- text: `size contains startsWith endsWith matches charAt indexOf lastIndexOf lowerAscii upperAscii replace reverse
  split substring trim format strings.quote`; `matches` takes RE2
- lists and maps: `all exists exists_one map filter transformList transformMap transformMapEntry join sort sortBy
  distinct flatten slice reverse first last lists.range sets.contains/equivalent/intersects`
- numbers: `math.greatest/least/ceil/floor/round/trunc/abs/sign/sqrt/isNaN/isInf/isFinite`
- time, each with an optional time zone: `getFullYear getMonth getDate getDayOfMonth getDayOfWeek getDayOfYear getHours
  getMinutes getSeconds getMilliseconds`
- other: `cel.bind(name, value, expression)`, `base64.encode/decode`

How values come in and go out stands in `hark.workflows.cel.values`, what differs from CEL's standard in
`hark.workflows.cel.program`. Evaluation is bounded in work, in text and in the size of the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hark.workflows.cel.checker import check
from hark.workflows.cel.paths import Parts, path_of, reads
from hark.workflows.cel.program import compile_program
from hark.workflows.cel.tree import Node
from hark.workflows.cel.values import Maybe, finalise, spoken_type
from hark.workflows.errors import ExpressionError
from hark.workflows.kept import Kept

ROOTS = frozenset(
    {
        "config",
        "context",
        "error",
        "event",
        "events",
        "execution",
        "inputs",
        "item",
        "new",
        "now",
        "old",
        "secrets",
        "steps",
    }
    | {"vars"},
)
"""Every name that some expression may see; loops may name more with `as`."""

_KEPT = 1_000_000
"""Characters of the expressions that are kept, and 50 for each: 80 bytes each, 20 MiB for ten thousand short ones."""
_FAILURES = (RecursionError, ArithmeticError, LookupError, TypeError, ValueError)
_FINISHED = frozenset({str, int, bool, type(None)})


class Expression:
    """A compiled expression; immutable, and cheap to evaluate again and again.

    `paths` are the select paths that it reads, each once, in the order of the source: field names and constant
    indices, and `...` where the index is computed. `guarded` are those whose absence is no error somewhere in the
    expression, because of `has()`, `?.` or `orValue`. `type_name` is the static type: `bool`, `string`, … or `dyn`
    when it depends on the data. `node` is the syntax tree, for those who translate expressions.
    """

    __slots__ = ("_plain", "_run", "guarded", "node", "paths", "roots", "source", "type_name")

    def __init__(self, source: str, node: Node, type_name: str, roots: frozenset[str]) -> None:
        found = tuple(reads(node, roots))
        self.source = source
        self.node = node
        self.type_name = type_name
        self.paths: tuple[Parts, ...] = tuple(dict.fromkeys(read.parts for read in found))
        self.guarded: frozenset[Parts] = frozenset(read.parts for read in found if read.guarded)
        self.roots: frozenset[str] = frozenset(str(parts[0]) for parts in self.paths)
        self._run = compile_program(node, roots, self.roots)
        self._plain = path_of(node, roots) is not None

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"

    def evaluate(self, scope: Mapping[str, Any]) -> Any:
        """Return the value as JSON types; an absent optional is None.

        An expression that is only a path gives the very object that the scope holds there: do not change it.
        Raises MissingFieldError when it reads a field that is not there, ExpressionError for everything else.
        """
        try:
            value = self._run(scope)
            if type(value) in _FINISHED:
                return value
            if self._plain:
                value = value.value if isinstance(value, Maybe) else value
                if isinstance(value, dict | list):
                    return value
            return finalise(value)
        except ExpressionError as error:
            error.expression = error.expression or self.source
            raise
        except _FAILURES as error:
            raise self._failed(error) from error

    def holds(self, scope: Mapping[str, Any]) -> bool:
        """Evaluate as a condition. Raises like `evaluate`, also when the result is not a bool."""
        try:
            value = self._run(scope)
        except ExpressionError as error:
            error.expression = error.expression or self.source
            raise
        except _FAILURES as error:
            raise self._failed(error) from error
        if value is True or value is False:
            return bool(value)
        raise ExpressionError(f"a condition is true or false, not {spoken_type(value)}", expression=self.source)

    def _failed(self, error: Exception) -> ExpressionError:
        """Besides data that is too deep no such failure is known; one that turns up fails the expression alone."""
        deep = isinstance(error, RecursionError)
        what = "the data is nested too deeply" if deep else f"the expression failed with {type(error).__name__}"
        return ExpressionError(what, expression=self.source)


def compile_expression(source: str, roots: Iterable[str] = ROOTS) -> Expression:
    """Compile an expression that may read `roots`; those used last are kept.

    Raises ExpressionError with the offset of what is wrong (characters from 0) and a hint.
    """
    key = (source, roots if isinstance(roots, frozenset) else frozenset(roots))
    found = _kept.get(key)
    if found is None:
        found = _compile(*key)
        _kept.put(key, found, len(source) + 50)
    return found


_kept: Kept[tuple[str, frozenset[str]], Expression] = Kept(_KEPT)


def _compile(source: str, roots: frozenset[str]) -> Expression:
    checked = check(source, roots)
    try:
        return Expression(source, checked.node, checked.type_name, roots)
    except ExpressionError as error:
        error.expression = source
        raise
