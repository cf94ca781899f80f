"""Push-down on PostgreSQL: the SQL is true wherever the condition holds on the row as JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hark.triggers.capture_filters import MOST_JOINED, filter_of, joined
from hark.triggers.capture_plan import Column, Relation, Table
from hark.triggers.row_config import RowConfig
from hark.triggers.table_name import TableName
from hark.workflows.errors import ExpressionError
from hark.workflows.expressions import ROOTS, Expression, compile_expression
from hark.workflows.pushdown import to_sql

COLUMNS = {
    "t": "text",
    "v": "character varying(40)",
    "i": "integer",
    "s": "smallint",
    "b": "bigint",
    "n": "numeric",
    "ok": "boolean",
    "id": "uuid",
    "d": "date",
    "at": "timestamp without time zone",
    "tz": "timestamp(3) with time zone",
}
UUIDS = ["550e8400-e29b-41d4-a716-446655440000", "00000000-0000-0000-0000-000000000000"]
TEXTS = ["", "a", "b", "A", "ab", "é", "z", "😀", "o'x\\y\n", "5", "true", "null", UUIDS[0], UUIDS[0].upper()]
SMALL = [0, 1, -1, 5, 32767]
NUMERICS = ["0", "0.1", "0.10000000000000000001", "0.099999999999999999999", "5", "5.0", "5.00000000000000000000001"]
NUMERICS += ["1e-30", "-1", "9007199254740993.0", "9007199254740993", "1e300", "NaN", "Infinity", "-Infinity"]
VALUES: dict[str, list[Any]] = {
    "t": TEXTS,
    "v": TEXTS[::-1],
    "i": SMALL,
    "s": SMALL[::-1],
    "b": [*SMALL, 2**53, 2**53 + 1, 2**63 - 1, -(2**63)],
    "n": NUMERICS,
    "ok": [True, False],
    "id": UUIDS,
    "d": ["2026-03-01", "1999-12-31", "infinity", "-infinity", "0044-03-15 BC", "12026-01-01"],
    "at": ["2026-03-01T09:30:00", "2026-03-01T09:30:00.25", "infinity", "0044-03-15T00:00:00 BC", "12026-01-01"],
    "tz": ["2026-03-01T09:30:00+00:00", "2026-03-01T04:00:00.25+05:30", "infinity", "-infinity", "0044-03-15 BC"],
}
MOMENTS = ["2026-03-01", "2026-03-01T09:30:00", "2026-03-01T09:30:00+00:00", "infinity", "0044-03-15 BC", "2"]


class Rows:
    """Old and new rows in all pairs: in the database, and as the JSON that a condition sees."""

    def __init__(self, runner: asyncio.Runner, connection: asyncpg.Connection, scopes: list[dict[str, Any]]) -> None:
        self.runner = runner
        self.connection = connection
        self.scopes = scopes

    def passing(self, sql: str) -> list[bool | None]:
        """Evaluate a condition in SQL on every pair, in the order of `scopes`."""
        self.runner.run(self.connection.execute("SET timezone = 'Asia/Kolkata'; SET datestyle = 'German'"))
        query = f'SELECT ({sql}) FROM rows AS old, rows AS new ORDER BY old."key", new."key"'
        return [record[0] for record in self.runner.run(self.connection.fetch(query))]

    def holding(self, expression: Expression, without: str = "") -> list[bool]:
        """Evaluate a condition in CEL on every pair, without the row that an operation does not have."""
        return [holds(expression, _without(scope, without)) for scope in self.scopes]


def _without(scope: dict[str, Any], row: str) -> dict[str, Any]:
    if not row:
        return scope
    data = {key: value for key, value in scope["event"]["data"].items() if key != row}
    return {**{key: value for key, value in scope.items() if key != row}, "event": {"data": data}}


@pytest.fixture(scope="module")
def rows(server_url: str) -> Iterator[Rows]:
    """Fill a temporary table with every value of every column, and give it a loop that outlives the examples."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(server_url))
        yield Rows(runner, connection, runner.run(_filled(connection)))
        runner.run(connection.close())


