"""The running part of `notify`: hears the channels of the home database and of all connections that triggers name."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from hark.triggers.by_connection import by_connection, health_of_all
from hark.triggers.notify_hearing import Hearing
from hark.triggers.ports import RemotesPort
from hark.workflows.catalogue import ActiveTrigger, Health, ListenerContext


class NotifyListener:
    """Hears the channels of all attached triggers."""

    def __init__(self, context: ListenerContext) -> None:
        self._emit = context.emit
        self._home = Hearing(context.emit, context.ports["notify"])
        self._remotes: RemotesPort = context.ports["remotes"]
        self._elsewhere: dict[str, Hearing] = {}
        self._unknown: set[str] = set()

    async def start(self) -> None:
        await self._home.start()

    async def stop(self) -> None:
        elsewhere, self._elsewhere = self._elsewhere, {}
        await asyncio.gather(self._home.stop(), *(hearing.stop() for hearing in elsewhere.values()))

    async def attach(self, triggers: Sequence[ActiveTrigger]) -> None:
        found = by_connection(triggers)
        await self._home.attach(found.pop("", []))
        self._unknown = found.keys() - set(self._remotes.names)
        for name in found.keys() - self._unknown:
            await self._hearing(name).attach(found[name])
        for name in self._elsewhere.keys() - found.keys():
            await self._elsewhere.pop(name).stop()
        for hearing in self._elsewhere.values():
            await hearing.start()

    def _hearing(self, name: str) -> Hearing:
        if name not in self._elsewhere:
            remotes = self._remotes
            self._elsewhere[name] = Hearing(self._emit, remotes.notify(name), remotes.marks(name), name)
        return self._elsewhere[name]

    def health(self) -> Health:
        elsewhere = {name: hearing.health() for name, hearing in self._elsewhere.items()}
        return health_of_all(self._home.health(), elsewhere, self._unknown)
