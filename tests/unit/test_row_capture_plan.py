"""Which database triggers a table gets, given who watches it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from support.triggers import active

from hark.triggers import capture_plan
from hark.triggers.capture_filters import MOST_JOINED, filter_of
from hark.triggers.capture_plan import (
    CapturePlan,
    CapturePlanner,
    Column,
    Placement,
    Relation,
    Table,
    plan_captures,
    watchers_of,
)
from hark.triggers.row_changes import Interest
from hark.triggers.row_config import RowConfig
from hark.triggers.table_name import TableName
from hark.workflows.catalogue import ActiveTrigger
from hark.workflows.ids import DEFAULT_TENANT, TenantId

OTHER = TenantId(UUID("00000000-0000-7000-8000-000000000002"))
CLIENTS = TableName("public", "clients")
COLUMNS = (
    Column("id", "bigint"),
    Column("status", "text"),
    Column("mood", "mood", "e"),
    Column("data", "json"),
    Column("shadow", "text", "b", "v"),
)
TABLE = Table(CLIENTS, Relation(7, "clients"), COLUMNS)
PARTITIONED = replace(
    TABLE,
    relation=Relation(7, "clients", "p"),
    descendants=(Relation(8, "clients_a"), Relation(9, "clients_b", "p"), Relation(10, "clients_b1")),
)
LEAD = 'new.status == "lead"'


def watch(when: str | None = None, tenant: TenantId = DEFAULT_TENANT, **fields: Any) -> ActiveTrigger:
    return active("row", RowConfig.model_validate({"table": "clients", **fields}), when=when, tenant_id=tenant)


def plan(*triggers: ActiveTrigger, table: Table = TABLE) -> CapturePlan:
    (only,) = plan_captures(triggers, {CLIENTS: table})
    return only


def shape(placements: tuple[Placement, ...]) -> list[tuple[str, str, str, str]]:
    return [(each.relation.label, each.operation, each.level, each.mode) for each in placements]


def test_an_unfiltered_table_has_one_statement_trigger_per_operation() -> None:
    made = plan(watch(operations=["insert", "truncate"]), watch(operations=["insert", "delete"]))
    assert shape(made.placements) == [
        ("clients", "insert", "STATEMENT", "row"),
        ("clients", "delete", "STATEMENT", "row"),
        ("clients", "truncate", "STATEMENT", "row"),
    ]
    assert all(each.condition is None for each in made.placements)


def test_when_every_watcher_has_a_filter_they_are_joined_in_a_row_trigger() -> None:
    made = plan(watch(LEAD), watch("new.id > 7"), watch(LEAD))
    (only,) = made.placements
    assert (only.level, only.name) == ("ROW", "hark_capture_insert_row")
    assert only.condition == (
        """(((NEW."status"::text COLLATE "C") IS NOT DISTINCT FROM 'lead')) OR ((NEW."id" > 7))"""
    )


@pytest.mark.parametrize(
    "other",
    [watch(), watch("new.data.x == 1"), watch(LEAD, per="statement"), watch(LEAD, capture="all")],
    ids=["no filter", "no SQL for it", "wants statements", "wants everything"],
)
def test_one_watcher_who_wants_all_makes_it_a_statement_trigger(other: ActiveTrigger) -> None:
    (only,) = plan(watch(LEAD), other).placements
    assert (only.level, only.condition, only.mode) == ("STATEMENT", None, "row")


def test_filters_of_one_operation_do_not_hold_up_another() -> None:
    made = plan(watch(LEAD, operations=["insert", "update"]), watch(operations=["update"]))
    assert shape(made.placements) == [("clients", "insert", "ROW", "row"), ("clients", "update", "STATEMENT", "row")]


@pytest.mark.parametrize(
    "columns, formatted",
    [
        ([Column("a", "bigint"), Column("b", "numeric(12,2)")], False),
        ([Column("a", "text[]"), Column("b", "mood", "e")], False),
        ([Column("a", "bigint"), Column("b", "timestamp(3) with time zone")], False),
        ([Column("a", "bigint"), Column("b", "interval")], True),
        ([Column("a", "double precision")], True),
        ([Column("a", "mood")], True),
    ],
)
def test_only_where_settings_of_the_writer_show_in_a_row_are_they_set(columns: list[Column], formatted: bool) -> None:
    table = replace(TABLE, columns=tuple(columns))
    assert plan(watch(), table=table).placements[0].formatted == formatted
    child = replace(table, descendants=(Relation(8, "child"),))
    assert all(each.formatted for each in plan(watch(), table=child).placements)


def test_each_operation_and_level_has_a_function_of_its_own() -> None:
    made = plan(watch(operations=["insert", "update", "delete", "truncate"]), watch(LEAD, operations=["insert"]))
    assert [each.function for each in made.placements] == [
        "capture_insert", "capture_update", "capture_delete", "capture_change",
    ]  # fmt: skip
    assert [each.function for each in plan(watch(LEAD, operations=["update"])).placements] == ["capture_row"]
    assert replace(made.placements[0], formatted=True).function == "capture_insert_formatted"


def test_many_filters_that_ask_one_column_for_a_value_become_a_look_into_a_set() -> None:
    (few,) = plan(*(watch(f"new.id == {n}") for n in range(MOST_JOINED))).placements
    (many,) = plan(*(watch(f"new.id in [{n}, -{n}] && new.status != null") for n in range(1, 1001))).placements
    assert few.sets == ()
    assert (many.level, many.condition) == ("ROW", 'hark."wants_7_insert_0"(NEW."id"::text)')
    (only,) = many.sets
    assert only.function == "wants_7_insert_0"
    assert json.loads(only.content).keys() == {str(n) for n in range(-1000, 1001) if n}


def test_a_set_holds_what_tells_the_filters_apart() -> None:
    (only,) = plan(*(watch(f'{LEAD} && new.id == {n} && new.mood == "sad"') for n in range(50))).placements
    assert [len(json.loads(each.content)) for each in only.sets] == [50]
    mixed = [watch(f"new.id == {n}") for n in range(50)] + [watch(f'new.status == "{n}"') for n in range(50)]
    (both,) = plan(*mixed).placements
    assert [len(json.loads(each.content)) for each in both.sets] == [50, 50]


def test_what_has_no_value_to_look_up_stands_beside_the_sets() -> None:
    folded = [watch(f"new.id == {n}") for n in range(50)]
    (beside,) = plan(*folded, watch('new.status > "x"')).placements
    assert beside.condition == (
        """(hark."wants_7_insert_0"(NEW."id"::text)) OR (((NEW."status"::text COLLATE "C") > 'x'))"""
    )
    (bounded,) = plan(*folded, *(watch(f"new.id > {n}") for n in range(MOST_JOINED + 1, 0, -1))).placements
    assert bounded.condition == """(hark."wants_7_insert_0"(NEW."id"::text)) OR ((NEW."id" > 1))"""
    loose = [watch(f"new.id != {n}") for n in range(MOST_JOINED + 1)]
    assert plan(*folded, *loose).placements[0].level == "STATEMENT"


def test_sets_that_would_burden_every_session_are_not_made() -> None:
    long = "x" * 190
    (only,) = plan(*(watch(f'new.status == "{long}{n}"') for n in range(1500))).placements
    assert only.level == "STATEMENT"


def test_another_set_is_another_fingerprint() -> None:
    first, second = (
        plan(*(watch(f"new.id == {n}") for n in range(start, start + 50))).placements[0] for start in (0, 1)
    )
    assert first.condition == second.condition
    assert first.fingerprint() != second.fingerprint()


def test_planning_again_works_out_only_what_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand workflows on a table: publishing the next one must not read the conditions of all the others."""
    read: list[str | None] = []

    def noting(config: RowConfig, when: str | None, operation: str, table: Table) -> Any:
        read.append(when)
        return filter_of(config, when, operation, table)

    monkeypatch.setattr(capture_plan, "filter_of", noting)
    planner, triggers = CapturePlanner(), [watch(f"new.id == {n}") for n in range(30)]

    first = planner.plan(watchers_of(triggers), {CLIENTS: TABLE})
    assert len(read) == 30
    assert planner.plan(watchers_of(triggers), {CLIENTS: TABLE})[0] is first[0]
    read.clear()
    (more,) = planner.plan(watchers_of([*triggers[1:], watch("new.id == 99")]), {CLIENTS: TABLE})
    assert read == ["new.id == 99"]
    assert '"99"' in more.placements[0].sets[0].content
    read.clear()
    planner.plan(watchers_of(triggers), {CLIENTS: replace(TABLE, columns=COLUMNS[:2])})
    assert len(read) == 30


