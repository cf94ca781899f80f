"""Identifiers: the layout of UUID version 7, sorted by time, derived without chance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from hark.workflows.ids import derived_id, floor_of, new_id, same_millisecond, time_of

moments = st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants them naive


@given(moments)
def test_an_id_has_the_layout_of_version_7_and_carries_its_time(moment: datetime) -> None:
    made = new_id(moment)
    assert (made.version, made.variant) == (7, "specified in RFC 4122")
    assert abs(time_of(made) - moment) <= timedelta(milliseconds=1)
    assert floor_of(moment) <= made


@given(moments, moments)
def test_ids_sort_by_time(one: datetime, other: datetime) -> None:
    if abs(one - other) >= timedelta(milliseconds=2):
        assert (new_id(one) < new_id(other)) == (one < other)


@given(moments, st.text(max_size=20), st.text(max_size=20))
def test_a_derived_id_is_the_same_every_time_and_lies_beside_its_ancestor(moment: datetime, one: str, two: str) -> None:
    ancestor = new_id(moment)
    derived = derived_id(ancestor, one, two)
    assert derived == derived_id(ancestor, one, two)
    first, last = same_millisecond(ancestor)
    assert first <= derived < last
    assert derived.version == 7
    if one != two:
        assert derived != derived_id(ancestor, two, one)


def test_parts_do_not_run_into_each_other() -> None:
    ancestor = UUID(int=5 << 80)
    assert derived_id(ancestor, "ab", "c") != derived_id(ancestor, "a", "bc")
