"""Hears the channels of one database, and stores each message once over all instances."""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import islice

import structlog

from hark.triggers.by_connection import addressed, where
from hark.triggers.json_text import read_json
from hark.triggers.notify_ledger import MARKS, Ledger, Message
from hark.triggers.ports import NotifyPort
from hark.workflows.catalogue import ActiveTrigger, Health, NewEvent, Receipt
from hark.workflows.counting import counted
from hark.workflows.errors import RequestError, UnavailableError
from hark.workflows.ids import TenantId

log = structlog.get_logger(__name__)

MARK_EVERY_S = 5.0
PATIENCE_S = 3 * MARK_EVERY_S
"""What a speaker stored is told by its second mark after it at the latest."""
_RETRY_S = 1.0
_AT_ONCE = 200
_MOST_WAITING = 100_000
_LAST_ATTEMPTS_S = 10.0
_STOP_S = 1.0
"""For another database, which may not answer; what was asked of it ends with its connections."""


def route_of(channel: str, connection: str = "") -> str:
    """Return the route of a channel."""
    return addressed("notify", connection, channel)


def message_event(tenant_id: TenantId, message: Message, connection: str = "") -> NewEvent:
    """Make the event of a notification: its payload as JSON where it is, else as text."""
    try:
        payload = read_json(message.payload.encode())
    except ValueError:
        payload = message.payload
    return NewEvent(
        tenant_id=tenant_id,
        kind="notify",
        type="notify.received",
        source=route_of(message.channel, connection),
        route=route_of(message.channel, connection),
        data={**where(connection), "channel": message.channel, "payload": payload},
        dedupe_key=message.key,
    )


