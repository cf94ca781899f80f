"""Expressions: what goes in and comes out, what fails and how, and that nothing runs away."""

from __future__ import annotations

import enum
import sys
import time
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hark.workflows.cel.checker import MAX_SOURCE
from hark.workflows.errors import ExpressionError, MissingFieldError
from hark.workflows.expressions import ROOTS, compile_expression


def evaluate(source: str, **scope: Any) -> Any:
    return compile_expression(source, ROOTS).evaluate(scope)


def refused(source: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source, ROOTS)
    return caught.value


def failed(source: str, **scope: Any) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        evaluate(source, **scope)
    return caught.value


class Colour(enum.StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    "value, result",
    [
        ("a\0b", "a\0b"),
        ("\ud800", "\ud800"),
        (2**64, 2**64),
        (10**400, 10**400),
        (Decimal(12), 12),
        (Decimal("1.5"), 1.5),
        (Decimal("1E+2"), 100),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (date(2026, 1, 2), "2026-01-02"),
        (datetime(2026, 1, 2, 3, tzinfo=UTC), "2026-01-02T03:00:00Z"),
        (datetime(2026, 1, 2, 3, 4, 5, 600_000, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T01:04:05.6Z"),
        (datetime(2026, 1, 2), "2026-01-02T00:00:00Z"),  # noqa: DTZ001  # what it means is the point
        (timedelta(hours=1, milliseconds=20), "3600.02s"),
        (timedelta(seconds=-90), "-90s"),
        (b"\x00\xff", "AP8="),
        (Colour.RED, "red"),
        ((1, 2), [1, 2]),
        (MappingProxyType({"a": 1}), {"a": 1}),
    ],
)
def test_any_value_comes_through(value: Any, result: Any) -> None:
    assert evaluate("inputs.value", inputs={"value": value}) == result
    assert evaluate("true ? inputs.value : null", inputs={"value": value}) == result
    assert evaluate("[inputs.value]", inputs={"value": value}) == [result]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), Decimal("NaN")])
def test_a_number_without_json_is_an_error_as_a_result_and_usable_inside(number: Any) -> None:
    assert "finite" in str(failed("inputs.n", inputs={"n": number}))
    assert "finite" in str(failed("[inputs.n]", inputs={"n": number}))
    assert evaluate("inputs.n == inputs.n || inputs.n != inputs.n", inputs={"n": number}) is True


def test_a_value_of_a_foreign_class_is_an_error_that_names_the_class() -> None:
    assert "object" in str(failed("inputs.x == 1", inputs={"x": object()}))


def test_a_path_gives_the_object_of_the_scope_itself_in_its_order() -> None:
    data = {"z": 1, "a": [1, 2]}
    assert evaluate("event.data", event={"data": data}) is data
    assert list(evaluate("true ? event.data : null", event={"data": data})) == ["z", "a"]


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    ),
)
def test_every_json_value_equals_itself_and_survives_being_computed(value: Any) -> None:
    assert evaluate("inputs == cel.bind(x, inputs, x)", inputs=value) is True
    computed = evaluate("[inputs].map(x, x)[0]", inputs=value)
    assert computed == value
    assert type(computed) is type(value)


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_no_text_breaks_a_text_function(text: str) -> None:
    assert evaluate("inputs.s.size()", inputs={"s": text}) == len(text)
    assert evaluate("(inputs.s + 'x').endsWith('x')", inputs={"s": text}) is True
    assert evaluate("inputs.s.matches('^(?s:.*)$')", inputs={"s": text}) is True


def test_numbers_compare_and_combine_however_json_wrote_them() -> None:
    assert evaluate("inputs.n > 0.5 && inputs.n == 1.0 && inputs.f == 1", inputs={"n": 1, "f": 1.0}) is True
    assert evaluate("inputs.n * 1.5 + inputs.f", inputs={"n": 2, "f": 1.0}) == 4.0
    assert evaluate("inputs.big > 9223372036854775807", inputs={"big": 2**70}) is True
    assert evaluate("inputs.n == true || inputs.z == false", inputs={"n": 1, "z": 0}) is False


