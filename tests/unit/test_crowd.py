"""Connections that wait: how much of a request is enough, for how long they may stay, and who goes first."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hark.daemon.api.connection import Connection, Owner
from hark.daemon.api.crowd import Crowd, Stage
from hark.daemon.api.framing import MOST_AT_ONCE, bytes_needed, is_below, is_no_request, is_whole

HEAD = b"POST /hooks/x HTTP/1.1\r\nHost: x\r\ncontent-length: 5\r\n\r\n"
SPANS = {Stage.SILENT: 15.0, Stage.HEAD: 15.0, Stage.IDLE: 15.0, Stage.LEAVING: 2.0, Stage.BODY: 30.0}


@given(st.integers(1, len(HEAD) + 5), st.binary(max_size=20))
def test_a_request_is_whole_at_its_last_byte(cut: int, after: bytes) -> None:
    whole = HEAD + b"12345"
    needed = bytes_needed(bytearray(whole[:cut]))
    assert needed == (len(whole) if cut >= len(HEAD) else None)
    assert is_whole(whole[:cut]) == (cut == len(whole))
    assert bytes_needed(whole + after) == len(whole)
    assert is_whole(whole + after) == (not after)


@pytest.mark.parametrize(
    "data",
    [
        HEAD.replace(b"Host: x", b"Transfer-Encoding: chunked"),
        HEAD.replace(b"Host: x", b"expect: 100-continue"),
        HEAD.replace(b": 5", b": %d" % MOST_AT_ONCE),
        b"GET /" + b"x" * MOST_AT_ONCE,
    ],
)
def test_what_is_not_waited_for_needs_no_more_than_there_is(data: bytes) -> None:
    assert bytes_needed(data) == len(data)
    assert not is_whole(data)


@pytest.mark.parametrize(
    "data",
    [
        *(b"\x16\x03\x01", b"GET / HTTP/1.1\nHost: x\n", b"GET /\n", b" GET /"),
        *(b"GET / HTTP/1.1\r\nHost: x" + end for end in (b"\n\n", b"\n\r\n", b"\r\n\n", b"\n")),
    ],
)
def test_what_begins_as_no_request_does_is_none(data: bytes) -> None:
    assert is_no_request(data)
    assert not any(is_no_request(HEAD[:cut]) for cut in range(1, len(HEAD)))


def test_a_path_is_seen_whatever_the_method() -> None:
    assert is_below(HEAD, b"/hooks/")
    assert is_below(b"OPTIONS /hooks/x", b"/hooks/")
    assert not is_below(b"GET /hooks-test/x", b"/hooks/")
    assert not is_below(b"GET /api?next= /hooks/x", b"/hooks/")


class Clock:
    """A loop with a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[tuple[float, asyncio.TimerHandle]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: object) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, (), self)  # type: ignore[arg-type]
        self.timers.append((when, timer))
        return timer

    def _timer_handle_cancelled(self, _timer: asyncio.TimerHandle) -> None:
        """Needed by TimerHandle."""

    def get_debug(self) -> bool:
        return False

    def move_to(self, moment: float) -> None:
        """Let time pass; what is due happens."""
        while due := [entry for entry in self.timers if entry[0] <= moment and not entry[1].cancelled()]:
            first = min(due, key=lambda entry: entry[0])
            self.timers.remove(first)
            self.now = first[0]
            first[1]._run()
        self.now = moment


class Member:
    """A connection that notes how it went."""

    def __init__(self, crowd: Crowd, stage: Stage, held: int = 0) -> None:
        self.crowd = crowd
        self.stage = stage
        self.held = held
        self.went = ""
        crowd.held_bytes += held
        crowd.enter(self, stage)

    def overdue(self) -> None:
        self.go("late")

    def give_way(self) -> None:
        self.go("made room")

    def go(self, how: str) -> None:
        self.went = how
        self.crowd.held_bytes -= self.held
        self.crowd.leave(self, self.stage)


def crowd(clock: Clock, **options: int) -> Crowd:
    return Crowd(clock, SPANS, **options)  # type: ignore[arg-type]


def test_each_may_stay_as_long_as_its_stage_lets() -> None:
    clock = Clock()
    watched = crowd(clock)
    body = Member(watched, Stage.BODY)
    silent = Member(watched, Stage.SILENT)
    busy = Member(watched, Stage.BUSY)
    clock.move_to(14.0)
    leaving = Member(watched, Stage.LEAVING)
    clock.move_to(14.9)
    assert (silent.went, leaving.went) == ("", "")
    clock.move_to(15.1)
    assert (silent.went, leaving.went) == ("late", "")
    clock.move_to(16.1)
    assert (leaving.went, body.went) == ("late", "")
    clock.move_to(1000.0)
    assert (body.went, busy.went) == ("late", "")


