"""Syntax errors of YAML in plain words, with what would be right."""

from __future__ import annotations

import re

from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.reader import ReaderError

from hark.workflows.errors import Problem
from hark.workflows.source import Text

_SYNTAX = "see docs/language.md for how a workflow is written"
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (r"'\\t' that cannot start", "a tab where only spaces may stand", "indent with spaces"),
    (r"character '([@`%|>&*!])' that", "a value cannot begin with {0}", "put the value in quotes"),
    (r"character '(.+)' that cannot", "a value cannot begin with {0}", "put the value in quotes"),
    (
        r"mapping values are not allowed",
        "a colon where no key can stand",
        'put a value that holds ": " in quotes, and indent keys of one mapping alike',
    ),
    (r"could not find expected ':'", "a line that is neither `key: value` nor part of a value", "write `key: value`"),
    (
        r"expected <block end>, but found",
        "this does not belong to what stands above it",
        "indent keys of one mapping alike, and begin every item of a list with `- `",
    ),
    (
        r"expected ',' or '([\]}])', but got '<stream end>'",
        "the text ends before the closing {0}",
        "close every bracket",
    ),
    (
        r"expected ',' or '([\]}])', but got",
        "expected a comma or {0}",
        "divide items by commas, and put values that hold { } [ ] or , in quotes",
    ),
    (r"unexpected end of stream", "the text ends inside a quoted string", "close the quotes"),
    (r"unknown escape character '(.+)'", "\\{0} is no escape", "write \\\\ for a backslash, or use single quotes"),
    (
        r"expected escape sequence",
        "an incomplete escape",
        "write \\xNN, \\uNNNN or \\UNNNNNNNN in hexadecimal",
    ),
    (r"undefined alias|found undefined", "an alias is not accepted", "write the value out"),
    (r"unknown tag handle|undefined tag", "tags are not accepted", "take it away; quotes make a string"),
)


def explain(error: MarkedYAMLError | ReaderError, source: Text) -> Problem:
    """Turn an error of the YAML reader into a problem with its place."""
    if isinstance(error, ReaderError):
        return _unreadable(error, source)
    mark = error.problem_mark or error.context_mark
    at = min(mark.index, len(source.text)) if mark else 0
    text = (error.problem or error.context or "not valid YAML").split("\n", maxsplit=1)[0]
    if source.text.startswith("{{", at - 1) and source.text.startswith("$", at - 2):
        return source.problem("a template inside { } or [ ] without quotes", at - 2, 'write "${{ … }}" with quotes')
    if source.text.startswith("{", at) and source.text.startswith("${{", at - 1):
        return source.problem("a template inside { } or [ ] without quotes", at - 1, 'write "${{ … }}" with quotes')
    for pattern, message, hint in _KNOWN:
        found = re.search(pattern, text)
        if found:
            return source.problem(message.format(*found.groups()), at, hint)
    return source.problem(f"not valid YAML: {text.strip()}", at, _SYNTAX)


def _unreadable(error: ReaderError, source: Text) -> Problem:
    character = source.text[error.position : error.position + 1]
    code = f"U+{ord(character):04X}" if character else "a character"
    hint = 'write it as an escape in double quotes, such as "\\x07", or take it out'
    return source.problem(f"{code} may not stand in a text", error.position, hint)
