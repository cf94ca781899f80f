"""A cache bounded by the weight of what it keeps, not by its number: few that are large, or many that are small."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """Keeps what was used last, up to a total weight; what is heavier than that alone is kept until the next one.

    Threads may share it: definitions are read in one while the loop runs on.
    """

    __slots__ = ("_entries", "_limit", "_lock", "_weight")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._weight = 0
        self._entries: OrderedDict[K, tuple[V, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: K) -> V | None:
        """Return what is kept, which is thereby the last that was used."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: K, value: V, weight: int) -> None:
        """Keep a value, in the place of an older one; what was used longest ago makes room."""
        with self._lock:
            self._weight += weight - self._entries.pop(key, (None, 0))[1]
            self._entries[key] = (value, weight)
            while self._weight > self._limit and len(self._entries) > 1:
                self._weight -= self._entries.popitem(last=False)[1][1]
