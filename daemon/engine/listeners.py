"""The listeners of all trigger kinds: attached to what is active, started and stopped together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from hark.daemon.engine.background import Background
from hark.workflows.catalogue import ActiveTrigger, Catalogue, Health, Listener, ListenerContext
from hark.workflows.errors import UnavailableError

log = structlog.get_logger(__name__)

RETRY_S = 3.0


class Listeners:
    """One listener per trigger kind that has something to listen to."""

    def __init__(self, catalogue: Catalogue, context: ListenerContext) -> None:
        found = {kind: trigger.listener(context) for kind, trigger in catalogue.triggers.items()}
        self._listeners: dict[str, Listener] = {kind: one for kind, one in found.items() if one is not None}
        self._triggers: Sequence[ActiveTrigger] = ()
        self._failed: dict[str, str] = {}
        self._started = False
        self._retry = Background("attach listeners", self._try_again)

    async def start(self) -> None:
        """Start all listeners with what is attached so far."""
        self._started = True
        for listener in self._listeners.values():
            await listener.start()
        await self.attach(self._triggers)

    async def stop(self) -> None:
        """Stop all listeners; idempotent, safe before start."""
        self._started = False
        await self._retry.stop()
        for listener in reversed(self._listeners.values()):
            await listener.stop()

    async def attach(self, triggers: Sequence[ActiveTrigger]) -> None:
        """Listen for exactly these triggers. A kind that cannot is retried, and does not keep the others from it."""
        self._triggers = triggers
        if not self._started:
            return
        for kind in self._listeners:
            await self._attach(kind)
        self._retry.start()

    async def _attach(self, kind: str) -> None:
        try:
            await self._listeners[kind].attach([trigger for trigger in self._triggers if trigger.kind == kind])
        except UnavailableError as error:
            self._failed[kind] = str(error)
        except Exception as error:
            log.exception("listener.attach_failed", kind=kind)
            self._failed[kind] = f"{type(error).__name__}: {error}"
        else:
            self._failed.pop(kind, None)

    async def _try_again(self) -> None:
        while True:
            await asyncio.sleep(RETRY_S)
            for kind in list(self._failed):
                await self._attach(kind)

    def health(self) -> dict[str, Health]:
        """Tell of every kind whether it hears all that is attached, and of each other database that it listens to."""
        found: dict[str, Health] = {}
        for kind, listener in self._listeners.items():
            health = listener.health()
            found[kind] = Health(attached=False, detail=self._failed[kind]) if kind in self._failed else health
            found.update({f"{kind}@{name}": one for name, one in health.elsewhere.items()})
        return found
