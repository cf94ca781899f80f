"""Coroutines that begin at once: what ends without waiting for anything needs neither a timer nor a task."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from dataclasses import dataclass
from types import coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Done(Generic[T]):
    """A coroutine has returned."""

    value: T


@dataclass(slots=True)
class Begun(Generic[T]):
    """A coroutine has run up to its first wait; `finish` is to be awaited once, in the same task."""

    work: Coroutine[Any, Any, T]
    awaited: Any

    @coroutine
    def finish(self) -> Generator[Any, Any, T]:
        """Go on to the end; whatever reaches the task while it waits reaches the coroutine."""
        awaited = self.awaited
        try:
            while True:
                try:
                    sent = yield awaited
                except BaseException as error:  # noqa: BLE001 - it is the coroutine's to handle
                    awaited = self.work.throw(error)
                else:
                    awaited = self.work.send(sent)
        except StopIteration as end:
            value: T = end.value
            return value


def begin(work: Coroutine[Any, Any, T]) -> Done[T] | Begun[T]:
    """Run a coroutine until it returns or waits for something; raises what it raises."""
    try:
        return Begun(work, work.send(None))
    except StopIteration as end:
        return Done(end.value)
