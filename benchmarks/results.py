"""What was measured, typed; kept as JSON, one file for each part."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Self, TypeVar

from pydantic import BaseModel, ConfigDict

PartT = TypeVar("PartT", bound="Part")


class Result(BaseModel):
    """A figure or some of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Entrant(Result):
    """Who took part, with what settings."""

    name: str
    version: str
    settings: str


class Part(Result):
    """One part of the benchmark."""

    scale: str
    at: datetime
    took_s: float = 0.0
    missing: dict[str, str] = {}

    def save(self, directory: Path) -> None:
        """Keep it."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{type(self).__name__.lower()}.json").write_text(self.model_dump_json(indent=1), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """Return what was measured last, if anything was."""
        file = directory / f"{cls.__name__.lower()}.json"
        return cls.model_validate_json(file.read_bytes()) if file.exists() else None


class Speed(Result):
    """How fast somebody runs executions of so many steps."""

    who: str
    kind: str
    """flow: from the first event to the last end; drain: from the commit that shows what is stored to the last end."""
    steps: int
    count: int
    rates: list[float]
    rate: float
    python_us: float
    postgres_us: float


class Size(Result):
    """What one execution of three steps leaves behind."""

    who: str
    rows: float
    bytes: float


class Memory(Result):
    """How much memory a process holds, in MiB."""

    who: str
    opened: float
    end: float
    executions: int
    """Executions between the two."""
    in_flight: int = 0
    at_in_flight: float = 0.0


class Throughput(Part):
    """Executions per second, side by side."""

    entrants: list[Entrant]
    speeds: list[Speed]
    sizes: list[Size]
    memories: list[Memory]

    def speed(self, who: str, kind: str, steps: int) -> Speed | None:
        """Return one figure."""
        return next((s for s in self.speeds if (s.who, s.kind, s.steps) == (who, kind, steps)), None)


class Delay(Result):
    """Latencies in milliseconds, from the moment of sending."""

    who: str
    load: str
    rate: float
    sent: int
    complete: int
    ack_p50: float | None = None
    ack_p99: float | None = None
    first_p50: float | None = None
    first_p99: float | None = None
    done_p50: float | None = None
    done_p99: float | None = None
    ack_to_first_p50: float | None = None
    ack_to_first_p99: float | None = None


class Latency(Part):
    """How long it takes until something happens."""

    delays: list[Delay]

    def delay(self, who: str, load: str) -> Delay | None:
        """Return one line."""
        return next((d for d in self.delays if (d.who, d.load) == (who, load)), None)


class Hook(Result):
    """Requests per second."""

    who: str
    work: str
    rates: list[float]
    rate: float
    count: int
    failed: int
    p50_ms: float
    p99_ms: float
    process_us: float
    postgres_us: float


class Webhooks(Part):
    """Webhooks taken in, over HTTP, with the load from a process of its own."""

    entrants: list[Entrant]
    connections: int
    hooks: list[Hook]
    delays: list[Delay]

    def hook(self, who: str, work: str) -> Hook | None:
        """Return one line."""
        return next((h for h in self.hooks if (h.who, h.work) == (who, work)), None)


class Level(Result):
    """Speed, latency and memory at a number of stored executions."""

    stored: int
    fill_s: float
    flow: float
    flows: list[float]
    drain: float
    python_us: float
    postgres_us: float
    first_p50: float
    first_p99: float
    done_p50: float
    done_p99: float
    resident_mib: float
    bytes_each: float | None
    """What filling up to here took for each execution; None where it was too little to say."""


class Stored(Part):
    """How the figures change with what is stored."""

    levels: list[Level]


class Active(Result):
    """What an event costs with so many active workflows on its trigger type, one of which matches."""

    workflows: int
    load_s: float
    rate: float
    python_us: float
    postgres_us: float
    ack_p50: float
    ack_p99: float
    resident_mib: float
    first_us: float | None = None
    """CPU time for an event while each of the workflows is met for the first time."""


class Workflows(Part):
    """How the cost of an event changes with the number of active workflows."""

    actives: list[Active]


class Writing(Result):
    """What it takes to write to a table with such a trigger, in microseconds for the whole statement."""

    what: str
    shape: str
    us: float


class Watching(Result):
    """How long it takes until so many workflows on one table are captured for, from one less, or from none."""

    watchers: int
    seconds: float


class Capture(Part):
    """What row capture costs the writers."""

    writings: list[Writing]
    watchings: list[Watching]

    def writing(self, what: str, shape: str) -> float | None:
        """Return one figure."""
        return next((one.us for one in self.writings if (one.what, one.shape) == (what, shape)), None)


class Fleet(Result):
    """Speed of so many instances together."""

    instances: int
    rates: list[float]
    rate: float
    process_us: float
    postgres_us: float


class Instances(Part):
    """Several daemons on one database."""

    fleets: list[Fleet]


class Machine(Part):
    """Where and with what it was measured."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    postgresql: str
    server_settings: dict[str, str]
    hark: str
    command: str
    libraries: dict[str, str]


class Point(Result):
    """Memory after so many executions."""

    executions: int
    resident_mib: float


class Soak(Part):
    """Memory over many executions."""

    points: list[Point]
