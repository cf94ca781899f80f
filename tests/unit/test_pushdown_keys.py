"""What a condition asks of columns by equality, as texts."""

from __future__ import annotations

import pytest

from hark.workflows.expressions import compile_expression
from hark.workflows.pushdown_keys import bounds_of, keys_of, widest

COLUMNS = {
    "t": "text",
    "i": "integer",
    "b": "bigint",
    "ok": "boolean",
    "id": "uuid",
    "n": "numeric",
    "d": "date",
    "z": "real",
}
T = '(NEW."t"::text COLLATE "C")::text'
I = 'NEW."i"::text'  # noqa: E741 - the column's name


def keys(source: str, operation: str = "insert") -> dict[str, set[str]]:
    found = keys_of(compile_expression(source), COLUMNS, operation=operation)
    return {column: set(texts) for column, texts in found.items()}


@pytest.mark.parametrize(
    "source, expected",
    [
        ('new.t == "a"', {T: {"a"}}),
        ('"a" == new.t', {T: {"a"}}),
        ('event.data.new.t == "a" && new.i > 3', {T: {"a"}}),
        ('new.t in ["a", "b"] && (new.i == 5 && new.ok)', {T: {"a", "b"}, I: {"5"}}),
        ("new.i in [1, 2.0, -3]", {I: {"1", "2", "-3"}}),
        ("new.i == -0.0", {I: {"0"}}),
        ("new.ok == true", {'NEW."ok"::text': {"true"}}),
        ("new.i in []", {I: set()}),
    ],
)
def test_equalities_that_must_hold_are_keys(source: str, expected: dict[str, set[str]]) -> None:
    assert keys(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        'new.t == "a" || new.i == 1',
        '!(new.t == "a")',
        'new.t != "a"',
        "new.t == null",
        'new.t in ["a", null]',
        "new.i == 5.5",
        "new.i == true",
        'new.i == "5"',
        "new.n == 1",
        "new.z == 1",
        'new.t == "a\\u0000"',
        f'new.t == "{"x" * 201}"',
        "new.t == new.id",
        'old.t == "a"',
        'new.?t.orValue("") == "a"',
    ],
)
def test_whatever_says_less_or_something_else_is_none(source: str) -> None:
    assert keys(source) == {}


def test_an_update_has_keys_of_both_rows() -> None:
    assert set(keys('old.t == "a" && new.t == "b"', "update")) == {T, T.replace("NEW", "OLD")}


def bound(source: str) -> list[tuple[str, bool, str]]:
    found = bounds_of(compile_expression(source), COLUMNS, operation="insert")
    return [(column, below, one.sql) for (column, below), one in found.items()]


N, I_ = 'NEW."n"', 'NEW."i"'


@pytest.mark.parametrize(
    "source, expected",
    [
        ("new.i > 5", [(I_, True, f"({I_} > 5)")]),
        ("5.5 >= new.i && new.ok", [(I_, False, f"({I_} <= 5.5)")]),
        ("new.i > 1 && new.i <= 9", [(I_, True, f"({I_} > 1)"), (I_, False, f"({I_} <= 9)")]),
        ('new.t < "m"', [('(NEW."t"::text COLLATE "C")', False, """((NEW."t"::text COLLATE "C") < 'm')""")]),
        ("new.i > 1 || new.i > 2", []),
        ("!(new.i > 1)", []),
        ('new.t > "é"', []),
        ('new.i > "5"', []),
        ("new.n > 1e300", []),
        ("new.z > 1", []),
        ("old.i > 1", []),
        ("new.i > new.b", []),
        ("new.i > true", []),
    ],
)
def test_comparisons_by_order_that_must_hold_are_bounds(source: str, expected: list[tuple[str, bool, str]]) -> None:
    assert bound(source) == expected


@pytest.mark.parametrize(
    "sources, expected",
    [
        (["new.i > 5", "new.i >= 5", "new.i > 7"], ">= 5)"),
        (["new.i > 5", "new.i >= 5.5"], "> 5)"),
        (["new.i < 5", "new.i <= 5", "new.i < 4"], "<= 5)"),
        (["new.i < -1", "new.i < -2.5"], "< (-1))"),
    ],
)
def test_the_widest_bound_stands_for_all(sources: list[str], expected: str) -> None:
    found = [bounds_of(compile_expression(source), COLUMNS, operation="insert") for source in sources]
    (side,) = found[0]
    assert widest((each[side] for each in found), below=side[1]).sql == f"({I_} {expected}"