def test_arithmetic_stops_at_64_bits() -> None:
    assert "64 bits" in str(failed("inputs.n + 1", inputs={"n": 2**63 - 1}))
    assert "64 bits" in str(failed("inputs.n * inputs.n", inputs={"n": 2**70}))


def test_now_is_a_timestamp() -> None:
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert evaluate("now - duration('1h')", now=now) == "2026-01-01T23:00:00Z"
    assert evaluate("timestamp(new.at) < now", now=now, new={"at": "2025-12-31"}) is True
    assert evaluate("timestamp(new.at) < now", now=now, new={"at": "2026-01-02T00:00:01"}) is False
    assert evaluate("timestamp(new.at) + duration('2d') > now", now=now, new={"at": "2025-12-31 12:00:00+00"}) is True
    assert failed("new.at < now", now=now, new={"at": "2025-12-31"}).hint.startswith("turn the text into a timestamp")


@pytest.mark.parametrize(
    "source, path, message",
    [
        ("event.data.foo", "event.data.foo", "event.data.foo is missing"),
        ("event.data.foo.bar.baz", "event.data.foo", "event.data.foo is missing"),
        ("event.data.none.bar", "event.data.none.bar", "event.data.none.bar is missing: event.data.none is null"),
        ("event.data.text.bar", "event.data.text.bar", "event.data.text.bar is missing: event.data.text is a string"),
        ("event.data.list[7]", "event.data.list[7]", "event.data.list[7] is missing: the list has 2 elements"),
        ('event.data["a-b"].c', 'event.data["a-b"]', 'event.data["a-b"] is missing'),
        ("event.a.b.c.d.e.f", "event.a", "event.a is missing"),
        ("steps.x", "steps", "steps is missing"),
        ("event.data.list.map(x, x.name)", "x.name", "x.name is missing"),
        ("event.data.list.filter(x, event.data.q == x)", "event.data.q", "event.data.q is missing"),
        ("event.data[event.data.text]", "event.data[…]", "event.data[…] is missing"),
        ("event.data.list[event.data.n]", "event.data.list[5]", "event.data.list[5] is missing"),
        ("event.data.text.size() > 1 && event.data.foo", "event.data.foo", "event.data.foo is missing"),
    ],
)
def test_a_missing_field_is_named(source: str, path: str, message: str) -> None:
    data = {"none": None, "text": "secret", "list": [{}, {}], "n": 5}
    error = failed(source, event={"data": data})
    assert isinstance(error, MissingFieldError)
    assert (error.path, str(error), error.expression) == (path, message, source)


def test_what_is_asked_for_carefully_is_never_missing() -> None:
    scope: dict[str, Any] = {"event": {"data": {"none": None, "n": 1, "list": [{"a": 1}]}}}
    for absent in ("event.x.y.z", "event.data.none.x", "event.data.n.x", "steps.a.b", "event.data.list.x"):
        assert evaluate(f"has({absent})", **scope) is False
        assert evaluate(f"{absent}.orValue('d')", **scope) == "d"
    assert evaluate("event.?x.?y.z", **scope) is None
    assert evaluate("event.?data.n", **scope) == 1
    assert evaluate("event.data.list[?3].?a.orValue(0)", **scope) == 0
    assert evaluate("event.data.list.map(i, has(i.b.c))", **scope) == [False]
    assert evaluate("event.data.list.map(i, i.?a.orValue(0) + i.?b.orValue(5))", **scope) == [6]
    assert evaluate("has(event.data.none)", **scope) is True
    assert evaluate("event.data.none.orValue('d')", **scope) is None


