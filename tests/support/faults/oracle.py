"""Whether everything is as was promised: judged by the database, the witness in it, and the receiving ends."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from support.faults.kinds import KINDS, LIMIT, Kind
from support.faults.length import DRAIN_S
from support.faults.receivers import Receivers

SOURCE = "faults"
"""The source of what the suite sends; a call and an emitted event have others."""
ENDED_EXECUTION = {"completed", "failed", "cancelled", "timeout", "skipped"}
ENDED_STEP = {"completed", "failed", "skipped", "cancelled"}
"""As docs/architecture.md has them. Not the daemon's own: the oracle shares nothing with what it judges."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An event that was sent, and what the sender was told if it was taken."""

    kind: str
    number: int
    key: str | None
    event_id: UUID | None = None
    executions: Sequence[UUID] = ()


class Oracle:
    """Looks at what is left. It knows nothing of the daemons, and they nothing of it."""

    def __init__(self, pool: asyncpg.Pool, receivers: Receivers) -> None:
        self._pool = pool
        self._receivers = receivers

    async def drained(self) -> None:
        """Wait until everything that is stored has ended; raises AssertionError with what is stuck."""
        rows: Sequence[Any] = ()
        try:
            async with asyncio.timeout(DRAIN_S):
                while rows := await self._pool.fetch(
                    "SELECT id, status, pending_reason, instance_id, due_at, claims, queued, error"
                    " FROM hark.workflow_executions WHERE completed_at IS NULL"
                ):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"stuck after {DRAIN_S} s: {[dict(row) for row in rows[:5]]}") from None

    async def judge(self, sent: Sequence[Sent], living: int) -> None:
        """Wait for the end and raise AssertionError with everything that is wrong; so many instances live."""
        await self.drained()
        wrong = [
            *await self._stored(sent),
            *await self._effects(),
            *await self._remains(),
            *await self._licences(living),
            *await self._history(),
        ]
        assert not wrong, f"{len(wrong)} findings:\n" + "\n".join(wrong[:30])

    # ------------------------------------------------------------------ what was taken

    async def _stored(self, sent: Sequence[Sent]) -> list[str]:
        """Check that what was acknowledged is stored, each event once, with one execution for each workflow."""
        events = await self._pool.fetch("SELECT id, type, source, dedupe_key, data ->> 'n' AS number FROM hark.events")
        ids = {row["id"] for row in events}
        keys = Counter((row["source"], row["dedupe_key"]) for row in events if row["dedupe_key"] is not None)
        started = await self._pool.fetch(
            "SELECT e.id, e.event_id, w.slug FROM hark.workflow_executions AS e"
            " JOIN hark.workflows AS w ON w.id = e.workflow_id WHERE e.part IS NULL"
        )
        known, starts = {row["id"] for row in started}, Counter((row["event_id"], row["slug"]) for row in started)
        return [
            *(f"acknowledged and not stored: {one}" for one in sent if one.event_id and one.event_id not in ids),
            *(f"acknowledged and without its execution: {one}" for one in sent if not known.issuperset(one.executions)),
            *(f"stored {count} times: the event with the key {key}" for key, count in keys.items() if count > 1),
            *(
                f"{starts[row['id'], row['type']]} executions for {row['type']} {row['number']}"
                for row in events
                if row["source"] == SOURCE and starts[row["id"], row["type"]] != 1
            ),
            *await self._doubles(),
        ]

    async def _doubles(self) -> list[str]:
        rows = await self._pool.fetch(
            "SELECT e.workflow_id, e.event_id, e.ordinal, count(*) FROM hark.workflow_executions AS e"
            " WHERE e.part IS NULL GROUP BY 1, 2, 3 HAVING count(*) > 1"
        )
        again = await self._pool.fetch(
            "SELECT id, count(*) FROM hark.workflow_executions GROUP BY 1 HAVING count(*) > 1"
        )
        return [
            *(f"{row['count']} executions of workflow {row[0]} for event {row[1]}, {row[2]}" for row in rows),
            *(f"execution {row['id']} is there {row['count']} times" for row in again),
        ]

    # ------------------------------------------------------------------ what was done

    async def _effects(self) -> list[str]:
        """Check that each execution did all that its kind does, as often as it may."""
        rows = await self._pool.fetch(
            "SELECT w.slug, e.status, e.error::text, v.data ->> 'n' AS number FROM hark.workflow_executions AS e"
            " JOIN hark.workflows AS w ON w.id = e.workflow_id JOIN hark.events AS v ON v.id = e.event_id"
            " WHERE e.part IS NULL"
        )
        ended = {(row["slug"], row["number"]): row for row in rows}
        marks: dict[str, list[str]] = defaultdict(list)
        for row in await self._pool.fetch("SELECT number, step FROM public.effects ORDER BY n"):
            marks[row["number"]].append(row["step"])
        wrong = []
        for (slug, number), row in sorted(ended.items()):
            if row["status"] != "completed":
                wrong.append(f"{slug} {number} ended as {row['status']}: {row['error']}")
            if (kind := KINDS.get(slug)) is not None:
                wrong += self._of_one(kind, number, marks[number])
                wrong += [
                    f"{slug} {number} has not called {name}" for name in kind.calls if (name, number) not in ended
                ]
        strange = marks.keys() - {number for _, number in ended}
        wrong += [f"effects of an event that is not stored: {number}" for number in sorted(strange)]
        return [*wrong, *_shared(self._receivers.http), *_shared(self._receivers.mail)]

    def _of_one(self, kind: Kind, number: str, marks: Sequence[str]) -> Iterator[str]:
        name = f"{kind.name} {number}"
        expected = sorted(step.format(n=number) for step in kind.sql)
        if sorted(marks) != expected:
            yield f"{name}: its marks are {marks}, and should be {expected}"
        for first, second in kind.order:
            if first in marks and second in marks and marks.index(first) > marks.index(second):
                yield f"{name}: {second} came before {first}"
        yield from self._sent_out(name, number, kind.http, self._receivers.http)
        yield from self._sent_out(name, number, kind.mail, self._receivers.mail)
        for step in kind.at_most_once:
            if len(self._receivers.http[number, step]) > 1:
                yield f"{name}: {step} came {len(self._receivers.http[number, step])} times, and should once at most"

    def _sent_out(
        self, name: str, number: str, steps: Sequence[str], came: Mapping[tuple[str, str], list[str]]
    ) -> Iterator[str]:
        for step in steps:
            keys = came.get((number, step), [])
            if not keys:
                yield f"{name}: {step} never came"
            elif len(set(keys)) > 1 or not keys[0]:
                yield f"{name}: {step} came under several keys: {keys}"

    # ------------------------------------------------------------------ what is left

    async def _remains(self) -> list[str]:
        """Check that nothing hangs about: locks of limits, waits, steps without an end, owners without a licence."""
        questions = {
            "slots that nobody gave back": "SELECT count(*) FROM hark.slots",
            "lanes that count wrongly": "SELECT count(*) FROM hark.lanes WHERE taken <> 0",
            "waits for events that nobody waits for": "SELECT count(*) FROM hark.event_waits",
            "hits that nobody fetched": "SELECT count(*) FROM hark.event_hits",
            "open questions to people": "SELECT count(*) FROM hark.waits"
            " WHERE answered_at IS NULL AND closed_at IS NULL",
            "steps of no execution": "SELECT count(*) FROM hark.workflow_steps AS s WHERE NOT EXISTS"
            " (SELECT FROM hark.workflow_executions AS e WHERE e.id = s.execution_id)",
            "steps without an end": "SELECT count(*) FROM hark.workflow_steps AS s WHERE s.completed_at IS NULL",
            "executions that run without a licence": "SELECT count(*) FROM hark.workflow_executions AS e"
            " WHERE e.status = 'running' AND NOT EXISTS (SELECT FROM hark.instances AS i WHERE i.id = e.instance_id)",
        }
        wrong = []
        for what, question in questions.items():
            if count := await self._pool.fetchval(question):
                wrong.append(f"{count} {what}")
        wrong += await self._parts()
        return wrong + await self._crowded()

    async def _licences(self, living: int) -> list[str]:
        """Check that the dead have no licence any more, and the living one each; they may just be taking care of it."""
        try:
            async with asyncio.timeout(DRAIN_S):
                while (count := await self._pool.fetchval("SELECT count(*) FROM hark.instances")) != living:
                    await asyncio.sleep(0.05)
        except TimeoutError:
            return [f"{count} licences for {living} instances"]
        return []

    async def _parts(self) -> list[str]:
        rows = await self._pool.fetch(
            "SELECT w.slug, e.id, (SELECT count(*) FROM hark.workflow_executions AS p"
            " WHERE p.parent_id = e.id AND p.part IS NOT NULL) AS parts"
            " FROM hark.workflow_executions AS e JOIN hark.workflows AS w ON w.id = e.workflow_id WHERE e.part IS NULL"
        )
        return [
            f"execution {row['id']} has {row['parts']} parts, and should have {KINDS[row['slug']].parts}"
            for row in rows
            if row["slug"] in KINDS and row["parts"] != KINDS[row["slug"]].parts
        ]

    async def _crowded(self) -> list[str]:
        """Check that no more were at work at a time than the limit lets in; they hold their slot a little longer."""
        rows = await self._pool.fetch(
            "SELECT at, CASE step WHEN 'begin' THEN 1 ELSE -1 END AS change FROM public.effects"
            " WHERE step IN ('begin', 'end') ORDER BY at"
        )
        inside = most = 0
        for row in rows:
            inside += row["change"]
            most = max(most, inside)
        return [f"{most} of the kind `limited` were at work at a time; the limit is {LIMIT}"] if most > LIMIT else []

    # ------------------------------------------------------------------ what the witness saw

    async def _history(self) -> list[str]:
        """Check that what ended stayed as it was, ended once, and that nobody wrote to what another one had."""
        rows = await self._pool.fetch(
            "SELECT writer, xid::text, what, execution_id, path, was, became, owner FROM witness.log ORDER BY n"
        )
        book = _Book({row["owner"]: row["writer"] for row in rows if row["became"] == "insert"})
        for transaction in _transactions(rows):
            # A flush that gives an execution up writes its last steps in the same statement, in no order.
            for row in sorted(transaction, key=lambda row: row["what"] == "execution"):
                book.enter(row)
        return book.findings()


