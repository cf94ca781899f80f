"""What the daemon offers to particular trigger kinds, under these names in `ListenerContext.ports`.

`schedules`: SchedulePort, for `cron`. `notify`: NotifyPort, for `notify` and `row`. `row`: RowPort, see `row_port`.
`remotes`: RemotesPort, the last two for the databases of named connections.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from hark.triggers.row_port import RowPort
from hark.workflows.ids import TenantId, WorkflowId


class TriggerKey(NamedTuple):
    """What names a trigger over all its versions."""

    tenant_id: TenantId
    workflow_id: WorkflowId
    trigger_id: str


@dataclass(frozen=True, slots=True)
class ScheduleState:
    """How far a cron trigger has come."""

    key: TriggerKey
    schedule: str
    """The expressions, one per line. A state that was kept for another schedule or zone says nothing."""
    timezone: str
    settled_until: datetime
    """Every slot up to this moment is settled: fired, or passed over because the policy says so."""
    last_slot: datetime | None
    """The latest slot that fired."""


class SchedulePort(Protocol):
    """Where the state of cron triggers is kept."""

    async def last_slots(self, keys: Sequence[TriggerKey]) -> Mapping[TriggerKey, ScheduleState]:
        """Return the states that are known. Raises UnavailableError."""
        ...

    async def record_slots(self, states: Sequence[ScheduleState]) -> None:
        """Keep these states, in one statement; a state of a workflow that is gone is passed over.

        `settled_until` and `last_slot` only move forward: of the stored value and the new one the later stays (NULL is
        the earliest), whichever instance writes last. Raises UnavailableError.
        """
        ...


class Ears(Protocol):
    """Who hears notifications. All calls come from the event loop and return at once."""

    def tuned(self, channels: frozenset[str]) -> None:
        """Say that LISTEN on exactly these channels has committed on a connection that works."""
        ...

    def hear(self, channel: str, payload: str) -> None:
        """Take one notification, in the order in which the server delivered them."""
        ...

    def lost(self) -> None:
        """Say that the connection is gone; `tuned` follows when it has been rebuilt."""
        ...


class NotifyPort(Protocol):
    """The daemon's listening connection: one for the process, watched and rebuilt by the daemon."""

    @property
    def deaf(self) -> str:
        """Why nothing will ever be heard here, and what to do, for people; empty when all is well."""
        ...

    @property
    def trouble(self) -> str:
        """Why nothing is heard right now, as far as is known; empty while the connection stands."""
        ...

    async def listen(self, channels: frozenset[str], ears: Ears) -> None:
        """Listen on exactly these channels from now on, also after every rebuild; an empty set ends it.

        Calls `ears.tuned` after LISTEN has committed, now and after every rebuild, and before any message of the new
        connection. Returns when that is done; when the database is away it returns too, and goes on trying.
        """
        ...

    async def send(self, channel: str, payload: str) -> None:
        """Send one notification (at most 7999 bytes), on any connection. Raises UnavailableError."""
        ...


class RemotesPort(Protocol):
    """The databases of named connections. None is connected to before it is asked for something."""

    @property
    def names(self) -> Collection[str]:
        """The names of all that are set."""
        ...

    @property
    def silent(self) -> Collection[str]:
        """The names of those that have just kept somebody waiting in vain."""
        ...

    @property
    def prefix(self) -> str:
        """What the name of the channel of its wake-ups begins with there: `…_rows`."""
        ...

    def marks(self, name: str) -> str:
        """Return the channel of `notify`'s marks on one: that of all who store what they hear there in one place."""
        ...

    def rows(self, name: str) -> RowPort:
        """Return the row capture of one."""
        ...

    def notify(self, name: str) -> NotifyPort:
        """Return the listening connection of one. It makes nobody wait."""
        ...

    async def captured(self) -> Collection[str]:
        """Name those where triggers of ours may be, whether or not anybody watches still. Raises UnavailableError."""
        ...

    async def released(self, name: str) -> None:
        """Note that nothing is captured there any more. Raises UnavailableError."""
        ...
