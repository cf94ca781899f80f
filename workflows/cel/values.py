"""The values that expressions work on, and how they compare.

Inside, a value is one of `str, int, Uint, float, bool, None, bytes, list, dict, datetime, timedelta, TypeName, Maybe`,
of exactly that class: overloads are chosen by it, and a bool is never taken for a number. `normalise` brings what a
scope holds to that form as it is read:

| in the scope | in an expression |
|---|---|
| JSON values | themselves, also text with NUL or lone surrogates, and ints of any size (arithmetic stops at 64 bits) |
| tuple, set | list |
| Decimal | int when it is written without a fraction, else double |
| datetime | timestamp (without a zone: UTC) |
| timedelta | duration |
| date, time, UUID, enum members | their text, or the value that the member stands for |

`finalise` brings a result to JSON: a timestamp becomes RFC 3339 text, a duration its seconds (`90s`), bytes base64, a
type its name, an absent optional null. A number that is not finite has no JSON and is an error.
"""

from __future__ import annotations

import base64
import enum
import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID

from hark.workflows.errors import ExpressionError

MAX_TEXT = 1 << 22
"""The longest text an expression may build, in characters."""
MAX_NODES = 200_000
"""How many values a result that an expression built may hold in all."""
MAX_RESULT_TEXT = 1 << 24
"""How many characters a result that an expression built may hold in all."""
_MAX_EXPONENT = 400


class Uint(int):
    """CEL's unsigned integer, apart from `int` because the two do not mix."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TypeName:
    """What `type(x)` gives, and what `int`, `string`, … stand for when they are used as values."""

    name: str


@dataclass(frozen=True, slots=True)
class Maybe:
    """CEL's optional: a value, or nothing."""

    value: Any
    present: bool


ABSENT = Maybe(None, present=False)

TYPE_NAMES: dict[type, str] = {
    bool: "bool",
    bytes: "bytes",
    float: "double",
    timedelta: "google.protobuf.Duration",
    int: "int",
    list: "list",
    dict: "map",
    NoneType: "null_type",
    Maybe: "optional_type",
    str: "string",
    datetime: "google.protobuf.Timestamp",
    TypeName: "type",
    Uint: "uint",
}
_SPOKEN = {"null_type": "null", "google.protobuf.Duration": "duration", "google.protobuf.Timestamp": "timestamp"}

NUMBERS = frozenset({int, float, Uint})
_ATOMS = frozenset({str, int, float, bool, NoneType, Uint})
_PLAIN = _ATOMS | {list, dict, bytes, timedelta, TypeName, Maybe}
_ORDERED = frozenset({str, int, float, bool, Uint, bytes, datetime, timedelta})


def spoken_type(value: Any) -> str:
    """Name the type of a value the way messages do: `null`, `string`, `timestamp`."""
    name = TYPE_NAMES.get(type(value), type(value).__name__)
    return _SPOKEN.get(name, name)


def normalise(value: Any) -> Any:
    """Bring a value of the scope to one of the classes that expressions know; containers are not descended into."""
    if type(value) in _PLAIN:
        return value
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value)
    raise ExpressionError(f"a value of type {type(value).__name__} cannot be used in an expression")


def _decimal(value: Decimal) -> int | float:
    if value.is_finite() and int(value.as_tuple().exponent) >= 0 and value.adjusted() < _MAX_EXPONENT:
        return int(value)
    return float(value)


_CONVERSIONS: tuple[tuple[type | tuple[type, ...], Callable[[Any], Any]], ...] = (
    (datetime, lambda value: value if value.tzinfo else value.replace(tzinfo=UTC)),
    (enum.Enum, lambda value: normalise(value.value)),
    (str, str.__str__),
    (int, int),
    (float, float),
    (Decimal, _decimal),
    (Mapping, dict),
    ((list, tuple, set, frozenset), list),
    (UUID, str),
    ((date, time), lambda value: value.isoformat()),
    (timedelta, lambda value: timedelta(0) + value),
    ((bytearray, memoryview), bytes),
)


def equal(a: Any, b: Any) -> bool:
    """CEL's `==`: numbers compare by value across their types, everything else only within one type."""
    kind = type(a)
    if kind is type(b):
        if kind in _ATOMS:
            return bool(a == b)
        if kind is list:
            return len(a) == len(b) and all(map(_equal_parts, a, b))
        if kind is dict:
            return len(a) == len(b) and all(key in b and _equal_parts(value, b[key]) for key, value in a.items())
        return bool(a == b)
    return kind in NUMBERS and type(b) in NUMBERS and bool(a == b)


def _equal_parts(a: Any, b: Any) -> bool:
    return equal(normalise(a), normalise(b))


