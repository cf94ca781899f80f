"""Turns the figures into `docs/benchmarks.md` and its plot. Nothing in there is written by hand but how to rerun it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environments import HOME
from benchmarks.goals import Figures
from benchmarks.panels import panels_of
from benchmarks.plot import draw
from benchmarks.processes import ROOT
from benchmarks.prose import RERUN, WHAT_DIFFERS
from benchmarks.results import Machine, Part
from benchmarks.tables import NAMES, goals_section, sections


def write_report(results: Path) -> Path:
    """Write the page and the plot of what a directory holds; returns where the page is."""
    full = results.name == "full"
    page = ROOT / "docs" / "benchmarks.md" if full else HOME / f"{results.name}.md"
    plot = page.with_suffix(".svg")
    figures, machine = Figures.load(results), Machine.load(results)
    page.parent.mkdir(parents=True, exist_ok=True)
    panels = panels_of(figures)
    content = [
        "# Benchmarks\n\nWritten by `make bench`; a change by hand lasts until the next run.\n",
        _machine(machine),
        _times(figures),
        goals_section(figures),
        f"![The main figures]({plot.name})\n" if panels else "",
        *sections(figures),
        _differences(figures),
        RERUN,
    ]
    if panels:
        plot.write_text(draw(panels), encoding="utf-8")
    page.write_text("\n".join(section for section in content if section), encoding="utf-8")
    return page


def _machine(machine: Machine | None) -> str:
    if machine is None:
        return "Nothing has been measured yet.\n"
    settings = ", ".join(f"{name} {value}" for name, value in machine.server_settings.items())
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    return (
        f"Measured last on {machine.at:%Y-%m-%d at %H:%M} UTC by `{machine.command}` on {machine.cores} cores of "
        f"{machine.processor}, {machine.memory_gib:.0f} GiB, {machine.system}; PostgreSQL shares them with everything "
        f"else.\n\nHark {machine.hark}, Python {machine.python}, {libraries}. PostgreSQL {machine.postgresql}, as Hark "
        f"starts it: {settings}.\n"
    )


def _times(figures: Figures) -> str:
    """Say when each part was measured: one may be older than the others."""
    parts = [part for part in (getattr(figures, name) for name in Figures.__slots__) if part is not None]
    said = [f"{type(part).__name__.lower()} {part.at:%Y-%m-%d %H:%M} in {part.took_s:.0f} s" for part in parts]
    return f"Parts: {', '.join(said)}.\n" if said else ""


def _differences(figures: Figures) -> str:
    """Say with what settings everybody took part, what differs between them, and who could not take part."""
    parts = [part for part in (figures.throughput, figures.latency, figures.webhooks) if part is not None]
    if not parts:
        return ""
    entrants = {(one.name, one.settings): one for part in parts for one in getattr(part, "entrants", ())}
    lines = [f"- {NAMES[one.name]} {one.version}: {one.settings}." for one in entrants.values()]
    lines += [f"- {name} is missing: {_clean(why)}" for name, why in _missing(parts).items()]
    return "\n".join(["## Who took part, and what differs", "", WHAT_DIFFERS, *lines, ""])


def _missing(parts: Sequence[Part]) -> dict[str, str]:
    return {name: why for part in parts for name, why in part.missing.items()}


def _clean(why: str) -> str:
    """Leave out where things lie on this machine and in the world, and what is too long."""
    without = re.sub(r"\w+://\S+", "…", why.replace(f"{HOME}", ".hark/bench").replace(f"{ROOT}/", ""))
    return without[:300]