class Hearing:
    """Hears the channels of all triggers on one database (it is the `Ears` of its listening connection).

    `marks` is the channel of this Hark's marks there; `connection` is empty for the home database.
    """

    def __init__(
        self,
        emit: Callable[[NewEvent], Awaitable[Receipt]],
        port: NotifyPort,
        marks: str = MARKS,
        connection: str = "",
    ) -> None:
        self._emit = emit
        self._port = port
        self._channel = marks
        self._connection = connection
        self._about = where(connection)
        self._ledger = Ledger(uuid.uuid4().hex, PATIENCE_S, marks=marks)
        self._tenants: dict[str, frozenset[TenantId]] = {}
        self._waiting: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._mark_wanted = asyncio.Event()
        self._marks: asyncio.Task[None] | None = None
        self._storing: asyncio.Task[None] | None = None
        self._stopping = False
        self._overflowed = 0

    async def start(self) -> None:
        """Begin to hear and to store; idempotent."""
        if self._marks is None:
            self._stopping = False
            self._marks = asyncio.create_task(self._send_marks(), name="hark.notify.marks")
            self._storing = asyncio.create_task(self._store_messages(), name="hark.notify.store")
            self._tell_if_deaf()
            await self._listen()

    async def stop(self) -> None:
        """Store what was heard, within ten seconds, and end; idempotent."""
        marks, self._marks = self._marks, None
        storing, self._storing = self._storing, None
        if marks is None or storing is None:
            return
        await self._port.listen(frozenset(), self)
        self.lost()
        marks.cancel()
        await asyncio.wait([marks], timeout=_STOP_S if self._connection else None)
        self._take(self._ledger.release())
        self._stopping = True
        self._arrived.set()
        try:
            async with asyncio.timeout(_LAST_ATTEMPTS_S):
                await storing
        except TimeoutError:
            log.warning("notify.messages_lost", count=len(self._waiting), **self._about)

    async def attach(self, triggers: Sequence[ActiveTrigger]) -> None:
        """Listen on exactly the channels of these triggers."""
        tenants: dict[str, set[TenantId]] = {}
        for trigger in triggers:
            tenants.setdefault(trigger.config.channel, set()).add(trigger.tenant_id)
        before = self._tenants.keys()
        self._tenants = {channel: frozenset(ids) for channel, ids in tenants.items()}
        if self._marks is not None and self._tenants.keys() != before:
            self._tell_if_deaf()
            await self._listen()

    def health(self) -> Health:
        """Tell whether all channels are heard; without another database an instance is ready all the same."""
        needed = not self._connection
        if self._marks is None:
            return Health(attached=False, detail="not started", needed=needed)
        if self._tenants and self._port.deaf:
            # What else this instance does it does well: it is not to be taken for one that is down.
            reason = f"{counted(len(self._tenants), 'channel is', 'channels are')} not heard: {self._port.deaf}"
            return Health(attached=True, detail=reason, needed=needed)
        deaf = self._tenants.keys() - self._ledger.counted
        if deaf:
            reason = f": {self._port.trouble}" if self._port.trouble else ""
            detail = f"{counted(len(deaf), 'channel is', 'channels are')} not heard yet{reason}"
            return Health(attached=False, detail=detail, needed=needed)
        waiting = len(self._waiting)
        detail = f"{counted(waiting, 'message waits', 'messages wait')} to be stored" if waiting else ""
        if self._overflowed:
            detail = f"{counted(self._overflowed, 'message was', 'messages were')} lost: more came than could be stored"
        return Health(attached=True, detail=detail, needed=needed)

    def tuned(self, channels: frozenset[str]) -> None:
        """Count on, once a mark sent from now on has come back."""
        self._ledger.tune(channels - {self._channel})
        self._mark_wanted.set()

    def hear(self, channel: str, payload: str) -> None:
        """Take one notification."""
        self._take(self._ledger.hear(channel, payload, asyncio.get_running_loop().time()))

    def lost(self) -> None:
        """Stop counting until the connection is back."""
        self._ledger.tune(frozenset())

    def _tell_if_deaf(self) -> None:
        if self._tenants and self._port.deaf:
            log.error("notify.cannot_hear", channels=sorted(self._tenants), reason=self._port.deaf, **self._about)

    async def _listen(self) -> None:
        channels = frozenset(self._tenants)
        self._ledger.tune(self._ledger.counted & channels)  # what is left must not count on when it comes back
        await self._port.listen(channels | {self._channel} if channels else channels, self)

    def _take(self, messages: Sequence[Message]) -> None:
        room = _MOST_WAITING - len(self._waiting)
        if len(messages) > room:
            self._overflowed += len(messages) - room
            log.error("notify.overflowed", lost=self._overflowed, **self._about)
        self._waiting.extend(messages[:room])
        if self._waiting:
            self._arrived.set()

    async def _send_marks(self) -> None:
        told = ""
        while True:
            try:
                if self._tenants and not self._port.deaf:
                    await self._port.send(self._channel, self._ledger.mark())
                told = ""
            except UnavailableError as error:
                if str(error) != told:  # another database may be away for days
                    log.warning("notify.mark_unsent", error=str(error), **self._about)
                told = str(error)
            except Exception:
                log.exception("notify.mark_failed", **self._about)
            with suppress(TimeoutError):
                async with asyncio.timeout(MARK_EVERY_S):
                    await self._mark_wanted.wait()
            self._mark_wanted.clear()
            self._take(self._ledger.overdue(asyncio.get_running_loop().time()))

    async def _store_messages(self) -> None:
        while self._waiting or not self._stopping:
            if self._waiting:
                await self._store_some()
            else:
                self._arrived.clear()
                await self._arrived.wait()

    async def _store_some(self) -> None:
        """Store the oldest messages together; wait a moment if one could not be stored."""
        batch = list(islice(self._waiting, _AT_ONCE))
        stored = await asyncio.gather(*(self._store(message) for message in batch))
        left = []
        for done in stored:
            message = self._waiting.popleft()
            if not done:
                left.append(message)
        self._waiting.extendleft(reversed(left))
        if left:
            await asyncio.sleep(_RETRY_S)

    async def _store(self, message: Message) -> bool:
        """Store a message for every tenant that listens; say whether it is done with."""
        try:
            for tenant_id in self._tenants.get(message.channel, ()):
                await self._emit(message_event(tenant_id, message, self._connection))
        except RequestError as error:
            log.warning(
                "notify.message_refused", channel=message.channel, key=message.key, error=str(error), **self._about
            )
        except UnavailableError:
            return False
        except Exception:
            log.exception("notify.message_failed", channel=message.channel, key=message.key, **self._about)
            return False
        self._ledger.store(message)
        return True
