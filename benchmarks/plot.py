"""A plot as SVG, written by hand: a few panels of bars, and lines; nothing to install."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from math import ceil, floor, log10

WIDTH, PANEL_WIDTH, PANEL_HEIGHT, GAP = 960, 460, 270, 20
_LEFT, _RIGHT, _TOP, _BOTTOM = 150, 62, 46, 34
_OURS, _OTHERS, _PALE, _INK, _GREY = "#0b6e4f", "#8a94a6", "#c3cad6", "#1d2433", "#6b7485"
_FONT = "font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, sans-serif\""


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, with a second one behind it for the larger value, such as p99 behind p50."""

    label: str
    value: float
    behind: float = 0.0
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A titled set of bars on a logarithmic scale, or on a linear one from zero."""

    title: str
    unit: str
    bars: Sequence[Bar] = field(default_factory=tuple)
    logarithmic: bool = True


def draw(panels: Sequence[Panel]) -> str:
    """Draw panels two in a row; returns the SVG."""
    shown = [panel for panel in panels if panel.bars]
    rows = ceil(len(shown) / 2)
    height = max(1, rows) * (PANEL_HEIGHT + GAP) + GAP
    body = "".join(
        f'<g transform="translate({GAP + (index % 2) * PANEL_WIDTH}, {GAP + index // 2 * (PANEL_HEIGHT + GAP)})">'
        f"{_panel(panel)}</g>"
        for index, panel in enumerate(shown)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'{_FONT} font-size="12" fill="{_INK}"><rect width="100%" height="100%" fill="#ffffff"/>{body}</svg>\n'
    )


def _panel(panel: Panel) -> str:
    scale, ticks = _scale(panel)
    inner = PANEL_HEIGHT - _TOP - _BOTTOM
    pitch = inner / len(panel.bars)
    parts = [f'<text x="0" y="16" font-size="14" font-weight="600">{escape(panel.title)}</text>']
    parts.append(f'<text x="0" y="33" fill="{_GREY}">{escape(panel.unit)}</text>')
    for tick in ticks:
        x = _LEFT + scale(tick)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_TOP + inner}" stroke="#e6e9ef"/>')
        parts.append(_text(x, _TOP + inner + 16, _short(tick), "middle", _GREY))
    for index, bar in enumerate(panel.bars):
        parts.append(_bar(bar, scale, _TOP + index * pitch, pitch))
    return "".join(parts)


def _bar(bar: Bar, scale: Callable[[float], float], top: float, pitch: float) -> str:
    thick = min(26.0, pitch * 0.66)
    y = top + (pitch - thick) / 2
    middle = y + thick / 2 + 4
    weight = ' font-weight="600"' if bar.ours else ""
    parts = [f'<text x="{_LEFT - 8}" y="{middle:.1f}" text-anchor="end"{weight}>{escape(bar.label)}</text>']
    longest = max(bar.value, bar.behind)
    if bar.behind:
        parts.append(_rectangle(scale(bar.behind), y + thick * 0.3, thick * 0.4, _PALE))
    parts.append(_rectangle(scale(bar.value), y, thick, _OURS if bar.ours else _OTHERS))
    says = _short(bar.value) + (f" / {_short(bar.behind)}" if bar.behind else "")
    parts.append(_text(_LEFT + scale(longest) + 6, middle, says, "start", _INK))
    return "".join(parts)


def _rectangle(width: float, y: float, height: float, colour: str) -> str:
    return f'<rect x="{_LEFT}" y="{y:.1f}" width="{max(1.0, width):.1f}" height="{height:.1f}" rx="2" fill="{colour}"/>'


def _text(x: float, y: float, words: str, anchor: str, colour: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def _scale(panel: Panel) -> tuple[Callable[[float], float], list[float]]:
    """Return how a value becomes a length, and where the axis has its marks."""
    room = PANEL_WIDTH - GAP - _LEFT - _RIGHT
    values = [value for bar in panel.bars for value in (bar.value, bar.behind) if value > 0]
    if panel.logarithmic:
        low, high = floor(log10(min(values)) - 0.05), ceil(log10(max(values)))
        decades = max(1, high - low)
        step = max(1, ceil(decades / 5))
        ticks = [10.0**power for power in range(low, high + 1, step)]
        return (lambda value: room * max(0.0, log10(value) - low) / decades if value > 0 else 0.0), ticks
    top = _round_up(max(values))
    return (lambda value: room * value / top), [top * part / 4 for part in range(5)]


def _round_up(value: float) -> float:
    """Return the next larger round number: 1, 2, 4, 6, 8 or 10 times a power of ten."""
    power = 10.0 ** floor(log10(value))
    return float(next(factor * power for factor in (1, 2, 4, 6, 8, 10) if factor * power >= value))


def _short(value: float) -> str:
    """Write a number in few characters."""
    if value >= 1_000_000:
        return f"{value / 1_000_000:g}M"
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"
