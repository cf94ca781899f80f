"""Row capture of one database: the keeper of its triggers and the drainer of its outbox, together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog

from hark.triggers.ports import NotifyPort
from hark.triggers.row_drainer import Drainer
from hark.triggers.row_keeper import Keeper
from hark.triggers.row_port import RowPort
from hark.workflows.catalogue import ActiveTrigger, Health
from hark.workflows.errors import UnavailableError

log = structlog.get_logger(__name__)

_STOP_S = 2.0
_LOOK_S = 1.0


class Capturing:
    """Captures what is watched in one database. `connection` is empty for the home database."""

    def __init__(self, port: RowPort, notify: NotifyPort, channel: str, connection: str = "") -> None:
        self._port = port
        self._connection = connection
        self._drainer = Drainer(port, notify, channel, connection)
        self._keeper = Keeper(port, connection)

    async def start(self) -> None:
        """Drain, and keep the triggers from the first time that some are attached."""
        await self._drainer.start()
        self._keeper.start()

    async def stop(self) -> None:
        """Stop; the triggers stay. Another database that does not answer is not waited for: nothing is lost by it."""
        await self._keeper.stop()
        await self._drainer.stop(None if not self._connection else _STOP_S)
        await self._port.close()

    async def attach(self, triggers: Sequence[ActiveTrigger], *, wait: bool = True) -> None:
        """Capture for exactly these triggers; see `Keeper.attach`."""
        if not self._connection:  # elsewhere, whoever has done with it waits until it is empty
            self._drainer.watch(something=bool(triggers))
        await self._keeper.attach(triggers, wait=wait)

    async def wound_up(self) -> None:
        """Wait until nobody watches, all triggers have been taken off, and what they had captured has been moved."""
        while True:
            with suppress(UnavailableError):
                if self._keeper.is_bare and await self._port.is_empty():
                    return
            await asyncio.sleep(_LOOK_S)

    @property
    def trouble(self) -> str:
        """What does not work right now, for people; empty when all is well."""
        trouble = self._drainer.trouble or self._keeper.trouble
        if not trouble and self._connection and not self._keeper.settled:
            return "its triggers are not in place yet"
        return trouble

    def health(self) -> Health:
        """Tell whether all is captured and moved; without another database an instance is ready all the same."""
        trouble, unannounced = self.trouble, self._drainer.unannounced
        detail = trouble or self._keeper.warnings
        return Health(attached=not trouble, detail=detail, unannounced=unannounced, needed=not self._connection)
