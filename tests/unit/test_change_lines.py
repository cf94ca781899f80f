"""How a captured change looks on one line."""

from __future__ import annotations

import io
from typing import Any
from uuid import UUID

import pytest
from rich.console import Console

from hark.daemon.api.models.watches import CapturedChange
from hark.daemon.cli import change_lines, output

EVENT = "01a2168f-c466-74e9-9252-f1f4858a8168"
PAID = {"old": {"id": 7, "status": "trial", "note": None}, "new": {"id": 7, "status": "active", "note": None}}


def captured(operation: str = "update", **fields: Any) -> CapturedChange:
    data = {"operation": operation, "transaction_id": 7341, "actor": "anna", "reason": "paid the invoice", **fields}
    refused = [
        {"workflow": "audit", "trigger_id": "row", "reason": "not_concerned", "detail": "update is not asked for"},
        {"workflow": "greet", "trigger_id": "row", "reason": "when_false", "detail": 'new.country == "DE"'},
    ]
    return CapturedChange.model_validate({
        "event_id": EVENT, "at": "2026-11-26T06:34:10Z", "occurred_at": "2026-11-26T06:34:10Z", "data": data,
        "cut": False, "matched": False, "passed_over": None, "started": [], "refused": refused,
    })  # fmt: skip


def started(change: CapturedChange) -> CapturedChange:
    return CapturedChange.model_validate({
        **change.model_dump(),
        "started": [{"workflow": "greet", "trigger_id": "row", "execution_id": UUID(int=0xABCD1234)}],
    })  # fmt: skip


@pytest.fixture(params=[80, 160])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Look at a terminal that is so wide."""
    shown = Console(file=io.StringIO(), force_terminal=True, width=request.param)
    for module in (change_lines, output):
        monkeypatch.setattr(module, "console", lambda: shown)
    return int(request.param)


LONG = {"id": 1, "text": "x" * 500, "名前": "名前" * 200}


@pytest.mark.parametrize(
    "change",
    [
        captured(**PAID),
        started(captured(**PAID)),
        captured("insert", old=None, new=LONG),
        captured(old=LONG, new={**LONG, "text": "y" * 500, "名前": ""}),
        captured(rows=[], count=100_000),
        captured("truncate", old=None, new=None),
        captured("insert", old=None, new={"id": 1, "text": "two\nlines \x1b[2J"}),
        captured("insert", old=None, new=None, error="the rows cannot be stored: " + "e" * 300),
    ],
)
def test_a_change_is_one_line_and_no_wider_than_the_terminal(width: int, change: CapturedChange) -> None:
    line = change_lines.change_line(change, ["id"])
    assert line.cell_len <= width
    assert "\n" not in line.plain
    assert "\x1b" not in line.plain
    assert line.plain.endswith("tx 7341")


def test_what_is_cut_last_is_the_row_and_what_it_started(width: int) -> None:
    line = change_lines.change_line(started(captured(**PAID)), ["id"]).plain
    assert "update    id=7  status: trial → active  started greet abcd1234" in line
    assert ("by anna (paid the invoice)" in line) is (width == 160)


def test_the_reason_that_came_closest_is_told_first() -> None:
    line = change_lines.change_line(captured(**PAID), ["id"]).plain
    assert 'started nothing: greet when_false (new.country == "DE"); audit not_concerned' in line
    assert "by anna (paid the invoice)  tx 7341" in line
    assert line.startswith("2026-11-26T06:34:10.000Z update ")


@pytest.mark.parametrize(
    "fields, shown",
    [
        ({"old": None, "new": {"b": 2, "id": 1, "empty": None}, "operation": "insert"}, "id=1  b=2  "),
        ({"old": {"id": 1, "b": 2}, "new": None, "operation": "delete"}, "id=1  b=2  "),
        ({"old": {"id": 1}, "new": {"id": 1}}, "id=1  nothing changed  "),
        ({"old": {"id": 1, "b": "x"}, "new": {"id": 2, "b": ""}}, 'id=2  id: 1 → 2  b: x → ""  '),
        ({"old": {"id": 1, "b": 1, "gone": 1}, "new": {"id": 1, "b": True}}, "id=1  b: 1 → true  gone: 1 → null  "),
        (
            {"old": {"id": 1, "a": "x", "b": 1}, "new": {"id": 1, "a": "y" * 9, "b": 2}},
            "id=1  b: 1 → 2  a: x → yyyyyyyyy  ",
        ),
        ({"rows": [], "count": 1200}, "1,200 rows  "),
        ({"old": None, "new": None, "operation": "truncate", "partition": "p1"}, "partition p1  "),
    ],
)
def test_a_row_is_its_key_and_what_changed(fields: dict[str, Any], shown: str) -> None:
    line = change_lines.change_line(captured(**fields), ["id"]).plain
    assert line.split(" ", 2)[2].lstrip().startswith(shown)