def test_partitions_have_statement_triggers_of_their_own_and_never_row_triggers() -> None:
    """An UPDATE that moves a row to another partition is DELETE and INSERT to row triggers: it would be missed."""
    made = plan(watch(LEAD, operations=["update"]), watch(operations=["truncate"]), table=PARTITIONED)
    assert shape(made.placements) == [
        ("clients", "update", "STATEMENT", "row"),
        ("clients_a", "update", "STATEMENT", "row"),
        ("clients_b", "update", "STATEMENT", "row"),
        ("clients_b1", "update", "STATEMENT", "row"),
        ("clients", "truncate", "STATEMENT", "row"),
        ("clients_a", "truncate", "STATEMENT", "partition"),
        ("clients_b1", "truncate", "STATEMENT", "partition"),
    ]


def test_if_nobody_wants_single_rows_the_first_of_a_statement_suffice() -> None:
    assert plan(watch(per="statement")).placements[0].mode == "statement"
    assert plan(watch(per="statement"), watch()).placements[0].mode == "row"


def test_interests_are_joined_by_tenant_and_granularity() -> None:
    made = plan(
        watch(operations=["update"]),
        watch(operations=["insert"]),
        watch(operations=["delete"], per="statement"),
        watch(tenant=OTHER),
    )
    assert made.interests == (
        Interest(DEFAULT_TENANT, "row", ("insert", "update")),
        Interest(DEFAULT_TENANT, "statement", ("delete",)),
        Interest(OTHER, "row", ("insert",)),
    )


