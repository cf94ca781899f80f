"""Webhooks over HTTP: executions of three steps beside n8n, acknowledging alone beside bare aiohttp servers.

One of these touches no database; the other commits one row for each request before it answers.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson

from benchmarks import n8n as peer
from benchmarks.bench import LOGS, Bench, log_of, median, quantile
from benchmarks.daemons import Daemon, daemon, free_port
from benchmarks.environments import N8N_VERSION, NotInstalledError, n8n, this_python
from benchmarks.meter import server_cpu_s
from benchmarks.processes import ContestantError, Process, ended
from benchmarks.results import Delay, Entrant, Hook, Webhooks
from hark._version import __version__

CONNECTIONS = 64
BARE, ROW_EACH = "bare aiohttp", "aiohttp, one INSERT"
STEADY = 20.0
WARM_UPS = {"n8n": 3.0}
"""JavaScript is compiled while it runs, and n8n is a lot of it: it gets a longer warm-up."""
HARK_SETTINGS = "one daemon as `hark run` starts it, all settings the defaults; three `set` steps"

_TRIGGER = "triggers: [{type: webhook, path: %s, methods: [POST], auth: {type: none}%s}]"
_STEPS = "\n".join(f'  - {{id: s{n}, set: {{v{n}: "${{{{ event.data.body.n + {n} }}}}"}}}}' for n in range(3))
WORKFLOWS = {
    "steps": f"id: steps\nname: Steps\n{_TRIGGER % ('bench', '')}\nsteps:\n{_STEPS}\n",
    "ack": f"id: ack\nname: Ack\n{_TRIGGER % ('ack', ', when: event.data.body.n < 0')}\nsteps:\n{_STEPS}\n",
}


@dataclass(slots=True)
class _Lane:
    """One server under one kind of load."""

    who: str
    work: str
    process: Process
    port: int
    path: str
    settled: Callable[[], Awaitable[Any]] | None = None
    """Waits until everything that was taken in is done."""
    rates: list[float] = field(default_factory=list)
    count: int = 0
    failed: int = 0
    ms: list[float] = field(default_factory=list)
    process_us: list[float] = field(default_factory=list)
    postgres_us: list[float] = field(default_factory=list)


async def measure(bench: Bench) -> Webhooks:
    """Measure them in turn."""
    at = datetime.now(UTC)
    async with AsyncExitStack() as stack:
        lanes = await _hark(bench, stack)
        entrants = [Entrant(name="hark", version=__version__, settings=HARK_SETTINGS)]
        try:
            lanes.append(await _n8n(bench, stack))
            entrants.append(Entrant(name="n8n", version=N8N_VERSION, settings=peer.SETTINGS))
        except (NotInstalledError, ContestantError) as error:
            bench.missing["n8n"] = str(error)
            bench.say(f"n8n is left out: {error}")
        lanes.append(await _bare(stack, BARE))
        lanes.append(await _bare(stack, ROW_EACH, await bench.database("bench_received")))
        for lane in lanes:
            await _load(lane, bench.scale.hooks_s * WARM_UPS.get(lane.who, 1.0))
        for number in range(bench.scale.rounds):
            for lane in lanes if number % 2 == 0 else reversed(lanes):
                await _turn(bench, lane)
        delays = [await _steady(bench, lane) for lane in lanes]
    return Webhooks(
        scale=bench.scale.name,
        at=at,
        entrants=entrants,
        connections=CONNECTIONS,
        hooks=[_hook(lane) for lane in lanes],
        delays=delays,
    )


async def _hark(bench: Bench, stack: AsyncExitStack) -> list[_Lane]:
    url = await bench.database("bench_hooks")
    found = await stack.enter_async_context(daemon(url, WORKFLOWS))
    watching = await asyncpg.connect(url)
    stack.push_async_callback(watching.close)

    async def settled() -> None:
        query = "SELECT EXISTS (SELECT 1 FROM hark.workflow_executions WHERE status IN ('pending', 'running'))"
        end = time.monotonic() + 60
        while await watching.fetchval(query):
            if time.monotonic() > end:
                raise ContestantError("hark had not run all executions a minute after the load ended")
            await asyncio.sleep(0.02)

    return [
        _Lane("hark", "3 steps", found.process, found.port, "/hooks/bench", settled),
        _Lane("hark", "acknowledge", found.process, found.port, "/hooks/ack"),
    ]


async def _n8n(bench: Bench, stack: AsyncExitStack) -> _Lane:
    installed = await n8n()
    bench.say("starting n8n")
    found = await stack.enter_async_context(peer.running(installed, await bench.database("bench_n8n")))
    return _Lane("n8n", "3 steps", found.process, found.port, peer.PATH)


async def _bare(stack: AsyncExitStack, name: str, database: str | None = None) -> _Lane:
    found = await stack.enter_async_context(_bare_server(name, database))
    return _Lane(name, "acknowledge", found.process, found.port, "/hooks/bench")


@asynccontextmanager
async def _bare_server(name: str, database: str | None) -> AsyncIterator[Daemon]:
    port = free_port()
    command = [str(this_python()), "-m", "benchmarks.bare_server", str(port)]
    environment = {**os.environ, **({} if database is None else {"BENCH_DATABASE_URL": database})}
    process = await Process.start(name, command, environment, LOGS / "bare.log")
    try:
        await _until_open(process, port)
        yield Daemon(process, port)
    finally:
        await asyncio.shield(process.stop())


async def _until_open(process: Process, port: int) -> None:
    end = time.monotonic() + 20
    while process.alive and time.monotonic() < end:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise ContestantError("the bare server did not start")


async def _load(lane: _Lane, seconds: float, rate: float = 0.0) -> dict[str, Any]:
    """Send load from a process of its own; returns what came back."""
    told = {"port": lane.port, "path": lane.path, "connections": CONNECTIONS, "seconds": seconds, "rate": rate}
    command = [str(this_python()), "-m", "benchmarks.load"]
    # To a file: of what goes through a pipe the end was missing now and then.
    with log_of("load").open("ab") as log, tempfile.TemporaryFile() as answer:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=answer, stderr=log
        )
        try:
            await ended(process, seconds + 60, orjson.dumps(told))
        except TimeoutError:
            raise ContestantError(f"{lane.who} left requests unanswered for a minute") from None
        if process.returncode:
            raise ContestantError(f"the load on {lane.who} broke off; see {log_of('load')}")
        answer.seek(0)
        outcome: dict[str, Any] = orjson.loads(answer.read())
    return outcome


async def _turn(bench: Bench, lane: _Lane) -> None:
    """Load it for some seconds; the rate is what was answered, and completed, until all was done."""
    process, postgres = lane.process.cpu_s(), server_cpu_s(bench.server.postmaster)
    answer = await _load(lane, bench.scale.hooks_s)
    after = time.perf_counter()
    if lane.settled is not None:
        await lane.settled()
    seconds = answer["seconds"] + (time.perf_counter() - after)
    answered = answer["answered"]
    if not answered:
        raise ContestantError(f"{lane.who} answered none of {answer['failed']} requests well")
    lane.rates.append(answered / seconds)
    lane.count += answered
    lane.failed += answer["failed"]
    lane.ms += answer["ms"]
    lane.process_us.append((lane.process.cpu_s() - process) / answered * 1e6)
    lane.postgres_us.append((server_cpu_s(bench.server.postmaster) - postgres) / answered * 1e6)
    bench.say(f"{lane.who}, {lane.work}: {lane.rates[-1]:,.0f}/s")


async def _steady(bench: Bench, lane: _Lane) -> Delay:
    answer = await _load(lane, bench.scale.steady_s, STEADY)
    return Delay(
        who=lane.who,
        load=lane.work,
        rate=STEADY,
        sent=answer["answered"] + answer["failed"],
        complete=answer["answered"],
        ack_p50=round(quantile(answer["ms"], 0.5), 3),
        ack_p99=round(quantile(answer["ms"], 0.99), 3),
    )


def _hook(lane: _Lane) -> Hook:
    return Hook(
        who=lane.who,
        work=lane.work,
        rates=lane.rates,
        rate=median(lane.rates),
        count=lane.count,
        failed=lane.failed,
        p50_ms=round(quantile(lane.ms, 0.5), 3),
        p99_ms=round(quantile(lane.ms, 0.99), 3),
        process_us=median(lane.process_us),
        postgres_us=median(lane.postgres_us),
    )
