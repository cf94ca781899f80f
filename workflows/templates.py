"""Templates: JSON values that may hold `${{ expression }}` in their strings. Keys are always literal.

A string that is one expression and nothing else keeps the type of its value. Inside other text a value becomes text:
null nothing, a bool `true` or `false`, a number its shortest form (a whole one without `.0`), a string itself, a list
or an object compact JSON. `$${{` stands for a literal `${{`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import orjson

from hark.workflows.cel.checker import MAX_SOURCE
from hark.workflows.cel.paths import Parts
from hark.workflows.cel.text import number_text
from hark.workflows.cel.values import finalise, normalise
from hark.workflows.errors import ExpressionError, TemplateError
from hark.workflows.expressions import Expression, compile_expression

_Render = Callable[[Mapping[str, Any]], Any]
_Place = tuple[str | int, ...]

_OPEN = re.compile(r"(\$?)\$\{\{")
_RAW_STRING = r"""\b(?:[rR][bB]?|[bB][rR])(?:'{3}.*?'{3}|"{3}.*?"{3}|'[^'\n]*'|"[^"\n]*")"""
_STRING = r"""'{3}(?:\\.|[^\\])*?'{3}|"{3}(?:\\.|[^\\])*?"{3}|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*\""""
_TOKEN = re.compile(rf"{_RAW_STRING}|{_STRING}|['\"]|[{{}}]", re.DOTALL)


class Template:
    """A compiled value; immutable, and cheap to render again and again.

    `expressions` are all that it holds, in order; `paths` all that those read, each once. What is literal in it is
    shared by all that it renders: do not change it.
    """

    __slots__ = ("_render", "expressions", "is_literal", "paths", "value")

    def __init__(self, value: Any, render: _Render | None, expressions: tuple[Expression, ...]) -> None:
        self.value = value
        self.expressions = expressions
        self.paths: tuple[Parts, ...] = tuple(dict.fromkeys(path for each in expressions for path in each.paths))
        self.is_literal = render is None
        self._render: _Render = render or (lambda _scope: value)

    def render(self, scope: Mapping[str, Any]) -> Any:
        """Return the value with every expression replaced. Raises like `Expression.evaluate`."""
        return self._render(scope)


def compile_template(value: Any, roots: Iterable[str]) -> Template:
    """Compile a value of any JSON shape. Raises TemplateError (an ExpressionError) that knows where in it."""
    compiler = _Compiler(frozenset(roots))
    literal, render = compiler.value(value, ())
    return Template(literal, render, tuple(compiler.expressions))


def has_expression(text: str) -> bool:
    """Tell whether a text holds an expression, be it a right one or not."""
    return any(not opening[1] for opening in _OPEN.finditer(text))


class _Compiler:
    """Compiles each part to (literal, None), or to (what stands for it until then, the closure that renders it)."""

    def __init__(self, roots: frozenset[str]) -> None:
        self._roots = roots
        self.expressions: list[Expression] = []

    def value(self, value: Any, place: _Place) -> tuple[Any, _Render | None]:
        if isinstance(value, str):
            return self._text(value, place)
        if isinstance(value, Mapping):
            return self._mapping(value, place)
        if isinstance(value, list | tuple):
            return self._list(value, place)
        return value, None

    def _mapping(self, value: Mapping[str, Any], place: _Place) -> tuple[Any, _Render | None]:
        parts = {key: self.value(part, (*place, key)) for key, part in value.items()}
        literals = {key: literal for key, (literal, _) in parts.items()}
        renders = [(key, render) for key, (_, render) in parts.items() if render is not None]
        return literals, _filling(literals, renders) if renders else None

    def _list(self, value: Iterable[Any], place: _Place) -> tuple[Any, _Render | None]:
        parts = [self.value(part, (*place, index)) for index, part in enumerate(value)]
        literals = [literal for literal, _ in parts]
        renders = [(index, render) for index, (_, render) in enumerate(parts) if render is not None]
        return literals, _filling(literals, renders) if renders else None

    def _text(self, text: str, place: _Place) -> tuple[Any, _Render | None]:
        if "${{" not in text:
            return text, None
        pieces = list(self._pieces(text, place))
        expressions = [piece for piece in pieces if isinstance(piece, Expression)]
        if not expressions:
            return "".join(map(str, pieces)), None
        self.expressions += expressions
        return None, expressions[0].evaluate if len(pieces) == 1 else _joining(pieces)

    def _pieces(self, text: str, place: _Place) -> Iterator[str | Expression]:
        """Split a text into what stays and what is evaluated."""
        position = 0
        while opening := _OPEN.search(text, position):
            if opening.start() > position:
                yield text[position : opening.start()]
            if opening[1]:
                yield "${{"
                position = opening.end()
                continue
            end = _closing(text, opening.end(), place)
            yield self._expression(text[opening.end() : end], opening.end(), place)
            position = end + 2
        if position < len(text):
            yield text[position:]

    def _expression(self, source: str, start: int, place: _Place) -> Expression:
        try:
            return compile_expression(source.strip(), self._roots)
        except ExpressionError as error:
            start += len(source) - len(source.lstrip())
            raise TemplateError(error, path=place, offset=start + (error.offset or 0)) from error


def _closing(text: str, start: int, place: _Place) -> int:
    """Return where the `}}` stands that ends the expression from `start`; those in strings and maps do not count."""
    depth = 0
    for token in _TOKEN.finditer(text, start, start + MAX_SOURCE):
        if token[0] == "{":
            depth += 1
        elif token[0] == "}":
            if depth == 0 and text.startswith("}}", token.start()):
                return token.start()
            depth -= 1
        elif token[0] in {'"', "'"}:
            raise TemplateError(ExpressionError("a string is not closed"), path=place, offset=token.start())
    unclosed = ExpressionError("${{ is not closed", hint="end the expression with }}, or write $${{ for a literal ${{")
    raise TemplateError(unclosed, path=place, offset=start - 3)


def _filling(literals: Any, renders: list[tuple[Any, _Render]]) -> _Render:
    """Copy a list or dict and replace what is not literal in it."""

    def render(scope: Mapping[str, Any]) -> Any:
        filled = literals.copy()
        for key, part in renders:
            filled[key] = part(scope)
        return filled

    return render


def _joining(pieces: list[str | Expression]) -> _Render:
    parts = [(piece, None) if isinstance(piece, str) else ("", piece.evaluate) for piece in pieces]

    def render(scope: Mapping[str, Any]) -> str:
        return "".join([text if evaluate is None else to_text(evaluate(scope)) for text, evaluate in parts])

    return render


def to_text(value: Any) -> str:
    """Write a value the way it appears inside of text."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, float):
        return number_text(value)
    if isinstance(value, int):
        return _integer_text(value)
    return json_text(value)


def _integer_text(number: int) -> str:
    try:
        return str(number)
    except ValueError as error:  # more digits than Python is willing to write
        raise ExpressionError("the number has too many digits to be written") from error


def _json_value(value: Any) -> Any:
    return finalise(normalise(value))


def json_text(value: Any) -> str:
    """Write a list or object as compact JSON, also with numbers and text that are too odd for the fast writer."""
    try:
        return orjson.dumps(value, default=_json_value).decode()
    except TypeError:
        pass
    try:
        return json.dumps(value, default=_json_value, ensure_ascii=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise ExpressionError("the value cannot be written as JSON") from error