def test_loops_over_lists_and_maps_build_lists_and_maps() -> None:
    scope = {"inputs": {"m": {"x": 1, "y": 2}, "l": ["p", "q"]}}
    assert evaluate("inputs.m.transformMap(k, v, v * 10)", **scope) == {"x": 10, "y": 20}
    assert evaluate("inputs.l.transformMap(i, v, v > 'p', v)", **scope) == {"1": "q"}
    assert evaluate("inputs.l.transformMapEntry(i, v, {v: i})", **scope) == {"p": 0, "q": 1}
    assert "same key" in str(failed("inputs.l.transformMapEntry(i, v, {'k': i})", **scope))
    assert evaluate("inputs.l.map(x, inputs.l.map(y, x + y))", **scope) == [["pp", "pq"], ["qp", "qq"]]


def test_an_evaluation_leaves_nothing_behind_for_the_next() -> None:
    expression = compile_expression("inputs.map(x, x + 1).filter(x, x > 1)", ROOTS)
    assert [expression.evaluate({"inputs": [0, 1, 2]}) for _ in range(3)] == [[2, 3]] * 3
    scope = {"inputs": [1]}
    expression.evaluate(scope)
    assert scope == {"inputs": [1]}


def test_nulls_cost_no_references() -> None:
    """The library's evaluator lost one reference to None per null, until the process died."""
    expression = compile_expression("[inputs.z, inputs.z == null ? null : dyn(1)]", ROOTS)
    before = sys.getrefcount(None)
    for _ in range(10_000):
        expression.evaluate({"inputs": {"z": None}})
    assert abs(sys.getrefcount(None) - before) < 1000


def test_a_condition_is_true_or_false() -> None:
    condition = compile_expression("inputs.a == 1 && inputs.b", ROOTS)
    assert condition.holds({"inputs": {"a": 1, "b": True}}) is True
    assert condition.holds({"inputs": {"a": 2}}) is False
    with pytest.raises(MissingFieldError):
        condition.holds({"inputs": {"a": 1}})
    with pytest.raises(ExpressionError, match="&& does not work on bool and int"):
        condition.holds({"inputs": {"a": 1, "b": 7}})
    with pytest.raises(ExpressionError, match="true or false, not string") as caught:
        compile_expression("inputs.s", ROOTS).holds({"inputs": {"s": "true"}})
    assert caught.value.expression == "inputs.s"


@pytest.mark.parametrize(
    "source, message, hint, offset",
    [
        ("evnt.data.x", "unknown name evnt", "did you mean event?", 0),
        ("1 == 1 && new.a == olds.b", "unknown name olds", "did you mean old?", 19),
        ("new.a ==\n  stepz.x", "unknown name stepz", "did you mean steps?", 11),
        ('"é" == evnt.x', "unknown name evnt", "did you mean event?", 7),
        ("zzz", "unknown name zzz", "here are config, context", 0),
        ("new.name.lowerAsci()", "unknown function lowerAsci", "did you mean lowerAscii?", 9),
        ("new.list.mapp(x, x)", "unknown function mapp", "did you mean map?", 9),
        ("lenght(new.name)", "unknown function lenght", "", 0),
        ("math.flor(1.5)", "unknown function math.flor", "did you mean math.floor?", 0),
        ("new.a = 1", "unexpected '= '", "compare with ==", 6),
        ("new.a == 1 and new.b == 2", "unexpected and", "write && for and", 11),
        ("not new.a", "unexpected new", "write ! for not", 4),
        ("${{ new.a }}", "unexpected '$'", "write the expression alone", 0),
        ("new.a == 'x", "a string is not closed", "", 9),
        ("new.a +", "the expression ends too early", "", 7),
        ("", "the expression is empty", "", None),
        ("'a' + 1", "+ does not work on string and int", "turn the other side into text", 4),
        ("1 < 1.5", "< does not work on int and double", "write both numbers with a decimal point", 2),
        ("now < 'x'", "< does not work on", "", 4),
        ("google.protobuf.Timestamp{}", "messages such as google.protobuf.Timestamp are not available", "", 0),
        ("new.a == '\ud800'", "lone surrogate", "", None),
    ],
)
def test_a_wrong_expression_is_refused_with_what_would_be_right(
    source: str,
    message: str,
    hint: str,
    offset: int | None,
) -> None:
    error = refused(source)
    assert message in str(error)
    assert hint in error.hint
    assert bool(error.hint) == bool(hint) or hint == ""
    assert error.offset == offset
    assert error.expression == source


