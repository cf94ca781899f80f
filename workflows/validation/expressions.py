"""Expressions and templates of a definition: that they compile, and that what they read can be there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from hark.workflows.cel.paths import Parts, dotted
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import Expression, compile_expression
from hark.workflows.scopes import ELSEWHERE
from hark.workflows.source import Path
from hark.workflows.templates import compile_template, has_expression
from hark.workflows.validation.findings import Findings
from hark.workflows.validation.names import Scope

_FOREIGN = re.compile(r"(?<![${])\{\{\s*[\w.]+\s*\}\}")
_LISTS = ("list", "map", "dyn")


def check_condition(source: Any, path: Path, scope: Scope, findings: Findings) -> None:
    """Check an expression that has to be true or false."""
    expression = check_expression(source, path, scope, findings)
    if expression is not None and expression.type_name not in {"bool", "dyn"}:
        hint = f"compare it, as in {expression.source.strip()[:60]} == …"
        findings.error(path, f"a condition is true or false, and this is of type {expression.type_name}", hint)


def check_list(source: Any, path: Path, scope: Scope, findings: Findings) -> None:
    """Check an expression that has to give a list (or a map, whose entries are its items)."""
    expression = check_expression(source, path, scope, findings)
    if expression is not None and not expression.type_name.startswith(_LISTS):
        findings.error(path, f"this is of type {expression.type_name}, not a list", "as in inputs.items or [1, 2, 3]")


def check_expression(source: Any, path: Path, scope: Scope, findings: Findings) -> Expression | None:
    """Compile an expression and check what it reads; None when it does not compile or is no string."""
    if not isinstance(source, str) or not source:
        return None
    try:
        expression = compile_expression(source, scope.roots)
    except ExpressionError as error:
        findings.error(path, str(error), _hint(error), offset=error.offset)
        return None
    _check_paths(expression, 0, path, scope, findings)
    return expression


def _hint(error: ExpressionError) -> str:
    """Say where a name can be read that is known, but not here."""
    return ELSEWHERE.get(str(error).removeprefix("unknown name "), error.hint)


def check_template(value: Any, path: Path, scope: Scope, findings: Findings) -> None:
    """Check every string inside of a value that may hold `${{ }}`."""
    for place, text in texts(value, path):
        if "${{" in text:
            _check_text(text, place, scope, findings)
        if _FOREIGN.search(text):
            findings.warn(place, "{{ … }} is kept as it is written", "an expression is written ${{ … }}")


def _check_text(text: str, path: Path, scope: Scope, findings: Findings) -> None:
    try:
        template = compile_template(text, scope.roots)
    except ExpressionError as error:
        findings.error(path, str(error), _hint(error), offset=error.offset)
        return
    start = 0
    for expression in template.expressions:
        start = max(text.find(expression.source, start), 0)
        _check_paths(expression, start, path, scope, findings)
        start += len(expression.source)


def _check_paths(expression: Expression, start: int, path: Path, scope: Scope, findings: Findings) -> None:
    for parts in expression.paths:
        wrong = scope.wrong(parts, guarded=parts in expression.guarded)
        if wrong is not None:
            message, hint, length = wrong
            findings.error(path, message, hint, offset=start + _position(expression.source, parts, length))


def _position(source: str, parts: Parts, length: int) -> int:
    """Return where the last of the first `length` parts of a path stands in an expression."""
    before = source.find(dotted(parts[: length - 1]))
    name = str(parts[length - 1])
    return max(source.find(name, before + len(dotted(parts[: length - 1])) if before >= 0 else 0), 0)


def texts(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield every string inside of a value, with its path; keys are not among them."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, member in value.items():
            yield from texts(member, (*path, key))
    elif isinstance(value, list):
        for index, member in enumerate(value):
            yield from texts(member, (*path, index))


def is_template(value: Any) -> bool:
    """Tell whether a value is a string that holds an expression."""
    return isinstance(value, str) and has_expression(value)
