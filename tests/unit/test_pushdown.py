"""Push-down: what is translated, and what is left to the event. That it is true to CEL is tested on PostgreSQL."""

from __future__ import annotations

import pytest

from hark.workflows.expressions import ROOTS, compile_expression
from hark.workflows.pushdown import quote_identifier, quote_text, to_sql

COLUMNS = {
    "status": "text",
    "code": "character varying(20)",
    "n": "integer",
    "big": "bigint",
    "amount": "numeric(10,2)",
    "ok": "boolean",
    "id": "uuid",
    "at": "timestamp with time zone",
    "tags": "text[]",
    "prices": "numeric(3,1)[]",
    'odd"name': "text",
}


def pushed(source: str, operation: str = "update") -> str | None:
    return to_sql(compile_expression(source, ROOTS), COLUMNS, operation=operation)


@pytest.mark.parametrize(
    "source, sql",
    [
        ('new.status == "lead"', """((NEW."status"::text COLLATE "C") IS NOT DISTINCT FROM 'lead')"""),
        ('"lead" != new.code', """((NEW."code"::text COLLATE "C") IS DISTINCT FROM 'lead')"""),
        ("new.n > 10 && old.n <= -3", '((NEW."n" > 10) AND (OLD."n" <= (-3)))'),
        ("10 < new.n", '(NEW."n" > 10)'),
        ("new.n >= 1.5", '(NEW."n" >= 1.5)'),
        ("!(new.n > 1 || new.ok)", '((NEW."n" <= 1) AND (NOT NEW."ok"))'),
        ("new.n in [1, 2]", '((NEW."n" IS NOT DISTINCT FROM 1) OR (NEW."n" IS NOT DISTINCT FROM 2))'),
        ("new.n in []", "false"),
        ("new.n == null || new.ok == true", '((NEW."n" IS NULL) OR (NEW."ok" IS NOT DISTINCT FROM true))'),
        ("old.n != new.n", '(OLD."n" IS DISTINCT FROM NEW."n")'),
        ("old.amount != new.amount", '(OLD."amount"::text IS DISTINCT FROM NEW."amount"::text)'),
        ("new.big < old.n", '(NEW."big" < OLD."n")'),
        ('new["odd\\"name"] == "x"', """((NEW."odd""name"::text COLLATE "C") IS NOT DISTINCT FROM 'x')"""),
        ("event.data.new.ok && !event.data.old.ok", '(NEW."ok" AND (NOT OLD."ok"))'),
        ("has(new.n)", "true"),
    ],
)
def test_a_condition_on_known_columns_has_sql(source: str, sql: str) -> None:
    assert pushed(source) == sql


@pytest.mark.parametrize(
    "source",
    [
        'new.tags == "x"',
        "new.prices == 1.0",
        'new.nope == "x"',
        'new.n == "5"',
        "new.status == 5",
        "new.ok == 1",
        "new.n",
        "new.status == old.code || inputs.x == 1",
        'new.status < "é"',
        "new.status < old.status",
        "old.amount == new.amount",
        "new.amount == 9007199254740993",
        'new.status == "a\\u0000"',
        "new.n == 5e-324",
        'new.status.startsWith("x")',
        "new.n + 1 == 2",
        "new.n in new.tags",
        'new.n in [1, "x"]',
        "!has(new.n)",
        "new.ok ? true : false",
        "old == null",
        "new.list.exists(new, new.ok)",
    ],
)
def test_what_cannot_be_sure_has_none(source: str) -> None:
    assert pushed(source) is None


def test_what_has_no_sql_is_left_out_where_that_lets_more_through() -> None:
    assert pushed('new.ok && new.status.startsWith("x")') == 'NEW."ok"'
    assert pushed('!(new.ok || new.status.startsWith("x"))') == '(NOT NEW."ok")'
    assert pushed("(new.ok && inputs.x == 1) || new.n == 1") == '(NEW."ok" OR (NEW."n" IS NOT DISTINCT FROM 1))'
    assert pushed('new.ok || new.status.startsWith("x")') is None
    assert pushed('!(new.ok && new.status.startsWith("x"))') is None
    assert pushed('!(new.n in [1, "x"])') == '(NEW."n" IS DISTINCT FROM 1)'


@pytest.mark.parametrize("operation, present, absent", [("insert", "new", "old"), ("delete", "old", "new")])
def test_the_row_that_an_operation_lacks_is_never_named(operation: str, present: str, absent: str) -> None:
    assert pushed(f"{absent}.n == 1", operation) == "false"
    assert pushed(f"{present}.ok || {absent}.n != 1", operation) == f'({present.upper()}."ok" OR NULL::boolean)'
    assert pushed(f"{present}.n != {absent}.n", operation) == "false"
    assert pushed(f"!has({absent}.n) && {present}.ok", operation) == f'(true AND {present.upper()}."ok")'
    assert pushed(f"has({absent}.n)", operation) == "false"
    assert pushed(f"!({absent}.n in [1])", operation) == "false"


def test_text_cannot_break_out_of_its_quotes() -> None:
    assert quote_text("it's") == "'it''s'"
    assert quote_text("\\'; DROP TABLE x; --") == "E'\\\\''; DROP TABLE x; --'"
    assert quote_identifier('a"; DROP TABLE x; --') == '"a""; DROP TABLE x; --"'