def contains(container: Any, item: Any) -> bool:
    """CEL's `in`: an element of a list, or a key of a map."""
    if type(container) is dict:
        if type(item) is bool or (type(item) is float and not item.is_integer()):
            return False  # CEL takes them as keys, JSON has none of them
        return map_key(item) in container
    if type(container) is not list:
        raise mismatch("in", item, container)
    if type(item) is str:
        return item in container
    return any(_equal_parts(item, element) for element in container)


def comparison(symbol: str) -> Callable[[Any, Any], bool]:
    """Return CEL's `<`, `<=`, `>` or `>=`."""
    compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}[symbol]

    def ordered(a: Any, b: Any) -> bool:
        kind, other = type(a), type(b)
        if (kind is other and kind in _ORDERED) or (kind in NUMBERS and other in NUMBERS):
            return bool(compare(a, b))
        raise mismatch(symbol, a, b)

    return ordered


def map_key(key: Any) -> str | int:
    """Check a key of a map. A whole double counts as the int, as in CEL; other types are refused."""
    if type(key) is str or type(key) is int:
        return key
    if type(key) is Uint or (type(key) is float and key.is_integer()):
        return int(key)
    raise ExpressionError(f"a key of a map is a string or an int, not {spoken_type(key)}")


def mismatch(function: str, *values: Any) -> ExpressionError:
    """Build the error for a function or operator that does not take values of these types."""
    kinds = [spoken_type(value) for value in values]
    what = " and ".join(kinds) if len(kinds) < 3 else ", ".join(kinds)
    return ExpressionError(f"{function} does not work on {what}", hint=_hint(function, kinds))


_NUMERIC = frozenset({"<", "<=", ">", ">=", "-", "*", "/", "%"})


def _hint(function: str, kinds: list[str]) -> str:
    if "null" in kinds:
        return "compare with null first, or use ?. and orValue"
    if "timestamp" in kinds and "string" in kinds:
        return "turn the text into a timestamp with timestamp(…)"
    if function == "+" and "string" in kinds:
        return "turn the other side into text with string(…)"
    if function in _NUMERIC and "string" in kinds and {"int", "double"} & set(kinds):
        return "turn the text into a number with int(…) or double(…)"
    return ""


def format_moment(moment: datetime) -> str:
    """Write a timestamp as RFC 3339 in UTC, with as many digits of the fraction as it has."""
    moment = moment.astimezone(UTC).replace(tzinfo=None)
    text = moment.isoformat(timespec="seconds")
    return text + _fraction(moment.microsecond) + "Z"


def format_seconds(duration: timedelta) -> str:
    """Write a duration the way CEL does: its seconds, such as `90s` or `-1.5s`."""
    microseconds = duration // timedelta(microseconds=1)
    seconds, rest = divmod(abs(microseconds), 1_000_000)
    return f"{'-' if microseconds < 0 else ''}{seconds}{_fraction(rest)}s"


def _fraction(microseconds: int) -> str:
    return f".{microseconds:06d}".rstrip("0") if microseconds else ""


def base64_text(data: bytes) -> str:
    """Write bytes as base64."""
    return base64.b64encode(data).decode()


def _finite(number: float) -> float:
    if math.isfinite(number):
        return number
    raise ExpressionError("the result is not a finite number")


_SCALARS: dict[type, Callable[[Any], Any]] = {
    float: _finite,
    Uint: int,
    datetime: format_moment,
    timedelta: format_seconds,
    bytes: base64_text,
    TypeName: lambda value: value.name,
}
_FINISHED = frozenset({str, int, bool, NoneType})


def finalise(value: Any) -> Any:
    """Bring a result to JSON types. Raises ExpressionError when it has no JSON or is too large."""
    kind = type(value)
    if kind in _FINISHED:
        return value
    if kind in _SCALARS:
        return _SCALARS[kind](value)
    return _Finaliser().value(value)


class _Finaliser:
    """Copies a result, counting what it copies: a result may hold one list a million times by reference."""

    def __init__(self) -> None:
        self._nodes = MAX_NODES
        self._text = MAX_RESULT_TEXT

    def value(self, value: Any) -> Any:
        self._nodes -= 1
        value = normalise(value)
        kind = type(value)
        if kind is str:
            self._text -= len(value)
        if self._nodes < 0 or self._text < 0:
            raise ExpressionError(
                f"the result is too large: more than {MAX_NODES} values or {MAX_RESULT_TEXT} characters"
            )
        if kind is list:
            return [self.value(item) for item in value]
        if kind is dict:
            return {self._key(key): self.value(item) for key, item in value.items()}
        if kind is Maybe:
            return self.value(value.value)
        return value if kind in _FINISHED else _SCALARS[kind](value)

    def _key(self, key: Any) -> str:
        self._text -= len(key) if isinstance(key, str) else 1
        return key if isinstance(key, str) else str(key)