def _shared(came: Mapping[tuple[str, str], list[str]]) -> list[str]:
    """Check that no key stands for two different effects: a receiver would take the second for a repetition."""
    places: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for place, keys in came.items():
        for key in keys:
            places[key].add(place)
    return [f"the key {key} came to several places: {sorted(of)}" for key, of in places.items() if len(of) > 1]


def _transactions(rows: Sequence[Any]) -> list[list[Any]]:
    """Gather what a transaction has done at the place of its first entry."""
    gathered: dict[str, list[Any]] = {}
    for row in rows:
        if row["what"] != "licence":
            gathered.setdefault(row["xid"], []).append(row)
    return list(gathered.values())


class _Book:
    """What is known of executions and steps while their history is read."""

    def __init__(self, writer_of: Mapping[UUID, str]) -> None:
        self._writer_of = writer_of
        self._owner: dict[UUID, UUID | None] = {}
        self._ends: Counter[tuple[UUID, str | None]] = Counter()
        self._wrong: list[str] = []

    def enter(self, row: Any) -> None:
        """Take an entry in."""
        place = row["execution_id"], row["path"]
        ended = ENDED_STEP if row["what"] == "step" else ENDED_EXECUTION
        if row["was"] in ended:
            self._wrong.append(f"{place} had ended as {row['was']}, and {row['writer']} made it {row['became']}")
        self._ends[place] += row["became"] in ended
        holder = self._owner.get(row["execution_id"])
        if row["what"] == "execution":
            if holder is not None and row["owner"] not in (None, holder):
                self._wrong.append(f"{place} was taken from {self._writer_of[holder]} by {row['writer']}")
            self._owner[row["execution_id"]] = row["owner"]
        elif holder is None or self._writer_of[holder] != row["writer"]:
            had = "nobody" if holder is None else self._writer_of[holder]
            self._wrong.append(f"{place} was written by {row['writer']} while {had} had it")

    def findings(self) -> list[str]:
        """Return what was wrong."""
        several = [f"{place} has ended {count} times" for place, count in self._ends.items() if count != 1]
        return self._wrong + several
