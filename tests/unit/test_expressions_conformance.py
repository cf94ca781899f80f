"""Our evaluator against the library's: the same value, or an error in both.

Only what differs on purpose is missing here; it stands at the top of `workflows/cel/program.py`.
"""

from __future__ import annotations

import base64
import ctypes
import math
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import pytest
from cel_expr_python import cel
from hypothesis import given, settings
from hypothesis import strategies as st

from hark.workflows.cel.checker import _environment
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import compile_expression

ROOTS = frozenset({"a", "b", "c", "d", "now"})
NOW = datetime(2026, 2, 28, 23, 30, 15, 250_000, tzinfo=UTC)
ERROR = "<error>"
_MACROS = ["all", "exists", "exists_one"]

SCOPE: dict[str, Any] = {
    "a": {"n": 3, "f": 2.5, "s": "Héllo", "t": True, "z": None, "l": [3, 1, 2], "m": {"x": 1, "y": [1, "two"]}},
    "b": [{"name": "ann", "age": 31}, {"name": "bob", "age": 22}, {"name": "cy", "age": 31}],
    "c": "2026-01-31T09:00:00.5Z",
    "d": {},
    "now": NOW,
}


@pytest.fixture(scope="module", autouse=True)
def _none_survives() -> None:
    """Give None references to lose: the library gives one up for every null that it returns."""
    for _ in range(200_000):
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(None))


@lru_cache(maxsize=1)
def _library() -> cel.Env:
    return _environment(ROOTS)


def library_result(source: str, scope: dict[str, Any]) -> Any:
    """Evaluate with the library."""
    try:
        value = _library().compile(source).eval(data=scope)
        kind = value.type().name()
        return ERROR if kind == "ERROR" else _plain(value.plain_value())
    except RuntimeError:
        return ERROR


def _plain(value: Any) -> Any:
    """Bring a value of the library to the JSON that `Expression.evaluate` promises."""
    if isinstance(value, list):
        items = [_plain(item) for item in value]
        return ERROR if ERROR in items else items
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return ERROR
    if isinstance(value, bytearray):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime | timedelta):
        return compile_expression("string(a)", ROOTS).evaluate({"a": value})
    return value


def our_result(source: str, scope: dict[str, Any]) -> Any:
    try:
        return compile_expression(source, ROOTS).evaluate(scope)
    except ExpressionError:
        return ERROR


