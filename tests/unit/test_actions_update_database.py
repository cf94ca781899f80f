"""The action update_database: its two forms, the SQL it builds, what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError
from support.actions import FakeSql, make_context, run_action

from hark.actions.sql_build import MOST_VALUES, quote_table
from hark.actions.update_database import UpdateDatabase, UpdateDatabaseConfig
from hark.workflows.catalogue import Effect


async def run(sql: FakeSql, /, **config: Any) -> dict[str, Any]:
    output: dict[str, Any] = await run_action(UpdateDatabase(), config, make_context(connect=sql.connect))
    return output


async def statement(**config: Any) -> tuple[Any, ...]:
    sql = FakeSql()
    await run(sql, **config)
    return sql.statements[0]


async def test_parameters_are_bound_in_the_order_of_the_sql() -> None:
    sql = FakeSql(count=3)
    output = await run(sql, sql="UPDATE t SET a = :a WHERE b = :b OR c = :a;", params={"b": 2, "a": [1]})
    assert sql.statements == [("UPDATE t SET a = $1 WHERE b = $2 OR c = $1", [1], 2)]
    assert output == {"rows": [], "row_count": 3, "truncated": False}


async def test_no_more_rows_than_asked_for_come_back() -> None:
    rows = [{"n": 1}, {"n": 2}, {"n": 3}]
    assert await run(FakeSql(rows=rows), sql="SELECT n FROM t", max_rows=2) == {
        "rows": rows[:2],
        "row_count": 2,
        "truncated": True,
    }
    assert (await run(FakeSql(rows=rows), sql="SELECT n FROM t", maxRows=3))["truncated"] is False


async def test_changed_rows_are_counted_whole_even_when_not_all_come_back() -> None:
    rows = [{"n": 1}, {"n": 2}, {"n": 3}]
    output = await run(FakeSql(rows=rows), sql="DELETE FROM t RETURNING n", max_rows=1)
    assert output == {"rows": rows[:1], "row_count": 3, "truncated": True}


@pytest.mark.parametrize(
    "config, sent",
    [
        (
            {"operation": "insert", "table": "public.clients", "values": {"email": "a", "from": None}},
            ('INSERT INTO "public"."clients" ("email", "from") VALUES ($1, $2)', "a", None),
        ),
        (
            {"operation": "insert", "table": "t", "values": [{"a": 1, "b": 2}, {"b": 4, "a": 3}], "returning": ["*"]},
            ('INSERT INTO "t" ("a", "b") VALUES ($1, $2), ($3, $4) RETURNING *', 1, 2, 3, 4),
        ),
        ({"operation": "insert", "table": "t", "values": {}}, ('INSERT INTO "t" DEFAULT VALUES',)),
        (
            {"operation": "upsert", "table": "t", "values": {"id": 1, "a": 2}, "conflict": ["id"]},
            ('INSERT INTO "t" ("id", "a") VALUES ($1, $2) ON CONFLICT ("id") DO UPDATE SET "a" = EXCLUDED."a"', 1, 2),
        ),
        (
            {"operation": "upsert", "table": "t", "values": {"id": 1}, "conflict": ["id"]},
            ('INSERT INTO "t" ("id") VALUES ($1) ON CONFLICT ("id") DO NOTHING', 1),
        ),
        (
            {"operation": "update", "table": "T", "values": {"a": 1}, "where": {"b": None, "c": [2, 3], "d": "x"}},
            ('UPDATE "T" SET "a" = $1 WHERE "b" IS NULL AND "c" = ANY($2) AND "d" = $3', 1, [2, 3], "x"),
        ),
        (
            {"operation": "delete", "table": "t", "where": {"id": 1}, "returning": ["id", "a"]},
            ('DELETE FROM "t" WHERE "id" = $1 RETURNING "id", "a"', 1),
        ),
    ],
)
async def test_an_operation_becomes_a_statement(config: dict[str, Any], sent: tuple[Any, ...]) -> None:
    assert await statement(**config) == sent


async def test_no_rows_to_insert_is_no_statement() -> None:
    sql = FakeSql()
    assert await run(sql, operation="insert", table="t", values=[]) == {"rows": [], "row_count": 0, "truncated": False}
    assert sql.statements == []


@pytest.mark.parametrize("name", ['a"; DROP TABLE t --', "a b", 'x" = 1 OR "y', "é"])
async def test_no_name_breaks_out_of_its_quotes(name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    sql, _ = await statement(operation="delete", table="t", where={name: 1})
    assert sql == f'DELETE FROM "t" WHERE {quoted} = $1'


@pytest.mark.parametrize(
    "table, quoted",
    [("clients", '"clients"'), ("a.b", '"a"."b"'), ('"a.b".c', '"a.b"."c"'), ('"say ""hi"""', '"say ""hi"""')],
)
def test_a_table_may_have_a_schema(table: str, quoted: str) -> None:
    assert quote_table(table) == quoted


