"""Which figures the plot shows."""

from __future__ import annotations

from benchmarks.goals import Figures
from benchmarks.parts.latency import BARE
from benchmarks.plot import Bar, Panel
from benchmarks.results import Latency, Throughput

_SHORT = {"acknowledge": "answer only"}


def panels_of(figures: Figures) -> list[Panel]:
    """Return the panels of what was measured."""
    panels = []
    if figures.throughput is not None:
        panels.append(_speed_panel(figures.throughput))
    if figures.latency is not None:
        panels.append(_latency_panel(figures.latency))
    if figures.webhooks is not None:
        bars = [
            Bar(f"{hook.who}, {_SHORT.get(hook.work, hook.work)}", hook.rate, ours=hook.who == "hark")
            for hook in sorted(figures.webhooks.hooks, key=lambda hook: (hook.work, -hook.rate))
        ]
        panels.append(Panel("Webhooks", "requests per second, logarithmic", bars))
    if figures.stored is not None:
        bars = [Bar(f"{level.stored:,} stored", level.flow, ours=True) for level in figures.stored.levels]
        panels.append(Panel("With stored executions", "executions per second", bars, logarithmic=False))
    if figures.workflows is not None:
        bars = [Bar(f"{active.workflows:,} workflows", active.rate, ours=True) for active in figures.workflows.actives]
        panels.append(Panel("With active workflows", "events per second", bars, logarithmic=False))
    if figures.instances is not None:
        bars = [
            Bar(f"{fleet.instances} instance{'s' * (fleet.instances > 1)}", fleet.rate, ours=True)
            for fleet in figures.instances.fleets
        ]
        panels.append(Panel("Several instances", "executions per second", bars, logarithmic=False))
    return panels


def _speed_panel(part: Throughput) -> Panel:
    chosen = [speed for speed in part.speeds if speed.steps == 3]
    bars = [
        Bar(f"{speed.who}, {speed.kind}" if speed.who == "hark" else speed.who, speed.rate, ours=speed.who == "hark")
        for speed in sorted(chosen, key=lambda speed: -speed.rate)
    ]
    return Panel("Executions of three steps", "per second, logarithmic", bars)


def _latency_panel(part: Latency) -> Panel:
    bars = []
    for delay in part.delays:
        if delay.load == "steady" and delay.first_p50:
            label = "bare NOTIFY" if delay.who == BARE else delay.who
            bars.append(Bar(label, delay.first_p50, delay.first_p99 or 0.0, ours=delay.who == "hark"))
    return Panel("Event to first step at 20/s", "ms, p50 / p99, logarithmic", bars)
