"""The goals that Hark has set itself, as ratios within one run, and whether they are met."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.parts.capture import BY_HAND, FILTERED, INSIDE, LARGE, ONE, UNWATCHED, WATCHED
from benchmarks.parts.latency import BARE, ROWS
from benchmarks.parts.webhooks import BARE as BARE_SERVER
from benchmarks.parts.webhooks import ROW_EACH
from benchmarks.results import Capture, Instances, Latency, Soak, Stored, Throughput, Webhooks, Workflows

FLAT_MIB = 15.0
COST_RATIO, FIRST_RATIO = 1.3, 1.5


@dataclass(frozen=True, slots=True)
class Figures:
    """All that was measured; None where nothing was."""

    throughput: Throughput | None
    latency: Latency | None
    webhooks: Webhooks | None
    instances: Instances | None
    workflows: Workflows | None
    capture: Capture | None
    stored: Stored | None
    soak: Soak | None

    @classmethod
    def load(cls, directory: Path) -> Figures:
        """Read what is kept in a directory."""
        return cls(
            Throughput.load(directory),
            Latency.load(directory),
            Webhooks.load(directory),
            Instances.load(directory),
            Workflows.load(directory),
            Capture.load(directory),
            Stored.load(directory),
            Soak.load(directory),
        )


@dataclass(frozen=True, slots=True)
class Goal:
    """What is wanted, what was measured, and whether that is enough; None when it was not measured."""

    wanted: str
    measured: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """Say it."""
        return {True: "met", False: "**not met**", None: "not measured"}[self.met]


def goals(figures: Figures) -> list[Goal]:
    """Judge all of them."""
    return [goal for judge in _JUDGES for goal in judge(figures)]


def _ratio(wanted: str, ours: float | None, theirs: float | None, least: float, unit: str = "/s") -> Goal:
    """Judge a ratio that must be at least so large."""
    if not ours or not theirs:
        return Goal(wanted, "", None)
    return Goal(wanted, f"{ours / theirs:.3g} × ({ours:,.0f} against {theirs:,.0f}{unit})", ours / theirs >= least)


def _at_most(wanted: str, ours: float | None, theirs: float | None, most: float, unit: str = "ms") -> Goal:
    """Judge a ratio that must be at most so large."""
    if not ours or not theirs:
        return Goal(wanted, "", None)
    return Goal(wanted, f"{ours / theirs:.2f} × ({ours:,.2f} against {theirs:,.2f} {unit})", ours / theirs <= most)


def _throughput(figures: Figures) -> Iterable[Goal]:
    part = figures.throughput

    def rate(who: str, kind: str) -> float | None:
        found = part.speed(who, kind, 3) if part else None
        return found.rate if found else None

    drain, flow = rate("hark", "drain"), rate("hark", "flow")
    yield _ratio("3 strict steps: ≥ 100 × DBOS's queue", drain, rate("dbos", "drain"), 100)
    yield _ratio("3 strict steps: ≥ 10 × three chained pgqueuer jobs", drain, rate("pgqueuer", "drain"), 10)
    yield _ratio("3 strict steps with their events: ≥ 0.4 × the floor", flow, rate("floor", "flow"), 0.4)


def _webhooks(figures: Figures) -> Iterable[Goal]:
    part = figures.webhooks

    def rate(who: str, work: str) -> float | None:
        found = part.hook(who, work) if part else None
        return found.rate if found else None

    yield _ratio("webhook → 3 steps: ≥ 30 × n8n", rate("hark", "3 steps"), rate("n8n", "3 steps"), 30)
    wanted = "acknowledging alone: ≥ 0.75 × a bare aiohttp server without a database"
    yield _ratio(wanted, rate("hark", "acknowledge"), rate(BARE_SERVER, "acknowledge"), 0.75)
    wanted = "acknowledging after the commit: ≥ 2.5 × a bare aiohttp server that inserts one row per request"
    yield _ratio(wanted, rate("hark", "acknowledge"), rate(ROW_EACH, "acknowledge"), 2.5)


def _latency(figures: Figures) -> Iterable[Goal]:
    part = figures.latency
    ours = part.delay("hark", "steady") if part else None
    bare = part.delay(BARE, "steady") if part else None
    rows = part.delay("hark", ROWS) if part else None
    wanted = "committed row → first step at 20/s, p50: ≤ 3 × bare INSERT+NOTIFY→LISTEN"
    yield _at_most(wanted, rows.first_p50 if rows else None, bare.first_p50 if bare else None, 3.0)
    for wanted, name, to, most in (
        ("event → first step at 20/s, p50: ≤ 3 × bare INSERT+NOTIFY→LISTEN", "first_p50", "first_p50", 3.0),
        ("event → first step at 20/s, p99: ≤ 6 × the bare p99", "first_p99", "first_p99", 6.0),
        ("three strict steps complete at 20/s, p50: ≤ 6 × the bare p50", "done_p50", "first_p50", 6.0),
    ):
        yield _at_most(wanted, getattr(ours, name, None), getattr(bare, to, None), most)


def _stored(figures: Figures) -> Iterable[Goal]:
    levels = figures.stored.levels if figures.stored else []
    first, last = (levels[0], levels[-1]) if len(levels) > 1 else (None, None)
    wanted = "throughput with 10⁶ stored executions: ≥ 0.85 × that with 10³"
    if first is None or last is None:
        yield Goal(wanted, "", None)
        return
    goal = _ratio(wanted, last.flow, first.flow, 0.85)
    yield Goal(wanted, f"{goal.measured}, at {last.stored:,} and {first.stored:,}", goal.met)


def _workflows(figures: Figures) -> Iterable[Goal]:
    actives = figures.workflows.actives if figures.workflows else []
    wanted = f"an event's CPU time with 10,000 active workflows: ≤ {COST_RATIO} × that with 10 (one of them matches)"
    if len(actives) < 2:
        yield Goal(wanted, "", None)
        return
    few, many = actives[0], actives[-1]
    goal = _at_most(wanted, many.python_us + many.postgres_us, few.python_us + few.postgres_us, COST_RATIO, "µs")
    yield Goal(wanted, f"{goal.measured}, with {many.workflows:,} and {few.workflows:,}", goal.met)
    wanted = f"the same while each of them is met for the first time: ≤ {FIRST_RATIO} × that with 10 afterwards"
    yield _at_most(wanted, many.first_us, few.python_us + few.postgres_us, FIRST_RATIO, "µs")


def _capture(figures: Figures) -> Iterable[Goal]:
    part = figures.capture

    def written(what: str, shape: str) -> float | None:
        return part.writing(what, shape) if part else None

    for shape in (INSIDE, LARGE):
        plain = written(UNWATCHED, shape)
        ours, theirs = (
            one - plain if one and plain else None for one in (written(w, shape) for w in (WATCHED, BY_HAND))
        )
        wanted = f"{shape}, on a watched table: adds ≤ 2 × what a one-row outbox trigger written by hand adds"
        yield _at_most(wanted, ours, theirs, 2.0, "µs")
    for shape in (ONE, LARGE):
        wanted = f"{shape} that `when` filters out: ≤ 1.15 × unwatched"
        yield _at_most(wanted, written(FILTERED, shape), written(UNWATCHED, shape), 1.15, "µs")


def _instances(figures: Figures) -> Iterable[Goal]:
    fleets = {fleet.instances: fleet.rate for fleet in figures.instances.fleets} if figures.instances else {}
    yield _ratio("4 instances together: ≥ 1.2 × one", fleets.get(4), fleets.get(1), 1.2)


def _memory(figures: Figures) -> Iterable[Goal]:
    memories = figures.throughput.memories if figures.throughput else []
    ours = next((memory for memory in memories if memory.who == "hark"), None)
    wanted = "resident at 1,000 executions in flight: ≤ 120 MiB"
    if ours is None or not ours.in_flight:
        yield Goal(wanted, "", None)
    else:
        measured = (
            f"{ours.at_in_flight:.0f} MiB with {ours.in_flight:,} in flight, after {ours.executions:,} executions"
        )
        yield Goal(wanted, measured, ours.at_in_flight <= 120)
    wanted = f"memory flat over 10⁶ executions (grows by ≤ {FLAT_MIB:.0f} MiB)"
    if figures.soak is None:
        yield Goal(wanted, "", None)
        return
    first, last = figures.soak.points[0], figures.soak.points[-1]
    held = [f"{point.resident_mib:.0f} MiB after {point.executions:,}" for point in (first, last)]
    yield Goal(wanted, ", ".join(held), last.resident_mib - first.resident_mib <= FLAT_MIB)


_JUDGES: tuple[Callable[[Figures], Iterable[Goal]], ...] = (
    _throughput,
    _webhooks,
    _latency,
    _stored,
    _workflows,
    _capture,
    _instances,
    _memory,
)
