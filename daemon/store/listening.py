"""The listening connection: one LISTEN session for the process, watched by a heartbeat and rebuilt when it is deaf.

Through a pooler that works per transaction nobody can listen. Then there is none, and who wants to hear has to look.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import asyncpg
import structlog

from hark.daemon.store.database import Database
from hark.triggers.by_connection import where
from hark.workflows.errors import UnavailableError

log = structlog.get_logger(__name__)

HEARTBEAT_S = 4.0
DEAF_AFTER_S = 4.0
"""A heartbeat that is not answered in this time is a black hole: with the interval that makes 8 s, then a rebuild."""
REBUILD_S = 1.0
IDLE_S = 60.0
_OURS = "hark_"


@dataclass(slots=True)
class Heard:
    """Notifications of one channel."""

    number: int = 0
    last_at: float = 0.0
    """By the wall clock of this machine, in seconds since 1970."""

    def count(self) -> None:
        """Note one."""
        self.number += 1
        self.last_at = time.time()


def _cannot_hear(variable: str) -> str:
    return (
        "a pooler that works per transaction stands before the database, through which nothing is heard: "
        f"let {variable} name the server itself, or a pooler with pool_mode = session"
    )


CANNOT_HEAR = _cannot_hear("HARK_LISTEN_URL")


class Ears(Protocol):
    """Who hears notifications; see `hark.triggers.ports`."""

    def tuned(self, channels: frozenset[str]) -> None:
        """Learn that LISTEN has committed."""
        ...

    def hear(self, channel: str, payload: str) -> None:
        """Take one notification."""
        ...

    def lost(self) -> None:
        """Learn that the connection is gone."""
        ...


class WakeUps:
    """Ears that call a function, whatever the message; after a rebuild too, for nobody knows what was missed."""

    def __init__(self, wake: Callable[[str], None]) -> None:
        self._wake = wake

    def tuned(self, channels: frozenset[str]) -> None:
        """Catch up: messages may have been missed before."""
        self._wake("")

    def hear(self, channel: str, payload: str) -> None:
        """Pass the message on."""
        self._wake(payload)

    def lost(self) -> None:
        """Nothing to do: polling goes on."""


class Listening:
    """Owns the listening connection (`NotifyPort`). The same ears are told again after every rebuild.

    On the database of a named connection nobody waits for it, and it is there only while somebody wants to hear.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waits = not database.name
        self._about = where(database.name)
        self._asked = asyncio.Event()
        self._wanted: dict[int, tuple[frozenset[str], Ears]] = {}
        self._tuned: dict[int, frozenset[str]] = {}
        self._on_server: set[str] = set()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._turn = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._epoch = 0
        self._told = ""
        self._is_new = not self._waits
        """Whether the next connection takes the place of none that was lost."""
        self.rebuilt = 0
        self.heard: dict[str, Heard] = {}
        """What came, by channel; those of Hark's own alone, for the others are named by users."""

    @property
    def hears(self) -> bool:
        """Whether the connection stands."""
        return self._connection is not None and not self._connection.is_closed()

    @property
    def deaf(self) -> str:
        """Why nothing can ever be heard; empty when it can."""
        if self._database.can_listen:
            return ""
        name = self._database.name
        return _cannot_hear(f"HARK_CONNECTION_{name.upper()}") if name else CANNOT_HEAR

    @property
    def trouble(self) -> str:
        """What the connection last met, while it does not stand."""
        return "" if self.hears else self._told

    @property
    def _is_behind(self) -> bool:
        """Whether somebody wants to hear what is not listened to yet."""
        return any(self._tuned.get(key) != channels for key, (channels, _) in self._wanted.items())

    async def start(self) -> None:
        """Open the connection and keep it."""
        if self._waits:
            if self.deaf:
                return
            await self._tune()
        self._task = asyncio.create_task(self._keep(), name="listening connection")

    async def stop(self) -> None:
        """Stop listening; idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._drop()

    async def listen(self, channels: frozenset[str], ears: Ears) -> None:
        """Let `ears` hear exactly these channels from now on."""
        if channels:
            self._wanted[id(ears)] = (channels, ears)
        else:
            self._wanted.pop(id(ears), None)
        self._tuned.pop(id(ears), None)
        if not self._waits:
            self._asked.set()
        elif self._task is not None:
            with suppress(UnavailableError):
                await self._tune()

    async def send(self, channel: str, payload: str) -> None:
        """Send one notification."""
        await self._database.execute("notify", channel, payload)

    async def _keep(self) -> None:
        while True:
            await self._pause()
            try:
                if self._epoch != self._database.epoch:
                    self._drop()
                if not self._waits and (self.deaf or not self._wanted):
                    self._drop()
                    self._is_new = True
                    continue
                if self.hears:
                    await self._beat()
                rebuilding = not self.hears
                if rebuilding or self._is_behind:
                    await self._tune()
                if rebuilding:
                    self._note_opened()
            except UnavailableError as error:
                self._tell(str(error))
                self._drop()
            except Exception:
                log.exception("listening.broken", **self._about)
                self._drop()

    def _note_opened(self) -> None:
        event = "listening.opened" if self._is_new else "listening.rebuilt"
        log.info(event, channels=len(self._on_server), **self._about)
        self.rebuilt += not self._is_new
        self._is_new, self._told = False, ""

    def _tell(self, error: str) -> None:
        """Log why nothing is heard; of another database, which may be away for days, once for each reason."""
        if self._waits or error != self._told:
            log.warning("listening.lost", error=error, **self._about)
        self._told = error

    async def _pause(self) -> None:
        """Wait for the next heartbeat or rebuild, or until somebody asks who does not wait for it."""
        pause_s = HEARTBEAT_S if self.hears else REBUILD_S
        if not self._waits and not self.hears and (self.deaf or not self._wanted):
            pause_s = IDLE_S
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._asked.wait()
        self._asked.clear()

    async def _beat(self) -> None:
        """Ask on the same session, so that a connection that has gone deaf is found out."""
        async with self._turn:
            connection = self._connection
            if connection is None:
                return
            with self._database.translated():
                async with asyncio.timeout(DEAF_AFTER_S):
                    await connection.execute("SELECT 1")

    async def _tune(self) -> None:
        """Bring the server's channels in line with what is wanted, then tell the ears that are new."""
        async with self._turn:
            connection = await self._open()
            asked = dict(self._wanted)
            wanted = {channel for channels, _ in asked.values() for channel in channels}
            with self._database.translated():
                async with asyncio.timeout(DEAF_AFTER_S):
                    for channel in wanted - self._on_server:
                        await connection.add_listener(channel, self._heard)
                    for channel in self._on_server - wanted:
                        await connection.remove_listener(channel, self._heard)
            self._on_server = wanted
        # Those only that were asked for before the LISTEN: who came in between is told by a turn of their own.
        for key, (channels, ears) in asked.items():
            if key in self._wanted and self._tuned.get(key) != channels:
                self._tuned[key] = channels
                ears.tuned(channels)

    async def _open(self) -> asyncpg.Connection[asyncpg.Record]:
        if self._connection is None or self._connection.is_closed():
            self._drop()
            self._epoch = self._database.epoch
            self._connection = await self._database.open_listening()
            self._connection.add_termination_listener(self._terminated)
        return self._connection

    def _heard(self, _connection: Any, _pid: int, channel: str, payload: object) -> None:
        self.heard.setdefault(channel if channel.startswith(_OURS) else "others", Heard()).count()
        for channels, ears in list(self._wanted.values()):
            if channel in channels:
                ears.hear(channel, str(payload))

    def _terminated(self, connection: Any) -> None:
        if connection is self._connection:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self._on_server = set()
        if connection is None:
            return
        if not connection.is_closed():
            connection.terminate()
        tuned, self._tuned = self._tuned, {}
        for key, (_, ears) in list(self._wanted.items()):
            if key in tuned:
                ears.lost()
