"""Arithmetic, the `math` functions, and conversions to numbers.

Beyond CEL's standard: an int and a double may be added, subtracted, multiplied and divided (the result is a double),
because JSON does not tell 1 from 1.0 and `event.data.amount * 1.19` must not depend on how the sender wrote it.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from hark.workflows.cel.registry import overload
from hark.workflows.cel.values import NUMBERS, Uint, mismatch
from hark.workflows.errors import ExpressionError

_INT_MIN, _INT_MAX, _UINT_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf(inity)?|nan)", re.ASCII | re.IGNORECASE)
_INTEGER = re.compile(r"[+-]?\d{1,20}", re.ASCII)


def checked(number: int) -> int:
    """Return `number`, or raise when it does not fit 64 bits."""
    if _INT_MIN <= number <= _INT_MAX:
        return number
    raise ExpressionError("the number does not fit 64 bits")


def checked_unsigned(number: int) -> Uint:
    """Return `number` as a uint, or raise when it does not fit 64 bits."""
    if 0 <= number <= _UINT_MAX:
        return Uint(number)
    raise ExpressionError("the number does not fit 64 unsigned bits")


def _quotient(a: int, b: int) -> int:
    """Divide towards zero, as CEL does."""
    if b == 0:
        raise ExpressionError("division by zero")
    return a // b if (a < 0) == (b < 0) else -(-a // b)


def _remainder(a: int, b: int) -> int:
    return a - b * _quotient(a, b)


def _divide(a: float, b: float) -> float:
    """Divide by IEEE 754, where a zero divisor gives an infinity or NaN."""
    if b != 0:
        return a / b
    if a == 0 or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


def _floating(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], float]:
    def run(a: float, b: float) -> float:
        return float(operation(to_double(a), to_double(b)))

    return run


def to_double(number: float) -> float:
    """Convert a number to a double; an int beyond its range becomes an infinity."""
    try:
        return float(number)
    except OverflowError:
        return math.copysign(math.inf, number)


def _register_arithmetic() -> None:
    whole = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": _quotient, "%": _remainder}
    for symbol, operation in whole.items():
        overload(f"_{symbol}_", int, int)(lambda a, b, run=operation: checked(run(a, b)))
        overload(f"_{symbol}_", Uint, Uint)(lambda a, b, run=operation: checked_unsigned(run(int(a), int(b))))
    for symbol, operation in {**whole, "/": _divide}.items():
        if symbol != "%":
            for kinds in ((float, float), (int, float), (float, int)):
                overload(f"_{symbol}_", *kinds)(_floating(operation))
    overload("-_", int)(lambda a: checked(-a))
    overload("-_", float)(operator.neg)


_register_arithmetic()


@overload("int", int)
@overload("uint", Uint)
@overload("double", float)
def _same(number: float) -> float:
    return number


@overload("int", Uint)
def _int_of_uint(number: Uint) -> int:
    return checked(int(number))


@overload("int", float)
def _int_of_double(number: float) -> int:
    if math.isfinite(number) and abs(number) < 2**63:
        return int(number)
    raise ExpressionError("the number does not fit 64 bits")


@overload("int", str)
def _int_of_string(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ExpressionError("the text is not a whole number")
    return checked(int(text))


@overload("int", datetime)
def _int_of_timestamp(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)


@overload("uint", int)
def _uint_of_int(number: int) -> Uint:
    return checked_unsigned(number)


@overload("uint", float)
def _uint_of_double(number: float) -> Uint:
    if math.isfinite(number):
        return checked_unsigned(int(number)) if number >= 0 else checked_unsigned(-1)
    raise ExpressionError("the number does not fit 64 unsigned bits")


@overload("uint", str)
def _uint_of_string(text: str) -> Uint:
    if not _INTEGER.fullmatch(text):
        raise ExpressionError("the text is not a whole number")
    return checked_unsigned(int(text))


@overload("double", int)
@overload("double", Uint)
def _double_of_int(number: int) -> float:
    return to_double(number)


@overload("double", str)
def _double_of_string(text: str) -> float:
    if not _DECIMAL.fullmatch(text):
        raise ExpressionError("the text is not a number")
    return float(text)


def _extreme(name: str, better: Callable[[Any, Any], bool]) -> None:
    def choose(*numbers: Any) -> Any:
        if not numbers or any(type(number) not in NUMBERS for number in numbers):
            raise mismatch(name, *numbers)
        best = numbers[0]
        for number in numbers[1:]:
            best = number if better(number, best) else best
        return best

    function = {"math.greatest": "math.@max", "math.least": "math.@min"}[name]
    overload(function, list)(lambda numbers: choose(*numbers))
    for first in NUMBERS:
        overload(function, first)(choose)
        for second in NUMBERS:
            overload(function, first, second)(choose)


_extreme("math.greatest", operator.gt)
_extreme("math.least", operator.lt)


def _whole(rounding: Callable[[float], float]) -> Callable[[float], float]:
    """Keep infinities and NaN, which have no whole number, as they are."""
    return lambda number: float(rounding(number)) if math.isfinite(number) else number


def _round_half_away(number: float) -> float:
    """Round halves away from zero; adding 0.5 first would round 0.49999999999999994 up."""
    whole = math.trunc(number)
    return whole + math.copysign(1, number) if abs(number - whole) >= 0.5 else whole


overload("math.ceil", float)(_whole(math.ceil))
overload("math.floor", float)(_whole(math.floor))
overload("math.trunc", float)(_whole(math.trunc))
overload("math.round", float)(_whole(_round_half_away))
overload("math.abs", float)(abs)
overload("math.abs", Uint)(_same)
overload("math.abs", int)(lambda number: checked(abs(number)))
overload("math.sign", float)(lambda number: number if math.isnan(number) else float((number > 0) - (number < 0)))
overload("math.sign", int)(lambda number: (number > 0) - (number < 0))
overload("math.sign", Uint)(lambda number: Uint(number > 0))
overload("math.isNaN", float)(math.isnan)
overload("math.isInf", float)(math.isinf)
overload("math.isFinite", float)(math.isfinite)


@overload("math.ceil", int)
@overload("math.floor", int)
@overload("math.round", int)
@overload("math.trunc", int)
def _already_whole(number: int) -> float:
    """Take the int that JSON made of a whole number; the result is a double like the others'."""
    return to_double(number)


@overload("math.sqrt", float)
@overload("math.sqrt", int)
@overload("math.sqrt", Uint)
def _sqrt(number: float) -> float:
    return math.sqrt(number) if number >= 0 else math.nan
