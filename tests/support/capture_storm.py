"""Random transactions of several writers at once, and what capture made of them, compared with a journal.

The journal is written by the plainest of row triggers in the writers' own transactions. So what it holds is what was
committed, row by row, in the order in which the rows were locked, whatever the writers believe to have done.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import asyncpg
import orjson

TABLES = ("plain", "whole", "twice", "parts", "few")
_COLUMNS = "id int, ver int NOT NULL, part int NOT NULL, n int NOT NULL, note text"
SCHEMA = f"""
CREATE TABLE journal (seq bigint GENERATED ALWAYS AS IDENTITY, tx bigint NOT NULL DEFAULT
    pg_current_xact_id()::text::bigint, name text NOT NULL, op text NOT NULL, old jsonb, new jsonb);
CREATE FUNCTION journal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO public.journal (name, op, old, new) VALUES (TG_ARGV[0], lower(TG_OP),
        CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END, CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END);
    RETURN NULL;
END $$;
CREATE TABLE parts ({_COLUMNS}, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
""" + "".join(
    [f"CREATE TABLE parts_{n} PARTITION OF parts FOR VALUES IN ({n});" for n in range(3)]
    + [f"CREATE TABLE {name} ({_COLUMNS}, PRIMARY KEY (id));" for name in TABLES if name != "parts"]
    + [
        f"CREATE TRIGGER journal AFTER INSERT OR UPDATE OR DELETE ON {name} FOR EACH ROW EXECUTE FUNCTION "
        f"journal('{name}');"
        for name in TABLES
    ]
)
_ALL = "operations: [insert, update, delete]"
WORKFLOWS = (
    """
{id: plain, name: P, triggers: [{type: row, table: plain, OPS, capture: all, when: new.n < 0}], steps: [STEP]}
---
{id: whole, name: W, triggers: [{type: row, table: whole, OPS, PARTS}], steps: [STEP]}
---
{id: rows, name: R, triggers: [{type: row, table: twice, OPS, capture: all, when: new.n < 0}], steps: [STEP]}
---
{id: twice, name: B, triggers: [{type: row, table: twice, OPS, PARTS}], steps: [STEP]}
---
{id: parts, name: T, triggers: [{type: row, table: parts, OPS, when: new.n < 0}], steps: [STEP]}
---
{id: few, name: F, triggers: [{type: row, table: few, operations: [insert, update], when: new.n >= 50}], steps: [STEP]}
""".replace("PARTS", "per: statement, when: event.data.count < 0")
    .replace("OPS", _ALL)
    .replace("STEP", "{id: one, set: {a: 1}}")
)
"""Only what happens to `few` starts anything, one execution for each change that its filter lets through."""

SESSION = "SET lock_timeout = '100ms'; SET deadlock_timeout = '20ms'; SET search_path = public"
_RIVALRY = (asyncpg.LockNotAvailableError, asyncpg.TransactionRollbackError)


@dataclass
class Storm:
    """Writers on one database, whose transactions overlap, wait for each other and end in any order."""

    url: str
    dice: Random
    two_phase: bool = True
    ids: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    prepared: list[str] = field(default_factory=list)
    ended: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def rage(self, transactions: int, writers: int = 4) -> None:
        """Let so many transactions happen; afterwards none is open."""
        left = itertools.count()
        jobs = [asyncio.create_task(self._write(left, transactions)) for _ in range(writers)]
        await asyncio.gather(*jobs)
        connection = await asyncpg.connect(self.url)
        try:
            while self.prepared:
                await self._resolve(connection)
        finally:
            await connection.close()

    async def _write(self, left: itertools.count[int], transactions: int) -> None:
        connection = await self._connect()
        while next(left) < transactions:
            try:
                await self._transaction(connection)
            except _RIVALRY:
                self.ended["rivalry"] += 1
                await connection.execute("ROLLBACK")
            if connection.is_closed():
                connection = await self._connect()
        await connection.close()

    async def _connect(self) -> asyncpg.Connection:
        connection = await asyncpg.connect(self.url)
        await connection.execute(SESSION)
        return connection

    async def _transaction(self, connection: asyncpg.Connection) -> None:
        if self.prepared and self.dice.random() < 0.4:
            await self._resolve(connection)
        end = self.dice.choice(["commit"] * 6 + ["rollback"] * 2 + ["prepare"] * 2 * self.two_phase + ["vanish"])
        if end == "commit" and self.dice.random() < 0.3:  # a transaction of its own, as most are
            await self._step(connection, 9)
        else:
            await connection.execute("BEGIN")
            for _ in range(self.dice.randint(1, 4)):
                await self._step(connection, 0)
            await self._end(connection, end)
        self.ended[end] += 1

    async def _end(self, connection: asyncpg.Connection, end: str) -> None:
        if end == "vanish":
            connection.terminate()
        elif end == "prepare":
            name = f"storm_{next(self._numbers)}"
            await connection.execute(f"PREPARE TRANSACTION '{name}'")
            self.prepared.append(name)
        else:
            await connection.execute(end)

    async def _resolve(self, connection: asyncpg.Connection) -> None:
        """End a transaction that was prepared, perhaps long ago."""
        name = self.prepared.pop(self.dice.randrange(len(self.prepared)))
        verb = self.dice.choice(["COMMIT", "COMMIT", "ROLLBACK"])
        await connection.execute(f"{verb} PREPARED '{name}'")
        self.ended[f"{verb} prepared"] += 1

    async def _step(self, connection: asyncpg.Connection, depth: int) -> None:
        kind = self.dice.choice(["insert", "update", "update", "update", "delete", "copy", "savepoint", "wait"])
        table = self.dice.choice(TABLES)
        if kind == "savepoint" and depth < 3:
            await self._savepoint(connection, depth)
        elif kind == "wait" and depth < 9:
            await asyncio.sleep(self.dice.random() * 0.03)
        elif kind in {"update", "delete"} and self.ids[table]:
            # The youngest rows are the ones that all writers want.
            some = [self.dice.choice(self.ids[table][-60:]) for _ in range(self.dice.choice([1, 1, 2, 10]))]
            what = "UPDATE {} SET ver = ver + 1, part = (part + $2) % 3, n = (n + 37) % 100" if kind == "update" else ""
            sql = (what or "DELETE FROM {}").format(table) + " WHERE id = ANY ($1)"
            await connection.execute(sql, some, *([self.dice.randrange(3)] if kind == "update" else []))
        else:
            await self._insert(connection, table, copy=kind == "copy")

    async def _savepoint(self, connection: asyncpg.Connection, depth: int) -> None:
        name = f"s{depth}"
        await connection.execute(f"SAVEPOINT {name}")
        try:
            for _ in range(self.dice.randint(1, 3)):
                await self._step(connection, depth + 1)
        except _RIVALRY:
            await connection.execute(f"ROLLBACK TO {name}")
        if self.dice.random() < 0.5:
            await connection.execute(f"{self.dice.choice(['ROLLBACK TO', 'RELEASE'])} {name}")

    async def _insert(self, connection: asyncpg.Connection, table: str, *, copy: bool) -> None:
        count = self.dice.choice([1, 1, 3, 40])
        rows = [(next(self._numbers), 0, i % 3, self.dice.randrange(100), "é\n'\"") for i in range(count)]
        if copy:
            await connection.copy_records_to_table(table, records=rows)
        else:
            columns = list(zip(*rows, strict=True))
            arrays = "unnest($1::int[], $2::int[], $3::int[], $4::int[], $5::text[])"
            await connection.execute(f"INSERT INTO {table} SELECT * FROM {arrays}", *columns)
        self.ids[table] += [row[0] for row in rows]


Change = tuple[str, int, Any, Any]
History = dict[tuple[str, int], list[Change]]


async def committed(connection: asyncpg.Connection, after: int) -> tuple[History, int]:
    """Return what happened to each row of each table, in order, by the journal; and how far that reaches."""
    rows = await connection.fetch("SELECT * FROM public.journal WHERE seq > $1 ORDER BY seq", after)
    found: History = defaultdict(list)
    for row in rows:
        old, new = (None if text is None else orjson.loads(text) for text in (row["old"], row["new"]))
        history = found[row["name"], (new or old)["id"]]
        if row["op"] == "insert" and new["ver"]:
            # To row triggers an update that moves a row to another partition is a deletion and an insertion.
            old = history.pop()[2]
        op = "update" if old and new else row["op"]
        history.append((op, row["tx"], old, new))
    return found, max((row["seq"] for row in rows), default=after)


async def captured(connection: asyncpg.Connection, route: str, after: Any) -> History:
    """Return what happened to each row of a table, by the events of a route in their order."""
    rows = await connection.fetch(
        "SELECT data FROM hark.events WHERE route = $1 AND id > $2 ORDER BY id",
        f"{route.replace(':', ':public.')}",
        after,
    )
    found: History = defaultdict(list)
    for data in (orjson.loads(row["data"]) for row in rows):
        for change in data.get("rows", [data]):
            old, new = change["old"], change["new"]
            found[data["table"], (new or old)["id"]].append((data["operation"], data["transaction_id"], old, new))
    return found


def differences(wanted: History, found: History) -> Sequence[str]:
    """Say where two histories differ; empty when they are the same."""
    keys = wanted.keys() | found.keys()
    return [f"{key}: {wanted.get(key)} became {found.get(key)}" for key in keys if wanted.get(key) != found.get(key)]


async def check(connection: asyncpg.Connection, after_seq: int, after_event: Any) -> tuple[int, int]:
    """Compare what was captured with what was committed; return how far the journal reaches, and how many rows."""
    history, seq = await committed(connection, after_seq)
    few = {key: kept for key, all_ in history.items() if key[0] == "few" and (kept := [c for c in all_ if _lets(c)])}
    for route in ("row:plain", "rows:whole", "row:twice", "rows:twice", "row:parts", "row:few"):
        table = route.partition(":")[2]
        wanted = few if table == "few" else {key: all_ for key, all_ in history.items() if key[0] == table}
        wrong = differences(wanted, await captured(connection, route, after_event))
        assert not wrong, f"{route}: {len(wrong)} rows, such as {wrong[:3]}"
    started = "SELECT count(*) FROM hark.workflow_executions WHERE ordinal = 0 AND event_id > $1"
    assert await connection.fetchval(started, after_event) == sum(map(len, few.values()))
    return seq, sum(map(len, history.values()))


def _lets(change: Change) -> bool:
    return change[3] is not None and change[3]["n"] >= 50


async def emptied(connection: asyncpg.Connection, patience_s: float = 20) -> None:
    """Wait until all that was captured has become events."""
    async with asyncio.timeout(patience_s):
        while await connection.fetchval("SELECT EXISTS (SELECT FROM hark.row_changes)"):
            await asyncio.sleep(0.02)
