"""The running part of `row`: captures what is watched at home, and in the databases of named connections."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import structlog

from hark.triggers.by_connection import by_connection, health_of_all
from hark.triggers.capturing import Capturing
from hark.triggers.ports import RemotesPort
from hark.workflows.catalogue import ActiveTrigger, Health, ListenerContext
from hark.workflows.errors import UnavailableError

log = structlog.get_logger(__name__)

CHANNEL = "hark_rows"
_RETRY_S = 5.0


class RowListener:
    """Captures the changes of all tables that are watched. No database is waited for on account of another."""

    def __init__(self, context: ListenerContext) -> None:
        self._home = Capturing(context.ports["row"], context.ports["notify"], CHANNEL)
        self._remotes: RemotesPort = context.ports["remotes"]
        self._elsewhere: dict[str, Capturing] = {}
        self._endings: dict[str, asyncio.Task[None]] = {}
        self._unknown: set[str] = set()
        self._attached = False

    async def start(self) -> None:
        await self._home.start()

    async def stop(self) -> None:
        endings, self._endings = self._endings, {}
        for ending in endings.values():
            ending.cancel()
        if endings:
            await asyncio.wait(endings.values())
        elsewhere, self._elsewhere = self._elsewhere, {}
        await asyncio.gather(self._home.stop(), *(capturing.stop() for capturing in elsewhere.values()))

    async def attach(self, triggers: Sequence[ActiveTrigger]) -> None:
        found = by_connection(triggers)
        attaching = [self._home.attach(found.pop("", []))]
        self._unknown = found.keys() - set(self._remotes.names)
        left = () if self._attached else await self._remotes.captured()
        names = {*found, *self._elsewhere, *left} & set(self._remotes.names)
        attaching += [await self._attach(name, found[name]) for name in names]
        await asyncio.gather(*attaching)
        self._attached = True

    async def _attach(self, name: str, triggers: Sequence[ActiveTrigger]) -> Coroutine[Any, Any, None]:
        """Begin to capture in another database, or to end that; what is returned waits until it is so."""
        ending = self._endings.pop(name, None)
        if ending is not None:
            if name in self._elsewhere:
                ending.cancel()
            await asyncio.wait([ending])
        capturing = self._elsewhere.get(name)
        if capturing is None:
            channel = f"{self._remotes.prefix}_rows"
            capturing = Capturing(self._remotes.rows(name), self._remotes.notify(name), channel, name)
            self._elsewhere[name] = capturing
            await capturing.start()
        if not triggers:
            self._endings[name] = asyncio.create_task(self._end(name, capturing), name=f"hark.row.end {name}")
        # At the start nobody waits for another database; whoever publishes a workflow does, for two seconds in all.
        waits = self._attached and name not in self._remotes.silent
        return capturing.attach(triggers, wait=waits)

    async def _end(self, name: str, capturing: Capturing) -> None:
        """Let go of a database in which nobody watches anything any more."""
        await capturing.wound_up()
        del self._elsewhere[name]
        await capturing.stop()
        while True:
            try:
                await self._remotes.released(name)
            except UnavailableError:
                await asyncio.sleep(_RETRY_S)
            else:
                break
        self._endings.pop(name, None)
        log.info("row.connection_released", connection=name)

    def health(self) -> Health:
        elsewhere = {name: capturing.health() for name, capturing in self._elsewhere.items()}
        return health_of_all(self._home.health(), elsewhere, self._unknown)