def same(ours: Any, theirs: Any) -> bool:
    """Compare values and their types; an int and a double are not the same."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[key], theirs[key]) for key in ours)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return type(ours) is type(theirs) and ours == theirs


EXPRESSIONS = """
1 + 2 * 3 - 4
7 / 2
-7 / 2
7 % 3
-7 % 3
7 / 0
7 % 0
7.0 / 0.0
-7.5 / 2.0
9223372036854775807 + 1
-9223372036854775808 - 1
-(-9223372036854775808)
9223372036854775807 * 2
1u + 2u
1u - 2u
5u / 2u
5u % 2u
1.5 + 1.5
a.n + 4
a.s + "!"
b"ab" + b"c"
[1] + [2, 3]
a.l + ["x"]
a.s + a.n
!a.t
!a.n
-a.n
-a.f
-a.s
a.n == 3
a.n == 3.0
a.n == 3u
a.n != a.f
a.s == a.n
a.t == 1
dyn(1) == true
dyn(1u) == 1
a.z == null
a.z == 0
a.m == {"x": 1, "y": [1, "two"]}
a.m == {"x": 1.0, "y": [1, "two"]}
a.m == {"x": 1, "y": [1]}
a.l == [3, 1, 2]
a.l == [3, 1]
[1, 2.0] == [1.0, 2]
a.n < 4
a.n < 2.5
a.f <= 2.5
a.s < "I"
"Z" < "a"
"z" < "é"
false < true
a.t < true
b"a" < b"b"
a.s < 3
a.z < 3
a.l < [1]
a.n >= a.f
now > timestamp(c)
duration("1h") > duration("59m")
a.t && true
a.n && true
a.n && false
false && a.n
true || a.n
a.n || true
a.n || false
a.nope == 1 || a.t
a.nope == 1 && !a.t
!a.t && a.nope == 1
a.t || a.nope == 1
a.nope == 1 || !a.t
a.t ? 1 : 2
a.n ? 1 : 2
a.t ? "x" : a.nope
3 in a.l
3.0 in a.l
"x" in a.m
"q" in a.m
1 in a.m
true in dyn([1])
null in dyn([null])
[1] in [[1], [2]]
{"a": 1} in [{"a": 1.0}]
1 in a.n
a.l[0]
a.l[2]
a.l[3]
a.l[-1]
a.l[1.0]
a.l[1.5]
a.l["x"]
a.m["x"]
a.m["nope"]
a.m.y[1]
a.s[0]
a["n"]
{1: "x"}[1]
{1: "x"}[1.0]
{1: "x", 2: "y"}
{"a": 1, "a": 2}
{"k": [1, {"z": null}]}
has(a.n)
has(a.nope)
has(a.m.x)
has(d.x)
a.?nope.orValue("d")
a.?m.?x.orValue(0)
a.?m.?q.orValue(0)
a.?m.x.orValue(0)
a[?"n"].orValue(1)
a.l[?1].orValue(7)
a.l[?9].orValue(7)
a.?z.orValue(1)
a.?nope.hasValue()
a.?n.value()
a.?nope.value()
a.?nope.or(a.?n).value()
a.?n.or(a.?f).value()
a.?nope.or(d.?x).hasValue()
a.?n.optMap(x, x + 1).orValue(0)
a.?nope.optMap(x, x + 1).orValue(0)
a.?n.optFlatMap(x, optional.of(x * 2)).orValue(0)
optional.of(1).value()
optional.none().hasValue()
optional.ofNonZeroValue(0).hasValue()
optional.ofNonZeroValue("").hasValue()
optional.ofNonZeroValue([1]).hasValue()
[1, ?a.?nope, ?a.?n]
{"k": 1, ?"n": a.?n, ?"q": a.?nope}
b.map(x, x.name)
b.map(x, x.age > 30, x.name)
b.filter(x, x.age > 30)
b.all(x, x.age > 20)
b.all(x, x.age > 30)
b.all(x, x.nope > 30)
b.all(x, x.nope > 30 || x.age > 0)
b.exists(x, x.age == 22)
b.exists(x, x.age == 99)
b.exists(x, x.nope == 1)
b.exists(x, x.name == "ann" || x.nope == 1)
b.exists(x, x.nope == 1 || x.name == "bob")
b.exists_one(x, x.age == 31)
b.exists_one(x, x.age == 22)
b.exists_one(x, x.nope == 22)
b.existsOne(i, x, x.age == 22 && i == 1)
b.all(i, x, i < 3 && x.age > 0)
b.exists(i, x, i == 2 && x.name == "cy")
b.transformList(i, x, string(i) + x.name)
b.transformList(i, x, i > 0, x.name)
b.transformMapEntry(i, x, {string(x.age): i})
a.m.transformList(k, v, k).size()
a.m.all(k, k in ["x", "y"])
a.m.exists(k, v, v == 1)
a.n.map(x, x)
a.s.all(x, true)
[].all(x, false)
[].exists(x, true)
[].map(x, x)
[1, 2].map(x, [3, 4].map(y, x * y))
[1, 2].map(a, a + 1)
[[1], [2]].map(x, x.map(x, x + 1))
b.map(x, has(x.age))
b.filter(x, x.name in ["ann", "cy"]).map(x, x.age)
cel.bind(x, a.n + 1, x * x)
cel.bind(x, [], x + [1])
cel.bind(x, 1, cel.bind(y, x + 1, x + y))
[3, 1, 2].sort()
[1.5, 1.0].sort()
["b", "a", "é"].sort()
[true, false].sort()
dyn([1, "a"]).sort()
b.sortBy(x, x.age).map(x, x.name)
b.sortBy(x, x.name).map(x, x.age)
[1, 2, 1, 3, 2].distinct()
["a", "b", "a"].distinct()
dyn([1, 1.0, true, "1"]).distinct()
[[1], [2], [1]].distinct()
[1, 2, 3].reverse()
[1, 2, 3, 4].slice(1, 3)
[1, 2].slice(1, 5)
[1, 2].slice(-1, 1)
[1, 2].slice(2, 1)
dyn([[1], [2, [3]]]).flatten()
dyn([[1], [2, [3, [4]]]]).flatten(2)
dyn([1, [2]]).flatten(-1)
[1, 2].first().value()
[1, 2].last().value()
a.l.first().orValue(9)
lists.range(3)
lists.range(0)
sets.contains([1, 2, 3], [2, 3])
sets.contains([1, 2], [3])
sets.contains([1], [1.0])
sets.equivalent([1, 2, 2], [2, 1])
sets.equivalent([1], [1, 2])
sets.intersects([1], [1, 2])
sets.intersects([1], [2])
sets.intersects([[1]], [[1], [2]])
sets.contains(["a"], [])
size(a.s)
a.s.size()
size(a.l)
size(a.m)
size(b"abc")
size(a.n)
size("😀é")
type(a.n) == int
type(a.f) == double
type(a.s) == string
type(a.z) == null_type
type(a.l) == list
type(a.m) == map
type(a.t) == bool
type(1u) == uint
type(now) == google.protobuf.Timestamp
type(a.n) == type(a.f)
type(type(1)) == type
int("42")
int("-42")
int("+42")
int("4_2")
int("42.0")
int("")
int("99999999999999999999")
int(2.9)
int(-2.9)
int(1e30)
int(5u)
int(timestamp("1970-01-01T00:01:40Z"))
int(timestamp("1969-12-31T23:59:59.5Z"))
int(true)
uint(3)
uint(-1)
uint("7")
uint("-7")
uint(3.9)
uint(-0.5)
double(3)
double("3.5")
double("1e3")
double("-.5")
double("x")
double("1_0")
double("")
double(7u)
string(1)
string(-1)
string(1u)
string(1.5)
string(1.0)
string(-0.5)
string(100000.0)
string(true)
string("x")
string(b"abc")
string(b"\\xff")
string(timestamp("2020-01-02T03:04:05Z"))
string(timestamp("2020-01-02T03:04:05.678Z"))
string(duration("1h1m1s"))
string(duration("0s"))
string(a.l)
string(null)
bytes("é")
bytes(b"x")
bool("true")
bool("True")
bool("TRUE")
bool("tRUE")
bool("t")
bool("T")
bool("1")
bool("0")
bool("f")
bool("FALSE")
bool("no")
bool(true)
dyn(1)
"hello".contains("ell")
"hello".contains("")
"hello".startsWith("he")
"hello".endsWith("lo")
"hello".endsWith("he")
a.n.contains("x")
"hello".matches("^h.*o$")
"hello".matches("ell")
"hello".matches("^ell")
"hello".matches("(")
"a.b".matches("a\\\\.b")
"é".matches("^.$")
"héllo".charAt(1)
"abc".charAt(3)
"abc".charAt(4)
"abc".charAt(-1)
"héllo".indexOf("l")
"abc".indexOf("z")
"abc".indexOf("")
"abcabc".indexOf("a", 1)
"abc".indexOf("a", 9)
"abc".indexOf("", 3)
"abcabc".lastIndexOf("a")
"abcabc".lastIndexOf("z")
"abcabc".lastIndexOf("a", 2)
"abcabc".lastIndexOf("", 6)
"abcabc".lastIndexOf("bc", 4)
"abcabc".lastIndexOf("bc", 3)
"aÉB".lowerAscii()
"aéb".upperAscii()
"a-b-a".replace("a", "x")
"a-b-a".replace("a", "x", 1)
"a-b-a".replace("a", "x", 0)
"a-b-a".replace("a", "x", -1)
"abc".replace("", "-")
"abc".replace("", "-", 2)
"abc".reverse()
"a,b,c".split(",")
"a,b,c".split(",", 2)
"a,b,c".split(",", 1)
"a,b,c".split(",", 0)
"a,b,c".split(",", -1)
"abc".split("")
"abc".split("", 2)
"abc".split("", 3)
"abc".split("", 9)
"".split(",")
"".split("")
"héllo".substring(1)
"héllo".substring(1, 3)
"abc".substring(3)
"abc".substring(4)
"abc".substring(2, 1)
"abc".substring(-1, 1)
"  x \\t\\n".trim()
["a", "b"].join()
["a", "b"].join("-")
[].join("-")
dyn(["a", 1]).join("-")
strings.quote("a\\"b\\\\c\\n")
base64.encode(b"hello")
string(base64.decode("aGVsbG8="))
string(base64.decode("aGVsbG8"))
base64.decode("???")
"%s is %d".format(["x", 3])
"%s".format([[1, "a", null]])
"%s".format([{"b": 1, "a": 2.5}])
"%s %s %s".format([true, 1.5, null])
"%.2f %.3e".format([3.14159, 12345.678])
"%f".format([1.5])
"%b %o %x %X".format([5, 8, 255, 255])
"%x %X".format(["hi", b"hi"])
"%%".format([])
"%d".format([1.5])
"%d".format(["x"])
"%s".format([])
"%q".format([1])
"%s".format([timestamp("2020-01-02T03:04:05Z")])
"%s".format([duration("90s")])
"%s".format([type(1)])
math.greatest(1, 3, 2)
math.greatest(1, 2.5)
math.greatest([1, 5])
math.greatest(a.n)
math.least(1.5, a.n)
math.least(a.l)
math.least(a.s, 1)
math.ceil(1.2)
math.floor(-1.2)
math.round(1.5)
math.round(2.5)
math.round(-1.5)
math.round(0.49999999999999994)
math.trunc(-1.9)
math.abs(-3)
math.abs(-3.5)
math.abs(-9223372036854775808)
math.sign(-3)
math.sign(2.5)
math.sign(0.0)
math.sign(3u)
math.isNaN(0.0 / 0.0)
math.isInf(1.0 / 0.0)
math.isFinite(1.0)
math.sqrt(16.0)
math.sqrt(2)
math.isNaN(math.sqrt(-1.0))
timestamp("2020-01-02T03:04:05Z")
timestamp("2020-01-02T03:04:05.123456Z")
timestamp("2020-01-02T03:04:05+05:30")
timestamp("2020-01-02T03:04:05-08:00") == timestamp("2020-01-02T11:04:05Z")
timestamp("2020-02-30T00:00:00Z")
timestamp("nope")
timestamp("")
timestamp(100)
timestamp(now)
timestamp(c) < now
timestamp(c) + duration("1h")
duration("1h") + timestamp(c)
timestamp(c) - duration("1h")
now - timestamp(c)
now - duration("36h")
timestamp("9999-12-31T23:59:59Z") + duration("1h")
timestamp("0001-01-01T00:00:00Z") - duration("1h")
duration("1h30m") - duration("30m")
duration("100ms")
duration("1us")
duration("1.5h")
duration("-2m")
duration("90")
duration("")
duration("1x")
duration("0")
-duration("1h")
now.getFullYear()
now.getMonth()
now.getDate()
now.getDayOfMonth()
now.getDayOfWeek()
now.getDayOfYear()
now.getHours()
now.getMinutes()
now.getSeconds()
now.getMilliseconds()
now.getHours("Europe/Berlin")
now.getDate("Europe/Berlin")
now.getDate("+05:30")
now.getHours("-08:00")
now.getHours("Nowhere/Land")
timestamp("2024-12-31T00:00:00Z").getDayOfYear()
duration("3h25m").getHours()
duration("3h25m").getMinutes()
duration("90s").getSeconds()
duration("1.250s").getMilliseconds()
duration("-90m").getHours()
duration("-1.250s").getMilliseconds()
""".strip().splitlines()


@pytest.mark.parametrize("source", EXPRESSIONS)
def test_gives_what_the_library_gives(source: str) -> None:
    ours, theirs = our_result(source, SCOPE), library_result(source, SCOPE)
    assert same(ours, theirs), f"{source}: {ours!r}, the library has {theirs!r}"


def _binary(operands: st.SearchStrategy[str], symbols: list[str]) -> st.SearchStrategy[str]:
    return st.builds("({} {} {})".format, operands, st.sampled_from(symbols), operands)


_INTEGERS = st.recursive(
    st.sampled_from(["a.n", "a.m.x", "a.l[0]", "7", "-2", "0", "9223372036854775807", "size(a.s)", "x"]),
    lambda inner: _binary(inner, ["+", "-", "*", "/", "%"]),
    max_leaves=4,
)
_OTHERS = ["a.f", "a.s", "a.t", "a.z", "a.l", "a.m", "a.nope", 'a.m["y"]', "b", "c", "b.map(x, x.age)"]
_OTHERS += ["dyn(1.0)", 'dyn("x")', "dyn(null)", "dyn(true)", "dyn([1, 2.5])", 'dyn({"x": 1})', "a.l.filter(x, x > 1)"]


# Composites, because Hypothesis describes them by their names: the description of the whole would be 40 kB.
@st.composite
def values(draw: st.DrawFn) -> str:
    return draw(_INTEGERS | st.sampled_from(_OTHERS))


@st.composite
def atoms(draw: st.DrawFn) -> str:
    containers = st.sampled_from(["a.l", "a.m", "a.nope", "dyn([1.0, null, true])", "a.n"])
    comparisons = _binary(values(), ["==", "!=", "<", "<=", ">", ">="])
    others = st.sampled_from(["has(a.n)", "has(a.nope)", "a.t", "a.n", "a.nope", "true", "false"])
    return draw(comparisons | st.builds("({} in {})".format, values(), containers) | others)


_CONDITIONS = st.recursive(
    atoms(),
    lambda inner: st.one_of(
        _binary(inner, ["&&", "||"]),
        st.builds("!{}".format, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
        st.builds("{}.{}(x, {})".format, st.sampled_from(["b", "a.l", "a.nope"]), st.sampled_from(_MACROS), inner),
    ),
    max_leaves=6,
)


@given(_CONDITIONS)
@settings(max_examples=400)
def test_any_condition_gives_what_the_library_gives(condition: str) -> None:
    source = f"[5].all(x, {condition})"
    ours, theirs = our_result(source, SCOPE), library_result(source, SCOPE)
    assert same(ours, theirs), f"{source}: {ours!r}, the library has {theirs!r}"
