"""The tables of the report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.goals import Figures, goals
from benchmarks.parts.capture import INSIDE, LARGE, ONE, TABLES, UNWATCHED
from benchmarks.parts.latency import BARE, ROWS
from benchmarks.results import Delay, Latency, Speed, Throughput

NAMES = {
    "hark": "**Hark**",
    "floor": "floor",
    "dbos": "DBOS",
    "pgqueuer": "pgqueuer",
    "procrastinate": "procrastinate",
    "n8n": "n8n",
}
KINDS = {"flow": "events in, executions done", "drain": "drain of stored ones"}


_LOADS = {"half": " (half of its speed)", ROWS: ", rows inserted by an application"}


def goals_section(figures: Figures) -> str:
    """Return the goals with what was measured, once anything was."""
    judged = goals(figures)
    if all(goal.met is None for goal in judged):
        return ""
    counts = [sum(goal.met is wanted for goal in judged) for wanted in (True, False, None)]
    said = f"{counts[0]} met, {counts[1]} not met, {counts[2]} not measured.\n"
    return _section("Goals", said, ["goal", "measured", ""], [[g.wanted, g.measured, g.verdict] for g in judged])


def sections(figures: Figures) -> Iterable[str]:
    """Return a section for each part that was measured."""
    if figures.throughput is not None:
        yield _throughput(figures.throughput)
        yield _memory(figures.throughput)
    if figures.latency is not None:
        yield _latency(figures.latency)
    yield _webhooks(figures)
    yield _stored(figures)
    yield _active(figures)
    yield _capture(figures)
    yield _instances(figures)
    yield _soak(figures)


def _throughput(part: Throughput) -> str:
    rows = [_speed(part, speed) for speed in sorted(part.speeds, key=lambda speed: (-speed.steps, -speed.rate))]
    said = (
        f"Executions of 3 and of 1 trivial steps; median of {max(len(s.rates) for s in part.speeds)} runs, in turn, "
        "the lowest and highest beside it. A step of Hark's starts only after the previous one's record is committed.\n"
    )
    header = ["steps", "who", "work", "count", "executions/s", "(runs)", "Hark is", "CPU µs: its own", "PostgreSQL"]
    sizes = [[NAMES[size.who], f"{size.rows:.1f}", f"{size.bytes:,.0f}"] for size in part.sizes]
    left = _table(["after 3 steps", "rows each", "bytes each, with indexes"], sizes)
    return f"{_section('Executions per second', said, header, rows)}\n{left}"


def _speed(part: Throughput, speed: Speed) -> list[str]:
    ours = part.speed("hark", "flow" if speed.who == "floor" else "drain", speed.steps)
    ratio = f"{ours.rate / speed.rate:.3g} ×" if ours is not None and speed.who != "hark" else ""
    return [
        str(speed.steps),
        NAMES[speed.who],
        KINDS[speed.kind],
        f"{speed.count:,}",
        f"{speed.rate:,.0f}",
        _range(speed.rates),
        ratio,
        f"{speed.python_us:,.0f}",
        f"{speed.postgres_us:,.0f}",
    ]


def _memory(part: Throughput) -> str:
    rows = [
        [
            NAMES[memory.who],
            f"{memory.opened:.0f}",
            f"{memory.end:.0f}",
            f"{memory.executions:,}",
            f"{memory.at_in_flight:.0f} ({memory.in_flight:,} in flight)" if memory.in_flight else "",
        ]
        for memory in part.memories
    ]
    return _section("Memory", "", ["resident MiB", "started", "at the end", "executions between", "full"], rows)


def _latency(part: Latency) -> str:
    bare = part.delay(BARE, "steady")
    rows = [_delay(delay, bare) for delay in part.delays]
    said = "Milliseconds from sending an event, in the process that runs it; three steps. × is against the bare p50.\n"
    header = [
        "who",
        "load",
        "sent",
        "acknowledged p50",
        "p99",
        "first step p50",
        "p99",
        "×",
        "complete p50",
        "p99",
        "×",
    ]
    return _section("Latency", said, header, rows)


def _delay(delay: Delay, bare: Delay | None) -> list[str]:
    def times(value: float | None) -> str:
        return f"{value / bare.first_p50:.2f}" if value and bare and bare.first_p50 else ""

    lost = "" if delay.complete == delay.sent else f" ({delay.sent - delay.complete} incomplete)"
    return [
        NAMES.get(delay.who, delay.who),
        f"{delay.rate:,.0f}/s" + _LOADS.get(delay.load, ""),
        f"{delay.sent:,}{lost}",
        *(_ms(value) for value in (delay.ack_p50, delay.ack_p99, delay.first_p50, delay.first_p99)),
        times(delay.first_p50),
        *(_ms(value) for value in (delay.done_p50, delay.done_p99)),
        times(delay.done_p50),
    ]


def _webhooks(figures: Figures) -> str:
    part = figures.webhooks
    if part is None:
        return ""
    rows = [
        [
            hook.work,
            NAMES.get(hook.who, hook.who),
            f"{hook.rate:,.0f}",
            _range(hook.rates),
            f"{hook.count:,}" + (f" ({hook.failed} failed)" if hook.failed else ""),
            *(f"{value:.1f}" for value in (hook.p50_ms, hook.p99_ms)),
            *(f"{value:,.0f}" for value in (hook.process_us, hook.postgres_us)),
        ]
        for hook in sorted(part.hooks, key=lambda hook: (hook.work, -hook.rate))
    ]
    steady = [
        [delay.load, NAMES.get(delay.who, delay.who), _ms(delay.ack_p50), _ms(delay.ack_p99)] for delay in part.delays
    ]
    said = (
        f"Over HTTP from a process of its own, {part.connections} connections, each with the next request after the "
        "answer. Where executions are run, the rate counts those that were complete.\n"
    )
    header = ["work", "who", "requests/s", "(runs)", "count", "answer p50 ms", "p99", "CPU µs: its own", "PostgreSQL"]
    slow = _table(["at 20/s", "who", "answer p50 ms", "p99"], steady)
    return f"{_section('Webhooks', said, header, rows)}\n{slow}"


def _stored(figures: Figures) -> str:
    part = figures.stored
    if part is None:
        return ""
    rows = [
        [
            f"{level.stored:,}",
            f"{level.flow:,.0f}",
            _range(level.flows),
            f"{level.flow / part.levels[0].flow:.2f}",
            f"{level.drain:,.0f}",
            *(f"{value:,.0f}" for value in (level.python_us, level.postgres_us)),
            f"{_ms(level.first_p50)} / {_ms(level.first_p99)}",
            f"{_ms(level.done_p50)} / {_ms(level.done_p99)}",
            f"{level.resident_mib:.0f}",
            "" if level.bytes_each is None else f"{level.bytes_each:,.0f}",
        ]
        for level in part.levels
    ]
    header = [
        "stored", "executions/s", "(runs)", "× the first", "drain/s", "CPU µs: Python", "PostgreSQL",
        "first step p50 / p99 ms", "complete p50 / p99 ms", "resident MiB", "bytes each",
    ]  # fmt: skip
    return _section("With more and more stored executions", "Each with its event and three steps.\n", header, rows)


def _active(figures: Figures) -> str:
    part = figures.workflows
    if part is None:
        return ""
    rows = [
        [
            f"{active.workflows:,}",
            f"{active.rate:,.0f}",
            *(f"{value:,.0f}" for value in (active.python_us, active.postgres_us)),
            "" if active.first_us is None else f"{active.first_us:,.0f}",
            f"{active.ack_p50:.1f} / {active.ack_p99:.1f}",
            f"{active.resident_mib:.0f}",
            f"{active.load_s:.1f}",
        ]
        for active in part.actives
    ]
    header = [
        "active workflows", "events/s", "CPU µs: Python", "PostgreSQL", "both, first met",
        "acknowledged p50 / p99 ms", "resident MiB", "known after s",
    ]  # fmt: skip
    said = "All on one event type, with an equality condition each; every event starts one execution.\n"
    return _section("With more and more active workflows", said, header, rows)


def _capture(figures: Figures) -> str:
    part = figures.capture
    if part is None:
        return ""

    def cells(what: str, shape: str) -> list[str]:
        ours, plain = part.writing(what, shape), part.writing(UNWATCHED, shape)
        return [f"{ours:,.0f}", f"{ours / plain:.2f}"] if ours and plain else ["", ""]

    shapes = (ONE, INSIDE, LARGE)
    rows = [[what, *(cell for shape in shapes for cell in cells(what, shape))] for what in TABLES]
    known = " and ".join(f"{one.seconds * 1e3:,.0f} ms for {one.watchers:,}" for one in part.watchings)
    said = (
        "Inserts into tables that are alike but for their triggers; one connection, without waiting for the disk. "
        "In a procedure that commits each row nobody wakes anybody up: what a trigger takes is told best there. "
        f"Capturing for workflows with a condition each on one table: {known}, the second after the first.\n"
    )
    header = ["the table is", *(cell for shape in shapes for cell in (f"{shape}, µs", "× unwatched"))]
    return _section("What capture costs the writers", said, header, rows)


def _instances(figures: Figures) -> str:
    part = figures.instances
    if part is None:
        return ""
    one = part.fleets[0].rate
    rows = [
        [
            str(fleet.instances),
            f"{fleet.rate:,.0f}",
            _range(fleet.rates),
            f"{fleet.rate / one:.2f}",
            *(f"{value:,.0f}" for value in (fleet.process_us, fleet.postgres_us)),
        ]
        for fleet in part.fleets
    ]
    header = ["instances", "executions/s", "(runs)", "× one", "CPU µs: Python", "PostgreSQL"]
    return _section("Several instances", "Daemons that drain one database; three strict steps.\n", header, rows)


def _soak(figures: Figures) -> str:
    part = figures.soak
    if part is None:
        return ""
    rows = [[f"{point.executions:,}", f"{point.resident_mib:.0f}"] for point in part.points]
    return _section("Memory over many executions", "", ["executions", "resident MiB"], rows)


def _section(title: str, said: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([f"## {title}", "", *([said] if said else []), _table(header, rows)])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _range(rates: Sequence[float]) -> str:
    return f"{min(rates):,.0f}-{max(rates):,.0f}"


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
