"""A place where things go wrong: a database with a witness in it, receiving ends, daemons, and somebody who sends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from importlib import resources
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg

from hark.daemon.engine.executor import MOST_CLAIMS
from support.faults.kinds import KINDS
from support.faults.oracle import SOURCE, Oracle, Sent
from support.faults.processes import BESIDE, Footprint, Form, Instance, Nursery, instances
from support.faults.receivers import Receivers

PATIENCE_S = 60.0
MOST_SENDERS = 40
"""So many wait for an answer at most: what a daemon that is down too long cannot take does not pile up."""
MORE_MIB = 32
MORE_DESCRIPTORS = 16


class Site:
    """All of it. `sent` is what the sender knows: every event, and for those that were taken what it was told."""

    def __init__(self, all_: Sequence[Instance], receivers: Receivers, pool: asyncpg.Pool) -> None:
        self.instances = list(all_)
        self.receivers = receivers
        self.pool = pool
        self.oracle = Oracle(pool, receivers)
        self.sent: list[Sent] = []
        self.refused = 0
        """How often a sender was not answered with 2xx, or not at all, and sent again."""
        self.repeated = 0
        """How often a sender repeated what had been taken."""
        self.spoiled = False
        """Whether a test began here and has not ended well."""
        self._session: aiohttp.ClientSession | None = None
        self._headers: dict[str, str] = {}
        self._number = 0

    @property
    def one(self) -> Instance:
        """The first instance."""
        return self.instances[0]

    async def open(self, session: aiohttp.ClientSession) -> None:
        """Begin to send; the first instance has been started."""
        self._session, self._headers = session, self.one.headers

    # ------------------------------------------------------------------ sending

    async def send(self, kind: str, *, keyed: bool = True, to: Instance | None = None) -> Sent:
        """Send an event again and again until somebody takes it, as a nervous sender does.

        Without a key it is sent once, because nobody could tell its repetition.
        """
        self._number += 1
        number = self._number
        key = f"key-{number}" if keyed else None
        slot = len(self.sent)
        self.sent.append(Sent(kind, number, key))
        async with asyncio.timeout(PATIENCE_S):
            while True:
                answer = await self._post(to or self._somebody(number), kind, number, key)
                if answer is not None:
                    break
                self.refused += 1
                if not keyed:
                    return self.sent[slot]
                await asyncio.sleep(0.1)
        executions = [UUID(one) for one in answer["executions"]]
        self.sent[slot] = Sent(kind, number, key, UUID(answer["event_id"]), executions)
        return self.sent[slot]

    async def send_again(self, sent: Sent) -> None:
        """Repeat what was taken; it has to be told from a new one."""
        answer = None
        async with asyncio.timeout(PATIENCE_S):
            while answer is None:
                answer = await self._post(self._somebody(sent.number), sent.kind, sent.number, sent.key)
        self.repeated += 1
        assert (UUID(answer["event_id"]), answer["duplicate"]) == (sent.event_id, True)

    async def answer(self, sent: Sent) -> None:
        """Approve what an execution asks, as somebody does who presses the button until something happens."""
        assert self._session is not None
        (execution,) = sent.executions
        await self.until("SELECT count(*) FROM hark.waits WHERE execution_id = $1", execution)
        async with asyncio.timeout(PATIENCE_S):
            while True:
                to = self._somebody(sent.number)
                with suppress(aiohttp.ClientError, TimeoutError):
                    if to is not None:
                        url = f"{to.url}/api/executions/{execution}/approve"
                        async with self._session.post(url, json={"by": "ann"}, headers=self._headers) as answer:
                            if answer.status in (200, 409):
                                return
                            assert answer.status == 503, await answer.text()
                await asyncio.sleep(0.1)

    async def _post(self, to: Instance | None, kind: str, number: int, key: str | None) -> dict[str, Any] | None:
        if to is None:
            await asyncio.sleep(0.05)
            return None
        assert self._session is not None
        body = {"type": kind, "data": {"n": number}, "source": SOURCE, "key": key}
        try:
            async with self._session.post(f"{to.url}/api/events", json=body, headers=self._headers) as answer:
                if answer.status == 202:
                    found: dict[str, Any] = await answer.json()
                    return found
                assert answer.status in (429, 503), await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            pass
        return None

    def _somebody(self, number: int) -> Instance | None:
        living = [one for one in self.instances if one.runs]
        return living[number % len(living)] if living else None

    @asynccontextmanager
    async def load(self, rate: float, kinds: Sequence[str], choice: random.Random) -> AsyncIterator[Load]:
        """Send events of these kinds, so many a second, for the length of the block."""
        load = Load(self, rate, kinds, choice)
        task = asyncio.create_task(load.run(), name="load")
        try:
            yield load
        finally:
            load.enough.set()
            await task

    # ------------------------------------------------------------------ asking

    async def value(self, question: str, *args: Any) -> Any:
        """Ask the database."""
        return await self.pool.fetchval(question, *args)

    async def until(self, question: str, *args: Any, what: Callable[[Any], bool] = bool) -> Any:
        """Ask the database until the answer is as wanted; bounded."""
        value, pause_s = None, 0.03
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not what(value := await self.value(question, *args)):
                    await asyncio.sleep(pause_s)
                    # Many ask at a time while a daemon is down: they must not become the load.
                    pause_s = min(pause_s * 1.3, 0.5)
        except TimeoutError:
            raise AssertionError(f"{question} still gives {value!r}") from None
        return value

    async def held_by(self, instance: Instance) -> int:
        """Return how many executions a process has in its hands."""
        count: int = await self.value(
            "SELECT count(*) FROM hark.workflow_executions AS e JOIN hark.instances AS i ON i.id = e.instance_id"
            " WHERE i.pid = $1",
            instance.pid,
        )
        return count

    async def may_die(self, instance: Instance) -> bool:
        """Tell whether a process has work in its hands, none of which it would be parked for if it died once more."""
        row = await self.pool.fetchrow(
            "SELECT count(*) AS held, max(e.claims) AS claims FROM hark.workflow_executions AS e"
            " JOIN hark.instances AS i ON i.id = e.instance_id WHERE i.pid = $1",
            instance.pid,
        )
        return row is not None and row["held"] > 0 and row["claims"] < MOST_CLAIMS - 1

    async def judge(self) -> None:
        """Have the oracle judge all that was sent here."""
        await self.oracle.judge(self.sent, sum(one.runs for one in self.instances))

    async def settled(self, before: Mapping[Instance, Footprint]) -> str:
        """Wait until daemons have about as many files open as before, and as much memory; returns both, in words."""
        async with asyncio.timeout(PATIENCE_S):
            # Idle connections close later.
            while any(one.footprint().descriptors > was.descriptors + MORE_DESCRIPTORS for one, was in before.items()):
                await asyncio.sleep(0.2)
        words = []
        for one, was in before.items():
            now = one.footprint()
            assert now.memory_mib < was.memory_mib + MORE_MIB, f"{one.name}: {was} became {now}"
            words.append(f"{one.name} {was} → {now}")
        return ", ".join(words)

    def show_logs(self) -> None:
        """Print what the daemons said last, for pytest to show."""
        for one in self.instances:
            print(f"--- {one.writer}: the end of its log\n{one.log[-3000:]}")  # noqa: T201


class Load:
    """A stream of events from senders that do not give up, and sometimes repeat themselves."""

    def __init__(self, site: Site, rate: float, kinds: Sequence[str], choice: random.Random) -> None:
        self._site = site
        self._rate = rate
        self._kinds = kinds
        self._choice = choice
        self.enough = asyncio.Event()
        self.taken = 0
        self._room = asyncio.Semaphore(MOST_SENDERS)

    async def run(self) -> None:
        """Send until there is enough, then wait until all has been taken."""
        async with asyncio.TaskGroup() as senders:
            while not self.enough.is_set():
                await self._room.acquire()
                senders.create_task(self._one(self._choice.choice(self._kinds), self._choice.random() < 0.2))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.enough.wait(), self._choice.expovariate(self._rate))

    async def _one(self, kind: str, again: bool) -> None:
        try:
            sent = await self._site.send(kind)
            self.taken += 1
            if kind == "asks":
                await self._site.answer(sent)
            if again:
                await self._site.send_again(sent)
        finally:
            self._room.release()


@asynccontextmanager
async def site(nursery: Nursery, url: str, names: Sequence[str] = ("one",), form: Form = BESIDE) -> AsyncIterator[Site]:
    """Set a site up on an empty database; the workflows of all kinds are published by its first instance."""
    receivers = Receivers()
    await receivers.start()
    pool = await asyncpg.create_pool(url, min_size=1, max_size=5)
    try:
        await pool.execute((resources.files("support.faults") / "witness.sql").read_text(encoding="utf-8"))
        settings = {
            "HARK_HTTP_ALLOW_NETWORKS": "127.0.0.0/8",
            "HARK_SMTP_HOST": "127.0.0.1",
            "HARK_SMTP_PORT": str(receivers.mail_port),
            "HARK_SMTP_TLS": "none",
            "HARK_MAIL_FROM": "hark@example.org",
            "HARK_DRAIN_TIMEOUT": "500ms",
        }
        async with (
            instances(nursery, url, list(names), settings, form) as all_,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session,
        ):
            for one in all_:
                (one.home / "workflows.yaml").write_text(
                    "\n---\n".join(kind.definition(receivers.url) for kind in KINDS.values()), encoding="utf-8"
                )
            place = Site(all_, receivers, pool)
            await place.one.start(HARK_WORKFLOWS=str(place.one.home))
            await asyncio.gather(*(one.start() for one in all_[1:]))
            await place.open(session)
            try:
                yield place
            except BaseException:
                place.show_logs()
                raise
            finally:
                receivers.release()
    finally:
        await pool.close()
        await receivers.stop()