def test_only_the_given_names_exist() -> None:
    with pytest.raises(ExpressionError, match="unknown name secrets") as caught:
        compile_expression("secrets.x", {"inputs", "item"})
    assert caught.value.hint == "here are inputs, item"
    assert compile_expression("client.name", {"client"}).evaluate({"client": {"name": "ann"}}) == "ann"


def test_messages_never_hold_values() -> None:
    for source in (
        "int(secrets.key)",
        "secrets.key + 1",
        "timestamp(secrets.key)",
        "event[secrets.key]",
        "!secrets.key",
    ):
        assert "hunter2" not in str(failed(source, secrets={"key": "hunter2", "k": "hunter2"}, event={}))


@pytest.mark.parametrize(
    "source, paths, guarded",
    [
        ("new.a == old.a && new.a > 1", [("new", "a"), ("old", "a")], []),
        ('event.data["a-b"][0].c', [("event", "data", "a-b", 0, "c")], []),
        ("steps[inputs.name].output", [("steps", ...), ("inputs", "name")], []),
        ("has(event.a.b) ? event.a.b : vars.c", [("event", "a", "b"), ("vars", "c")], [("event", "a", "b")]),
        ("event.?a.b.orValue(vars.d)", [("event", "a", "b"), ("vars", "d")], [("event", "a", "b")]),
        ("event.a.orValue(1)", [("event", "a")], [("event", "a")]),
        ("event.list.map(item, item.name + inputs.x)", [("event", "list"), ("inputs", "x")], []),
        ("event.list.map(event, event.name)", [("event", "list")], []),
        ("cel.bind(x, new.a, x.b + new.c)", [("new", "a"), ("new", "c")], []),
        ("{'k': new.a, ?'l': new.?b}", [("new", "a"), ("new", "b")], [("new", "b")]),
        ("type(1) == int", [], []),
        ("now", [("now",)], []),
    ],
)
def test_knows_what_it_reads(source: str, paths: list[Any], guarded: list[Any]) -> None:
    expression = compile_expression(source, ROOTS)
    assert list(expression.paths) == paths
    assert expression.guarded == set(guarded)
    assert expression.roots == {path[0] for path in paths}


def test_knows_its_static_type() -> None:
    kinds = {"new.a == 1": "bool", "'x' + new.a": "string", "new.a": "dyn", "1 + 1": "int"}
    assert {source: compile_expression(source, ROOTS).type_name for source in kinds} == kinds


def test_the_same_source_is_compiled_once() -> None:
    assert compile_expression("new.once == 1", ROOTS) is compile_expression("new.once == 1", set(ROOTS))
    assert compile_expression("new.once == 1", ROOTS) is not compile_expression("new.once == 1", {"new"})