async def _filled(connection: asyncpg.Connection) -> list[dict[str, Any]]:
    declared = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    await connection.execute("SET timezone = 'UTC'")  # as capture does
    await connection.execute(f"CREATE TEMPORARY TABLE rows (key int, {declared})")
    for key in range(max(map(len, VALUES.values())) + 1):
        row = {name: [None, *values][key % (len(values) + 1)] for name, values in VALUES.items()}
        insert = "INSERT INTO rows SELECT * FROM jsonb_populate_record(NULL::rows, $1)"
        await connection.execute(insert, json.dumps({"key": key, **row}))
    pairs = "SELECT to_jsonb(old), to_jsonb(new) FROM rows AS old, rows AS new ORDER BY old.key, new.key"
    return [_scope(json.loads(old), json.loads(new)) for old, new in await connection.fetch(pairs)]


def _scope(old: Any, new: Any) -> dict[str, Any]:
    return {"old": old, "new": new, "event": {"data": {"new": new}}}


def holds(expression: Expression, scope: dict[str, Any]) -> bool:
    try:
        return expression.holds(scope)
    except ExpressionError:
        return False


def _combined(atoms: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.recursive(
        atoms,
        lambda inner: st.one_of(
            st.builds("({} && {})".format, inner, inner),
            st.builds("({} || {})".format, inner, inner),
            st.builds("!{}".format, inner),
        ),
        max_leaves=6,
    )


def _fields(*names: str) -> st.SearchStrategy[str]:
    return st.builds("{}.{}".format, st.sampled_from(["new", "old", "event.data.new"]), st.sampled_from(names))


def _compared(fields: st.SearchStrategy[str], symbols: str, operands: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    build = "({} {} {})".format
    symbol = st.sampled_from(symbols.split())
    return st.builds(build, fields, symbol, operands) | st.builds(build, operands, symbol, fields)


def _among(fields: st.SearchStrategy[str], operands: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.builds("({} in [{}])".format, fields, st.lists(operands, max_size=3).map(", ".join))


_ANY_ORDER = "== != < <= > >="
_TEXTS = st.sampled_from(TEXTS).map(lambda text: json.dumps(text, ensure_ascii=False))
_ASCII = st.sampled_from([text for text in TEXTS if text.isascii()]).map(json.dumps)
_MOMENTS = st.sampled_from(MOMENTS).map(json.dumps)
_INTEGERS = st.sampled_from(["0", "1", "5", "5.0", "-1", "1.5", "0.1", "9007199254740993", "9223372036854775807"])
_NUMBERS = st.sampled_from(["0", "0.0", "5", "5.0", "0.1", "-1", "9007199254740992", "9007199254740993", "1e300"])


# Composites, because Hypothesis describes them by their names: the description of the whole would be 40 kB.
@st.composite
def exact_atoms(draw: st.DrawFn) -> str:
    """Draw what SQL decides exactly as CEL does."""
    strategies = [
        _compared(_fields("t", "v", "id"), "== !=", _TEXTS | _fields("t", "v")),
        _compared(_fields("t", "v", "id"), _ANY_ORDER, _ASCII),
        _compared(_fields("d", "at", "tz"), _ANY_ORDER, _MOMENTS)
        | _compared(_fields("d", "tz"), "== !=", _fields("t")),
        _compared(_fields("i", "s", "b"), _ANY_ORDER, _INTEGERS | _fields("i", "s", "b")),
        _compared(_fields("ok"), "== !=", st.sampled_from(["true", "false"]) | _fields("ok")),
        _compared(_fields(*COLUMNS), "== !=", st.just("null")),
        _among(_fields("t", "v", "id"), _TEXTS | st.just("null")),
        _among(_fields("i", "s", "b"), _INTEGERS | st.just("null")),
        _fields("ok"),
        st.sampled_from(["true", "false"]),
    ]
    return draw(st.one_of(strategies))


@st.composite
def any_atoms(draw: st.DrawFn) -> str:
    """Draw also what SQL decides roughly, or not at all."""
    strategies = [
        exact_atoms(),
        _compared(_fields(*COLUMNS), _ANY_ORDER, _TEXTS | _INTEGERS | _NUMBERS | _fields(*COLUMNS)),
        _compared(_fields("n"), _ANY_ORDER, _NUMBERS | _fields("n")),
        _among(_fields(*COLUMNS), _TEXTS | _NUMBERS),
        st.builds("has({})".format, _fields("t", "n", "nope")),
        st.sampled_from(["new.t.size() > 1", "new.nope == 1", "old.i + 1 > 2"]),
    ]
    return draw(st.one_of(strategies))


@given(condition=_combined(any_atoms()))
@settings(max_examples=80)
def test_no_row_is_lost_for_which_the_condition_holds(rows: Rows, condition: str) -> None:
    try:
        expression = compile_expression(condition, ROOTS)
    except ExpressionError:  # what the type checker refuses, such as `!1`
        return
    sql = to_sql(expression, COLUMNS, operation="update")
    if sql is not None:
        lost = [
            scope
            for scope, passed, held in zip(rows.scopes, rows.passing(sql), rows.holding(expression), strict=True)
            if held and not passed
        ]
        assert not lost, (condition, sql, lost[0])


@given(condition=_combined(exact_atoms()), operation=st.sampled_from(["insert", "update", "delete"]))
@settings(max_examples=80)
def test_on_exact_types_the_sql_is_the_condition(rows: Rows, condition: str, operation: str) -> None:
    expression = compile_expression(condition, ROOTS)
    sql = to_sql(expression, COLUMNS, operation=operation)
    assert sql is not None
    held = rows.holding(expression, without={"insert": "old", "delete": "new"}.get(operation, ""))
    for scope, passed, expected in zip(rows.scopes, rows.passing(sql), held, strict=True):
        assert (passed is True) is expected, (condition, sql, scope)


@st.composite
def bounds(draw: st.DrawFn) -> str:
    """Draw a condition that bounds one column, perhaps with something else beside it."""
    numbers = st.sampled_from(["0", "1", "5", "5.0", "4.5", "-1", "0.1", "9007199254740992"])
    texts = st.sampled_from(["", "A", "a", "b", *MOMENTS]).map(json.dumps)
    order = "< <= > >="
    bound = _compared(_fields("i", "b", "n"), order, numbers) | _compared(_fields("t", "d", "tz"), order, texts)
    return draw(bound | st.builds("{} && {}".format, bound, any_atoms()))


@given(conditions=st.lists(bounds(), min_size=MOST_JOINED + 1, max_size=14, unique=True))
@settings(max_examples=12)
def test_no_row_is_lost_that_one_of_many_bounded_conditions_wants(rows: Rows, conditions: list[str]) -> None:
    table = Table(TableName("public", "t"), Relation(1, "t"), tuple(Column(*column) for column in COLUMNS.items()))
    config = RowConfig(table="t", operations=["update"])
    filters = [filter_of(config, condition, "update", table) for condition in conditions]
    known = [each for each in filters if each is not None]
    guard = joined(known, "wants_")
    if guard is None or guard.sets or len(known) < len(conditions):
        return
    held = [rows.holding(compile_expression(condition, ROOTS)) for condition in conditions]
    wanted = list(map(any, zip(*held, strict=True)))
    lost = [
        scope
        for scope, passed, one in zip(rows.scopes, rows.passing(guard.sql), wanted, strict=True)
        if one > (passed is True)
    ]
    assert not lost, (guard.sql, lost[0])


async def test_a_trigger_takes_the_sql_of_every_operation(connection: asyncpg.Connection) -> None:
    await connection.execute("CREATE TABLE public.watched (id int PRIMARY KEY, status text, n numeric(10, 2))")
    await connection.execute("CREATE TABLE public.heard (id int, operation text)")
    await connection.execute(
        """CREATE FUNCTION public.hear() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN INSERT INTO public.heard VALUES (coalesce(NEW.id, OLD.id), TG_OP); RETURN NULL; END $$""",
    )
    condition = compile_expression('new.status == "it\'s" || old.status == "\\\\gone"', ROOTS)
    for operation in ("insert", "update", "delete"):
        sql = to_sql(condition, {"id": "integer", "status": "text"}, operation=operation)
        await connection.execute(
            f"CREATE TRIGGER on_{operation} AFTER {operation} ON public.watched FOR EACH ROW WHEN ({sql}) "
            "EXECUTE FUNCTION public.hear()",
        )
    await connection.execute("INSERT INTO public.watched VALUES (1, 'it''s', 1), (2, NULL, NULL), (3, E'\\\\gone', 2)")
    await connection.execute("UPDATE public.watched SET n = 5 WHERE id IN (1, 2, 3)")
    await connection.execute("DELETE FROM public.watched")
    heard = await connection.fetch("SELECT id, operation FROM public.heard ORDER BY id, operation")
    assert [tuple(row) for row in heard] == [(1, "INSERT"), (1, "UPDATE"), (3, "DELETE"), (3, "UPDATE")]
