"""The state tables: whole, consistent, and the same as what the schema allows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hark.workflows.states import (
    ENDED_EXECUTION,
    ENDED_STEP,
    EXECUTION,
    STEP,
    ExecutionStatus,
    StepStatus,
    statuses,
)

SCHEMA = (Path(__file__).parents[2] / "schema.sql").read_text(encoding="utf-8")


@pytest.mark.parametrize("table, kind", [(EXECUTION, ExecutionStatus), (STEP, StepStatus)])
def test_a_table_knows_every_status_and_leads_to_no_other(table: dict[str, frozenset[str]], kind: object) -> None:
    assert table.keys() == statuses(kind)
    assert frozenset().union(*table.values()) <= statuses(kind)
    assert not any(status in following for status, following in table.items())


@pytest.mark.parametrize("table", [EXECUTION, STEP])
def test_whatever_has_begun_can_end(table: dict[str, frozenset[str]]) -> None:
    ended = {status for status, following in table.items() if not following}
    reaching = set(ended)
    for _ in table:
        reaching |= {status for status, following in table.items() if following & reaching}
    assert reaching == table.keys()


@pytest.mark.parametrize("name, kind", [("execution_status", ExecutionStatus), ("step_status", StepStatus)])
def test_the_schema_allows_the_same_statuses(name: str, kind: object) -> None:
    allowed = re.search(rf"CREATE DOMAIN {name} AS text CHECK \(VALUE IN\s+\((.*?)\)\)", SCHEMA, re.DOTALL)
    assert allowed is not None
    assert set(re.findall(r"'(\w+)'", allowed[1])) == statuses(kind)


def test_an_execution_has_ended_when_the_schema_wants_a_time_for_it() -> None:
    constraint = re.search(r"open_has_no_end CHECK \(\(status IN \((.*?)\)", SCHEMA)
    assert constraint is not None
    assert statuses(ExecutionStatus) - set(re.findall(r"'(\w+)'", constraint[1])) == ENDED_EXECUTION
    assert {"completed", "failed", "skipped", "cancelled"} == ENDED_STEP