LONG = list(range(100_000))
HOSTILE = {
    "nested loops": ("inputs.l.map(x, inputs.l.map(y, x + y))", {"l": LONG}),
    "nested conditions": ("inputs.l.all(x, inputs.l.exists(y, x == y && false) || true)", {"l": LONG}),
    "a loop that hides its errors": ("inputs.l.exists(x, inputs.l.exists(y, inputs.l.exists(z, false)))", {"l": LONG}),
    "doubling by names": (
        "cel.bind(a, 'xxxxxxxxxx', "
        + "".join(f"cel.bind({b}, {'+'.join([a] * 10)}, " for a, b in zip("abcdefg", "bcdefgh", strict=True))
        + "h.size()"
        + ")" * 8,
        {},
    ),
    "doubling by replacement": ("'xxxxxxxxxx'" + ".replace('x', 'xxxxxxxxxx')" * 9, {}),
    "doubling lists": (
        "cel.bind(a, [1, 1, 1, 1, 1, 1, 1, 1, 1, 1], "
        + "".join(f"cel.bind({b}, {'+'.join([a] * 10)}, " for a, b in zip("abcdefg", "bcdefgh", strict=True))
        + "h.size()"
        + ")" * 8,
        {},
    ),
    "one list by reference many times": (
        "cel.bind(a, lists.range(1000), cel.bind(b, a.map(x, a), cel.bind(c, a.map(x, b), c)))",
        {},
    ),
    "deep comparisons in a loop": ("inputs.l.all(x, inputs.m == inputs.n)", {"l": LONG, "m": [LONG], "n": [LONG]}),
    "searching in a loop": ("inputs.l.all(x, !(-1 in inputs.l))", {"l": LONG}),
    "joining in a loop": ("inputs.l.map(x, inputs.s.join('-').size())", {"l": LONG, "s": ["x" * 1000] * 1000}),
    "a long range": ("lists.range(9223372036854775807)", {}),
    "many digits": ("'%.999999999f'.format([1.0])", {}),
    "distinct lists": ("inputs.l.distinct()", {"l": [[n] for n in range(100_000)]}),
    "flattening": ("inputs.l.flatten()", {"l": [LONG] * 1000}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_expression_is_stopped(name: str) -> None:
    source, inputs = HOSTILE[name]
    start = time.process_time()
    error = failed(source, inputs=inputs)
    assert any(word in str(error) for word in ("too much work", "longer than", "more than", "precision", "too large"))
    assert time.process_time() - start < 3


def test_a_hostile_pattern_takes_linear_time() -> None:
    start = time.process_time()
    assert evaluate("inputs.s.matches('^(a+)+$')", inputs={"s": "a" * 100_000 + "b"}) is False
    assert evaluate("inputs.s.matches(inputs.p)", inputs={"s": "a" * 50, "p": "(a|a)*c"}) is False
    assert time.process_time() - start < 3
    assert "RE2" in str(failed("'a'.matches('(')"))
    assert "RE2" in str(failed("'a'.matches(inputs.p)", inputs={"p": "(?=x)"}))


@pytest.mark.parametrize(
    "source",
    [
        "(" * 5000 + "1" + ")" * 5000,
        "[" * 500 + "]" * 500,
        "+".join(["1"] * 3000),
        "event" + ".a" * 5000,
        "new.a == 1" + " " * MAX_SOURCE,
        "optional.of(1)" + ".optMap(x, x)" * 40,
        "!" * 20_000 + "true",
    ],
)
def test_a_monstrous_source_is_refused_at_once(source: str) -> None:
    start = time.process_time()
    refused(source)
    assert time.process_time() - start < 3


def test_a_long_chain_of_conditions_compiles() -> None:
    source = " && ".join(f"new.c{number} == {number}" for number in range(300))
    assert evaluate(source, new={f"c{number}": number for number in range(300)}) is True


def test_data_nested_deeper_than_the_stack_fails_the_expression_only() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert "nested too deeply" in str(failed("inputs.a == inputs.b", inputs={"a": deep, "b": [deep]}))
    assert "nested too deeply" in str(failed("[inputs.a]", inputs={"a": deep}))


def test_a_few_thousand_elements_are_no_work() -> None:
    items = [{"id": number, "on": number % 2 == 0} for number in range(5000)]
    assert len(evaluate("inputs.filter(i, i.on).map(i, i.id + 1)", inputs=items)) == 2500
    assert evaluate("inputs.all(i, i.id >= 0) && inputs.exists(i, i.id == 4999)", inputs=items) is True