@pytest.mark.parametrize("table", ["a.b.c", "a.", ".a", 'a"b', "a\0b", '"a" x', '"; DROP TABLE t'])
def test_what_is_no_table_is_refused(table: str) -> None:
    with pytest.raises(ValueError, match="is no table"):
        quote_table(table)


@pytest.mark.parametrize(
    "config, said",
    [
        ({}, "either `sql`, or `operation`"),
        ({"sql": "SELECT 1", "operation": "delete"}, "either `sql`, or `operation`"),
        ({"sql": "SELECT 1", "table": "t"}, "`table` does not go with `sql`"),
        ({"sql": "SELECT :emial", "params": {"email": 1}}, "did you mean email"),
        ({"sql": "SELECT 1", "params": {"email": 1}}, "has no parameter :email"),
        ({"sql": "COMMIT"}, "leave COMMIT out"),
        ({"operation": "drop", "table": "t"}, "insert"),
        ({"operation": "delete", "table": "t"}, "`operation: delete` needs `where`"),
        ({"operation": "delete", "table": "t", "where": {}}, "needs `where`, and not an empty one"),
        ({"operation": "update", "table": "t", "values": {"a": 1}, "where": {}}, "needs `where`"),
        ({"operation": "update", "table": "t", "values": {}, "where": {"a": 1}}, "needs `values`"),
        ({"operation": "update", "table": "t", "values": [{"a": 1}], "where": {"a": 1}}, "one mapping"),
        ({"operation": "insert", "table": "t"}, "needs `values`"),
        ({"operation": "insert", "values": {"a": 1}}, "needs `table`"),
        ({"operation": "insert", "table": "t", "values": {"a": 1}, "where": {"a": 1}}, "does not go with `insert`"),
        ({"operation": "insert", "table": "t", "values": {"a": 1}, "params": {}}, "`params` does not go with"),
        ({"operation": "insert", "table": "t", "values": [{"a": 1}, {"b": 1}]}, "the same columns"),
        ({"operation": "insert", "table": "a.b.c", "values": {"a": 1}}, "is no table"),
        ({"operation": "insert", "table": "t", "values": [{"a": 1}] * (MOST_VALUES + 1)}, "split the rows"),
        ({"operation": "upsert", "table": "t", "values": {"a": 1}}, "needs `conflict`"),
        ({"operation": "upsert", "table": "t", "values": {"a": 1}, "conflict": ["id"]}, "`conflict` names id"),
    ],
)
def test_a_wrong_config_is_refused_with_what_would_be_right(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        UpdateDatabaseConfig.model_validate(config)


@pytest.mark.parametrize(
    "connection, asked, effect",
    [
        ({}, "", Effect.TRANSACTIONAL),
        ({"connection": "home"}, "", Effect.TRANSACTIONAL),
        ({"connection": "Home"}, "", Effect.TRANSACTIONAL),
        ({"connection": "warehouse"}, "warehouse", Effect.EXTERNAL),
        ({"connection": "Warehouse"}, "warehouse", Effect.EXTERNAL),
    ],
)
async def test_the_effect_is_that_of_the_database(connection: dict[str, str], asked: str, effect: Effect) -> None:
    sql = FakeSql()
    await run(sql, sql="SELECT 1", **connection)
    assert sql.connections == [asked]
    assert UpdateDatabase().effect(connection) is effect
