"""How any number of instances make one event of each notification: pure, without connection or clock.

PostgreSQL gives every listener of a database the same notifications in the same order, but no number to tell them apart
by. So the instances put marks between them: notifications on a channel of Hark's own. What follows a mark is its
*epoch*; in it, a message is the n-th of its channel. Every instance that listens comes to the same (mark, channel, n),
which is the event's dedupe key.

So that not all of them store every message, the instance whose mark began the epoch speaks for it. The others hold what
they hear until a later mark of the speaker says how much of each channel it has stored, or until it has been silent for
too long; then they store it themselves, and the key makes doubles one.

An instance counts a channel only from a mark of its own that it sent after its LISTEN had committed: a mark of another
may have been on its way before.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import orjson

MARKS = "hark_notify_marks"
"""The channel of the marks, on the home database."""
_MOST_BYTES = 7000
"""A notification holds 7999 bytes; the rest is for the braces."""


@dataclass(frozen=True, slots=True)
class Message:
    """One notification, and what it is known by to every instance."""

    mark: str
    channel: str
    number: int
    """Counts from 1, in its epoch and channel."""
    payload: str

    @property
    def key(self) -> str:
        """The dedupe key of its event, unique with the channel."""
        return f"{self.mark}:{self.number}"


@dataclass(slots=True)
class _Epoch:
    """What this instance knows of the messages after one mark."""

    mark: str
    mine: bool
    counts: dict[str, int] = field(default_factory=dict)
    """How many messages have been heard, by channel."""
    unstored: int = 0
    held: deque[tuple[float, Message]] = field(default_factory=deque)
    """What another instance should store, with the time from which this one does."""


class Ledger:
    """Gives the notifications that one instance hears their keys, and says which it has to store, and when.

    `boot` is unique to the process. `patience_s` is how long a message is held for its speaker: longer than two
    intervals between the speaker's marks. `marks` is their channel.
    """

    def __init__(self, boot: str, patience_s: float, most_held: int = 50_000, *, marks: str = MARKS) -> None:
        self._boot = boot
        self._channel = marks
        self._patience_s = patience_s
        self._most_held = most_held
        self._sent = 0
        self._tuned: frozenset[str] = frozenset()
        self._awaited: set[str] = set()
        """Marks sent since the last tuning and not heard yet."""
        self._counted: frozenset[str] = frozenset()
        self._epochs: deque[_Epoch] = deque()

    @property
    def counted(self) -> frozenset[str]:
        """The channels whose messages are heard for certain."""
        return self._counted

    def tune(self, channels: frozenset[str]) -> None:
        """Take note that LISTEN on exactly these channels has committed; none when the connection is gone.

        Marks that are on their way prove nothing any more: between two LISTENs a channel may not have been heard.
        """
        self._tuned = channels
        self._counted &= channels
        self._awaited.clear()

    def mark(self) -> str:
        """Return the payload of a mark, to be sent now."""
        self._sent += 1
        mark = f"{self._boot}.{self._sent}"
        self._awaited.add(mark)
        return _written(mark, self._stored())

    def hear(self, channel: str, payload: str, now: float) -> list[Message]:
        """Take one notification; return what is to be stored at once, in order."""
        if channel == self._channel:
            self._turn(payload)
            return []
        if channel not in self._counted or not self._epochs:
            return []
        epoch = self._epochs[-1]
        number = epoch.counts[channel] = epoch.counts.get(channel, 0) + 1
        message = Message(epoch.mark, channel, number, payload)
        if epoch.mine:
            epoch.unstored += 1
            return [message]
        epoch.held.append((now + self._patience_s, message))
        return self._too_many()

    def overdue(self, now: float) -> list[Message]:
        """Return the held messages for which their speaker has been silent for too long."""
        found = []
        for epoch in self._epochs:
            while epoch.held and epoch.held[0][0] <= now:
                found.append(epoch.held.popleft()[1])
        return found

    def store(self, message: Message) -> None:
        """Note that a message has been stored."""
        for epoch in self._epochs:
            if epoch.mark == message.mark and epoch.mine:
                epoch.unstored -= 1

    def release(self) -> list[Message]:
        """Return everything that is held: the speaker may be stopping too."""
        return self.overdue(float("inf"))

    def _turn(self, payload: str) -> None:
        """Begin a new epoch at a mark, and drop what its sender says it has stored."""
        read = _read(payload)
        if read is None:
            return
        mark, stored = read
        for epoch in self._epochs:
            if epoch.mark in stored:
                counts = stored[epoch.mark]
                epoch.held = deque(item for item in epoch.held if item[1].number > counts.get(item[1].channel, 0))
        if mark in self._awaited:
            self._awaited.remove(mark)
            self._counted = self._tuned
        if self._counted:
            self._forget()
            self._epochs.append(_Epoch(mark, mine=mark.rpartition(".")[0] == self._boot))

    def _forget(self) -> None:
        """Keep the epochs about which something is still to be said or done."""
        self._epochs = deque(epoch for epoch in self._epochs if epoch.held or (epoch.mine and epoch.counts))

    def _stored(self) -> dict[str, dict[str, int]]:
        """Return what this instance spoke for and has stored, and forget it; epochs that go on are left out."""
        done = [epoch for epoch in list(self._epochs)[:-1] if epoch.mine and epoch.counts and not epoch.unstored]
        told: dict[str, dict[str, int]] = {}
        for epoch in done:
            told[epoch.mark] = epoch.counts
            if len(_written("", told)) > _MOST_BYTES:
                del told[epoch.mark]
                break
            epoch.counts = {}
        return told

    def _too_many(self) -> list[Message]:
        """Bound the memory: of too many held messages the oldest are stored now."""
        found = []
        excess = sum(len(epoch.held) for epoch in self._epochs) - self._most_held
        for epoch in self._epochs:
            while excess > 0 and epoch.held:
                found.append(epoch.held.popleft()[1])
                excess -= 1
        return found


def _written(mark: str, stored: dict[str, dict[str, int]]) -> str:
    return orjson.dumps({"mark": mark, "stored": stored}).decode()


def _read(payload: str) -> tuple[str, dict[str, dict[str, int]]] | None:
    """Read a mark; None for what is none (anybody may send to the channel)."""
    try:
        value: Any = orjson.loads(payload)
        mark, stored = value["mark"], value["stored"]
        counts = {str(name): {str(channel): int(n) for channel, n in each.items()} for name, each in stored.items()}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    return (mark, counts) if isinstance(mark, str) else None
