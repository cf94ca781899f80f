"""Functions on text and bytes: the standard ones, the `strings` extension, `base64`, and conversions to text.

Positions and lengths count characters. `matches` runs RE2 inside the library, which takes time linear in the text
whatever the pattern.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from cel_expr_python import cel

from hark.workflows.cel.registry import overload
from hark.workflows.cel.values import MAX_TEXT, Uint, base64_text, format_moment, format_seconds
from hark.workflows.errors import ExpressionError

_ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_ASCII_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_UNREADABLE = {0: "\ufffd", **dict.fromkeys(range(0xD800, 0xE000), "\ufffd")}
_MAX_PATTERN = 1000
_BOOLS = {
    **dict.fromkeys(("1", "t", "true", "True", "TRUE"), True),
    **dict.fromkeys(("0", "f", "false", "False", "FALSE"), False),
}


def bounded(length: int) -> None:
    """Refuse to build a text of more than MAX_TEXT characters."""
    if length > MAX_TEXT:
        raise ExpressionError(f"the text would be longer than {MAX_TEXT} characters")


@overload("_+_", str, str)
@overload("_+_", bytes, bytes)
def _concatenate(a: Any, b: Any) -> Any:
    bounded(len(a) + len(b))
    return a + b


overload("contains", str, str)(lambda text, part: part in text)
overload("startsWith", str, str)(str.startswith)
overload("endsWith", str, str)(str.endswith)
overload("size", str)(len)
overload("size", bytes)(len)
overload("lowerAscii", str)(lambda text: text.translate(_ASCII_LOWER))
overload("upperAscii", str)(lambda text: text.translate(_ASCII_UPPER))
overload("trim", str)(str.strip)
overload("reverse", str)(lambda text: text[::-1])
overload("split", str, str)(lambda text, separator: text.split(separator) if separator else list(text) or [""])
overload("base64.encode", bytes)(base64_text)


@overload("matches", str, str)
def matches(text: str, pattern: str) -> bool:
    """Search `text` for an RE2 pattern. NUL and lone surrogates, which RE2 cannot read, count as U+FFFD."""
    if len(pattern) > _MAX_PATTERN:
        raise ExpressionError(f"the pattern is longer than {_MAX_PATTERN} characters")
    found = _matcher(pattern).eval(data={"text": text.translate(_UNREADABLE)}).value()
    if type(found) is not bool:
        raise ExpressionError("the pattern is not a valid RE2 expression")
    return found


@lru_cache(maxsize=512)
def _matcher(pattern: str) -> cel.Expression:
    """Compile a pattern once, as a literal of an expression in the library."""
    readable = json.dumps(pattern.translate(_UNREADABLE), ensure_ascii=False)
    try:
        return _matching().compile(f"text.matches({readable})")
    except RuntimeError as error:
        raise ExpressionError("the pattern is not a valid RE2 expression") from error


@lru_cache(maxsize=1)
def _matching() -> cel.Env:
    return cel.NewEnv(variables={"text": cel.Type.STRING})


@overload("charAt", str, int)
def _char_at(text: str, index: int) -> str:
    if not 0 <= index <= len(text):
        raise ExpressionError(f"charAt: {index} is outside of the text")
    return text[index : index + 1]


@overload("substring", str, int)
def _substring_from(text: str, start: int) -> str:
    return _substring(text, start, len(text))


@overload("substring", str, int, int)
def _substring(text: str, start: int, end: int) -> str:
    if not 0 <= start <= end <= len(text):
        raise ExpressionError(f"substring: {start} to {end} is outside of the text")
    return text[start:end]


@overload("indexOf", str, str)
def _index_of(text: str, part: str) -> int:
    return text.find(part)


@overload("indexOf", str, str, int)
def _index_of_from(text: str, part: str, start: int) -> int:
    if not 0 <= start <= len(text):
        raise ExpressionError(f"indexOf: {start} is outside of the text")
    return text.find(part, start)


@overload("lastIndexOf", str, str)
def _last_index_of(text: str, part: str) -> int:
    return text.rfind(part)


@overload("lastIndexOf", str, str, int)
def _last_index_of_until(text: str, part: str, start: int) -> int:
    if not 0 <= start <= len(text):
        raise ExpressionError(f"lastIndexOf: {start} is outside of the text")
    return text.rfind(part, 0, start + len(part))


@overload("replace", str, str, str)
def _replace(text: str, old: str, new: str) -> str:
    return _replace_some(text, old, new, -1)


@overload("replace", str, str, str, int)
def _replace_some(text: str, old: str, new: str, limit: int) -> str:
    count = text.count(old)
    count = count if limit < 0 else min(count, limit)
    bounded(len(text) + count * (len(new) - len(old)))
    return text.replace(old, new, limit)


@overload("split", str, str, int)
def _split_some(text: str, separator: str, limit: int) -> list[str]:
    if limit == 0:
        return []
    if separator:
        return text.split(separator, limit - 1 if limit > 0 else -1)
    return list(text) if limit < 0 else [*text[: limit - 1], *([text[limit - 1 :]] if len(text) >= limit else [])]


@overload("join", list, str)
def join(parts: list[Any], separator: str) -> str:
    """Join a list of strings."""
    if not all(isinstance(part, str) for part in parts):
        raise ExpressionError("join needs a list of strings", hint="turn its elements into text with string(…)")
    bounded(sum(map(len, parts)) + len(separator) * len(parts))
    return separator.join(parts)


overload("join", list)(lambda parts: join(parts, ""))


@overload("strings.quote", str)
def _quote(text: str) -> str:
    escapes = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}
    return f'"{text.translate(escapes)}"'


@overload("string", str)
def _same(text: str) -> str:
    return text


@overload("string", bool)
def _bool_text(value: object) -> str:
    return "true" if value is True else "false"


@overload("string", int)
@overload("string", Uint)
def _integer_text(number: int) -> str:
    try:
        return str(int(number))
    except ValueError as error:  # more digits than Python is willing to write
        raise ExpressionError("the number has too many digits") from error


@overload("string", float)
def number_text(number: float) -> str:
    """Write a double the shortest way that reads back the same; a whole one without its `.0`."""
    if not math.isfinite(number):
        return "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"
    if number.is_integer() and abs(number) < 1e16:
        return str(int(number))
    return repr(number)


@overload("string", bytes)
def _decode(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ExpressionError("the bytes are not UTF-8 text") from error


overload("string", datetime)(format_moment)
overload("string", timedelta)(format_seconds)
overload("bytes", bytes)(lambda data: data)
overload("bool", bool)(lambda value: value)


@overload("bytes", str)
def _encode(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ExpressionError("the text holds a lone surrogate, which has no UTF-8") from error


@overload("bool", str)
def _bool_of_string(text: str) -> bool:
    if text not in _BOOLS:
        raise ExpressionError("the text is not true or false")
    return _BOOLS[text]


@overload("base64.decode", str)
def _base64_decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ExpressionError("the text is not base64") from error
