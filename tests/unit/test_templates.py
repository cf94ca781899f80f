"""Templates: where expressions are found, what they become, and where an error is."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hark.workflows.errors import ExpressionError, MissingFieldError, TemplateError
from hark.workflows.expressions import ROOTS
from hark.workflows.templates import compile_template, has_expression, to_text

SCOPE: dict[str, Any] = {
    "inputs": {"email": "a@b.c", "n": 3, "f": 3.0, "half": 0.5, "on": True, "none": None, "list": [1, "é", None]},
    "now": datetime(2026, 1, 2, tzinfo=UTC),
}


def render(value: Any, **scope: Any) -> Any:
    return compile_template(value, ROOTS).render({**SCOPE, **scope})


@pytest.mark.parametrize(
    "text, value",
    [
        ("${{ inputs.n }}", 3),
        ("${{inputs.n}}", 3),
        ("${{ inputs.f }}", 3.0),
        ("${{ inputs.none }}", None),
        ("${{ inputs.list }}", [1, "é", None]),
        ("${{ now }}", "2026-01-02T00:00:00Z"),
        ("${{ inputs.n }} ", "3 "),
        ("n ${{ inputs.n }}, f ${{ inputs.f }}, half ${{ inputs.half }}", "n 3, f 3, half 0.5"),
        ("${{ inputs.on }}|${{ inputs.none }}|${{ !inputs.on }}", "true||false"),
        ("list: ${{ inputs.list }} map: ${{ {'a': {'b': 1}} }}", 'list: [1,"é",null] map: {"a":{"b":1}}'),
        ("${{ inputs.n }}${{ inputs.email }}", "3a@b.c"),
        ("at ${{ now - duration('1h') }}", "at 2026-01-01T23:00:00Z"),
        ("no expression: {{ x }} $ {x} }}", "no expression: {{ x }} $ {x} }}"),
        ("", ""),
    ],
)
def test_an_expression_alone_keeps_its_type_and_in_text_becomes_text(text: str, value: Any) -> None:
    result = render(text)
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    "text, value",
    [
        ('${{ "}}" }}', "}}"),
        ("${{ '}}' + \"{{\" }}", "}}{{"),
        ('${{ {"a": {"b": {}}} }}', {"a": {"b": {}}}),
        ('${{{"a": 1}}}', {"a": 1}),
        ("<${{ {'a': 1}.a }}>", "<1>"),
        ("${{ '\\'}}' }}", "'}}"),
        ('${{ "\\\\" }}', "\\"),
        ("${{ '''it's }}''' }}", "it's }}"),
        ('${{ """a "}}" b""" }}', 'a "}}" b'),
        ("${{ r'\\d}}' }}", "\\d}}"),
        ("${{ [1, 2].map(x, {'v': x})[1].v }}", 2),
        ("${{\n inputs.n\n}}", 3),
        ("a }} b ${{ 1 }} c }} d", "a }} b 1 c }} d"),
    ],
)
def test_braces_and_strings_inside_of_expressions_are_understood(text: str, value: Any) -> None:
    assert render(text) == value


@pytest.mark.parametrize(
    "text, value",
    [
        ("$${{ x }}", "${{ x }}"),
        ("$${{ x }} and ${{ inputs.n }}", "${{ x }} and 3"),
        ("$$${{ x }}", "$${{ x }}"),
        ("costs $5 ${{ inputs.n }}", "costs $5 3"),
    ],
)
def test_a_doubled_dollar_stands_for_itself(text: str, value: str) -> None:
    assert render(text) == value


def test_only_an_expression_that_is_not_escaped_counts() -> None:
    assert has_expression("x ${{ y }}")
    assert has_expression("${{ broken")
    assert not has_expression("x $${{ y }} {{ z }}")
    assert has_expression("x $${{ y }} ${{ z }}")


def test_values_of_any_shape_are_rendered_in_their_order() -> None:
    template = compile_template(
        {
            "z": "${{ inputs.email }}",
            "a": ["x", "${{ inputs.n }}", {"k": "v${{ inputs.n }}"}],
            "n": 1,
            "l": [{}],
        },
        ROOTS,
    )
    result = template.render(SCOPE)
    assert result == {"z": "a@b.c", "a": ["x", 3, {"k": "v3"}], "n": 1, "l": [{}]}
    assert list(result) == ["z", "a", "n", "l"]
    assert template.paths == (("inputs", "email"), ("inputs", "n"))
    assert [expression.source for expression in template.expressions] == ["inputs.email", "inputs.n", "inputs.n"]
    assert not template.is_literal


def test_keys_are_literal() -> None:
    assert render({"${{ inputs.n }}": 1}) == {"${{ inputs.n }}": 1}


def test_renderings_do_not_share_what_changes() -> None:
    template = compile_template({"a": ["${{ inputs.n }}"], "b": [1]}, ROOTS)
    first, second = template.render({"inputs": {"n": 1}}), template.render({"inputs": {"n": 2}})
    assert (first["a"], second["a"]) == ([1], [2])
    assert first["b"] is second["b"], "a literal part is not copied for every rendering"


def test_a_literal_is_rendered_once_and_for_all() -> None:
    template = compile_template({"a": ["x", "$${{ y }}"]}, ROOTS)
    assert template.is_literal
    assert template.value == {"a": ["x", "${{ y }}"]}
    assert template.render({}) is template.value


@pytest.mark.parametrize(
    "value, path, offset, message",
    [
        ("${{ evnt.x }}", (), 4, "unknown name evnt"),
        ({"to": ["ok", "x ${{  evnt.x }}"]}, ("to", 1), 7, "unknown name evnt"),
        ({"a": {"b": "${{ inputs.n"}}, ("a", "b"), 0, "${{ is not closed"),
        ("ab ${{ {'a': 1 }}", (), 3, "${{ is not closed"),
        ("x ${{ 'open }}", (), 6, "a string is not closed"),
        ("x ${{ }}", (), 6, "the expression is empty"),
        ("${{ 1 + }}", (), 7, "the expression ends too early"),
        ("${{ inputs.n }} ${{ inputs.n = 1 }}", (), 29, "unexpected"),
    ],
)
def test_an_error_knows_its_place(value: Any, path: tuple[str | int, ...], offset: int, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        compile_template(value, ROOTS)
    assert message in str(caught.value)
    assert (caught.value.path, caught.value.offset) == (path, offset)


def test_a_missing_field_fails_the_rendering() -> None:
    with pytest.raises(MissingFieldError) as caught:
        render("Dear ${{ inputs.name }}")
    assert caught.value.path == "inputs.name"
    assert render("Dear ${{ inputs.?name }}") == "Dear "
    assert render("Dear ${{ inputs.?name.orValue('friend') }}") == "Dear friend"


@given(st.text())
def test_text_without_an_opening_is_left_alone(text: str) -> None:
    if "${{" not in text:
        assert render(text) == text


@given(st.text(alphabet="${} 'a\"\\"))
def test_no_text_breaks_the_scanner(text: str) -> None:
    with contextlib.suppress(ExpressionError):
        render(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    ),
)
def test_any_value_is_rendered_alone_as_it_is_and_in_text_as_its_json(value: Any) -> None:
    assert compile_template("${{ inputs.v }}", ROOTS).render({"inputs": {"v": value}}) == value
    text = compile_template(">${{ inputs.v }}", ROOTS).render({"inputs": {"v": value}})
    if isinstance(value, list | dict):
        assert json.loads(text[1:]) == value


def test_odd_values_have_a_text() -> None:
    assert to_text([2**70, "\ud800", Decimal("1.5")]) == '[1180591620717411303424,"\ud800",1.5]'
    assert to_text(1e300) == "1e+300"
    assert to_text(-0.0) == "0"
    with pytest.raises(ExpressionError, match="digits"):
        to_text(10**5000)
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ExpressionError, match="JSON"):
        to_text(deep)