def test_who_asks_again_begins_to_wait_anew() -> None:
    clock = Clock()
    watched = crowd(clock)
    member = Member(watched, Stage.IDLE)
    clock.move_to(10.0)
    watched.leave(member, Stage.IDLE)
    watched.enter(member, Stage.IDLE)
    clock.move_to(24.0)
    assert member.went == ""
    clock.move_to(25.0)
    assert member.went == "late"


def test_room_is_made_by_those_who_have_waited_longest_for_what_matters_least() -> None:
    watched = crowd(Clock())
    stages = [Stage.BUSY, Stage.BODY, Stage.IDLE, Stage.HEAD, Stage.SILENT, Stage.SILENT, Stage.LEAVING]
    members = [Member(watched, stage) for stage in stages]
    order = []
    for _ in members:
        watched.make_room()
        order += [member for member in members if member.went and member not in order]
    assert [members.index(member) for member in order] == [4, 5, 3, 2, 6, 1]


def test_what_is_held_of_requests_is_bounded() -> None:
    watched = crowd(Clock(), most_held=100)
    members = [Member(watched, stage, held) for stage, held in ((Stage.HEAD, 40), (Stage.BODY, 50), (Stage.BODY, 60))]
    watched.lighten()
    assert [member.went for member in members] == ["", "made room", ""]
    assert watched.held_bytes == 100


class Line:
    """A transport whose other end reads nothing: what is written stays, and so does a connection that is closed."""

    def __init__(self, unread: int) -> None:
        self.unread = unread
        self.reading = True
        self.did: list[str] = []

    def write(self, data: bytes) -> None:
        self.unread += len(data)

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return bool(self.did)

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.did.append("close")

    def write_eof(self) -> None:
        """Say no more; what comes is still read."""

    def abort(self) -> None:
        self.did.append("abort")


class Keeper:
    """Who owns the connections, and takes every request."""

    def __init__(self, clock: Clock) -> None:
        self.crowd = crowd(clock)
        self.handed_over = b""

    def entered(self, _connection: Connection) -> None: ...

    def left(self, _connection: Connection) -> None: ...

    def take(self, _connection: Connection, _data: bytes) -> bool:
        return True

    def hand_over(self, _transport: asyncio.Transport, data: bytes) -> None:
        self.handed_over = data


@pytest.mark.parametrize("unread, closed_after_s", [(100_000, 0.0), (1000, 15.0)])
def test_who_reads_no_answers_is_cut_off(unread: int, closed_after_s: float) -> None:
    """Closing waits until all is sent: for a client that reads nothing that is never, and its place was lost."""
    clock = Clock()
    line, keeper = Line(unread), Keeper(clock)
    connection = Connection(cast("Owner", keeper))
    connection.connection_made(cast("asyncio.Transport", cast("Any", line)))
    connection.data_received(HEAD + b"12345")
    connection.answer(b"HTTP/1.1 202 Accepted\r\n\r\n", close=False)
    clock.move_to(closed_after_s)
    assert line.did == ["close"]
    clock.move_to(closed_after_s + 2.0)
    assert line.did == ["close", "abort"]


def test_what_comes_before_a_request_is_passed_on_goes_along() -> None:
    """It is read a turn of the loop later than it came: more of a large one may be there by then."""
    line, keeper = Line(0), Keeper(Clock())
    connection = Connection(cast("Owner", keeper))
    connection.connection_made(cast("asyncio.Transport", cast("Any", line)))
    begun = HEAD.replace(b": 5", b": 90000") + b"1"
    connection.data_received(begun)
    connection.data_received(b"2")
    assert not line.reading
    connection.pass_on(begun)
    assert (keeper.handed_over, line.reading) == (begun + b"2", True)


def test_what_comes_before_a_request_is_refused_does_not_stop_the_rest_from_being_thrown_away() -> None:
    """Who sends a large one reads its answer after that; he could not send it, was cut off, and saw no answer."""
    line, keeper = Line(0), Keeper(Clock())
    connection = Connection(cast("Owner", keeper))
    connection.connection_made(cast("asyncio.Transport", cast("Any", line)))
    connection.data_received(HEAD.replace(b": 5", b": 90000") + b"1")
    connection.data_received(b"2")
    connection.refuse(b"no room")
    assert line.reading
    connection.data_received(b"3")
    assert line.reading
