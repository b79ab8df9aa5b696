"""Figures as inline SVG: no library, no script, and the page's own colours in light and dark."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from mlfactory.report.text import day, number, percent

WIDTH, HEIGHT = 1120, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 14, 34
MINUTES_PER_DAY = 1440


@dataclass(frozen=True)
class Line:
    """One line of a figure."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    style: str
    """class of the style sheet"""


def equity(lines: Sequence[Line], backdrop: Sequence[Line]) -> str:
    """Draw summed net returns over time, as steps; x in minutes since the epoch.

    The scale belongs to ``lines``: a line of the ``backdrop`` that loses far more than they do leaves the frame.
    """
    low, high = _range([v for line in lines for v in line.y] + [0.0])
    wide = [v for line in backdrop for v in line.y]
    room = 1.5 * (high - low)
    low, high = max(min([low, *wide]), low - room), min(max([high, *wide]), high + room)
    every = [*backdrop, *lines]
    first, last = min(line.x[0] for line in every), max(line.x[-1] for line in every)
    x, y = _Scale(first, last, LEFT, WIDTH - RIGHT), _Scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [_grid_y(y, ticks(low, high, 5)), *(_date(x, at) for at in _days(first, last, 7))]
    parts.append(f'<line class="zero" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(0)}" y2="{y(0)}"/>')
    frame = f'x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}"'
    parts.append(f'<svg {frame} viewBox="{LEFT} {TOP} {WIDTH - LEFT - RIGHT} {HEIGHT - TOP - BOTTOM}">')
    for line in every:
        points = _steps([x(v) for v in line.x], [y(v) for v in line.y])
        parts.append(
            f'<path class="line {line.style}" d="{points}"><title>{escape(line.name)}</title></path>'
        )
    return _svg(WIDTH, HEIGHT, "Equity after costs", [*parts, "</svg>"])


@dataclass(frozen=True)
class Mark:
    """One moment that a figure points out."""

    x: float
    y: float
    style: str
    """class of the style sheet"""
    text: str


