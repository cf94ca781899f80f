"""Pure parts of the API: cursors, moments, containers of steps, waiting times, headers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hark.daemon.api.events import from_cloudevent, new_event
from hark.daemon.api.executions import container_of, containers_in, levels_from, not_reached
from hark.daemon.api.live import LiveQuery
from hark.daemon.api.paging import HistoryQuery, cursor_of, number_of, page
from hark.daemon.api.requests import NewEventBody
from hark.daemon.api.starting import wanted_wait
from hark.daemon.store.keys import digest_of, new_key
from hark.workflows.errors import UnprocessableError
from hark.workflows.ids import DEFAULT_TENANT, floor_of

STEPS: list[dict[str, Any]] = [
    {"id": "first", "set": {"x": 1}},
    {
        "id": "each",
        "for_each": "inputs.list",
        "do": [
            {"id": "pick", "if": "true", "then": [{"id": "mail", "action": "send_email"}]},
            {"id": "inner", "for_each": "item", "do": [{"id": "deep", "set": {"y": 1}}]},
        ],
    },
    {
        "id": "choose",
        "if": "true",
        "then": [{"id": "yes", "set": {"x": 1}}],
        "else": [{"id": "no", "stop": "failed"}],
        "on_error": [{"id": "alert", "action": "log_event"}],
    },
]


@given(st.uuids())
def test_a_cursor_leads_to_where_it_was_made(identifier: Any) -> None:
    assert HistoryQuery(cursor=cursor_of(identifier)).span().before == identifier


@pytest.mark.parametrize("cursor", ["", "x", "%%%", cursor_of("7"), "ÿ", "a" * 1000])
def test_a_cursor_of_somebody_elses_making_is_refused(cursor: str) -> None:
    with pytest.raises(UnprocessableError, match="next_cursor"):
        HistoryQuery(cursor=cursor).span()


def test_offsets_travel_in_cursors_too() -> None:
    assert number_of(cursor_of(200)) == 200
    with pytest.raises(UnprocessableError):
        number_of(cursor_of(uuid4()))


def test_a_page_tells_whether_more_follows() -> None:
    rows = [{"id": number} for number in range(4)]
    assert page(rows, 4) == {"items": rows, "next_cursor": None}
    assert page(rows, 3) == {"items": rows[:3], "next_cursor": cursor_of(2)}


@pytest.mark.parametrize(
    "text,moment",
    [
        ("2026-01-31T09:00:00Z", datetime(2026, 1, 31, 9, tzinfo=UTC)),
        ("2026-01-31T10:00:00+01:00", datetime(2026, 1, 31, 9, tzinfo=UTC)),
        ("2026-01-31T10:00:00 01:00", datetime(2026, 1, 31, 9, tzinfo=UTC)),
        ("2026-01-31 09:00", datetime(2026, 1, 31, 9, tzinfo=UTC)),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
    ],
)
def test_moments_are_read_as_people_write_them(text: str, moment: datetime) -> None:
    assert HistoryQuery(since=text).since == moment
    assert HistoryQuery(since=text).span().since == floor_of(moment)


def test_a_duration_is_so_long_ago() -> None:
    since = HistoryQuery(since="90m").since
    assert since is not None
    assert abs(datetime.now(UTC) - timedelta(minutes=90) - since) < timedelta(seconds=5)


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00Z", "1969-12-31", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00"]
)
def test_moments_that_no_id_can_hold_are_bounded(moment: str) -> None:
    HistoryQuery(since=moment, until=moment).span()


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "1x"])
def test_what_is_no_moment_says_what_would_be(text: str) -> None:
    with pytest.raises(ValidationError, match="for so long ago"):
        HistoryQuery(since=text)


def test_words_are_divided_by_commas() -> None:
    assert LiveQuery(types="logs, executions").types == ["logs", "executions"]


@pytest.mark.parametrize(
    "path,container",
    [
        ("first", None),
        ("each", None),
        ("yes", "choose"),
        ("alert", "choose"),
        ("each[0].pick", "each"),
        ("each[12].mail", "each[12].pick"),
        ("each[0].inner", "each"),
        ("each[0].inner[3].deep", "each[0].inner"),
        ("each[3]", "each"),
        ("each[0].inner[0-99]", "each[0].inner"),
        ("unknown", None),
    ],
)
def test_every_step_stands_under_what_it_is_inside_of(path: str, container: str | None) -> None:
    assert container_of(path, containers_in(STEPS)) == container


def test_what_is_still_to_come_is_pending() -> None:
    def coming(**known: str) -> list[str]:
        steps = not_reached({"steps": STEPS}, [{"path": path, "status": status} for path, status in known.items()])
        assert {step["status"] for step in steps} <= {"pending"}
        return [step["path"] for step in steps]

    assert coming() == ["first", "each", "choose", "yes", "no"]
    assert coming(first="completed", each="running") == ["choose", "yes", "no"]
    assert coming(first="completed", each="completed", choose="running", yes="running") == ["no"]
    assert coming(first="completed", each="completed", choose="completed") == []


@pytest.mark.parametrize(
    "header,seconds",
    [("", 5), ("wait=0", 0), ("respond-async, wait=7", 7), ("wait=99999", 300), ("wait=x", 5), ("await=9", 5)],
)
def test_the_caller_says_how_long_it_waits(header: str, seconds: float) -> None:
    assert wanted_wait(header) == seconds


def test_levels_include_the_graver_ones() -> None:
    assert levels_from("warning") == ("warning", "error", "critical")
    assert levels_from("debug") is None
    assert levels_from(None) is None


def test_keys_are_random_and_only_keys_have_digests() -> None:
    first, second = new_key(), new_key()
    assert first != second
    assert digest_of(first) != digest_of(second)
    assert digest_of("hark_short") is None
    assert digest_of(f"{first}\n") is None


CLOUD_EVENT = {"specversion": "1.0", "id": "1", "source": "/crm", "type": "GREET"}


@pytest.mark.parametrize(
    "attribute, value, said",
    [
        ("id", "x" * 6000, "at most 500"),
        ("id", "\udcff", "unicode"),
        ("id", "", "needs it"),
        ("source", "x" * 6000, "at most 200"),
        ("source", None, "needs it"),
        ("type", "x" * 6000, "at most 200"),
        ("subject", "x" * 6000, "at most 500"),
        ("subject", {"kind": "client", "id": "7"}, "string"),
        ("time", 5, "RFC 3339"),
        ("time", "5", "RFC 3339"),
        ("time", "2026-01-31", "RFC 3339"),
        ("time", "2026-01-31T09:00:00", "RFC 3339"),
        ("time", "2026-02-30T09:00:00Z", "day"),
        ("time", "0001-01-01T00:00:00+14:00", "years 1 to 9999"),
    ],
)
def test_a_cloudevent_is_held_to_the_limits_of_any_event(attribute: str, value: Any, said: str) -> None:
    with pytest.raises(UnprocessableError, match=said) as refused:
        from_cloudevent(DEFAULT_TENANT, {**CLOUD_EVENT, attribute: value})
    assert attribute in str(refused.value)


def test_a_cloudevent_keeps_what_it_says_and_leaves_its_extensions() -> None:
    more = {"time": "2026-01-31T09:00:00.5+01:00", "subject": "client/7", "key": "k", "occurred_at": 5, "data": None}
    event = from_cloudevent(DEFAULT_TENANT, {**CLOUD_EVENT, **more})
    assert (event.dedupe_key, event.source, event.type, event.subject) == ("1", "/crm", "GREET", ("client", "7"))
    assert (event.occurred_at, event.data) == (datetime(2026, 1, 31, 8, 0, 0, 500_000, UTC), {})
    assert from_cloudevent(DEFAULT_TENANT, {**CLOUD_EVENT, "time": None}).occurred_at is None


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_an_event_cannot_have_occurred_outside_of_the_calendar(moment: str) -> None:
    with pytest.raises(UnprocessableError, match="years 1 to 9999"):
        new_event(DEFAULT_TENANT, NewEventBody(type="A", occurred_at=datetime.fromisoformat(moment)))
