"""Whether this instance hears what others say, and what it does where it cannot: it looks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from hark.daemon.engine.background import Background, woken
from hark.daemon.store.database import Connection
from hark.daemon.store.listening import Listening
from hark.workflows.catalogue import ActiveTrigger, Health
from hark.workflows.errors import Problem, UnavailableError

log = structlog.get_logger(__name__)

POLL_S = 0.5
"""How often to look for what a message would have told, where none can be heard."""
REST_S = 0.1
"""What this instance itself has brought about is looked for at once, but not more often than this."""


class Hearing:
    """Listens, or where a pooler makes that impossible has a `look` taken every half second.

    It is told whether to look for everything, or only for what comes of this instance's own work.
    """

    def __init__(self, listening: Listening, look: Callable[[bool], Awaitable[None]]) -> None:
        self.listening = listening
        self._look = look
        self._polling = Background("poll", self._poll)
        self._soon = asyncio.Event()

    async def start(self) -> None:
        """Begin."""
        await self.listening.start()
        if self.listening.deaf:
            self._polling.start()

    async def stop(self) -> None:
        """Neither listen nor look any more; idempotent."""
        await self._polling.stop()
        await self.listening.stop()

    def expect(self) -> None:
        """Note that this instance may just have sent a message to itself."""
        self._soon.set()

    def health(self) -> Health:
        """Tell whether what others say gets here in time."""
        if self.listening.deaf:
            return Health(attached=True, detail=f"looks every {POLL_S:g} s: {self.listening.deaf}")
        return Health(self.listening.hears, "" if self.listening.hears else "the connection is being rebuilt")

    async def check(self, _connection: Connection, triggers: Sequence[ActiveTrigger]) -> list[Problem]:
        """Warn, before publication, of triggers for which nothing is heard here."""
        reason = self.listening.deaf
        deaf = [one for one in triggers if reason and one.kind == "notify" and not one.config.connection]
        return [
            Problem(f"nothing is heard of it: {reason}", (one.workflow, one.id, "channel"), severity="warning")
            for one in deaf
        ]

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        all_by = loop.time() + POLL_S
        while True:
            everything = not await woken(self._soon, all_by - loop.time())
            if everything:
                all_by = loop.time() + POLL_S
            else:
                self._soon.clear()
            try:
                await self._look(everything)
            except UnavailableError:
                await asyncio.sleep(POLL_S)  # the heartbeat tells about it
            except Exception:
                log.exception("polling.broken")
            await asyncio.sleep(REST_S)
