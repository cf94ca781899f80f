"""The notify kind: while instances listen, each message is one event, however many they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from unittest.mock import AsyncMock, Mock
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.triggers import Clock, Events, Line, active, context

from hark.triggers import notify_hearing
from hark.triggers.notify import NotifyConfig, NotifyTrigger
from hark.triggers.notify_hearing import message_event
from hark.triggers.notify_ledger import MARKS, Ledger, Message
from hark.triggers.notify_listener import NotifyListener
from hark.workflows.catalogue import ActiveTrigger
from hark.workflows.ids import DEFAULT_TENANT, TenantId

CHANNELS = frozenset({"a", "b"})


class Instance:
    """A ledger on a connection of its own: what the server sent, it hears when the test lets it."""

    def __init__(self, boot: str, server: Server) -> None:
        self.server = server
        self.ledger = Ledger(boot, patience_s=100)
        self.inbox: list[tuple[str, str]] = []
        self.listening: frozenset[str] = frozenset()
        self.at_once: list[Message] = []
        self.stored: set[tuple[str, str, str]] = set()

    def connect(self, channels: frozenset[str] = CHANNELS) -> None:
        self.listening = channels | {MARKS}
        self.ledger.tune(channels)
        self.mark()

    def disconnect(self) -> None:
        self.listening = frozenset()
        self.inbox.clear()
        self.ledger.tune(frozenset())

    def mark(self) -> None:
        self.server.notify(MARKS, self.ledger.mark())

    def hear(self, count: int | None = None) -> None:
        for _ in range(len(self.inbox) if count is None else min(count, len(self.inbox))):
            self.at_once += self.ledger.hear(*self.inbox.pop(0), now=0)

    def store(self) -> None:
        """Store what is to be stored at once."""
        while self.at_once:
            message = self.at_once.pop(0)
            self.server.record(message)
            self.ledger.store(message)


class Server:
    """Sends each notification to all that listen, in one order; and keeps events, one for each key."""

    def __init__(self, instances: int) -> None:
        self.instances = [Instance(f"i{index}", self) for index in range(instances)]
        self.sent = 0
        self.events: dict[tuple[str, str], str] = {}
        self.writes = 0

    def notify(self, channel: str, payload: str | None = None) -> str:
        self.sent += payload is None
        text = payload if payload is not None else str(self.sent)
        for instance in self.instances:
            if channel in instance.listening:
                instance.inbox.append((channel, text))
        return text

    def record(self, message: Message) -> None:
        self.writes += 1
        assert self.events.setdefault((message.channel, message.key), message.payload) == message.payload

    def settle(self) -> None:
        """Let all hear and store, then store what was held for instances that are silent."""
        for instance in self.instances:
            instance.hear()
            instance.store()
        for instance in self.instances:
            for message in instance.ledger.release():
                self.record(message)

    @property
    def payloads(self) -> list[str]:
        return sorted(self.events.values(), key=int)


def joined(count: int) -> Server:
    """Make a server with instances that all count both channels."""
    server = Server(count)
    for instance in server.instances:
        instance.connect()
    for instance in server.instances:
        instance.hear()
    return server


def test_every_instance_gives_a_message_the_same_key() -> None:
    server = joined(3)
    for channel in "aab":
        server.notify(channel)
    server.settle()
    assert server.payloads == ["1", "2", "3"]


def test_equal_payloads_are_different_messages() -> None:
    server = joined(2)
    server.notify("a", "same")
    server.notify("a", "same")
    server.settle()
    assert len(server.events) == 2


def test_one_instance_stores_and_the_others_learn_of_it() -> None:
    server = joined(3)
    for _ in range(10):
        server.notify("a")
    for instance in server.instances:
        instance.hear()
        instance.store()
    assert server.writes == 10
    for _ in range(2):
        for instance in server.instances:
            instance.mark()
        for instance in server.instances:
            instance.hear()
    server.settle()
    assert server.writes == 10


def test_messages_of_an_instance_that_died_are_stored_by_the_others() -> None:
    server = joined(2)
    dead = server.instances[-1]
    server.notify("a")
    dead.listening = frozenset()
    dead.inbox.clear()
    server.settle()
    assert server.payloads == ["1"]


def test_messages_are_held_no_longer_than_patience_lasts() -> None:
    server = joined(2)
    server.notify("a")
    other = server.instances[0]
    other.hear()
    assert other.ledger.overdue(99) == []
    assert [message.payload for message in other.ledger.overdue(100)] == ["1"]
    assert other.ledger.overdue(100) == []


def test_what_a_speaker_has_not_stored_yet_it_does_not_claim() -> None:
    server = joined(2)
    holder, speaker = server.instances
    server.notify("a")
    speaker.hear()
    for _ in range(2):
        speaker.mark()
        speaker.hear()
    holder.hear()
    assert [message.payload for message in holder.ledger.release()] == ["1"]


def test_what_a_speaker_did_not_hear_is_not_dropped_by_the_others() -> None:
    """It counts one channel only: what it says it has stored speaks of no other."""
    server = Server(2)
    holder, speaker = server.instances
    holder.connect()
    speaker.connect(frozenset({"a"}))
    holder.hear()
    server.notify("a")
    server.notify("b")
    speaker.hear()
    speaker.store()
    for _ in range(2):
        speaker.mark()
        speaker.hear()
    holder.hear()
    assert [message.payload for message in holder.ledger.release()] == ["2"]


def test_a_channel_counts_only_from_a_mark_sent_after_its_listen() -> None:
    server = joined(1)
    late = Instance("late", server)
    server.instances.append(late)
    late.connect()
    server.notify("a")
    early_mark = late.inbox.index(next(item for item in late.inbox if item[0] == MARKS))
    late.inbox.insert(early_mark, ("a", "before its own mark"))
    late.hear()
    server.settle()
    assert server.payloads == ["1"]


def test_a_mark_sent_before_a_reconnection_proves_nothing() -> None:
    ledger = Ledger("x", 100)
    ledger.tune(CHANNELS)
    old = ledger.mark()
    ledger.tune(frozenset())
    ledger.tune(CHANNELS)
    ledger.hear(MARKS, old, 0)
    assert ledger.counted == frozenset()
    ledger.hear(MARKS, ledger.mark(), 0)
    assert ledger.counted == CHANNELS


@pytest.mark.parametrize(
    "forged", ["", "{", "[]", "1", '{"mark": 1, "stored": {}}', '{"mark": "x", "stored": {"i0.1": 1}}']
)
def test_what_is_no_mark_is_ignored(forged: str) -> None:
    server = joined(2)
    server.notify("a")
    server.notify(MARKS, forged)
    server.notify("a")
    server.settle()
    assert server.payloads == ["1", "2"]


def test_a_mark_fits_into_a_notification_however_much_was_stored() -> None:
    ledger = Ledger("x" * 32, 100)
    channels = frozenset(f"{index:060}" for index in range(500))
    ledger.tune(channels)
    for _ in range(3):
        ledger.hear(MARKS, ledger.mark(), 0)
        for channel in channels:
            for message in ledger.hear(channel, "", 0):
                ledger.store(message)
    assert len(ledger.mark()) < 8000


def test_held_messages_are_bounded() -> None:
    ledger = Ledger("x", 100, most_held=2)
    ledger.tune(frozenset({"a"}))
    ledger.hear(MARKS, ledger.mark(), 0)
    ledger.hear(MARKS, '{"mark": "y.1", "stored": {}}', 0)
    heard = [message.payload for text in "1234" for message in ledger.hear("a", text, 0)]
    assert heard == ["1", "2"]
    assert [message.payload for message in ledger.release()] == ["3", "4"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["notify a", "notify b", "hear", "hear", "hear one", "store", "mark", "disconnect", "connect"]),
        st.integers(0, 2),
    ),
    max_size=60,
)


@given(STEPS)
def test_each_message_is_one_event_while_one_instance_listens(steps: list[tuple[str, int]]) -> None:
    """One instance never loses its connection; the others come and go, hear late and store late."""
    server = joined(3)
    for step, index in steps:
        instance = server.instances[index]
        match step.split():
            case ["notify", channel]:
                server.notify(channel)
            case ["hear"]:
                instance.hear()
            case ["hear", "one"]:
                instance.hear(1)
            case ["store"]:
                instance.store()
            case ["mark"] if instance.listening:
                instance.mark()
            case ["disconnect"] if index:
                instance.disconnect()
            case ["connect"] if not instance.listening:
                instance.connect()
    server.settle()
    assert server.payloads == [str(number) for number in range(1, server.sent + 1)]


def notify(channel: str = "orders", **fields: Any) -> ActiveTrigger:
    return active("notify", NotifyConfig(channel=channel), **fields)


@pytest.fixture
async def listeners(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., NotifyListener]]:
    """Make listeners on one line and one record; they are stopped at the end."""
    monkeypatch.setattr(notify_hearing, "_RETRY_S", 0.001)
    made: list[NotifyListener] = []

    def make(line: Line, events: Events) -> NotifyListener:
        made.append(NotifyListener(context(events, Clock("2026-01-01"), notify=line)))
        return made[-1]

    yield make
    for listener in made:
        await listener.stop()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_message_becomes_an_event(listeners: Callable[..., NotifyListener]) -> None:
    line, events = Line(), Events()
    listener = listeners(line, events)
    await listener.start()
    await listener.attach([notify(), notify(workflow="other")])
    await until(lambda: listener.health().attached)
    await line.send("orders", '{"id": 7}')
    await line.send("orders", "plain")
    await until(lambda: len(events.stored) == 2)
    assert events.data == [{"channel": "orders", "payload": {"id": 7}}, {"channel": "orders", "payload": "plain"}]
    event = next(iter(events.stored.values()))
    assert event.route == NotifyTrigger().route(NotifyConfig(channel="orders"), notify().workflow_id, "notify")


async def test_each_tenant_that_listens_gets_the_message(listeners: Callable[..., NotifyListener]) -> None:
    line, events = Line(), Events()
    listener = listeners(line, events)
    await listener.start()
    theirs = TenantId(UUID(int=7))
    await listener.attach([notify(), notify(tenant_id=theirs)])
    await until(lambda: listener.health().attached)
    await line.send("orders", "1")
    await until(lambda: len(events.stored) == 2)
    assert {event.tenant_id for event in events.stored.values()} == {DEFAULT_TENANT, theirs}


async def test_several_instances_store_a_message_once_and_stop_clean(listeners: Callable[..., NotifyListener]) -> None:
    line, events = Line(), Events()
    pair = [listeners(line, events) for _ in range(2)]
    for listener in pair:
        await listener.start()
        await listener.attach([notify()])
        await until(lambda listener=listener: listener.health().attached)
    await line.send("orders", "1")
    for listener in pair:
        await listener.stop()
    assert events.data == [{"channel": "orders", "payload": 1}]


async def test_messages_wait_for_the_database(listeners: Callable[..., NotifyListener]) -> None:
    line, events = Line(), Events()
    listener = listeners(line, events)
    await listener.start()
    await listener.attach([notify()])
    await until(lambda: listener.health().attached)
    events.go_away()
    for number in range(3):
        await line.send("orders", str(number))
    await until(lambda: events.offered >= 6)
    assert listener.health().detail == "3 messages wait to be stored"
    events.come_back()
    await until(lambda: len(events.stored) == 3)
    assert [data["payload"] for data in events.data] == [0, 1, 2]


async def test_a_lost_connection_is_not_attached_until_it_is_heard_again(
    listeners: Callable[..., NotifyListener],
) -> None:
    line, events = Line(), Events()
    listener = listeners(line, events)
    await listener.start()
    await listener.attach([notify()])
    await until(lambda: listener.health().attached)
    (ears,) = line.ears
    ears.lost()
    assert not listener.health().attached
    await line.send("orders", "unheard")
    ears.tuned(frozenset({"orders", MARKS}))
    await until(lambda: listener.health().attached)
    await line.send("orders", "heard")
    await until(lambda: bool(events.stored))
    assert events.data[0]["payload"] == "heard"


async def test_a_channel_that_comes_back_is_not_counted_on(listeners: Callable[..., NotifyListener]) -> None:
    line, events = Line(), Events()
    listener = listeners(line, events)
    await listener.start()
    await listener.attach([notify()])
    await until(lambda: listener.health().attached)
    await listener.attach([])
    line.away = True
    await listener.attach([notify()])
    (ears,) = line.ears
    ears.tuned(frozenset({"orders", MARKS}))
    assert not listener.health().attached


async def test_that_no_mark_can_be_sent_is_said_once(
    listeners: Callable[..., NotifyListener], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Mock()
    monkeypatch.setattr(notify_hearing, "log", log)
    monkeypatch.setattr(notify_hearing, "MARK_EVERY_S", 0.01)
    line = Line()
    line.away = True
    send = AsyncMock(wraps=line.send)
    monkeypatch.setattr(line, "send", send)
    listener = listeners(line, Events())
    await listener.start()
    await listener.attach([notify()])
    await until(lambda: send.call_count >= 3)
    assert log.warning.call_count == 1


@pytest.mark.parametrize("text", ['{"a": "\\u0000"}', "12345678901234567890", "{", ""])
def test_a_payload_that_cannot_be_stored_as_json_is_text(text: str) -> None:
    assert message_event(DEFAULT_TENANT, Message("m", "c", 1, text)).data["payload"] == text


@pytest.mark.parametrize("channel", ["", "a" * 64, "ä" * 32, "hark_work", "hark.x", "hark", "a\0"])
def test_a_bad_channel_is_refused(channel: str) -> None:
    with pytest.raises(ValidationError):
        NotifyConfig(channel=channel)


def test_capital_letters_are_remarked_upon() -> None:
    assert "orders" in NotifyTrigger().warnings(NotifyConfig(channel="Orders"))[0]
    assert NotifyTrigger().warnings(NotifyConfig(channel="harkonnen orders")) == ()