def test_a_fingerprint_tells_what_a_trigger_was_made_from() -> None:
    first, second = plan(watch(LEAD)).placements[0], plan(watch('new.status == "won"')).placements[0]
    assert first.name == second.name
    assert first.fingerprint() != second.fingerprint()
    assert first.fingerprint() == plan(watch(LEAD), watch(LEAD)).placements[0].fingerprint()


@pytest.mark.parametrize(
    "table, reason",
    [
        (replace(TABLE, relation=Relation(7, "clients", "v")), "is a view"),
        (replace(TABLE, relation=Relation(7, "clients", "f")), "foreign table"),
        (replace(TABLE, relation=Relation(7, "clients", "m")), "materialized"),
        (replace(TABLE, persistence="t"), "temporary"),
        (replace(TABLE, parent="public.people"), "watch public.people"),
        (replace(PARTITIONED, descendants=(Relation(8, "far", "f"),)), "another server"),
        (replace(TABLE, name=TableName("hark", "events")), "Hark itself"),
        (replace(TABLE, name=TableName("pg_catalog", "pg_class")), "PostgreSQL"),
    ],
)
def test_what_cannot_be_captured_is_refused_with_the_reason(table: Table, reason: str) -> None:
    assert reason in (table.refusal or "")
    made = plan(watch(), table=table)
    assert (made.placements, made.problem) == ((), table.refusal)


def test_a_table_that_is_gone_is_a_problem_of_its_own() -> None:
    (lost,) = plan_captures([watch()], {})
    assert lost.problem == "there is no table public.clients"
    assert lost.interests


def sql(when: str | None = None, operation: str = "update", **fields: Any) -> str | None:
    made = filter_of(RowConfig.model_validate({"table": "clients", **fields}), when, operation, TABLE)
    return None if made is None else made.sql


def test_columns_without_an_equality_that_sees_everything_are_compared_as_stored() -> None:
    assert sql(columns=["data", "status", "id"]) == (
        '(pg_catalog.record_image_ne(ROW(OLD."data"), ROW(NEW."data"))'
        ' OR (OLD."status"::text COLLATE "C") IS DISTINCT FROM (NEW."status"::text COLLATE "C")'
        ' OR OLD."id" IS DISTINCT FROM NEW."id")'
    )


def test_from_and_to_are_pushed_like_conditions() -> None:
    made = sql(columns="status", **{"from": "lead", "to": ["won", None]})
    assert made is not None
    assert """(OLD."status"::text COLLATE "C") IS NOT DISTINCT FROM 'lead'""" in made
    assert '(NEW."status"::text COLLATE "C") IS NULL' in made


def test_an_enum_is_compared_by_its_label() -> None:
    assert sql('new.mood == "sad"') == """((NEW."mood"::text COLLATE "C") IS NOT DISTINCT FROM 'sad')"""


def test_from_says_nothing_about_an_insert_and_to_nothing_about_a_delete() -> None:
    both = {"operations": ["insert", "update", "delete"], "from": {"id": 1}, "to": {"status": "x"}}
    assert sql(operation="insert", **both) == """((NEW."status"::text COLLATE "C") IS NOT DISTINCT FROM 'x')"""
    assert sql(operation="delete", **both) == '(OLD."id" IS NOT DISTINCT FROM 1)'


def test_what_no_trigger_can_see_is_not_pushed() -> None:
    assert sql('new.shadow == "x"') is None
    assert sql(columns=["shadow"]) is None
    assert sql(columns=["shadow", "status"]) is None


def test_a_part_that_has_no_sql_lets_more_through_and_not_less() -> None:
    assert sql(f"{LEAD} && new.data.deep == 1") == sql(LEAD)
    assert sql(f"{LEAD} || new.data.deep == 1") is None
