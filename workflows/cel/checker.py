"""Reading and type-checking expressions with Google's CEL library, and saying what is wrong with them in our words."""

from __future__ import annotations

import difflib
import re
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache

from cel_expr_python import cel

from hark.workflows.cel import tree
from hark.workflows.cel.program import FUNCTION_NAMES
from hark.workflows.cel.shapes import put_back, shape_of
from hark.workflows.errors import ExpressionError

MAX_SOURCE = 16_384
"""The longest expression, in characters."""
_MAX_DUPLICATIONS = 4
_EXTENSIONS = ("bindings", "encoders", "lists", "math", "optional", "sets", "strings", "two-var-comprehensions")
_TIMESTAMPS = frozenset({"now"})

_SURROGATE = re.compile("[\ud800-\udfff]")
_DUPLICATING = re.compile(r"\bopt(?:Flat)?Map\b")
_ERROR = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?=\n \||\nERROR:|\Z)", re.DOTALL)
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '(?:[^']*?\.)?\((.*)\)'", re.DOTALL)
_UNEXPECTED = re.compile(r"(?:mismatched input|extraneous input|no viable alternative at input) '([^']*)'")
_UNREADABLE = re.compile(r"token recognition error at: '(.*)'", re.DOTALL)

_SLIPS = (
    (re.compile(r"(?<![=!<>])=(?!=)"), "compare with =="),
    (re.compile(r"===|!=="), "compare with == or !="),
    (re.compile(r"\band\b", re.IGNORECASE), "write && for and"),
    (re.compile(r"\bor\b", re.IGNORECASE), "write || for or"),
    (re.compile(r"\bnot\b", re.IGNORECASE), "write ! for not"),
    (re.compile(r"(?<!&)&(?!&)"), "write && for and"),
    (re.compile(r"(?<!\|)\|(?!\|)"), "write || for or; there are no pipes"),
    (re.compile(r"\$\{\{"), "write the expression alone here, without ${{ }}"),
)
_STRINGS = re.compile(r"'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Checked:
    """A checked expression: its tree, and what type it has (`bool`, `string`, `dyn` when it depends on data, …)."""

    node: tree.Node
    type_name: str


def check(source: str, roots: frozenset[str]) -> Checked:
    """Read and type-check an expression over `roots`. Raises ExpressionError with an offset and a hint."""
    _refuse_oversize(source)
    shape, texts = shape_of(source)
    if texts:
        with suppress(ExpressionError):  # the expression itself says better what is wrong
            checked = _check_shape(shape, roots)
            return Checked(put_back(checked.node, texts), checked.type_name)
    return _check_alone(source, roots)


def _check_alone(source: str, roots: frozenset[str]) -> Checked:
    try:
        expression = _environment(roots).compile(source)
    except (RuntimeError, ValueError) as error:
        raise _translate(source, roots, str(error)) from error
    return Checked(tree.read_tree(expression.serialize()), expression.return_type().name().lower())


@lru_cache(maxsize=512)
def _check_shape(shape: str, roots: frozenset[str]) -> Checked:
    return _check_alone(shape, roots)


def _refuse_oversize(source: str) -> None:
    if not source.strip():
        raise ExpressionError("the expression is empty", expression=source)
    if _SURROGATE.search(source):
        raise ExpressionError("the expression holds a lone surrogate", expression=source)
    if len(source) > MAX_SOURCE:
        raise ExpressionError(f"the expression is longer than {MAX_SOURCE} characters", expression=source[:100])
    if len(_DUPLICATING.findall(source)) > _MAX_DUPLICATIONS:
        # Each of them writes its receiver into the tree twice: 30 in a row would be a billion nodes.
        message = f"more than {_MAX_DUPLICATIONS} uses of optMap and optFlatMap in one expression"
        raise ExpressionError(message, expression=source)


@lru_cache(maxsize=64)
def _environment(roots: frozenset[str]) -> cel.Env:
    """Make the library's environment for a set of names: everything is dynamic, but `now` is a timestamp."""
    extensions = "".join(f"- name: {name}\n" for name in _EXTENSIONS)
    kinds = {root: cel.Type.TIMESTAMP if root in _TIMESTAMPS else cel.Type.DYN for root in sorted(roots)}
    return cel.NewEnv(config=cel.NewEnvConfigFromYaml(f"name: hark\nextensions:\n{extensions}"), variables=kinds)


def _translate(source: str, roots: frozenset[str], message: str) -> ExpressionError:
    """Choose the most telling of the library's errors: an unknown function makes its arguments unknown names too."""
    errors = [_explain(source, roots, found) for found in _ERROR.finditer(message)]
    if not errors or "recursion" in message:
        deep = "recursion" in message
        text = "it is nested too deeply, or chains too many operators" if deep else message
        return ExpressionError(f"the expression cannot be read: {text}", expression=source)
    return next((error for error in errors if str(error).startswith("unknown function")), errors[0])


def _explain(source: str, roots: frozenset[str], found: re.Match[str]) -> ExpressionError:
    offset = _offset(source, int(found[1]), int(found[2]))
    text = " ".join(found[3].split())
    for pattern, explain in _EXPLANATIONS:
        match = pattern.search(text)
        if match:
            return explain(source, roots, match, offset)
    return ExpressionError(text.removeprefix("Syntax error: "), expression=source, hint=_slip(source), offset=offset)


def _offset(source: str, line: int, column: int) -> int:
    if line < 1 or column < 1:
        return 0
    lines = source.split("\n")
    return min(sum(len(text) + 1 for text in lines[: line - 1]) + column - 1, len(source))


def _explain_undeclared(source: str, roots: frozenset[str], match: re.Match[str], offset: int) -> ExpressionError:
    name = match[1]
    called = source[offset:].lstrip(".")
    if re.match(rf"(?:{re.escape(name)})?\s*\(", called) and "." not in name:
        return _unknown_function(source, name, offset)
    root = name.split(".")[0]
    offset = max(source.rfind(root, 0, offset + len(root)), 0)
    qualified = re.match(r"\w+\.\w+(?=\s*\()", source[offset:])
    namespaces = {function.split(".")[0] for function in FUNCTION_NAMES if "." in function}
    if qualified and root in namespaces:
        return _unknown_function(source, qualified[0], offset)
    hint = _slip(source) or _suggest(root, roots) or f"here are {', '.join(sorted(roots))}"
    return ExpressionError(f"unknown name {root}", expression=source, hint=hint, offset=offset)


def _unknown_function(source: str, name: str, offset: int) -> ExpressionError:
    offset = max(source.rfind(name, 0, offset + len(name)), 0)
    known = name in FUNCTION_NAMES
    hint = "it is not called with these arguments" if known else _suggest(name, FUNCTION_NAMES)
    return ExpressionError(f"unknown function {name}", expression=source, hint=hint, offset=offset)


def _suggest(name: str, known: frozenset[str]) -> str:
    lowered = {candidate.lower(): candidate for candidate in sorted(known)}
    close = difflib.get_close_matches(name.lower(), lowered, n=1)
    return f"did you mean {lowered[close[0]]}?" if close else ""


def _explain_overload(source: str, _roots: frozenset[str], match: re.Match[str], offset: int) -> ExpressionError:
    name, kinds = match[1].strip("_").lstrip("@"), match[2].replace(", ", " and ")
    hint = ""
    if kinds in {"int and double", "double and int"}:
        hint = "write both numbers with a decimal point, or both without"
    elif name == "+" and "string" in kinds:
        hint = "turn the other side into text with string(…)"
    elif name in FUNCTION_NAMES:
        hint = "check the number and the types of its arguments"
    return ExpressionError(f"{name} does not work on {kinds}", expression=source, hint=hint, offset=offset)


def _explain_unexpected(source: str, _roots: frozenset[str], match: re.Match[str], offset: int) -> ExpressionError:
    ended = match[1] == "<EOF>"
    message = "the expression ends too early" if ended else f"unexpected {match[1]}"
    return ExpressionError(message, expression=source, hint=_slip(source), offset=offset)


def _explain_unreadable(source: str, _roots: frozenset[str], match: re.Match[str], offset: int) -> ExpressionError:
    piece = match[1]
    if piece[:1] in {'"', "'"}:
        return ExpressionError("a string is not closed", expression=source, offset=offset)
    return ExpressionError(f"unexpected {piece!r}", expression=source, hint=_slip(source), offset=offset)


_EXPLANATIONS = (
    (_UNDECLARED, _explain_undeclared),
    (_OVERLOAD, _explain_overload),
    (_UNEXPECTED, _explain_unexpected),
    (_UNREADABLE, _explain_unreadable),
)


def _slip(source: str) -> str:
    """Recognise what people write who come from other languages; strings are not looked into."""
    bare = _STRINGS.sub('""', source)
    return next((hint for pattern, hint in _SLIPS if pattern.search(bare)), "")
