"""The `row` trigger's config, and whether a change concerns it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.triggers import WORKFLOW

from hark.triggers.row import RowTrigger
from hark.triggers.row_changes import changed_columns
from hark.triggers.row_config import RowConfig, why_not
from hark.triggers.table_name import TableName


def config(**fields: Any) -> RowConfig:
    return RowConfig.model_validate({"table": "clients", **fields})


def change(operation: str, old: Any = None, new: Any = None, **fields: Any) -> dict[str, Any]:
    return {"operation": operation, "old": old, "new": new, "changed": changed_columns(old, new), **fields}


@pytest.mark.parametrize(
    "written, name",
    [
        ("clients", TableName("public", "clients")),
        ("Clients", TableName("public", "clients")),
        ('"Clients"', TableName("public", "Clients")),
        (' sales . "Order Lines" ', TableName("sales", "Order Lines")),
        ('"a.b"."c""d"', TableName("a.b", 'c"d')),
        ("größe", TableName("public", "größe")),
    ],
)
def test_a_table_is_named_as_in_sql(written: str, name: TableName) -> None:
    assert TableName.parse(written) == name
    assert TableName.parse(str(name)) == name


@pytest.mark.parametrize(
    "written", ["", "a.", ".a", "a b", "a..b", '"a', "a;drop", "db.public.clients", "x" * 64, '""']
)
def test_what_is_no_table_name_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"name|write"):
        TableName.parse(written)


@given(st.tuples(st.text(min_size=1, max_size=15), st.text(min_size=1, max_size=15)))
def test_every_name_that_postgresql_can_have_is_read_back(parts: tuple[str, str]) -> None:
    if any("\0" in part for part in parts):
        return
    assert TableName.parse(str(TableName(*parts))) == TableName(*parts)


def test_without_operations_it_is_about_new_rows_or_about_updates_when_it_looks_at_changes() -> None:
    assert config().operations == ["insert"]
    assert config(columns="status").operations == ["update"]
    assert config(**{"from": {"status": "lead"}}).operations == ["update"]
    assert config(to={"status": "lead"}).operations == ["insert"]
    assert config(operations="DELETE").operations == ["delete"]


def test_a_value_alone_stands_for_the_one_column() -> None:
    short = config(columns="status", **{"from": "lead", "to": None})
    assert short.from_ == {"status": "lead"}
    assert short.to == {"status": None}


@pytest.mark.parametrize(
    "fields, complaint",
    [
        ({"columns": ["a", "b"], "to": 1}, "exactly one column"),
        ({"to": 1}, "exactly one column"),
        ({"operations": ["insert"], "columns": ["a"]}, "add update"),
        ({"operations": ["insert"], "from": {"a": 1}}, "add update or delete"),
        ({"operations": ["delete"], "to": {"a": 1}}, "add insert or update"),
        ({"operations": ["upsert"]}, "insert"),
        ({"operations": []}, "at least 1"),
        ({"operations": [1]}, "insert"),
        ({"per": "statement", "operations": "update", "columns": ["a"]}, "single rows"),
        ({"table": "a b"}, "no table's name"),
        ({"colums": ["a"]}, "colums"),
    ],
)
def test_what_cannot_have_an_effect_is_refused(fields: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        config(**fields)


def test_an_operation_that_was_not_asked_for_does_not_concern_it() -> None:
    assert why_not(config(), change("insert", new={"a": 1})) is None
    assert why_not(config(), change("delete", old={"a": 1})) == "delete is not among its operations"


def test_an_update_counts_only_if_a_named_column_changed() -> None:
    watcher = config(columns=["status", "owner"])
    assert why_not(watcher, change("update", {"status": 1, "owner": 2}, {"status": 1, "owner": 3})) is None
    reason = why_not(watcher, change("update", {"status": 1, "owner": 2, "x": 1}, {"status": 1, "owner": 2, "x": 2}))
    assert reason == "status and owner did not change"


def test_a_transition_is_entering_a_state_not_staying_in_it() -> None:
    watcher = config(operations=["insert", "update"], to={"status": "won"})
    assert why_not(watcher, change("insert", new={"status": "won"})) is None
    assert why_not(watcher, change("insert", new={"status": "lead"})) == "status is not 'won'"
    assert why_not(watcher, change("update", {"status": "lead"}, {"status": "won"})) is None
    assert why_not(watcher, change("update", {"status": "won", "n": 1}, {"status": "won", "n": 2})) is not None


def test_from_looks_at_the_row_before_also_in_a_delete() -> None:
    watcher = config(operations=["insert", "update", "delete"], **{"from": {"status": ["lead", None]}})
    assert why_not(watcher, change("update", {"status": None}, {"status": "won"})) is None
    assert why_not(watcher, change("update", {"status": "lost"}, {"status": "won"})) == "status was not ['lead', None]"
    assert why_not(watcher, change("delete", {"status": "lead"})) is None
    assert why_not(watcher, change("delete", {"status": "won"})) is not None
    assert why_not(watcher, change("insert", new={"status": "won"})) is None


def test_true_is_not_one() -> None:
    watcher = config(operations="insert", to={"flag": True})
    assert why_not(watcher, change("insert", new={"flag": True})) is None
    assert why_not(watcher, change("insert", new={"flag": 1})) is not None


def test_a_column_that_was_too_large_to_be_captured_may_have_changed() -> None:
    watcher = config(columns=["doc", "n"])
    assert why_not(watcher, change("update", {"n": 1}, {"n": 1}, left_out=["doc"])) is None
    watcher = config(operations="insert", to={"doc": "x"})
    assert why_not(watcher, change("insert", new={"n": 1}, left_out=["doc"])) == "doc is not known"


def test_of_a_row_that_could_not_be_captured_only_the_operation_is_known() -> None:
    lost = change("update", error="no memory")
    assert why_not(config(operations="update"), lost) is None
    assert why_not(config(columns="a"), lost) == "the row is not known: no memory"


def test_rows_and_statements_have_routes_of_their_own() -> None:
    kind = RowTrigger()
    assert kind.route(config(), WORKFLOW, "t") == "row:public.clients"
    assert kind.route(config(table='"Clients"', per="statement"), WORKFLOW, "t") == 'rows:public."Clients"'


def test_expressions_see_old_and_new_where_there_are_rows() -> None:
    kind = RowTrigger()
    assert kind.scope(change("insert", new={"a": 1})) == {"old": None, "new": {"a": 1}}
    assert kind.scope({"operation": "insert", "rows": []}) == {}
