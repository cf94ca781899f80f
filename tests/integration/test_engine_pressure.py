"""Back-pressure: a database that stalls, senders that send too much, loops that note too much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from support.api import running_api
from support.engine import running_engine

from hark.daemon.engine import ingest, interpreter
from hark.workflows.errors import UnavailableError

GREET = """
id: greet
name: Greet
triggers: [{type: event, event: GREETED}, {type: webhook, path: greet, methods: [POST], auth: {type: none}}]
steps: [{id: a, set: {x: 1}}]
"""
COUNT = """
id: count
name: Count
triggers: [{type: event, event: COUNTED}]
steps: [{id: each, for_each: "${{ event.data.items }}", as: one, do: [{id: a, set: {x: "${{ one }}"}}]}]
"""


@asynccontextmanager
async def stalled(url: str) -> AsyncIterator[None]:
    """Keep everybody from storing events, by a lock that looks from outside like a disk that does not answer."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE hark.events IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def test_a_database_that_stalls_is_told_to_senders_at_once_and_costs_no_memory(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "ANSWER_S", 0.3)
    async with running_api(database_url, tmp_path) as api:
        await api.hark.apply(GREET)
        async with stalled(database_url):
            answers = await asyncio.gather(*(api.send("POST", "/hooks/greet", key="") for _ in range(50)))
            assert {status for status, _ in answers} == {503}
            async with api.http.post(f"{api.url}/hooks/greet") as refused:
                assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
            assert api.hark.engine.ingest.backlog == 0

        async def taken() -> bool:
            return (await api.send("POST", "/hooks/greet", key=""))[0] == 202

        await api.hark.until(taken, "events are taken in again")
        assert (await api.hark.run("GREETED"))["status"] == "completed"


async def test_events_beyond_what_may_wait_are_refused(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "MOST_WAITING_BYTES", 10_000)
    async with running_engine(database_url) as hark:
        await hark.apply(GREET)
        sent = [asyncio.create_task(hark.emit("GREETED", {"text": "x" * 3_000})) for _ in range(10)]
        answers = await asyncio.gather(*sent, return_exceptions=True)
        refused = [answer for answer in answers if isinstance(answer, UnavailableError)]
        assert len(refused) == 6
        assert all(answer.overloaded for answer in refused)
        assert (await hark.run("GREETED", {"text": "x" * 20_000}))["status"] == "completed"


async def test_a_long_loop_is_put_on_record_while_it_runs(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interpreter, "MOST_NOTED", 10)
    async with running_engine(database_url) as hark:
        await hark.apply(COUNT)
        flushes = hark.engine.recorder.flushes
        ended = await hark.run("COUNTED", {"items": list(range(95))})
        assert ended["status"] == "completed"
        assert len(ended["steps"]) == 96
        assert hark.engine.recorder.flushes - flushes == 10