def marked(line: Line, marks: Sequence[Mark]) -> str:
    """Draw a positive series over time, x in minutes since the epoch, on a log scale, and marks on it."""
    level = [math.log(v) for v in line.y]
    low, high = _range(level)
    x, y = _Scale(line.x[0], line.x[-1], LEFT, WIDTH - RIGHT), _Scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [_date(x, at) for at in _days(line.x[0], line.x[-1], 7)]
    prices = ticks(math.exp(low), math.exp(high), 5)
    digits = max(0, -math.floor(math.log10(prices[1] - prices[0]) + 1e-9)) if len(prices) > 1 else 2
    for value in prices:
        at = y(math.log(value))
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(
            f'<text class="tick end" x="{LEFT - 8}" y="{float(at) + 4:.1f}">{number(value, digits)}</text>'
        )
    points = " L".join(f"{x(a)} {y(b)}" for a, b in zip(line.x, level, strict=True))
    parts.append(f'<path class="line {line.style}" d="M{points}"><title>{escape(line.name)}</title></path>')
    for mark in marks:
        at = x(mark.x)
        parts.append(
            f'<line class="mark {mark.style}" x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        )
        parts.append(
            f'<circle class="mark {mark.style}" cx="{at}" cy="{y(math.log(mark.y))}" r="4">'
            f"<title>{escape(mark.text)}</title></circle>"
        )
    return _svg(WIDTH, HEIGHT, line.name, parts)


def reliability(lines: Sequence[Line]) -> str:
    """Draw observed frequencies against stated probabilities."""
    side, edge, rim = 340, 58, 24
    values = [v for line in lines for v in (*line.x, *line.y)]
    low, high = (
        max(0.0, math.floor(min(values) * 20 - 1) / 20),
        min(1.0, math.ceil(max(values) * 20 + 1) / 20),
    )
    x, y = _Scale(low, high, edge, side - rim), _Scale(low, high, side - edge, rim)
    parts = []
    for at in ticks(low, high, 5):
        parts.append(f'<line class="grid" x1="{edge}" x2="{side - rim}" y1="{y(at)}" y2="{y(at)}"/>')
        parts.append(
            f'<text class="tick end" x="{edge - 6}" y="{float(y(at)) + 4:.1f}">{percent(at, 0)}</text>'
        )
        parts.append(f'<text class="tick middle" x="{x(at)}" y="{side - edge + 18}">{percent(at, 0)}</text>')
    parts.append(f'<line class="zero" x1="{x(low)}" y1="{y(low)}" x2="{x(high)}" y2="{y(high)}"/>')
    for line in lines:
        places = [(x(a), y(b)) for a, b in zip(line.x, line.y, strict=True)]
        parts.append(f'<path class="line {line.style}" d="M{" L".join(f"{a} {b}" for a, b in places)}"/>')
        parts += [f'<circle class="dot {line.style}" cx="{a}" cy="{b}" r="3"/>' for a, b in places]
    middle = (edge + side - rim) // 2
    parts.append(f'<text class="label middle" x="{middle}" y="{side - 10}">stated probability</text>')
    turned = f"translate(12 {(side - edge + rim) // 2}) rotate(-90)"
    parts.append(f'<text class="label middle" transform="{turned}">observed share</text>')
    return _svg(side, side, "Reliability", parts, "figure square")


def whisker(low: float, middle: float, high: float, limits: tuple[float, float]) -> str:
    """Draw one interval and its middle on a scale that holds zero, for a table cell."""
    width, height = 120, 18
    x = _Scale(limits[0], limits[1], 4, width - 4)
    style = "above" if low > 0 else "below" if high < 0 else "unsure"
    parts = [
        f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="0" y2="{height}"/>',
        f'<line class="whisker {style}" x1="{x(low)}" x2="{x(high)}" y1="9" y2="9"/>',
        f'<circle class="dot {style}" cx="{x(middle)}" cy="9" r="3.5"/>',
    ]
    label = f"{number(middle, sign=True)} ({number(low)} to {number(high)})"
    return _svg(width, height, label, parts, "small")


def ticks(low: float, high: float, about: int) -> list[float]:
    """Round numbers between two ends, about so many: steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


class _Scale:
    """Maps numbers to pixels, written with one decimal."""

    def __init__(self, low: float, high: float, start: float, stop: float) -> None:
        self.low, self.start = low, start
        self.factor = (stop - start) / (high - low or 1.0)

    def __call__(self, value: float) -> str:
        return f"{self.start + (value - self.low) * self.factor:.1f}"


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = 0.06 * (high - low) or 0.01
    return low - room, high + room


def _grid_y(y: _Scale, at: Sequence[float]) -> str:
    digits = 0 if not at or max(map(abs, at)) >= 0.2 else 1 if max(map(abs, at)) >= 0.02 else 2
    return "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(v)}" y2="{y(v)}"/>'
        f'<text class="tick end" x="{LEFT - 8}" y="{float(y(v)) + 4:.1f}">{percent(v, digits)}</text>'
        for v in at
    )


def _days(first: float, last: float, about: int) -> list[int]:
    """Midnights between two minutes, about so many."""
    start, stop = math.ceil(first / MINUTES_PER_DAY), math.floor(last / MINUTES_PER_DAY)
    step = max(1, math.ceil((stop - start + 1) / about))
    return [at * MINUTES_PER_DAY for at in range(start, stop + 1, step)]


def _date(x: _Scale, minute: int) -> str:
    return (
        f'<line class="grid" x1="{x(minute)}" x2="{x(minute)}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<text class="tick middle" x="{x(minute)}" y="{HEIGHT - BOTTOM + 18}">{day(minute)}</text>'
    )


def _steps(x: Sequence[str], y: Sequence[str]) -> str:
    return f"M{x[0]} {y[0]}" + "".join(f"H{a}V{b}" for a, b in zip(x[1:], y[1:], strict=True))


def _svg(width: int, height: int, label: str, parts: Sequence[str], style: str = "figure") -> str:
    return (
        f'<svg class="{style}" viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
