"""Events from captured changes, and reading what the outbox holds."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hark.daemon.store.row_outbox import rows_of
from hark.triggers.row_changes import Interest, RowChange, changed_columns, events_of
from hark.triggers.table_name import TableName
from hark.workflows.ids import DEFAULT_TENANT, TenantId

OTHER = TenantId(UUID("00000000-0000-7000-8000-000000000002"))
EXECUTION = "01890000-0000-7000-8000-0000000000aa"
ALL = ("insert", "update", "delete", "truncate")


def captured(operation: str, old: Any = (), new: Any = (), **fields: Any) -> RowChange:
    known: dict[str, Any] = {
        "id": 1,
        "table": TableName("sales", "Clients"),
        "interests": (Interest(DEFAULT_TENANT, "row", ALL),),
        "transaction_id": 77,
        "occurred_at": datetime(2026, 1, 1, tzinfo=UTC),
        "row_count": max(len(old), len(new)),
        "statement_rows": max(len(old), len(new)),
    }
    return RowChange(**{**known, "operation": operation, "old": old, "new": new, **fields})


def test_each_row_is_an_event_with_all_that_is_promised() -> None:
    change = captured(
        "update",
        [{"id": 1, "n": 1}, {"id": 2, "n": 1}],
        [{"id": 1, "n": 2}, {"id": 2, "n": 1}],
        actor="anna",
        reason="moved",
        depth="3",
        execution_id=EXECUTION,
    )
    first, second = events_of(change)
    assert (first.kind, first.type, first.source) == ("row", "row.update", 'table:sales."Clients"')
    assert first.route == 'row:sales."Clients"'
    assert first.data == {
        "schema": "sales",
        "table": "Clients",
        "operation": "update",
        "old": {"id": 1, "n": 1},
        "new": {"id": 1, "n": 2},
        "changed": ["n"],
        "transaction_id": 77,
        "actor": "anna",
        "reason": "moved",
    }
    assert second.data["changed"] == []
    assert (first.depth, first.caused_by) == (3, UUID(EXECUTION))
    assert first.occurred_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_nonsense_in_the_settings_of_a_writer_is_ignored() -> None:
    (event,) = events_of(captured("insert", new=[{}], depth="-1; drop", execution_id="me"))
    assert (event.depth, event.caused_by) == (0, None)


def test_every_interest_gets_what_it_asked_for() -> None:
    interests = (
        Interest(DEFAULT_TENANT, "row", ("insert", "update")),
        Interest(OTHER, "row", ("delete",)),
        Interest(OTHER, "statement", ("insert",)),
    )
    events = list(events_of(captured("insert", new=[{"id": 1}, {"id": 2}], interests=interests)))
    assert [(event.tenant_id, event.route.split(":")[0]) for event in events] == [
        (DEFAULT_TENANT, "row"),
        (DEFAULT_TENANT, "row"),
        (OTHER, "rows"),
    ]
    assert events[2].data["rows"] == [
        {"old": None, "new": {"id": 1}, "changed": []},
        {"old": None, "new": {"id": 2}, "changed": []},
    ]
    assert events[2].data["count"] == 2


def test_a_large_statement_is_one_event_that_shows_its_first_rows() -> None:
    interests = (Interest(DEFAULT_TENANT, "statement", ALL),)
    first = captured("insert", new=[{"id": 1}], interests=interests, part=0, statement_rows=100_000)
    later = captured("insert", new=[{"id": 2}], interests=interests, part=1, statement_rows=0)
    (event,) = events_of(first)
    assert (event.data["count"], len(event.data["rows"])) == (100_000, 1)
    assert list(events_of(later)) == []


def test_truncate_has_no_rows_and_may_name_the_partition() -> None:
    (event,) = events_of(captured("truncate", partition="sales.clients_2026"))
    assert (event.data["old"], event.data["new"], event.data["partition"]) == (None, None, "sales.clients_2026")


def test_what_was_left_out_is_named() -> None:
    small, large = events_of(captured("insert", new=[{"id": 1, "doc": "x"}, {"id": 2}], left_out=["doc", "doc"]))
    assert "left_out" not in small.data
    assert large.data["left_out"] == ["doc"]


def test_a_change_that_could_not_be_captured_is_still_an_event() -> None:
    (event,) = events_of(captured("insert", error="out of memory"))
    assert (event.data["new"], event.data["error"]) == (None, "out of memory")


@pytest.mark.parametrize(
    "old, new, changed",
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": True}, ["a"]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [True, 2]}}, ["a"]),
        ({"a": {"b": 1, "c": True}}, {"a": {"c": True, "b": 1.0}}, []),
        ({"a": None}, {"a": 0}, ["a"]),
        ({"a": 1, "b": 2}, {"a": 1}, ["b"]),
        ({"a": 1}, {"a": 1, "b": 2}, ["b"]),
        (None, {"a": 1}, []),
    ],
)
def test_changed_columns(old: Any, new: Any, changed: list[str]) -> None:
    assert changed_columns(old, new) == changed


@pytest.mark.parametrize(
    "text, rows",
    [
        (None, []),
        ('[{"a":1}]', [{"a": 1}]),
        (r'[{"a":"x\u0000y"}]', [{"a": "x\ufffdy"}]),
        (r'[{"a":"x\\u0000y"}]', [{"a": r"x\u0000y"}]),
        (r'[{"a":"\ud800"}]', [{"a": "\ufffd"}]),
        ('[{"a":' + "9" * 5000 + r',"b":"\ud800"}]', [{"a": float("inf"), "b": "\ufffd"}]),
        (r'[{"a":12345678901234567890123,"b":"\ud800"}]', [{"a": 1.2345678901234568e22, "b": "\ufffd"}]),
    ],
)
def test_what_json_holds_and_jsonb_refuses_is_made_fit(text: str | None, rows: list[Any]) -> None:
    assert rows_of(text) == rows
    assert orjson.dumps(rows_of(text))


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=8))
def test_whatever_postgresql_writes_can_be_stored(value: Any) -> None:
    text = json.dumps([{"a": value}], allow_nan=False) if _finite(value) else "[]"
    assert b"\\u0000" not in orjson.dumps(rows_of(text))


def _finite(value: Any) -> bool:
    return all(map(_finite, value)) if isinstance(value, list) else not isinstance(value, float) or abs(value) < 1e308
