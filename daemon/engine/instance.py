"""This process among the others: its licence to write, its heartbeat, and the reclaiming of dead instances' work."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog

from hark._version import __version__
from hark.daemon.engine.background import Background
from hark.daemon.engine.clock import DatabaseClock
from hark.daemon.engine.host import ProcessIdentity, this_process
from hark.daemon.store.capture_program import program
from hark.daemon.store.database import ENGINE_PLANNER, Database, sql
from hark.daemon.store.lane import Lane
from hark.workflows.errors import FencedError, ReadOnlyError, UnavailableError
from hark.workflows.ids import InstanceId, new_id

log = structlog.get_logger(__name__)

HEARTBEAT_S = 3.0
DEAD_AFTER_S = 15.0
"""A heartbeat that stood still for so long, by the observer's monotonic clock, is a dead instance."""


@dataclass(slots=True)
class _Seen:
    heartbeat: int
    since: float


class Instance:
    """The licence of this process, kept alive by a heartbeat; whoever lets it lapse is fenced.

    `on_fenced` is awaited once the licence is found gone, before a new one is taken: nothing held may be written.
    """

    def __init__(
        self,
        database: Database,
        clock: DatabaseClock,
        *,
        on_fenced: Callable[[], Awaitable[None]],
        on_generation: Callable[[int], None],
        on_reclaimed: Callable[[], None],
        backend_pids: Callable[[], Iterable[int]] = tuple,
    ) -> None:
        self.id = InstanceId(UUID(int=0))
        self.state = "running"
        self.reclaimed = 0
        self.trouble = ""
        """Why the last heartbeat failed; empty when it did not."""
        self.read_only = False
        """Whether that was because the database takes no writes."""
        self._database = database
        self._clock = clock
        self._identity = this_process()
        self._lane = Lane(database, "heartbeat", ENGINE_PLANNER)
        self._on_fenced = on_fenced
        self._on_generation = on_generation
        self._on_reclaimed = on_reclaimed
        self._backend_pids = backend_pids
        self._seen: dict[UUID, _Seen] = {}
        self._good_since: float | None = None
        self._last_beat = 0.0
        self._last_answer = 0.0
        self._lost = asyncio.Event()
        self._task = Background("instance heartbeat", self._keep)

    async def start(self) -> None:
        """Take a licence and keep it."""
        await self._register()
        await self._reclaim()
        self._task.start()

    async def stop(self) -> None:
        """Give the licence back; idempotent."""
        if not self._task.runs:
            return
        await self._task.stop()
        with suppress(UnavailableError):
            await self._lane.fetch("leave_instance", self.id)
            # A claim that was cut off by the stop may have come through: nobody else should have to find out.
            if await self._lane.fetch("give_back", self.id):
                await self._lane.fetch("notify", "hark_work", "")
        await self._lane.stop()

    def fenced(self, licence: UUID) -> FencedError:
        """Say that a write found a licence gone; returns the error to raise.

        A late answer about an earlier licence says nothing about the one that is held now.
        """
        if licence == self.id:
            self._lost.set()
        return FencedError(f"instance {licence} has lost its licence: another one has taken over")

    @property
    def silent_s(self) -> float:
        """How long ago the last good heartbeat was."""
        return time.monotonic() - self._last_beat

    @property
    def unanswered_s(self) -> float:
        """How long ago the database last answered, if only that it takes no writes; what the watchdog looks at."""
        return time.monotonic() - self._last_answer

    async def _register(self) -> None:
        # The first reading of the clock comes with the first heartbeat; the id needs one only roughly.
        self.id = InstanceId(new_id(self._clock.now()))
        this = self._identity
        await self._lane.fetch(
            "register_instance",
            self.id,
            this.host,
            this.host_boot,
            this.pid,
            this.pid_started,
            __version__,
            await asyncio.to_thread(program),
        )
        self._lost.clear()
        await self._beat()
        log.info("instance.registered", instance=str(self.id))

    async def _keep(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._lost.wait()
            try:
                if self._lost.is_set():
                    await self._rejoin()
                await self._beat()
                await self._reclaim()
            except UnavailableError as error:
                await self._stumble(error)
                log.warning("instance.heartbeat_failed", error=str(error), silent_s=round(self.silent_s, 1))
            except FencedError:
                continue
            except Exception:
                self._good_since = None
                log.exception("instance.heartbeat_broken")

    async def _beat(self) -> None:
        sent = time.monotonic()
        rows = await self._lane.fetch("beat_instance", self.id, list(self._backend_pids()), self.state)
        received = time.monotonic()
        if not rows:
            raise self.fenced(self.id)
        self._clock.observe(rows[0]["now"], sent, received)
        self._on_generation(rows[0]["generation"])
        if self._good_since is None:
            self._good_since = received
        self._last_beat = self._last_answer = received
        if self.read_only:
            # Whatever was opened meanwhile may lead to the server that was not promoted.
            await self._database.renew()
        self.trouble, self.read_only = "", False

    async def _stumble(self, error: UnavailableError) -> None:
        self._good_since = None
        self.trouble, self.read_only = str(error), isinstance(error, ReadOnlyError)
        if self.read_only:
            self._last_answer = time.monotonic()
            # Another server is the primary, or will be: what is connected to this one would never get to know it.
            await self._database.renew()

    async def _rejoin(self) -> None:
        log.error("instance.fenced", instance=str(self.id))
        self._good_since = None
        self._seen.clear()
        await self._on_fenced()
        await self._register()

    async def _reclaim(self) -> None:
        """Remove the licences of dead instances, then take back all work that has no licensed owner."""
        others = {row["id"]: row for row in await self._lane.fetch("list_other_instances", self.id)}
        now = time.monotonic()
        self._seen = {key: seen for key, seen in self._seen.items() if key in others}
        for key, row in others.items():
            seen = self._seen.get(key)
            if seen is None or seen.heartbeat != row["heartbeat"]:
                self._seen[key] = seen = _Seen(row["heartbeat"], now)
            process = ProcessIdentity("", row["host_boot"], row["pid"], row["pid_started"])
            if self._is_dead(process, seen, now):
                await self._remove(key, row["heartbeat"], row["backend_pids"])
        async with self._lane.connection() as connection:
            count = await connection.fetchval(sql("reclaim_executions"))
        if count:
            self.reclaimed += count
            log.warning("instance.work_reclaimed", executions=count)
            self._on_reclaimed()

    def _is_dead(self, process: ProcessIdentity, seen: _Seen, now: float) -> bool:
        """Judge another instance.

        A gone process on this host is certain; else its heartbeat must have stood still while this instance's own
        went well, so that neither a step of the clock nor an outage of the database declares all dead.
        """
        if process.host_boot and process.host_boot == self._identity.host_boot and process.is_gone():
            return True
        watched = self._good_since is not None and now - self._good_since >= DEAD_AFTER_S
        return watched and now - seen.since >= DEAD_AFTER_S

    async def _remove(self, key: UUID, heartbeat: int, backend_pids: list[int]) -> None:
        await self._lane.fetch("end_backends", backend_pids)
        if await self._lane.fetch("remove_instance", key, heartbeat):
            log.warning("instance.removed", dead=str(key))
