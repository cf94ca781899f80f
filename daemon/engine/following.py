"""Following publications: the registry is brought up to date, and the listeners in line with it."""

from __future__ import annotations

import asyncio

import structlog

from hark.daemon.engine.background import Background
from hark.daemon.engine.listeners import Listeners
from hark.daemon.engine.registry import Registry
from hark.workflows.errors import UnavailableError

log = structlog.get_logger(__name__)

RETRY_S = 1.0


class Following:
    """Follows whenever it is told that there may be something new, and again when the database was away."""

    def __init__(self, registry: Registry, listeners: Listeners) -> None:
        self._registry = registry
        self._listeners = listeners
        self._wanted = asyncio.Event()
        self._attaching = asyncio.Lock()
        self._unattached = False
        self._task = Background("follow registry", self._run)
        self.start = self._task.start
        self.stop = self._task.stop

    def soon(self) -> None:
        """Follow in the background: there may be something new."""
        self._wanted.set()

    def generation_seen(self, generation: int) -> None:
        """Learn which generation of the active workflows the database has."""
        if generation != self._registry.generation:
            self.soon()

    def triggers_changed(self) -> None:
        """Learn that the registry has other triggers than the listeners."""
        self._unattached = True
        self.soon()

    async def follow(self) -> None:
        """Bring the registry up to date, and the listeners in line with it. Raises UnavailableError."""
        await self._registry.refresh()
        async with self._attaching:
            if self._unattached:
                self._unattached = False
                await self._listeners.attach(self._registry.triggers)

    async def _run(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                await self.follow()
            except UnavailableError as error:
                log.warning("registry.refresh_postponed", error=str(error))
                await asyncio.sleep(RETRY_S)
                self._wanted.set()
            except Exception:
                log.exception("registry.refresh_broken")
