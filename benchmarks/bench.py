"""What all parts of the benchmark share: the server, how much to measure, how much time is left, who takes part."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.environments import HOME, PYTHON_PEERS, NotInstalledError, python_of, this_python
from benchmarks.processes import ContestantError, Process
from benchmarks.results import Entrant
from benchmarks.server import Server

LOGS = HOME / "logs"


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    name: str
    rounds: int
    drain: int
    """Executions in one run of Hark and of the floor."""
    peer_s: float
    """About how long one run of a peer takes."""
    steady_s: float
    half_load_s: float
    hooks_s: float
    stored: tuple[int, ...]
    active: tuple[int, ...]
    instances: tuple[int, ...]
    capture_rounds: int
    limit_s: float
    """How long the whole may take; what is not reached by then is left out, and named."""


FULL = Scale(
    "full", 3, 20_000, 3.5, 10.0, 5.0, 4.0, (1_000, 100_000, 1_000_000), (10, 1_000, 10_000), (1, 2, 4), 80, 870.0
)
QUICK = Scale("quick", 1, 3_000, 1.5, 3.0, 2.0, 2.0, (1_000, 30_000), (10, 1_000), (1, 2), 20, 230.0)


@dataclass(slots=True)
class Bench:
    """One run of the benchmark."""

    server: Server
    scale: Scale
    ends_at: float
    missing: dict[str, str] = field(default_factory=dict)
    """Peers that cannot be measured here, and why."""

    @property
    def left_s(self) -> float:
        """How much time is left."""
        return self.ends_at - time.monotonic()

    def say(self, text: str) -> None:
        """Tell how it goes."""
        print(f"  {text}", flush=True)

    async def database(self, name: str) -> str:
        """Make an empty database on the server; returns its URL."""
        return await self.server.database(name)


class Contestant:
    """Somebody whose work is measured, in a process of its own; frozen while it is not its turn."""

    def __init__(self, entrant: Entrant, process: Process, url: str) -> None:
        self.entrant = entrant
        self.process = process
        self.url = url

    @property
    def name(self) -> str:
        """What it is called."""
        return self.entrant.name

    async def ask(self, do: str, within_s: float = 120.0, **arguments: Any) -> dict[str, Any]:
        """Let it carry out one command."""
        self.process.thaw()
        try:
            return await self.process.ask({"do": do, **arguments}, within_s)
        finally:
            self.process.freeze()

    async def run(self, kind: str, count: int, steps: int, limit_s: float) -> Run:
        """Let it run so many executions, for so long at most."""
        if kind == "flow":
            answer = await self.ask("flow", limit_s, count=count, steps=steps)
        else:
            await self.ask("store", 60, count=count, steps=steps)
            answer = await self.ask("drain", limit_s + 30, limit_s=limit_s)
        if not answer["count"]:
            raise ContestantError(f"{self.name} completed nothing within {limit_s:.0f} s")
        return Run(answer["count"], answer["seconds"])


@dataclass(frozen=True, slots=True)
class Run:
    """So many executions, in so many seconds."""

    count: int
    seconds: float

    @property
    def rate(self) -> float:
        """How many a second."""
        return self.count / self.seconds


@asynccontextmanager
async def contestant(bench: Bench, name: str, database: str | None = None) -> AsyncIterator[Contestant]:
    """Start one contestant on an empty database, and end it for certain. Raises NotInstalledError, ContestantError."""
    url = await bench.database(database or f"bench_{name}")
    if name in PYTHON_PEERS:
        command = [str(await python_of(name)), "-m", f"benchmarks.peers.{name}_peer"]
        environment = {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
    else:
        command = [str(this_python()), "-m", "benchmarks.hark_worker", name]
        environment = dict(os.environ)
    process = await Process.start(
        name, command, {**environment, "BENCH_DATABASE_URL": url}, LOGS / f"{name}.log", talks=True
    )
    try:
        opened = await process.ask({"do": "open"}, 60)
        process.freeze()
        yield Contestant(Entrant(name=name, version=opened["version"], settings=opened["settings"]), process, url)
    finally:
        await asyncio.shield(process.stop())


async def contestants(bench: Bench, stack: AsyncExitStack, names: Sequence[str]) -> list[Contestant]:
    """Start those that can be started; the others are noted with the reason."""
    found = []
    for name in names:
        try:
            found.append(await stack.enter_async_context(contestant(bench, name)))
        except (NotInstalledError, ContestantError) as error:
            bench.missing[name] = str(error)
            bench.say(f"{name} is left out: {error}")
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value that so large a share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def median(values: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(values)


def log_of(name: str) -> Path:
    """Return where the words of a process go."""
    return LOGS / f"{name}.log"
